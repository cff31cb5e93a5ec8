//! What the stories say over UDP, and how they listen.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use netsim::wire::Host;

/// A datagram that must come has this long; it takes microseconds unless the machine is busy.
const SURELY: Duration = Duration::from_secs(5);

/// A socket in a host.
pub(crate) struct Voice(pub(crate) UdpSocket);

impl Voice {
    pub(crate) fn new(host: &Host, port: u16) -> Voice {
        Voice::at(host, host.address(), port)
    }

    pub(crate) fn at(host: &Host, address: IpAddr, port: u16) -> Voice {
        Voice(host.udp_at(address, port).expect("a socket in the host"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket")
    }

    pub(crate) fn say(&self, text: impl AsRef<[u8]>, to: SocketAddr) {
        self.0.send_to(text.as_ref(), to).expect("the kernel takes it");
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
