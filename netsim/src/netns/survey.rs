//! What a router really does: a network is built around it and asked with real sockets.
//!
//! ```text
//!   one:3478  one:3479   two:3478  two:3479
//!       \________|__________|________/          the Internet
//!                    router                     the one that is asked about
//!                alice     bob                  its LAN
//! ```

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use serde::Serialize;

use super::error::{Error, Result};
use super::host::Host;
use super::network::Network;
use super::router::Router;
use crate::model::behaviour::{Filtering, Mapping, PortAssignment};
use crate::model::{Behaviour, EarlyProbe, Observed};
use crate::wire;

/// A packet that must arrive has this long; it takes microseconds unless the machine is busy.
const SURELY: Duration = Duration::from_secs(5);
/// A packet that should not arrive gets this long after a later one did arrive.
const BELATED: Duration = Duration::from_millis(50);

/// Fresh mappings whose ports are compared.
const PORTS_ASKED: u16 = 8;
/// Between two ports of a sequence. Eight random ports are all as near as this, and in order, once in 10^12 surveys.
const NEAR: u16 = 1024;

/// What a survey finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Survey {
    /// In the words of RFC 4787.
    #[serde(flatten)]
    pub observed: Observed,
    /// Which ports mappings get.
    pub ports: SeenPorts,
}

/// As much of a box's port assignment as can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeenPorts {
    /// The internal ones.
    Preserved,
    /// One after the other, up or down, perhaps with others between.
    Sequential,
    /// Without a visible order.
    Random,
}

impl fmt::Display for SeenPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SeenPorts::Preserved => "preserved",
            SeenPorts::Sequential => "sequential",
            SeenPorts::Random => "random",
        })
    }
}

/// What a survey of such a box must find.
impl From<&Behaviour> for Survey {
    fn from(behaviour: &Behaviour) -> Survey {
        let observed = Observed::from(behaviour);
        // Behind any other filter two hosts would have to open it for a port that neither can know: each has one for the
        // router's own address alone, and no server sees it.
        let can_be_foreseen =
            observed.mapping == Mapping::EndpointIndependent || observed.filtering == Filtering::EndpointIndependent;
        let ports = match behaviour.ports {
            _ if observed.port_preservation => SeenPorts::Preserved,
            PortAssignment::Sequential { step, noise }
                if u64::from(step.unsigned_abs()) * (u64::from(noise) + 1) <= u64::from(NEAR) =>
            {
                SeenPorts::Sequential
            }
            _ => SeenPorts::Random,
        };
        Survey { observed: Observed { hairpinning: observed.hairpinning && can_be_foreseen, ..observed }, ports }
    }
}

/// A computer that a survey speaks from, whoever its packets are carried by.
pub trait Vantage {
    /// For messages.
    fn name(&self) -> &str;
    /// Its IPv4 address.
    fn address(&self) -> Ipv4Addr;
    /// A socket there.
    fn udp_at(&self, address: Ipv4Addr, port: u16) -> Result<UdpSocket>;
}

impl Vantage for Host {
    fn name(&self) -> &str {
        self.name()
    }

    fn address(&self) -> Ipv4Addr {
        self.address()
    }

    fn udp_at(&self, address: Ipv4Addr, port: u16) -> Result<UdpSocket> {
        self.udp_at(address, port)
    }
}

/// Its first address must be of version 4, as it is unless the host speaks version 6 alone.
impl Vantage for wire::Host {
    fn name(&self) -> &str {
        self.name()
    }

    fn address(&self) -> Ipv4Addr {
        match self.address() {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        }
    }

    fn udp_at(&self, address: Ipv4Addr, port: u16) -> Result<UdpSocket> {
        self.udp_at(address, port)
    }
}

/// Builds a network around such a router and finds out what it does.
pub fn survey(router: Router) -> Result<Survey> {
    let net = Network::new()?;
    let outside = [net.public_host("one")?, net.public_host("two")?];
    let router = net.router("router", router)?;
    survey_between(&[router.host("alice")?, router.host("bob")?], &outside)
}

