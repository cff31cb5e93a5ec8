//! Whom the sockets talk to at all. Who shows an address to the rendezvous alone must not send a datagram anywhere else, whatever
//! asks for it: QUIC answers strangers by itself (a stateless reset, a version), and each answer says that somebody is there.

use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};

use common::candidate::canonical;
use common::relay::is_synthetic;

/// Addresses that are remembered: a few lookups' worth, so that a connection outlives the next lookup.
const REMEMBERED: usize = 16;

/// Lets everybody through, or the rendezvous alone.
#[derive(Debug, Default)]
pub(super) struct Fence {
    /// Its addresses, if it alone is let through.
    only: Option<RwLock<Vec<SocketAddr>>>,
}

impl Fence {
    /// Lets nobody through before the rendezvous' name was looked up.
    pub(super) fn around_rendezvous() -> Self {
        Fence { only: Some(RwLock::default()) }
    }

    /// The rendezvous is at these addresses.
    pub(super) fn admit(&self, addresses: &[SocketAddr]) {
        let Some(only) = &self.only else { return };
        let mut only = only.write().unwrap_or_else(PoisonError::into_inner);
        for address in addresses.iter().copied().map(canonical) {
            only.retain(|known| *known != address);
            only.push(address);
        }
        let surplus = only.len().saturating_sub(REMEMBERED);
        only.drain(..surplus);
    }

    /// May a datagram go there, or come from there? What is no address of the Internet leads to the rendezvous anyway.
    pub(super) fn lets_through(&self, address: SocketAddr) -> bool {
        let Some(only) = &self.only else { return true };
        let known = || only.read().unwrap_or_else(PoisonError::into_inner).contains(&canonical(address));
        is_synthetic(address.ip()) || known()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn without_a_fence_everybody_gets_through() {
        assert!(Fence::default().lets_through(at("192.0.2.9:53")));
    }

    #[test]
    fn a_fence_lets_through_the_rendezvous_and_its_tunnel_and_nobody_else() {
        let fence = Fence::around_rendezvous();
        let server = at("192.0.2.1:3478");
        assert!(!fence.lets_through(server), "not known yet");
        fence.admit(&[server, at("[2001:db8::1]:3478")]);
        assert!(fence.lets_through(server) && fence.lets_through(at("[::ffff:192.0.2.1]:3478")));
        assert!(fence.lets_through(at("[fd50:756e:6368:2::1]:1")), "the tunnel's end");
        for stranger in ["192.0.2.1:3479", "192.0.2.2:3478", "[2001:db8::2]:3478"] {
            assert!(!fence.lets_through(at(stranger)), "{stranger}");
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_each_time_does_not_fill_the_memory() {
        let fence = Fence::around_rendezvous();
        let place = |n: u8| SocketAddr::from(([192, 0, 2, n], 3478));
        (0..100).for_each(|n| fence.admit(&[place(n)]));
        assert!(!fence.lets_through(place(0)) && fence.lets_through(place(99)));
        assert!(fence.only.is_some_and(|only| only.into_inner().expect("nobody panicked").len() == REMEMBERED));
    }
}
