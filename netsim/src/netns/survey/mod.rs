//! What a router really does: a network is built around it and asked with real sockets.
//!
//! ```text
//!   one:3478  one:3479   two:3478  two:3479
//!       \________|__________|________/          the Internet
//!                    router                     the one that is asked about, several in series, or none
//!                alice     bob                  its LAN
//! ```

mod lifetimes;
mod vantage;
mod voice;

use std::net::SocketAddr;

use super::error::Result;
use super::host::Host;
use super::kernel_router::KernelRouter;
use super::network::Network;
use super::router::{NotByKernel, Router};
use crate::model::behaviour::{Filtering, Mapping};
use crate::model::observed::NEAR;
use crate::model::{Access, EarlyProbe, Family, Observed, SeenPorts, Survey};
pub use lifetimes::{Patient, lifetimes};
pub use vantage::Vantage;
use voice::{BELATED, SURELY, Voice};

/// Fresh mappings whose ports are compared.
const PORTS_ASKED: u16 = 8;

/// Before it is said that no UDP passes, it is tried so often.
const REACHES: usize = 3;

/// Builds a network around such a router and finds out what it does.
pub fn survey(router: Router) -> Result<Survey> {
    survey_series(&[router])
}

/// The same of several in series, the one nearest to the hosts first, or of none.
pub fn survey_series(routers: &[Router]) -> Result<Survey> {
    let net = Network::new()?;
    let outside = [net.public_host("one")?, net.public_host("two")?];
    let host = kernel_site(&net, routers)?;
    survey_between(&[host("alice")?, host("bob")?], &outside)
}

/// Builds these in series, the nearest to the hosts first, and gives what makes a host behind them.
pub fn kernel_site<'a>(net: &'a Network, routers: &[Router]) -> Result<impl Fn(&str) -> Result<Host> + 'a> {
    let mut nearest: Option<KernelRouter> = None;
    for router in routers.iter().rev() {
        nearest = Some(match &nearest {
            Some(above) => above.router("router", *router)?,
            None => net.router("router", *router)?,
        });
    }
    Ok(move |name: &str| match &nearest {
        Some(router) => router.host(name),
        None => net.public_host(name),
    })
}

/// Finds out over IPv4 what stands between two computers inside and two outside. Their ports 3478, 3479 and 4000 to 4100
/// must be free, and nobody may have used them shortly before.
pub fn survey_between<V: Vantage>(inside: &[V; 2], outside: &[V; 2]) -> Result<Survey> {
    survey_over(Family::Ipv4, inside, outside)
}

/// The same over this version of IP.
pub fn survey_over<V: Vantage>(family: Family, inside: &[V; 2], outside: &[V; 2]) -> Result<Survey> {
    let [alice, bob] = inside;
    let far = |host| Far::new(host, family);
    let lab = Lab { family, alice, bob, one: far(&outside[0])?, two: far(&outside[1])? };
    if !lab.udp_passes(&outside[0])? {
        let connects = alice.connects_to(&outside[0], family, 3478, SURELY)?;
        return Ok(if connects { Survey::TcpOnly } else { Survey::Nothing });
    }
    let Mapped { translated, mapping, port_preservation } = lab.mapping()?;
    Ok(Survey::Udp(Observed {
        translated,
        mapping,
        port_preservation,
        filtering: lab.filtering()?,
        hairpinning: if translated { Some(lab.hairpinning()?) } else { None },
        early_probe: if port_preservation { lab.early_probe(mapping)? } else { EarlyProbe::NotApplicable },
        ports: lab.ports()?,
    }))
}

/// The kernel routers that are such an access over IPv4, the nearest first.
pub fn kernel_routers(access: &Access) -> std::result::Result<Vec<Router>, NotByKernel> {
    let one = |router: &crate::model::Router| {
        let behaviour = router.ipv4.as_ref().ok_or(NotByKernel("having no IPv4"))?;
        let lan = if router.carrier { Router::carrier().lan } else { None };
        Router::try_from(behaviour).map(|kernel| Router { lan, ..kernel })
    };
    access.routers.iter().map(one).collect()
}

