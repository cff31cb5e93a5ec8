//! A TUN device: an interface of a host or of a kernel's box, whose other end is a file that we hold.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::frame::Frame;
use crate::netns::{Error, Namespace, Result};

/// An interface, with a name and an index of our choice; 1 is the loopback.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interface {
    pub(super) name: &'static str,
    pub(super) index: u32,
}

/// A host's. As in the networks of kernel routers, programs find `eth0`.
pub(super) const ETH0: Interface = Interface { name: "eth0", index: 2 };
/// The outside of a kernel's box; its rules know it by this name.
pub(super) const WAN: Interface = Interface { name: "wan", index: 2 };
/// Its inside.
pub(super) const LAN: Interface = Interface { name: "lan", index: 3 };

/// The device's end outside its namespace. Closed, the device is gone.
#[derive(Debug)]
pub(super) struct Tun(File);

impl Tun {
    /// A new device in this namespace, still down.
    pub(super) fn new(namespace: &Namespace, interface: Interface) -> Result<Tun> {
        // A device belongs to the namespace of whoever opens the file.
        let file = namespace.enter(open)?;
        let file = file.map_err(|source| Error::NoTun { host: namespace.name().to_owned(), source })?;
        let configured = configure(&file, interface).map_err(Error::kernel(namespace.name(), "make a TUN device"));
        configured.map(|()| Tun(file))
    }

    /// The next thing that the host has sent, as bytes of the buffer; `None` if there is nothing.
    pub(super) fn read<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        loop {
            match (&self.0).read(buffer) {
                Ok(length) => return buffer.get(..length),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Nothing there, or the interface is down.
                Err(_) => return None,
            }
        }
    }

    /// Hands a packet to the host. An interface that is down loses it, as does a kernel that has no memory.
    pub(super) fn write(&self, frame: &Frame) {
        if let Err(refused) = (&self.0).write(frame.bytes()) {
            tracing::trace!(%refused, "a host did not take a packet");
        }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open() -> io::Result<File> {
    File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")
}

fn configure(file: &File, interface: Interface) -> io::Result<()> {
    let index = libc::c_int::try_from(interface.index).unwrap_or(0);
    // SAFETY: the kernel reads an `int` at the address given, which is a live local's.
    #[allow(unsafe_code, reason = "TUN devices are made by ioctl, and nix knows none of these")]
    let chosen = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFINDEX as _, &raw const index) };
    done(chosen)?;
    let mut name = [0; libc::IFNAMSIZ];
    name.iter_mut().zip(interface.name.bytes()).for_each(|(to, from)| *to = from.cast_signed());
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    let mut request = libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    // SAFETY: the kernel reads and writes a `struct ifreq` at the address given, which is a live local's.
    #[allow(unsafe_code, reason = "TUN devices are made by ioctl, and nix knows none of these")]
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    done(made)?;
    // Segmentation of UDP is there since Linux 6.2.
    offer(file, SEGMENTATION | libc::TUN_F_USO4 | libc::TUN_F_USO6).or_else(|_| offer(file, SEGMENTATION))
}

/// Checksums, and segmentation of TCP.
const SEGMENTATION: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;

/// Offers the host's kernel to do so much of its work.
fn offer(file: &File, offloads: libc::c_uint) -> io::Result<()> {
    // SAFETY: the argument is an integer, no address.
    #[allow(unsafe_code, reason = "TUN devices are made by ioctl, and nix knows none of these")]
    let offered = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(offloads)) };
    done(offered)
}

fn done(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
