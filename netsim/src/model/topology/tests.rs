//! Packets find their way, or are dropped where they should be.

#![allow(
    clippy::disallowed_methods,
    reason = "virtual time has to start somewhere, and only the clock makes an Instant"
)]

use std::time::Duration;

use super::*;
use crate::model::behaviour::Hairpinning;
use crate::model::packet::{DEFAULT_TTL, Kind, Protocol, Quote};
use crate::model::{Access, presets};

#[test]
fn a_packet_takes_the_sum_of_the_lines_delays_and_comes_from_the_routers_address() {
    let mut world = World::new();
    let (server, alice) = (world.public(), world.behind(&[presets::home()]));
    assert_eq!(world.send(alice, 4000, world.at(server, 3478)), [(server, ms(30))]);
    assert_eq!(world.last.source, "11.1.1.2:4000".parse().unwrap());
    // And the answer finds her.
    assert_eq!(world.send(server, 3478, world.last.source), [(alice, ms(30))]);
    assert_eq!((world.last.destination, world.last.ttl), (world.at(alice, 4000), DEFAULT_TTL - 1));
}

#[test]
fn two_nats_in_series_translate_twice() {
    let mut world = World::new();
    let (server, alice) = (world.public(), world.behind(&[presets::home(), presets::cgnat()]));
    assert_eq!(world.send(alice, 4000, world.at(server, 3478)), [(server, ms(40))]);
    assert_eq!(world.last.source.ip(), "11.1.1.2".parse::<IpAddr>().unwrap());
    assert_eq!(world.send(server, 3478, world.last.source), [(alice, ms(40))]);
    assert_eq!(world.last.ttl, DEFAULT_TTL - 2);
}

#[test]
fn the_filter_looks_when_the_packet_arrives() {
    let mut world = World::new();
    let (server, alice) = (world.public(), world.behind(&[presets::home()]));
    let (start, to) = (world.now, world.at(server, 3478));
    // The server's packet leaves first, when her filter is closed, and arrives when it is open.
    world.post(server, 3478, "11.1.1.2:4000".parse().unwrap());
    world.now = start + ms(5);
    world.post(alice, 4000, to);
    assert_eq!(world.run(), [(alice, ms(30)), (server, ms(35))]);
}

#[test]
fn two_on_one_lan_talk_past_their_router_unless_they_are_kept_from_each_other() {
    for (isolates, arrives) in [(false, true), (true, false)] {
        let mut world = World::new();
        let router = Router { isolates, ..Router::ipv4(presets::home()) };
        let router = world.net.add_router(INTERNET, router, line());
        let lan = world.net.lan(router);
        let [alice, bob] = [(); 2].map(|()| world.net.add_host(lan, Families::Both, line()));
        assert_eq!(world.net.addresses(bob).ipv6, None, "this router speaks version 4 only");
        assert_eq!(!world.send(alice, 4000, world.at(bob, 4000)).is_empty(), arrives);
        assert_eq!(world.drops.is_empty(), arrives, "{:?}", world.drops);
    }
}

#[test]
fn what_is_for_everybody_reaches_every_other_host_of_the_lan_over_its_own_line_and_nobody_else() {
    let mut world = World::new();
    let router = world.net.add_router(INTERNET, dual_stack(), line());
    let lan = world.net.lan(router);
    let alice = world.net.add_host(lan, Families::Both, line());
    let bob = world.net.add_host(lan, Families::Both, line());
    let carol = world.net.add_host(lan, Families::Ipv4, Line::delay(ms(30)));
    world.behind(&[presets::home()]);
    world.public();
    for group in ["224.0.0.251:5353", "239.255.255.250:1900", "255.255.255.255:67"] {
        assert_eq!(world.send(alice, 4000, group.parse().unwrap()), [(bob, ms(20)), (carol, ms(40))]);
        assert_eq!((world.last.destination, world.last.ttl), (group.parse().unwrap(), DEFAULT_TTL));
    }
    let hers = SocketAddr::new(world.net.addresses(alice).ipv6.unwrap(), 4000);
    world.post_from(alice, hers, "[ff02::fb]:5353".parse().unwrap());
    assert_eq!(world.run(), [(bob, ms(20))]);
    assert_eq!(world.drops, []);
    world.post_from(alice, hers, "[ff05::2]:5353".parse().unwrap());
    assert_eq!(world.run(), []);
    assert_eq!(world.drops, [DropReason::NotForThisLink]);
}