struct Lab<'a, V> {
    family: Family,
    alice: &'a V,
    bob: &'a V,
    one: Far,
    two: Far,
}

struct Mapped {
    translated: bool,
    mapping: Mapping,
    port_preservation: bool,
}

impl<V: Vantage> Lab<'_, V> {
    fn alice(&self, port: u16) -> Result<Near> {
        Voice::new(self.alice, self.family, port).map(Near)
    }

    /// A packet that does not arrive is no proof, but three are that come before a TCP connection.
    fn udp_passes(&self, one: &V) -> Result<bool> {
        let alice = self.alice(4006)?;
        for _ in 0..REACHES {
            if alice.0.may_be_mapped_by(&self.one.main, BELATED)?.is_some() {
                return Ok(true);
            }
            self.alice.connects_to(one, self.family, 3478, SURELY)?;
            if self.one.main.hear(BELATED)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Each question has a port of its own, so that no earlier mapping answers it.
    fn mapping(&self) -> Result<Mapped> {
        let alice = self.alice(4000)?;
        let first = alice.0.mapped_by(&self.one.main)?;
        let other_port = alice.0.mapped_by(&self.one.alternate)?;
        let other_address = alice.0.mapped_by(&self.two.main)?;
        let mapping = if first != other_port {
            Mapping::AddressAndPortDependent
        } else if first != other_address {
            Mapping::AddressDependent
        } else {
            Mapping::EndpointIndependent
        };
        Ok(Mapped { translated: first != alice.0.address, mapping, port_preservation: first.port() == 4000 })
    }

    fn filtering(&self) -> Result<Filtering> {
        let alice = self.alice(4001)?;
        let mapped = alice.0.mapped_by(&self.one.main)?;
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
        let (alice, bob) = (self.alice(4002)?, Voice::new(self.bob, self.family, 4003)?);
        let mapped = alice.0.mapped_by(&self.one.main)?;
        let bobs = bob.mapped_by(&self.one.main)?;
        // Filters may stand between them as between strangers: she opens hers.
        alice.0.say("from inside, too", bobs)?;
        // When the server has heard this one, that one has been carried, whoever carries whose packets first.
        alice.0.mapped_by(&self.one.main)?;
        bob.say("from inside", mapped)?;
        bob.mapped_by(&self.one.main)?;
        Ok(!alice.hears_until_answered(&self.one.main, mapped)?.is_empty())
    }

    fn early_probe(&self, mapping: Mapping) -> Result<EarlyProbe> {
        let alice = self.alice(4004)?;
        let expected = match mapping {
            Mapping::EndpointIndependent => alice.0.mapped_by(&self.one.main)?,
            // What the peer can expect is that she gets the first mapping of this port.
            _ => SocketAddr::new(self.alice(4005)?.0.mapped_by(&self.one.main)?.ip(), 4004),
        };
        self.two.main.say("too early", expected)?;
        self.two.is_carried_to(&self.one)?;
        let mapped = alice.0.mapped_by(&self.two.main)?;
        Ok(if mapped == expected { EarlyProbe::Harmless } else { EarlyProbe::MovesMapping })
    }

    fn ports(&self) -> Result<SeenPorts> {
        // Internal ports that are in no order themselves.
        let internal = (0..PORTS_ASKED).map(|number| 4010 + number * 37 % 61);
        let asked = internal.map(|port| Ok((port, self.alice(port)?.0.mapped_by(&self.one.main)?.port())));
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
    fn new(host: &impl Vantage, family: Family) -> Result<Far> {
        Ok(Far { main: Voice::new(host, family, 3478)?, alternate: Voice::new(host, family, 3479)? })
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
    /// The far side, which may speak to us, says a last word; what did we hear beside it?
    fn hears_until_answered(&self, far: &Voice, mapped: SocketAddr) -> Result<Vec<String>> {
        far.say("last word", mapped)?;
        let (mut heard, mut answered) = (vec![], false);
        while let Some((_, text)) = self.0.hear(if answered { BELATED } else { SURELY })? {
            if text == "last word" { answered = true } else { heard.push(text) }
        }
        if answered { Ok(heard) } else { Err(self.0.silent()) }
    }
}
