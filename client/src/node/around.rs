//! What can be found out about this machine's network beside what the rendezvous sees of it.

use std::net::{Ipv4Addr, Ipv6Addr};

use common::lifetime::Span;
use serde::Serialize;

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Around {
    /// IPv6.
    pub ipv6: Ipv6Access,
    /// The interface of a VPN by which the rendezvous is reached, as far as its name shows it.
    pub vpn: Option<String>,
    /// The networks that this machine is on; `None` if nothing may be sent there.
    pub lan: Option<Vec<LanLink>>,
}

/// IPv6 of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Ipv6Access {
    /// A global address.
    pub address: Option<Ipv6Addr>,
    /// Does the rendezvous answer over it? `None` where one of the two has no such address.
    pub rendezvous: Option<bool>,
}

/// One network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LanLink {
    /// The interface.
    pub interface: String,
    /// Our address there.
    pub address: Ipv4Addr,
    /// A datagram to the group of mDNS came back to another socket of ours: nothing on this machine is in its way. What the
    /// network does with it only another machine can tell.
    pub multicast: bool,
    /// The same of a broadcast; `None` where the network has none.
    pub broadcast: Option<bool>,
}

/// How a measurement of the NAT's memory goes.
#[derive(Debug, Clone, PartialEq)]
pub enum LifetimeReport {
    /// It is under way.
    Progress {
        /// How much of the longest possible run is over, from 0 to 1.
        share: f64,
        /// What is known by now.
        span: Span,
    },
    /// It is done.
    Done(Span),
    /// Nothing was found out, for this reason. Nothing follows.
    Failed(String),
}
