//! What is for everybody on a LAN: discovery as printers, media boxes and routers do it.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use netsim::model::{Families, Line, Router, presets};
use netsim::netns::in_namespaces;
use netsim::wire::{Host, Internet};
use nix::sys::socket::{setsockopt, sockopt};

use crate::voice::Voice;

const MDNS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const MDNS_IPV6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

#[test]
fn who_has_joined_a_group_on_the_lan_hears_it_and_who_has_not_does_not() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let (home, other) = (net.router("home", presets::home()), net.router("other", presets::home()));
        let (alice, bob, carol, dave) =
            (home.host("alice")?, home.host("bob")?, home.host("carol")?, other.host("dave")?);
        let [joined, elsewhere] = [&bob, &dave].map(|host| listening(host, MDNS));
        let (joined, elsewhere, not_joined) = (joined?, elsewhere?, Voice(carol.udp(5353)?));
        let asks = Voice::new(&alice, 4000);
        asks.say("who prints?", (MDNS, 5353).into());
        assert_eq!(joined.hear(), ("who prints?".to_owned(), asks.address()));
        // What she says afterwards comes afterwards, so nothing was before it.
        asks.say("last", (carol.address(), 5353).into());
        assert_eq!(not_joined.hear().0, "last");
        assert_eq!(elsewhere.listen(Duration::from_millis(50)), None);
        Ok(())
    });
}

#[test]
fn a_group_of_ipv6_is_heard_on_the_link() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let access = presets::named("dual_stack").ok_or("no such preset")?.access;
        let home = net.site("home", &access, Line::default());
        let (alice, bob) = (home.host("alice")?, home.host("bob")?);
        let hears = Voice(bob.udp_at(Ipv6Addr::UNSPECIFIED, 5353)?);
        bob.enter(|| hears.0.join_multicast_v6(&MDNS_IPV6, 2))??;
        let asks = Voice::at(&alice, alice.addresses().ipv6.ok_or("no IPv6")?, 4000);
        asks.say("who prints?", (MDNS_IPV6, 5353).into());
        assert_eq!(hears.hear(), ("who prints?".to_owned(), asks.address()));
        Ok(())
    });
}

#[test]
fn a_broadcast_reaches_the_lan_unless_it_keeps_its_hosts_apart() {
    in_namespaces(|| {
        for isolates in [false, true] {
            let net = Internet::new(1)?;
            let router = Router { isolates, ..Router::ipv4(presets::home()) };
            let access = netsim::model::Access { families: Families::Ipv4, routers: vec![router] };
            let home = net.site("home", &access, Line::default());
            let (alice, bob) = (home.host("alice")?, home.host("bob")?);
            let (asks, hears) = (Voice::new(&alice, 4000), Voice(bob.udp(67)?));
            setsockopt(&asks.0, sockopt::Broadcast, &true)?;
            asks.say("anybody?", (Ipv4Addr::BROADCAST, 67).into());
            let heard = hears.listen(Duration::from_millis(if isolates { 50 } else { 5000 }));
            assert_eq!(heard.is_none(), isolates, "{heard:?}");
        }
        Ok(())
    });
}

/// A socket that has joined the group on `eth0`.
fn listening(host: &Host, group: Ipv4Addr) -> Result<Voice, Box<dyn std::error::Error>> {
    let socket: UdpSocket = host.udp(5353)?;
    host.enter(|| socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED))??;
    Ok(Voice(socket))
}
