//! What a router really does: a network is built around it and asked with real sockets.
//!
//! ```text
//!   one:3478  one:3479   two:3478  two:3479
//!       \________|__________|________/          the Internet
//!                    router                     the one that is asked about
//!                alice     bob                  its LAN
//! ```

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use super::error::{Error, Result};
use super::host::Host;
use super::network::Network;
use super::router::Router;
use crate::model::behaviour::{Filtering, Mapping};
use crate::model::{EarlyProbe, Observed};

/// A packet that must arrive has this long; it takes microseconds unless the machine is busy.
const SURELY: Duration = Duration::from_secs(5);
/// A packet that should not arrive gets this long after a later one did arrive.
const BELATED: Duration = Duration::from_millis(50);

/// Builds a network around such a router and finds out what it does.
pub fn survey(router: Router) -> Result<Observed> {
    let lab = Lab::new(router)?;
    let (mapping, port_preservation) = lab.mapping()?;
    Ok(Observed {
        mapping,
        port_preservation,
        filtering: lab.filtering()?,
        hairpinning: lab.hairpinning()?,
        early_probe: if port_preservation { lab.early_probe()? } else { EarlyProbe::NotApplicable },
    })
}

struct Lab {
    alice: Host,
    bob: Host,
    wan: Ipv4Addr,
    one: Far,
    two: Far,
}

impl Lab {
    fn new(router: Router) -> Result<Lab> {
        let net = Network::new()?;
        let (one, two) = (Far::new(&net, "one")?, Far::new(&net, "two")?);
        let router = net.router("router", router)?;
        Ok(Lab { alice: router.host("alice")?, bob: router.host("bob")?, wan: router.wan_address(), one, two })
    }

    /// Each question has a port of its own, so that no earlier mapping answers it.
    fn mapping(&self) -> Result<(Mapping, bool)> {
        let alice = Near::new(&self.alice, 4000)?;
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
        Ok((mapping, first == SocketAddrV4::new(self.wan, 4000)))
    }

    fn filtering(&self) -> Result<Filtering> {
        let alice = Near::new(&self.alice, 4001)?;
        let mapped = alice.mapped_by(&self.one.main)?;
        self.two.main.say("other address", mapped)?;
        self.one.alternate.say("other port", mapped)?;
        let heard = alice.hears_until_answered(&self.one.main, mapped)?;
        Ok(match heard.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => Filtering::AddressAndPortDependent,
            ["other port"] => Filtering::AddressDependent,
            _ => Filtering::EndpointIndependent,
        })
    }

    fn hairpinning(&self) -> Result<bool> {
        let (alice, bob) = (Near::new(&self.alice, 4002)?, Near::new(&self.bob, 4003)?);
        let mapped = alice.mapped_by(&self.one.main)?;
        // Bob has a mapping too, for routers that would use it.
        bob.mapped_by(&self.one.main)?;
        bob.0.say("from inside", mapped)?;
        Ok(!alice.hears_until_answered(&self.one.main, mapped)?.is_empty())
    }

    fn early_probe(&self) -> Result<EarlyProbe> {
        let alice = Near::new(&self.alice, 4004)?;
        let expected = alice.mapped_by(&self.one.main)?;
        self.two.main.say("too early", expected)?;
        let mapped = alice.mapped_by(&self.two.main)?;
        Ok(if mapped == expected { EarlyProbe::Harmless } else { EarlyProbe::MovesMapping })
    }
}

/// A public host with two sockets.
struct Far {
    main: Voice,
    alternate: Voice,
}

impl Far {
    fn new(net: &Network, name: &str) -> Result<Far> {
        let host = net.public_host(name)?;
        Ok(Far { main: Voice::new(&host, 3478)?, alternate: Voice::new(&host, 3479)? })
    }
}

/// A socket on the LAN.
struct Near(Voice);

impl Near {
    fn new(host: &Host, port: u16) -> Result<Near> {
        Voice::new(host, port).map(Near)
    }

    /// The address and port that the far side sees.
    fn mapped_by(&self, far: &Voice) -> Result<SocketAddrV4> {
        self.0.say("who am I?", far.address)?;
        loop {
            // Anything else in the far queue is left over from another question.
            match far.hear(SURELY)? {
                Some((from, text)) if text == "who am I?" => return Ok(from),
                Some(_) => {}
                None => return Err(far.silent()),
            }
        }
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
    fn new(host: &Host, port: u16) -> Result<Voice> {
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

    fn silent(&self) -> Error {
        Error::kernel(&self.host, "deliver a packet that every router lets through")(io::ErrorKind::TimedOut.into())
    }
}
