//! A host in virtual time, and the programs on it: machines without sockets, which speak as processes do.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Instant;

use super::log::{Log, Stream};
use crate::udp::{self, Arguments, ToSend};
use crate::virtual_net::{Datagram, Endpoint};

/// A program's output and end, as whoever has started it sees them.
#[derive(Debug, Default)]
pub(super) struct Life {
    pub(super) log: Log,
    pub(super) status: Option<ExitStatus>,
}

impl Life {
    /// It says this and ends.
    pub(super) fn end_with(&mut self, code: i32, last: &str, now: Instant) {
        last.lines().for_each(|line| self.log.push(Stream::Error, line.to_owned(), now));
        self.status = Some(exit_code(code));
    }
}

/// How a process that ended with this code looks.
fn exit_code(code: i32) -> ExitStatus {
    ExitStatus::from_raw((code & 0xff) << 8)
}

#[derive(Debug)]
struct Talker {
    arguments: Arguments,
    life: Rc<RefCell<Life>>,
}

/// A host.
#[derive(Debug, Default)]
pub(super) struct VirtualHost {
    /// As the kernel has them: what is sent leaves from the first one of its version of IP.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) unplugged: bool,
    talkers: Vec<Talker>,
    outbox: VecDeque<Datagram>,
}

impl VirtualHost {
    /// Starts it, unless its port is taken.
    pub(super) fn start(&mut self, arguments: Arguments, life: &Rc<RefCell<Life>>, now: Instant) {
        self.talkers.retain(|talker| talker.life.borrow().status.is_none());
        let port = arguments.port;
        if self.talkers.iter().any(|talker| talker.arguments.port == port) {
            return life.borrow_mut().end_with(2, &format!("netsim: port {port} cannot be used"), now);
        }
        life.borrow_mut().log.push(Stream::Output, arguments.ready(), now);
        self.talkers.push(Talker { arguments, life: life.clone() });
    }

    /// Types a line into the program on this port.
    pub(super) fn type_line(&mut self, line: &str, port: u16, life: &Rc<RefCell<Life>>, now: Instant) {
        match udp::read(line) {
            Ok(datagram) => self.post(datagram, port, life, now),
            Err(said) => life.borrow_mut().log.push(Stream::Output, said, now),
        }
    }

    fn post(&mut self, ToSend { to, payload }: ToSend, port: u16, life: &Rc<RefCell<Life>>, now: Instant) {
        let own = self.addresses.iter().find(|own| own.is_ipv4() == to.is_ipv4()).filter(|_| !self.unplugged);
        match own {
            Some(own) => {
                let source = SocketAddr::new(*own, port);
                self.outbox.push_back(Datagram { source, destination: to, payload });
            }
            None => life.borrow_mut().log.push(Stream::Output, udp::unsent(to), now),
        }
    }
}

impl Endpoint for VirtualHost {
    fn handle_datagram(&mut self, datagram: Datagram, now: Instant) {
        if self.unplugged {
            return;
        }
        let port = datagram.destination.port();
        let listening = |talker: &&Talker| talker.arguments.port == port && talker.life.borrow().status.is_none();
        let Some(talker) = self.talkers.iter().find(listening) else { return };
        let (said, answer) = talker.arguments.heard(datagram.source, &datagram.payload);
        let life = talker.life.clone();
        life.borrow_mut().log.push(Stream::Output, said, now);
        if let Some(answer) = answer {
            self.post(answer, port, &life, now);
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_transmit(&mut self) -> Option<Datagram> {
        self.outbox.pop_front()
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        None
    }
}
