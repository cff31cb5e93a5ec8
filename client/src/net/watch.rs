//! Notices that the network has changed: other addresses, another way out, a default route that came or went, or a machine
//! that has slept.
//!
//! Where the system tells of changes (Linux) they are looked at when it does, once they have come to rest; everywhere they
//! are looked at every other second as well.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::system::{Change, NetworkEvents};

/// Between two looks without a cause.
const GLANCE: Duration = Duration::from_secs(2);
/// A change comes in pieces (an address goes, another comes, then its routes): it is over when nothing came for so long.
/// The kernel needs a few milliseconds from the first to the last.
const AT_REST: Duration = Duration::from_millis(40);
/// But some machines never rest.
const LONGEST_UNREST: Duration = Duration::from_millis(250);
/// By how much the wall clock may run ahead of ours between two looks. A sleeping machine's does for as long as it sleeps;
/// a clock that is set by hand costs a needless new introduction.
const SLEPT: Duration = Duration::from_secs(15);

/// What of the network matters to us.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Picture {
    own: BTreeSet<IpAddr>,
    /// The addresses with which packets leave for the rest of the world.
    outward: [Option<IpAddr>; 2],
}

impl Picture {
    fn take() -> Picture {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let own = interfaces.iter().filter(|interface| !interface.is_loopback()).map(|interface| interface.ip());
        let link_local = |ip: &IpAddr| match ip {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        Picture { own: own.filter(|ip| !link_local(ip)).collect(), outward: [outward(false), outward(true)] }
    }
}

/// Connecting a UDP socket looks the route up and sends nothing; 192.0.2.1 and 2001:db8::1 are for documentation (RFC 5737,
/// RFC 3849), so the route is the default one.
fn outward(ipv6: bool) -> Option<IpAddr> {
    let (from, to): (SocketAddr, SocketAddr) = if ipv6 {
        ((Ipv6Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into())
    } else {
        ((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::new(192, 0, 2, 1), 9).into())
    };
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Two clocks, of which one stands still while the machine sleeps.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    ours: Instant,
    wall: SystemTime,
}

impl Clocks {
    fn now() -> Clocks {
        Clocks { ours: Instant::now(), wall: SystemTime::now() }
    }

    /// For how long the machine has slept since then, if it has.
    fn slept_since(&self, then: Clocks) -> Option<Duration> {
        let wall = self.wall.duration_since(then.wall).unwrap_or_default();
        let ours = self.ours.saturating_duration_since(then.ours);
        wall.checked_sub(ours).filter(|ahead| *ahead > SLEPT)
    }
}

/// Tells of each change, in words for a person, until nobody listens.
pub(super) async fn watch(changes: mpsc::Sender<String>) {
    let mut events = NetworkEvents::open()
        .inspect_err(|error| tracing::debug!(%error, "changes of the network are noticed a little late"))
        .ok();
    let (mut before, mut clocks) = (Picture::take(), Clocks::now());
    while !changes.is_closed() {
        let rerouted = tokio::select! {
            change = next(&mut events) => settle(&mut events, change).await == Change::DefaultRoute,
            () = sleep(GLANCE) => false,
        };
        let (now, clocks_now) = (Picture::take(), Clocks::now());
        let slept = clocks_now.slept_since(clocks);
        let what = if let Some(slept) = slept {
            Some(format!("this machine has slept for {} s", slept.as_secs()))
        } else if now != before {
            Some("the addresses of this machine have changed".to_owned())
        } else {
            rerouted.then(|| "the way out was set anew".to_owned())
        };
        (before, clocks) = (now, clocks_now);
        if let Some(what) = what
            && changes.send(what).await.is_err()
        {
            return;
        }
    }
}

async fn next(events: &mut Option<NetworkEvents>) -> Change {
    let Some(listening) = events else { return std::future::pending().await };
    match listening.next().await {
        Ok(change) => change,
        Err(error) => {
            tracing::debug!(%error, "the system tells of no more changes");
            *events = None;
            Change::Other
        }
    }
}

/// Waits until the changes have come to rest; the most important of them.
async fn settle(events: &mut Option<NetworkEvents>, first: Change) -> Change {
    let (mut change, begun) = (first, Instant::now());
    while begun.elapsed() < LONGEST_UNREST {
        match timeout(AT_REST, next(events)).await {
            Ok(Change::DefaultRoute) => change = Change::DefaultRoute,
            Ok(Change::Other) => {}
            Err(_) => break,
        }
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_slept_is_told_from_one_that_was_busy() {
        let then = Clocks::now();
        let later = |ours, wall| Clocks {
            ours: then.ours + Duration::from_secs(ours),
            wall: then.wall + Duration::from_secs(wall),
        };
        assert_eq!(later(2, 602).slept_since(then), Some(Duration::from_secs(600)));
        assert_eq!(later(120, 120).slept_since(then), None, "busy");
        assert_eq!(later(2, 4).slept_since(then), None, "the clock was corrected a little");
        let backwards = Clocks { ours: then.ours, wall: then.wall - Duration::from_secs(3600) };
        assert_eq!(backwards.slept_since(then), None, "the clock was set back");
    }
}
