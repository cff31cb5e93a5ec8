//! What the stories say over UDP, and how they listen, whoever carries it.

#![allow(dead_code, reason = "the stories of the kernel's routers and of the wire's each need a part of it")]

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use netsim::model::Family;
use netsim::netns::Vantage;

/// A datagram that must come has this long; it takes microseconds unless the machine is busy.
const SURELY: Duration = Duration::from_secs(5);
/// A datagram that must not come has this long to come all the same.
const IN_VAIN: Duration = Duration::from_millis(100);

/// A socket in a host.
pub(crate) struct Voice(pub(crate) UdpSocket);

impl Voice {
    /// At the host's first address, of version 4 if it has one.
    pub(crate) fn new(host: &impl Vantage, port: u16) -> Voice {
        let address = Family::ALL.into_iter().find_map(|family| host.address_of(family));
        Voice::at(host, address.expect("a host with an address"), port)
    }

    pub(crate) fn at(host: &impl Vantage, address: IpAddr, port: u16) -> Voice {
        Voice(host.udp_on(address, port).expect("a socket in the host"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket")
    }

    pub(crate) fn say(&self, text: impl AsRef<[u8]>, to: SocketAddr) {
        self.0.send_to(text.as_ref(), to).expect("the kernel takes it");
    }

    /// Whether the kernel would not even take it.
    pub(crate) fn cannot_say(&self, text: impl AsRef<[u8]>, to: SocketAddr) -> bool {
        self.0.send_to(text.as_ref(), to).is_err()
    }

    /// The next datagram, and who sent it.
    pub(crate) fn hear(&self) -> (String, SocketAddr) {
        self.listen(SURELY).expect("nothing arrived")
    }

    /// The next datagram, if one comes within this time.
    pub(crate) fn listen(&self, patience: Duration) -> Option<(String, SocketAddr)> {
        let mut buffer = [0; 1500];
        self.0.set_read_timeout(Some(patience)).expect("not zero");
        match self.0.recv_from(&mut buffer) {
            Ok((length, from)) => Some((String::from_utf8_lossy(&buffer[..length]).into_owned(), from)),
            Err(late) if late.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("cannot receive: {error}"),
        }
    }

    pub(crate) fn hears_nothing(&self) -> bool {
        self.hears_nothing_for(IN_VAIN)
    }

    pub(crate) fn hears_nothing_for(&self, patience: Duration) -> bool {
        self.listen(patience).is_none()
    }

    /// How many datagrams come before the one that says "last".
    pub(crate) fn count_until_last(&self) -> usize {
        std::iter::from_fn(|| Some(self.hear().0).filter(|text| text != "last")).count()
    }

    /// The address that `other` sees this socket at; `other`'s answer then comes back through every router between.
    pub(crate) fn seen_by(&self, other: &Voice) -> SocketAddr {
        self.say("who am I?", other.address());
        let (text, from) = other.hear();
        assert_eq!(text, "who am I?");
        other.say("you are there", from);
        assert_eq!(self.hear(), ("you are there".to_owned(), other.address()));
        from
    }
}
