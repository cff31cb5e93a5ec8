//! What the kernel tells about changes of addresses and routes: rtnetlink(7).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net as unix;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::Change;

/// The groups of rtnetlink(7): addresses and routes of both families.
const GROUPS: u32 = 0x10 | 0x40 | 0x100 | 0x400;
/// RTM_NEWROUTE and RTM_DELROUTE of linux/rtnetlink.h.
const ROUTE_MESSAGES: [u16; 2] = [24, 25];
/// A message begins with its length (4 bytes) and type (2); behind the header of 16 bytes a route has its family and the
/// length of its destination's prefix.
const TYPE: usize = 4;
const PREFIX_LENGTH: usize = 17;
/// Many messages may come in one piece.
const PIECE: usize = 16 * 1024;

/// The kernel's messages.
pub(crate) struct NetworkEvents(TokioSocket);

impl NetworkEvents {
    /// Begins to listen; an ordinary user may.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
        Ok(NetworkEvents(socket))
    }

    /// Waits for the next change.
    pub(crate) async fn next(&mut self) -> io::Result<Change> {
        let mut piece = Vec::with_capacity(PIECE);
        match self.0.recv(&mut piece).await {
            Ok(_) => Ok(look(&piece)),
            // More messages than the socket holds: something has changed, and it cannot be known what.
            Err(error) if error.raw_os_error() == Some(NO_BUFFER_SPACE) => Ok(Change::DefaultRoute),
            Err(error) => Err(error),
        }
    }
}

/// ENOBUFS.
const NO_BUFFER_SPACE: i32 = 105;

/// Tells systemd that we are ready, if it started us and waits for that: sd_notify(3).
pub(crate) fn notify_ready() {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match place.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => unix::SocketAddr::from_abstract_name(name),
        None => unix::SocketAddr::from_pathname(&place),
    };
    let told = address.and_then(|address| unix::UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address));
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager was not told that we are ready");
    }
}

fn look(mut piece: &[u8]) -> Change {
    while let Some((length, _)) = piece.split_first_chunk::<4>() {
        let kind = piece.get(TYPE..TYPE + 2).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
        if kind.is_some_and(|kind| ROUTE_MESSAGES.contains(&kind)) && piece.get(PREFIX_LENGTH) == Some(&0) {
            return Change::DefaultRoute;
        }
        let length = (u32::from_ne_bytes(*length) as usize).next_multiple_of(4).max(4);
        piece = piece.get(length..).unwrap_or_default();
    }
    Change::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, prefix_length: u8) -> Vec<u8> {
        let mut message = vec![0; 28];
        message[..4].copy_from_slice(&28u32.to_ne_bytes());
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[PREFIX_LENGTH] = prefix_length;
        message
    }

    #[test]
    fn a_default_route_is_found_among_other_messages_and_nothing_else_is_one() {
        assert_eq!(look(&message(24, 0)), Change::DefaultRoute);
        assert_eq!(look(&[message(20, 0), message(25, 0)].concat()), Change::DefaultRoute);
        assert_eq!(look(&[message(20, 0), message(24, 24)].concat()), Change::Other);
        for junk in [&[][..], &[1], &[0; 40], &[255; 7]] {
            assert_eq!(look(junk), Change::Other);
        }
    }
}
