//! A kernel router: a namespace that does for its LAN what a home's box does, with the kernel's own NAT.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::cable::Cable;
use super::error::{Error, Result};
use super::host::Host;
use super::namespace::Forwarding;
use super::nft;
use super::prefix::Prefix;
use super::ruleset::ruleset;
use super::segment::Segment;
use super::world::World;
use crate::model::behaviour::{Lifetimes, Quirks, StrayInbound};
use crate::model::{Behaviour, Observed, presets};

/// What the router does with packets that arrive on its WAN side, are for itself, and answer nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WanInput {
    /// Drops them silently, as a consumer's box does.
    Drop,
    /// Takes them in, finds nobody, and answers "port unreachable", as a plain Linux machine does. The packet leaves a
    /// connection-tracking entry, and that entry occupies the port it was sent to.
    Accept,
}

/// Which external port a mapping gets (RFC 4787, section 4.2.1), and with the kernel's NAT also how far it is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortAssignment {
    /// The internal port where it is free: `masquerade`. One mapping serves all destinations (endpoint-independent).
    Preserving,
    /// A random port for each destination: `masquerade fully-random` (address-and-port-dependent mapping).
    Random,
}

/// How long the router remembers a UDP flow in which nothing moves. The kernel looks in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UdpTimeouts {
    /// While no answer has come, and for any flow younger than two seconds.
    pub unreplied: Duration,
    /// Once answers have come.
    pub stream: Duration,
}

impl Default for UdpTimeouts {
    /// The kernel's own: 30 s and 120 s. RFC 4787, REQ-5 wants at least two minutes.
    fn default() -> UdpTimeouts {
        UdpTimeouts { unreplied: Duration::from_secs(30), stream: Duration::from_secs(120) }
    }
}

/// How a router is to be; start from [`Router::home`] and change what the story is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Router {
    /// Unsolicited packets on the WAN side.
    pub wan_input: WanInput,
    /// External ports.
    pub port_assignment: PortAssignment,
    /// The LAN's prefix; the router takes its first address. `None`: the next free `192.168.x.0/24`.
    pub lan: Option<Prefix>,
    /// The router's WAN address. `None`: the lowest free one.
    pub wan_address: Option<Ipv4Addr>,
    /// How long idle mappings live.
    pub udp_timeouts: UdpTimeouts,
}

impl Router {
    /// A consumer's box: keeps ports, drops what it did not ask for.
    pub fn home() -> Router {
        Router {
            wan_input: WanInput::Drop,
            port_assignment: PortAssignment::Preserving,
            lan: None,
            wan_address: None,
            udp_timeouts: UdpTimeouts::default(),
        }
    }

    /// A Linux machine on which somebody typed `masquerade` and nothing else.
    pub fn plain_linux() -> Router {
        Router { wan_input: WanInput::Accept, ..Router::home() }
    }

    /// A company's firewall: a new random port for each destination, a "symmetric" NAT.
    pub fn corporate() -> Router {
        Router { port_assignment: PortAssignment::Random, ..Router::home() }
    }

    /// A carrier's NAT: its LAN is the shared address space of RFC 6598, its customers' routers hang on it.
    pub fn carrier() -> Router {
        Router { lan: Some(Prefix::literal(100, 64, 0, 0, 16)), ..Router::home() }
    }

    /// The same router in the words of the model, by the measurements that chose its rules.
    pub fn behaviour(&self) -> Behaviour {
        let kind = match self.port_assignment {
            PortAssignment::Preserving => presets::home(),
            PortAssignment::Random => presets::symmetric_random(),
        };
        let stray_inbound = match self.wan_input {
            WanInput::Drop => StrayInbound::Ignored,
            WanInput::Accept => StrayInbound::OccupiesTuple,
        };
        let UdpTimeouts { unreplied, stream } = self.udp_timeouts;
        kind.lifetimes(Lifetimes { unreplied, replied: stream, ..Lifetimes::LINUX })
            .quirks(Quirks { stray_inbound, ..Quirks::default() })
    }

    /// What such a router shows to a survey; [`survey`](super::survey()) measures it.
    pub fn promised(&self) -> Observed {
        Observed::from(&self.behaviour())
    }
}