#[test]
fn the_internet_and_a_guest_network_carry_nothing_for_everybody() {
    let mut world = World::new();
    let (server, _other) = (world.public(), world.public());
    assert_eq!(world.send(server, 4000, "224.0.0.251:5353".parse().unwrap()), []);
    let router = world.net.add_router(INTERNET, Router { isolates: true, ..Router::ipv4(presets::home()) }, line());
    let lan = world.net.lan(router);
    let [alice, _bob] = [(); 2].map(|()| world.net.add_host(lan, Families::Ipv4, line()));
    assert_eq!(world.send(alice, 4000, "255.255.255.255:67".parse().unwrap()), []);
    assert_eq!(world.drops, [DropReason::NotForThisLink, DropReason::Isolated]);
}

#[test]
fn whoever_leaves_the_lan_no_longer_hears_what_is_for_everybody_there() {
    let mut world = World::new();
    let router = world.net.add_router(INTERNET, Router::ipv4(presets::home()), line());
    let lan = world.net.lan(router);
    let [alice, bob] = [(); 2].map(|()| world.net.add_host(lan, Families::Ipv4, line()));
    world.post(alice, 4000, "224.0.0.251:5353".parse().unwrap());
    world.now += ms(15);
    world.net.handle_timeout(world.now);
    world.net.move_host(bob, INTERNET);
    assert_eq!(world.run(), []);
}

#[test]
fn a_hairpin_reaches_the_other_host_even_where_they_are_isolated() {
    let mut world = World::new();
    let nat = presets::full_cone().hairpinning(Hairpinning::ExternalSource);
    let router = world.net.add_router(INTERNET, Router { isolates: true, ..Router::ipv4(nat) }, line());
    let lan = world.net.lan(router);
    let [alice, bob] = [(); 2].map(|()| world.net.add_host(lan, Families::Ipv4, line()));
    let server = world.public();
    world.send(bob, 4001, world.at(server, 3478));
    assert_eq!(world.send(alice, 4000, world.last.source), [(bob, ms(20))]);
    assert_eq!(world.last.source, "11.1.1.1:4000".parse().unwrap());
}

#[test]
fn a_firewall_for_version_6_needs_no_translation_and_keeps_strangers_out() {
    let mut world = World::new();
    let preset = presets::named("dual_stack").unwrap();
    let lan = preset.access.build_on_the_internet(&mut world.net, line());
    let alice = world.net.add_host(lan, preset.access.families, line());
    let server = world.net.add_host(INTERNET, Families::Both, line());
    let [hers, its] = [alice, server].map(|host| world.net.addresses(host).ipv6.unwrap());
    let (hers, its) = (SocketAddr::new(hers, 4000), SocketAddr::new(its, 3478));
    world.post_from(server, its, hers);
    assert_eq!(world.run(), []);
    assert_eq!(world.drops, [DropReason::NoMapping]);
    world.post_from(alice, hers, its);
    world.run();
    world.post_from(server, its, hers);
    assert_eq!(world.run(), [(alice, ms(30))]);
    assert_eq!((world.last.source, world.last.destination), (its, hers));
}

#[test]
fn private_addresses_are_not_routed_and_leave_no_mapping() {
    let mut world = World::new();
    let alice = world.behind(&[presets::symmetric_sequential()]);
    let server = world.public();
    world.send(alice, 4000, world.at(server, 1));
    let first = world.last.source.port();
    assert_eq!(world.send(alice, 4000, "192.168.77.1:9".parse().unwrap()), []);
    assert_eq!(world.drops, [DropReason::PrivateDestination]);
    world.send(alice, 4000, world.at(server, 2));
    assert!(world.last.source.port().wrapping_sub(first) <= 3);
}

#[test]
fn a_host_that_moves_gets_another_address_and_a_renumbered_router_too() {
    let mut world = World::new();
    let (server, alice) = (world.public(), world.behind(&[presets::home()]));
    world.send(alice, 4000, world.at(server, 1));
    let before = world.last.source;
    world.net.renumber(RouterId(0));
    assert_eq!(world.send(server, 1, before), []);
    world.send(alice, 4000, world.at(server, 1));
    assert_ne!(world.last.source.ip(), before.ip());
    let elsewhere = presets::named("full_cone").unwrap().access.build_on_the_internet(&mut world.net, line());
    let old = world.at(alice, 4000);
    world.net.move_host(alice, elsewhere);
    assert_ne!(world.at(alice, 4000), old);
    assert_eq!(world.send(alice, 4000, world.at(server, 1)), [(server, ms(30))]);
}

