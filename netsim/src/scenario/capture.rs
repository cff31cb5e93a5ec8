//! What a host or a router's outer interface sends and receives, written to a file by a thread of ours: from a packet
//! socket in its namespace, or from a tap at a router of the model, which has none.

use std::fs::File;
use std::io::{self, BufWriter, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

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
use crate::wire::{Site, Tapped};

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

/// Index of a router's outer interface, whoever carries its packets.
const WAN: usize = 2;

/// A capture at work; it ends, with all that was sent before, when it is finished or dropped.
pub(crate) struct Capture {
    ear: Ear,
    thread: Option<JoinHandle<Option<String>>>,
}

/// How to make a capture's thread end.
enum Ear {
    /// By a pipe.
    Socket(Option<OwnedFd>),
    /// By taking its tap away.
    Tap(Site),
}

impl Capture {
    /// Begins to write what a host, or the outer interface of a router, sends and receives to `PLACE.pcapng` in the folder.
    pub(crate) fn start(lab: &dyn Lab, place: &str, is_router: bool, folder: &Path) -> io::Result<Capture> {
        let mut film = Film::new(place, folder, LARGEST_FILE)?;
        let thread = thread::Builder::new().name(format!("capture {place}"));
        if let Some(site) = lab.modelled(place)
            && let Some(tap) = site.tap()
        {
            let thread = thread.spawn(move || {
                let ended = tap.iter().try_for_each(|Tapped { at, outwards, bytes, length }| {
                    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                    film.take(at, if outwards { Direction::Out } else { Direction::In }, &bytes, length)
                });
                film.note(ended, tap.missed())
            })?;
            return Ok(Capture { ear: Ear::Tap(site), thread: Some(thread) });
        }
        let mut opened = Err(Errno::EINVAL);
        lab.enter(place, &mut || opened = open_socket()).map_err(io::Error::other)?;
        let (socket, only) = (opened?, is_router.then_some(WAN));
        let (stopped, stop) = pipe()?;
        let thread = thread.spawn(move || {
            let ended = run(&socket, &stopped, &mut film, only);
            film.note(ended, missed(&socket))
        })?;
        Ok(Capture { ear: Ear::Socket(Some(stop)), thread: Some(thread) })
    }

    /// Ends it; gives what is to be said about it.
    pub(super) fn finish(mut self) -> Option<String> {
        self.end()
    }

    fn end(&mut self) -> Option<String> {
        match &mut self.ear {
            Ear::Socket(stop) => {
                if let Some(stop) = stop.take() {
                    let _ = write(&stop, &[0]);
                }
            }
            Ear::Tap(site) => site.untap(),
        }
        self.thread.take().and_then(|thread| thread.join().ok().flatten())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(note) = self.end() {
            tracing::warn!("{note}");
        }
    }
}

/// A file that is being written, up to a limit.
struct Film {
    file: String,
    writer: Writer<BufWriter<File>>,
    written: u64,
    limit: u64,
    full: bool,
}

impl Film {
    fn new(place: &str, folder: &Path, limit: u64) -> io::Result<Film> {
        let path = folder.join(format!("{place}.pcapng"));
        let mut writer = Writer::new(BufWriter::new(File::create(&path)?), place, LONGEST as u32)?;
        writer.flush()?;
        Ok(Film { file: path.display().to_string(), writer, written: 0, limit, full: false })
    }

    fn take(&mut self, at: Duration, direction: Direction, bytes: &[u8], length: usize) -> io::Result<()> {
        if self.written < self.limit {
            self.written += self.writer.packet(at, direction, bytes, length)?;
        } else {
            self.full = true;
        }
        Ok(())
    }

    /// Ends it; what is to be said about it.
    fn note(mut self, ended: io::Result<()>, missed: u64) -> Option<String> {
        let flushed = self.writer.flush();
        let Film { file, limit, full, .. } = self;
        let note = match ended.and(flushed) {
            Err(error) => format!("{file} ends early: {error}"),
            Ok(()) if full => format!("{file} is full ({} MiB): what came later is not in it", limit / (1024 * 1024)),
            Ok(()) if missed > 0 => {
                format!("{file} lacks {missed} packets, which came faster than they could be written")
            }
            Ok(()) => return None,
        };
        Some(note)
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

fn run(socket: &OwnedFd, stopped: &OwnedFd, film: &mut Film, only: Option<usize>) -> io::Result<()> {
    loop {
        let mut waiting =
            [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let last = waiting[1].any().unwrap_or(true);
        // Also at the end: what was there before it belongs to the capture.
        while let Some((at, direction, bytes, length)) = receive(socket, only)? {
            film.take(at, direction, &bytes, length)?;
        }
        if last {
            return Ok(());
        }
    }
}

/// How many packets found no room in the socket's queue.
fn missed(socket: &OwnedFd) -> u64 {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of_val(&statistics) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of the live local that it is given.
    #[allow(unsafe_code, reason = "nix does not know this option of packet sockets")]
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if answer < 0 { 0 } else { u64::from(statistics.tp_drops) }
}

/// When, which way, what, and how long it really was.
type Captured = (Duration, Direction, Vec<u8>, usize);

/// The next IP packet that is waiting, at this interface or at any.
fn receive(socket: &OwnedFd, only: Option<usize>) -> io::Result<Option<Captured>> {
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
        if !ip || from.hatype() == ARPHRD_LOOPBACK || only.is_some_and(|only| from.ifindex() != only) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_takes_no_more_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut film = Film::new("home", folder.path(), 1024 * 1024).unwrap();
        let packet = [0x45; 1500];
        (0..1000).for_each(|n| film.take(Duration::from_millis(n), Direction::Out, &packet, 1500).unwrap());
        let note = film.note(Ok(()), 0).unwrap();
        assert_eq!(std::fs::metadata(folder.path().join("home.pcapng")).unwrap().len() / (1024 * 1024), 1);
        assert!(note.ends_with("home.pcapng is full (1 MiB): what came later is not in it"), "{note}");
    }
}
