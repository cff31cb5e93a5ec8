//! What a host sends and receives, written to a file by a thread of ours: a packet socket in its namespace.

use std::fs::File;
use std::io::{self, BufWriter, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{pipe, write};

use super::lab::Lab;
use super::pcapng::{Direction, Writer};

/// The most that one file may hold: a scenario is to be looked at, and no bulk transfer fills the disk.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;
/// Bytes kept of a packet; with segmentation offload one packet may be up to 64 KiB.
const LONGEST: usize = 2048;
/// What may wait in the kernel while our thread is not running.
const QUEUE: usize = 4 * 1024 * 1024;
/// linux/if_ether.h and linux/if_packet.h.
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86DD;
const PACKET_OUTGOING: u8 = 4;
const ARPHRD_LOOPBACK: u16 = 772;

/// A capture at work; it ends, with all that was sent before, when dropped.
pub(super) struct Capture {
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    full: Arc<AtomicBool>,
    host: String,
}

impl Capture {
    /// Begins to write what this host sends and receives to `HOST.pcapng` in the folder.
    pub(super) fn start(lab: &dyn Lab, host: &str, folder: &Path) -> io::Result<Capture> {
        let mut opened = Err(Errno::EINVAL);
        lab.enter(host, &mut || opened = open_socket()).map_err(io::Error::other)?;
        let socket = opened?;
        let path = folder.join(format!("{host}.pcapng"));
        let mut writer = Writer::new(BufWriter::new(File::create(path)?), host, LONGEST as u32)?;
        writer.flush()?;
        let (stopped, stop) = pipe()?;
        let full = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name(format!("capture {host}")).spawn({
            let (full, host) = (full.clone(), host.to_owned());
            move || {
                if let Err(error) = run(&socket, &stopped, writer, &full) {
                    tracing::warn!(host, %error, "a capture ended early");
                }
            }
        })?;
        Ok(Capture { stop: Some(stop), thread: Some(thread), full, host: host.to_owned() })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = write(&stop, &[0]);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if self.full.load(Ordering::Relaxed) {
            tracing::warn!(host = self.host, "the capture is full; what came later is not in it");
        }
    }
}

/// Without the link header, so that a TUN device and an Ethernet device look the same.
fn open_socket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::RcvBuf, &QUEUE)?;
    Ok(socket)
}

fn run(socket: &OwnedFd, stopped: &OwnedFd, mut writer: Writer<impl io::Write>, full: &AtomicBool) -> io::Result<()> {
    let mut written = 0;
    loop {
        let mut waiting =
            [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let last = waiting[1].any().unwrap_or(true);
        // Also at the end: what was there before it belongs to the capture.
        while let Some((at, direction, bytes, length)) = receive(socket)? {
            if written < LARGEST_FILE {
                written += writer.packet(at, direction, &bytes, length)?;
            } else {
                full.store(true, Ordering::Relaxed);
            }
        }
        if last {
            return writer.flush();
        }
    }
}

/// When, which way, what, and how long it really was.
type Captured = (Duration, Direction, Vec<u8>, usize);

/// The next IP packet that is waiting.
fn receive(socket: &OwnedFd) -> io::Result<Option<Captured>> {
    let mut bytes = vec![0; LONGEST];
    loop {
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received =
            match recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_TRUNC) {
                Err(Errno::EAGAIN) => return Ok(None),
                // A device went away under it, as when a host moves; the next one is heard all the same.
                Err(Errno::EINTR | Errno::ENETDOWN) => continue,
                other => other?,
            };
        let Some(from) = received.address else { continue };
        let ip = [ETH_P_IP, ETH_P_IPV6].contains(&u16::from_be(from.protocol()));
        if !ip || from.hatype() == ARPHRD_LOOPBACK {
            continue;
        }
        let time = received.cmsgs().into_iter().flatten().find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
            _ => None,
        });
        let direction = if from.pkttype() == PACKET_OUTGOING { Direction::Out } else { Direction::In };
        let length = received.bytes;
        bytes.truncate(length);
        return Ok(Some((time.unwrap_or_default(), direction, bytes, length)));
    }
}