#[test]
fn a_cut_line_a_forged_source_and_a_dead_address_are_told_apart() {
    let mut world = World::new();
    let (server, alice) = (world.public(), world.behind(&[presets::home()]));
    world.post_from(alice, "1.2.3.4:5".parse().unwrap(), world.at(server, 1));
    world.send(alice, 4000, "11.1.200.200:9".parse().unwrap());
    world.net.links(Place::Router(RouterId(0))).unwrap()[0].cut(true);
    world.send(alice, 4000, world.at(server, 1));
    let low = Packet { ttl: 1, ..Packet::udp(world.at(alice, 4000), world.at(server, 1), 1) };
    world.net.handle_packet(alice, low, (), world.now);
    world.run();
    use DropReason::{ForgedSource, LinkCut, NoSuchAddress, TtlExceeded};
    assert_eq!(world.drops, [ForgedSource, NoSuchAddress, LinkCut, TtlExceeded]);
}

#[test]
fn each_router_on_the_way_says_when_a_time_to_live_runs_out_there() {
    let mut world = World::new();
    let (server, alice) = (world.public(), world.behind(&[presets::home(), presets::cgnat()]));
    let (hers, its) = (world.at(alice, 4000), world.at(server, 33434));
    let about = Quote { protocol: Protocol::Udp, source: hers, destination: its };
    let hop = |world: &mut World, from, source, destination, ttl| {
        world.net.handle_packet(from, Packet { ttl, ..Packet::udp(source, destination, 10) }, (), world.now);
        world.run();
        world.told()
    };
    // Home box and carrier's NAT, each at its inner address; the quote is of what she has sent.
    assert_eq!(hop(&mut world, alice, hers, its, 1), [(alice, "192.168.2.1".parse().unwrap(), about)]);
    assert_eq!(hop(&mut world, alice, hers, its, 2), [(alice, "100.65.0.1".parse().unwrap(), about)]);
    assert_eq!(hop(&mut world, alice, hers, its, 3), []);
    let outside = world.last.source;
    // And the way back: the carrier's outer address, and what seems to be that as well, since it translates.
    let about = Quote { protocol: Protocol::Udp, source: its, destination: outside };
    assert_eq!(hop(&mut world, server, its, outside, 1), [(server, outside.ip(), about)]);
    assert_eq!(hop(&mut world, server, its, outside, 2), [(server, outside.ip(), about)]);
    assert_eq!(hop(&mut world, server, its, outside, 3), []);
    assert_eq!(world.last.destination, hers);
}

#[test]
fn a_packet_too_big_for_any_line_of_the_way_is_told_to_its_sender_with_the_lines_mtu() {
    for narrow in 0..4 {
        let mut world = World::new();
        let (server, alice) = (world.public(), world.behind(&[presets::symmetric_random()]));
        world.send(alice, 4000, world.at(server, 443));
        let (hers, its, mapped) = (world.at(alice, 4000), world.at(server, 443), world.last.source);
        let place = if narrow % 2 == 0 { Place::Host(alice) } else { Place::Router(RouterId(0)) };
        let links = world.net.links(place).unwrap();
        links[narrow / 2].change(Line { mtu: Some(1280), ..line() });
        // Up, she is told; down, the server is.
        let (from, source, to) = if narrow < 2 { (alice, hers, its) } else { (server, its, mapped) };
        world.net.handle_packet(from, Packet::udp(source, to, 1300), (), world.now);
        world.run();
        assert_eq!(world.drops, [DropReason::TooBig]);
        world.drops.clear();
        assert_eq!(world.sayings(), [Saying::TooBig { mtu: 1280 }], "{narrow}");
        world.net.handle_packet(from, Packet::udp(source, to, 1300), (), world.now);
        world.run();
        let told = world.told();
        let about = Quote { protocol: Protocol::Udp, source, destination: to };
        assert_eq!(
            told.iter().map(|(host, _, about)| (*host, *about)).collect::<Vec<_>>(),
            [(from, about)],
            "{narrow}"
        );
    }
}