/// Finds out what stands between two computers inside and two outside. Their ports 3478, 3479 and 4000 to 4100 must be
/// free, and nobody may have used them shortly before.
pub fn survey_between<V: Vantage>(inside: &[V; 2], outside: &[V; 2]) -> Result<Survey> {
    let [alice, bob] = inside;
    let lab = Lab { alice, bob, one: Far::new(&outside[0])?, two: Far::new(&outside[1])? };
    let (mapping, port_preservation) = lab.mapping()?;
    let observed = Observed {
        mapping,
        port_preservation,
        filtering: lab.filtering()?,
        hairpinning: lab.hairpinning()?,
        early_probe: if port_preservation { lab.early_probe(mapping)? } else { EarlyProbe::NotApplicable },
    };
    Ok(Survey { observed, ports: lab.ports()? })
}

struct Lab<'a, V> {
    alice: &'a V,
    bob: &'a V,
    one: Far,
    two: Far,
}

impl<V: Vantage> Lab<'_, V> {
    /// Each question has a port of its own, so that no earlier mapping answers it.
    fn mapping(&self) -> Result<(Mapping, bool)> {
        let alice = Near::new(self.alice, 4000)?;
        let first = alice.mapped_by(&self.one.main)?;
        let other_port = alice.mapped_by(&self.one.alternate)?;
        let other_address = alice.mapped_by(&self.two.main)?;
        let mapping = if first != other_port {
            Mapping::AddressAndPortDependent
        } else if first != other_address {
            Mapping::AddressDependent
        } else {
            Mapping::EndpointIndependent
        };
        Ok((mapping, first.port() == 4000))
    }

    fn filtering(&self) -> Result<Filtering> {
        let alice = Near::new(self.alice, 4001)?;
        let mapped = alice.mapped_by(&self.one.main)?;
        self.two.main.say("other address", mapped)?;
        self.two.is_carried_to(&self.one)?;
        self.one.alternate.say("other port", mapped)?;
        let heard = alice.hears_until_answered(&self.one.main, mapped)?;
        Ok(match heard.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => Filtering::AddressAndPortDependent,
            ["other port"] => Filtering::AddressDependent,
            // Whoever lets in a stranger lets in everybody.
            _ => Filtering::EndpointIndependent,
        })
    }

    fn hairpinning(&self) -> Result<bool> {
        let (alice, bob) = (Near::new(self.alice, 4002)?, Near::new(self.bob, 4003)?);
        let mapped = alice.mapped_by(&self.one.main)?;
        let bobs = bob.mapped_by(&self.one.main)?;
        // Filters may stand between them as between strangers: she opens hers.
        alice.0.say("from inside, too", bobs)?;
        // When the server has heard this one, that one has been carried, whoever carries whose packets first.
        alice.mapped_by(&self.one.main)?;
        bob.0.say("from inside", mapped)?;
        bob.mapped_by(&self.one.main)?;
        Ok(!alice.hears_until_answered(&self.one.main, mapped)?.is_empty())
    }

    fn early_probe(&self, mapping: Mapping) -> Result<EarlyProbe> {
        let alice = Near::new(self.alice, 4004)?;
        let expected = match mapping {
            Mapping::EndpointIndependent => alice.mapped_by(&self.one.main)?,
            // What the peer can expect is that she gets the first mapping of this port.
            _ => SocketAddrV4::new(*Near::new(self.alice, 4005)?.mapped_by(&self.one.main)?.ip(), 4004),
        };
        self.two.main.say("too early", expected)?;
        self.two.is_carried_to(&self.one)?;
        let mapped = alice.mapped_by(&self.two.main)?;
        Ok(if mapped == expected { EarlyProbe::Harmless } else { EarlyProbe::MovesMapping })
    }

    fn ports(&self) -> Result<SeenPorts> {
        // Internal ports that are in no order themselves.
        let internal = (0..PORTS_ASKED).map(|number| 4010 + number * 37 % 61);
        let asked = internal.map(|port| Ok((port, Near::new(self.alice, port)?.mapped_by(&self.one.main)?.port())));
        let asked = asked.collect::<Result<Vec<(u16, u16)>>>()?;
        let goes = |up: bool| {
            asked
                .windows(2)
                .all(|two| (two[0].1 < two[1].1) == up && two[0].1.abs_diff(two[1].1).wrapping_sub(1) < NEAR)
        };
        Ok(if asked.iter().all(|(internal, external)| internal == external) {
            SeenPorts::Preserved
        } else if goes(true) || goes(false) {
            SeenPorts::Sequential
        } else {
            SeenPorts::Random
        })
    }
}

