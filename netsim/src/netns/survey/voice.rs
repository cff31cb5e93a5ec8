//! Sockets that say short texts to each other: those of a survey.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::vantage::{Vantage, first_address};
use crate::model::Family;
use crate::netns::error::{Error, Result};

/// A packet that must arrive has this long; it takes microseconds unless the machine is busy.
pub(super) const SURELY: Duration = Duration::from_secs(5);
/// A packet that should not arrive gets this long after a later one did arrive.
pub(super) const BELATED: Duration = Duration::from_millis(50);
/// A question is asked again after this: a kernel's rules that record mappings lose the first packet of a mapping that draws a
/// taken port.
const AGAIN: Duration = Duration::from_secs(1);
/// So often.
const TRIES: usize = 5;

/// A UDP socket and where it is.
pub(super) struct Voice {
    socket: UdpSocket,
    pub(super) address: SocketAddr,
    host: String,
    /// Numbers its questions, so that no answer is taken for another's.
    asked: Cell<u32>,
}

impl Voice {
    pub(super) fn new(host: &impl Vantage, family: Family, port: u16) -> Result<Voice> {
        let address = SocketAddr::new(first_address(host, family)?, port);
        let socket = host.udp_on(address.ip(), port)?;
        Ok(Voice { socket, address, host: host.name().to_owned(), asked: Cell::new(0) })
    }

    pub(super) fn say(&self, text: &str, to: SocketAddr) -> Result<()> {
        self.socket.send_to(text.as_bytes(), to).map(drop).map_err(Error::kernel(&self.host, format!("send to {to}")))
    }

    /// The next text, and by whom.
    pub(super) fn hear(&self, patience: Duration) -> Result<Option<(SocketAddr, String)>> {
        let mut buffer = [0; 64];
        let heard = self.socket.set_read_timeout(Some(patience)).and_then(|()| self.socket.recv_from(&mut buffer));
        match heard {
            Ok((length, from)) => Ok(Some((from, String::from_utf8_lossy(&buffer[..length]).into_owned()))),
            Err(late) if matches!(late.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(Error::kernel(&self.host, "receive")(error)),
        }
    }

    /// This is said within the time, by whom? Anything else in the queue is left over from another question.
    pub(super) fn hears_within(&self, patience: Duration, expected: &str) -> Result<Option<SocketAddr>> {
        loop {
            match self.hear(patience)? {
                Some((from, text)) if text == expected => return Ok(Some(from)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// This must be said.
    pub(super) fn hears(&self, expected: &str) -> Result<SocketAddr> {
        self.hears_within(SURELY, expected)?.ok_or_else(|| self.silent())
    }

    /// The address and port that the far side sees, if it hears us.
    pub(super) fn may_be_mapped_by(&self, far: &Voice, patience: Duration) -> Result<Option<SocketAddr>> {
        self.asked.set(self.asked.get() + 1);
        let question = format!("who am I? {} {}", self.address.port(), self.asked.get());
        self.say(&question, far.address)?;
        far.hears_within(patience, &question)
    }

    /// The address and port that the far side sees.
    pub(super) fn mapped_by(&self, far: &Voice) -> Result<SocketAddr> {
        for _ in 0..TRIES {
            if let Some(mapped) = self.may_be_mapped_by(far, AGAIN)? {
                return Ok(mapped);
            }
        }
        Err(far.silent())
    }

    pub(super) fn silent(&self) -> Error {
        Error::kernel(&self.host, "deliver a packet that every router lets through")(io::ErrorKind::TimedOut.into())
    }
}