#[test]
fn nobody_is_told_of_what_is_filtered_cut_or_for_a_group_nor_by_a_box_that_drops_icmp() {
    let mut world = World::new();
    let (server, alice) = (world.public(), world.behind(&[presets::corporate()]));
    let low = |from, to| Packet { ttl: 1, ..Packet::udp(from, to, 1) };
    let (hers, its) = (world.at(alice, 4000), world.at(server, 1));
    world.net.handle_packet(alice, low(hers, its), (), world.now);
    world.send(server, 1, "11.1.1.2:4000".parse().unwrap());
    world.send(alice, 4000, "8.8.8.8:53".parse().unwrap());
    world.send(server, 1, "224.0.0.1:1".parse().unwrap());
    world.net.links(Place::Router(RouterId(0))).unwrap()[0].cut(true);
    world.send(alice, 4000, its);
    assert_eq!((world.drops.len(), world.sayings()), (5, vec![]));
    // An address that nobody has is another matter, and so is a port of a box that takes everything in.
    world.send(server, 1, "11.1.200.200:9".parse().unwrap());
    assert_eq!(world.sayings(), [Saying::HostUnreachable]);
    world.behind(&[presets::home_open()]);
    world.send(server, 1, "11.1.1.3:4000".parse().unwrap());
    assert_eq!(world.told().first().map(|(host, by, _)| (*host, *by)), Some((server, "11.1.1.3".parse().unwrap())));
}

#[test]
fn a_box_that_is_not_of_the_model_gets_all_that_is_for_elsewhere_and_sends_what_it_likes_into_its_lan() {
    let mut world = World::new();
    let (server, legs) = (world.public(), world.net.add_box(INTERNET, None, line()));
    let alice = world.net.add_host(legs.lan, Families::Both, line());
    assert_eq!(world.net.prefix(legs.lan), Some(([192, 168, 1, 0].into(), 24)));
    assert_eq!(world.at(legs.inside, 0).ip(), "192.168.1.1".parse::<IpAddr>().unwrap());
    assert_eq!(world.send(alice, 4000, world.at(server, 1)), [(legs.inside, ms(10))]);
    // It puts its own address for hers, and back.
    assert_eq!(world.send(legs.outside, 4000, world.at(server, 1)), [(server, ms(20))]);
    assert_eq!(world.send(server, 1, world.at(legs.outside, 4000)), [(legs.outside, ms(20))]);
    world.post_from(legs.inside, world.at(server, 1), world.at(alice, 4000));
    assert_eq!(world.run(), [(alice, ms(10))]);
    assert_eq!(world.drops, []);
    // What it would send out with a foreign source goes nowhere, and what nobody has does not come back to it.
    world.post_from(legs.outside, world.at(alice, 4000), world.at(server, 1));
    world.post_from(legs.inside, world.at(server, 1), "192.168.1.77:1".parse().unwrap());
    assert_eq!(world.run(), []);
    assert_eq!(world.drops, [DropReason::ForgedSource, DropReason::NoSuchAddress]);
}

#[test]
fn behind_such_a_box_there_is_room_for_another_and_for_a_router_of_the_model() {
    let mut world = World::new();
    let carrier = world.net.add_box(INTERNET, Some(([100, 64, 0, 0].into(), 16)), line());
    let home = world.net.add_box(carrier.lan, None, line());
    let router = world.net.add_router(carrier.lan, Router::ipv4(presets::home()), line());
    let alice = world.net.add_host(world.net.lan(router), Families::Ipv4, line());
    assert_eq!(world.at(home.outside, 0).ip(), "100.64.0.2".parse::<IpAddr>().unwrap());
    assert_eq!(world.send(alice, 4000, "11.1.1.9:1".parse().unwrap()), [(carrier.inside, ms(20))]);
    assert_eq!(world.last.source, "100.64.0.3:4000".parse().unwrap());
    world.net.move_host(home.outside, carrier.lan);
    assert_eq!(world.at(home.outside, 0).ip(), "100.64.0.4".parse::<IpAddr>().unwrap(), "as after a disconnection");
}

#[test]
fn without_delay_a_packet_is_there_at_once() {
    let mut net = Topology::new(1);
    let lan = presets::named("home").unwrap().access.build_on_the_internet(&mut net, Line::default());
    let alice = net.add_host(lan, Families::Ipv4, Line::default());
    let server = net.add_host(INTERNET, Families::Ipv4, Line::default());
    let [from, to] = [alice, server].map(|host| SocketAddr::new(net.addresses(host).ipv4.unwrap(), 4000));
    net.handle_packet(alice, Packet::udp(from, to, 10), "payload", Instant::now());
    assert_eq!(net.poll_delivery().map(|delivery| (delivery.host, delivery.payload)), Some((server, "payload")));
    assert_eq!(net.poll_wakeup(), None);
}