/// A router at work. Clones are the same router.
#[derive(Clone)]
pub struct KernelRouter {
    wan: Arc<Cable>,
    lan: Arc<Segment>,
    world: Arc<World>,
}

impl KernelRouter {
    pub(super) fn new(world: &Arc<World>, upstream: &Arc<Segment>, name: &str, router: Router) -> Result<Self> {
        let prefix = router.lan.unwrap_or_else(|| world.next_lan());
        if prefix.overlaps(upstream.prefix()) {
            return Err(Error::PrefixesOverlap { router: name.to_owned(), lan: prefix, wan: upstream.prefix() });
        }
        let gateway = prefix.hosts().next().ok_or(Error::PrefixFull(prefix))?;
        let address = upstream.claim(router.wan_address)?;
        let namespace = world.namespace(name, Forwarding::On)?;
        // The rules before the cable: not one packet passes without them.
        nft::load(&namespace, &ruleset(&router, prefix, gateway, upstream.prefix()))?;
        let seconds = |timeout: Duration| timeout.as_secs().max(1).to_string();
        // These settings exist once a rule has asked for connection tracking.
        namespace.set_sysctl("netfilter/nf_conntrack_udp_timeout", &seconds(router.udp_timeouts.unreplied))?;
        namespace.set_sysctl("netfilter/nf_conntrack_udp_timeout_stream", &seconds(router.udp_timeouts.stream))?;
        let wan = Arc::new(upstream.plug(&namespace, "wan", address)?);
        let lan = Arc::new(Segment::new(namespace, "lan", prefix, gateway)?);
        Ok(KernelRouter { wan, lan, world: world.clone() })
    }

    /// The name it was made with; for messages only.
    pub fn name(&self) -> &str {
        self.lan.namespace().name()
    }

    /// A host on this router's LAN, with the lowest free address.
    pub fn host(&self, name: &str) -> Result<Host> {
        Host::new(&self.world, &self.lan, name, None)
    }

    /// A host on this router's LAN, with the caller's choice of address.
    pub fn host_at(&self, name: &str, address: Ipv4Addr) -> Result<Host> {
        Host::new(&self.world, &self.lan, name, Some(address))
    }

    /// A router on this router's LAN: a home behind a carrier's NAT, a box behind a box.
    pub fn router(&self, name: &str, router: Router) -> Result<KernelRouter> {
        KernelRouter::new(&self.world, &self.lan, name, router)
    }

    /// The address the outside sees.
    pub fn wan_address(&self) -> Ipv4Addr {
        self.wan.address()
    }

    /// The address its LAN hosts know it by.
    pub fn lan_address(&self) -> Ipv4Addr {
        self.lan.gateway()
    }

    /// The LAN's prefix.
    pub fn lan_prefix(&self) -> Prefix {
        self.lan.prefix()
    }

    /// Forgets every mapping, as after a power cut; the addresses stay.
    pub fn forget_mappings(&self) -> Result<()> {
        self.lan.namespace().flush_conntrack()
    }

    /// Gets another WAN address, as after the provider's nightly disconnection; every mapping of the old one is gone.
    pub fn change_wan_address(&self) -> Result<Ipv4Addr> {
        let address = self.wan.change_address(None)?;
        self.forget_mappings()?;
        Ok(address)
    }

    /// The line to the provider is cut: nobody on the LAN is told, packets vanish.
    pub fn wan_down(&self) -> Result<()> {
        self.wan.cut(true)
    }

    /// The line is back, with the same address and mappings.
    pub fn wan_up(&self) -> Result<()> {
        self.wan.cut(false)
    }

    /// Where tools find this router while it lives: `nsenter --net=PATH tcpdump -ni wan`.
    pub fn namespace_path(&self) -> PathBuf {
        self.lan.namespace().path()
    }

    pub(super) fn lan(&self) -> &Arc<Segment> {
        &self.lan
    }
}

impl fmt::Debug for KernelRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KernelRouter({} {} | {})", self.name(), self.wan_address(), self.lan_prefix())
    }
}
