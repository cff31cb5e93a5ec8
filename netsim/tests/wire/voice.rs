//! What the stories say over UDP, and how they listen.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use netsim::wire::Host;

/// A datagram that must come has this long; it takes microseconds unless the machine is busy.
const SURELY: Duration = Duration::from_secs(5);

/// A socket in a host.
pub(crate) struct Voice(UdpSocket);

impl Voice {
    pub(crate) fn new(host: &Host, port: u16) -> Voice {
        Voice::at(host, host.address(), port)
    }

    pub(crate) fn at(host: &Host, address: IpAddr, port: u16) -> Voice {
        let voice = Voice(host.udp_at(address, port).expect("a socket in the host"));
        voice.0.set_read_timeout(Some(SURELY)).expect("not zero");
        voice
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket")
    }

    pub(crate) fn say(&self, text: impl AsRef<[u8]>, to: SocketAddr) {
        self.0.send_to(text.as_ref(), to).expect("the kernel takes it");
    }

    /// The next datagram, and who sent it.
    pub(crate) fn hear(&self) -> (String, SocketAddr) {
        let mut buffer = [0; 1500];
        let (length, from) = self.0.recv_from(&mut buffer).expect("nothing arrived");
        (String::from_utf8_lossy(&buffer[..length]).into_owned(), from)
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