#[test]
fn every_preset_can_be_built_and_its_name_is_its_own() {
    for preset in presets::all() {
        assert_eq!(presets::named(preset.name).as_ref(), Some(&preset));
        let mut net = Topology::<()>::new(1);
        let lan = preset.access.build_on_the_internet(&mut net, line());
        let host = net.add_host(lan, preset.access.families, line());
        let addresses = net.addresses(host);
        assert_eq!(addresses.ipv4.is_some(), preset.access.families.has_ipv4(), "{}", preset.name);
        assert_eq!(addresses.ipv6.is_some(), preset.access.families.has_ipv6(), "{}", preset.name);
    }
}

#[test]
fn hundreds_of_homes_have_a_prefix_each() {
    let mut net = Topology::<()>::new(1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..600 {
        let router = net.add_router(INTERNET, Router::ipv4(presets::home()), line());
        let host = net.add_host(net.lan(router), Families::Ipv4, line());
        assert!(seen.insert(net.addresses(host).ipv4.unwrap()));
    }
}

/// Ten milliseconds a line, and a clock.
struct World {
    net: Topology<()>,
    now: Instant,
    /// When what is running now began.
    began: Instant,
    last: Packet,
    drops: Vec<DropReason>,
}

impl World {
    fn new() -> World {
        let mut net = Topology::new(1);
        net.watch(true);
        net.speak(true);
        let now = Instant::now();
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        World { net, now, began: now, last: Packet::udp(nobody, nobody, 0), drops: vec![] }
    }

    fn public(&mut self) -> HostId {
        self.net.add_host(INTERNET, Families::Ipv4, line())
    }

    fn behind(&mut self, nats: &[Behaviour]) -> HostId {
        let routers = nats.iter().enumerate().map(|(n, nat)| Router { carrier: n > 0, ..Router::ipv4(nat.clone()) });
        let access = Access { families: Families::Ipv4, routers: routers.collect() };
        let lan = access.build_on_the_internet(&mut self.net, line());
        self.net.add_host(lan, Families::Ipv4, line())
    }

    fn at(&self, host: HostId, port: u16) -> SocketAddr {
        SocketAddr::new(self.net.addresses(host).ipv4.unwrap(), port)
    }

    /// Sends a packet and runs until nothing is under way: who got something, after how long.
    fn send(&mut self, from: HostId, port: u16, to: SocketAddr) -> Vec<(HostId, Duration)> {
        self.post(from, port, to);
        self.run()
    }

    fn post(&mut self, from: HostId, port: u16, to: SocketAddr) {
        self.post_from(from, self.at(from, port), to);
    }

    fn post_from(&mut self, from: HostId, source: SocketAddr, to: SocketAddr) {
        self.net.handle_packet(from, Packet::udp(source, to, 10), (), self.now);
    }

    /// What routers have to say, unsaid.
    fn sayings(&mut self) -> Vec<Saying> {
        std::iter::from_fn(|| self.net.poll_notice()).map(|notice| notice.saying).collect()
    }

    /// Lets them say it: who is told by whom about what.
    fn told(&mut self) -> Vec<(HostId, IpAddr, Quote)> {
        while let Some(Notice { network, speaker, about, .. }) = self.net.poll_notice() {
            let protocol = about.protocol().unwrap();
            let kind = Kind::Error(Quote { protocol, source: about.source, destination: about.destination });
            let [from, to] = [speaker, about.source.ip()].map(|ip| SocketAddr::new(ip, 0));
            let error = Packet { kind, ..Packet::udp(from, to, 50) };
            self.net.handle_notice(network, error, (), self.now);
        }
        let arrived = self.run().into_iter().map(|(host, _)| host);
        let last = self.last;
        arrived
            .filter_map(
                |host| if let Kind::Error(quote) = last.kind { Some((host, last.source.ip(), quote)) } else { None },
            )
            .collect()
    }

    fn run(&mut self) -> Vec<(HostId, Duration)> {
        let (mut arrived, began) = (vec![], self.began);
        while let Some(at) = self.net.poll_wakeup() {
            self.now = at;
            self.net.handle_timeout(at);
            while let Some(delivery) = self.net.poll_delivery() {
                self.last = delivery.packet;
                arrived.push((delivery.host, at - began));
            }
        }
        while let Some(event) = self.net.poll_event() {
            if let Happening::Dropped(reason) = event.what {
                self.drops.push(reason);
            }
        }
        self.began = self.now;
        arrived
    }
}

fn dual_stack() -> Router {
    Router { ipv6: Some(presets::ipv6_firewall()), ..Router::ipv4(presets::home()) }
}

fn line() -> Line {
    Line::delay(ms(10))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