/// A public host with two sockets.
struct Far {
    main: Voice,
    alternate: Voice,
}

impl Far {
    fn new(host: &impl Vantage) -> Result<Far> {
        Ok(Far { main: Voice::new(host, 3478)?, alternate: Voice::new(host, 3479)? })
    }

    /// Returns when everything that this host has sent so far has been carried.
    fn is_carried_to(&self, other: &Far) -> Result<()> {
        self.main.say("after that", other.main.address)?;
        other.main.hears("after that").map(drop)
    }
}

/// A socket on the LAN.
struct Near(Voice);

impl Near {
    fn new(host: &impl Vantage, port: u16) -> Result<Near> {
        Voice::new(host, port).map(Near)
    }

    /// The address and port that the far side sees.
    fn mapped_by(&self, far: &Voice) -> Result<SocketAddrV4> {
        self.0.say("who am I?", far.address)?;
        far.hears("who am I?")
    }

    /// The far side, which may speak to us, says a last word; what did we hear beside it?
    fn hears_until_answered(&self, far: &Voice, mapped: SocketAddrV4) -> Result<Vec<String>> {
        far.say("last word", mapped)?;
        let (mut heard, mut answered) = (vec![], false);
        while let Some((_, text)) = self.0.hear(if answered { BELATED } else { SURELY })? {
            if text == "last word" { answered = true } else { heard.push(text) }
        }
        if answered { Ok(heard) } else { Err(self.0.silent()) }
    }
}

/// A UDP socket and where it is.
struct Voice {
    socket: UdpSocket,
    address: SocketAddrV4,
    host: String,
}

impl Voice {
    fn new(host: &impl Vantage, port: u16) -> Result<Voice> {
        let address = SocketAddrV4::new(host.address(), port);
        Ok(Voice { socket: host.udp_at(host.address(), port)?, address, host: host.name().to_owned() })
    }

    fn say(&self, text: &str, to: SocketAddrV4) -> Result<()> {
        self.socket.send_to(text.as_bytes(), to).map(drop).map_err(Error::kernel(&self.host, format!("send to {to}")))
    }

    fn hear(&self, patience: Duration) -> Result<Option<(SocketAddrV4, String)>> {
        let mut buffer = [0; 64];
        let heard = self.socket.set_read_timeout(Some(patience)).and_then(|()| self.socket.recv_from(&mut buffer));
        match heard {
            Ok((length, std::net::SocketAddr::V4(from))) => {
                Ok(Some((from, String::from_utf8_lossy(&buffer[..length]).into_owned())))
            }
            Ok(_) => Ok(None),
            Err(late) if matches!(late.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(Error::kernel(&self.host, "receive")(error)),
        }
    }

    /// This is said, by whom? Anything else in the queue is left over from another question.
    fn hears(&self, expected: &str) -> Result<SocketAddrV4> {
        loop {
            match self.hear(SURELY)? {
                Some((from, text)) if text == expected => return Ok(from),
                Some(_) => {}
                None => return Err(self.silent()),
            }
        }
    }

    fn silent(&self) -> Error {
        Error::kernel(&self.host, "deliver a packet that every router lets through")(io::ErrorKind::TimedOut.into())
    }
}
