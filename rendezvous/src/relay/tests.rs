//! The server's decisions and the switch together, in virtual time: who gets a channel, what it carries, and what it
//! does not, whatever is tried.

use std::time::{Duration, Instant};

use common::introduction::{FromServer, Introduce, Register, StunEndpoints, ToServer};
use common::nat::NatProfile;

use super::channels::Channels;
use super::quota::Quota;
use super::switch::{Dropped, Run, Switch};
use super::*;
use crate::limits::{Limits, RELAY_ABSENCE};
use crate::people::{at, capability, key};
use crate::server::{ConnectionId, Output, Server};

#[test]
fn both_parties_of_an_introduction_get_one_channel_and_it_goes_both_ways() {
    let mut world = World::new();
    let (alice, _) = (world.arrives(1, &[12]), world.arrives(2, &[12]));
    let channel = world.introduced(alice, 2, 12);
    assert_eq!(world.frame(1, channel), Some(home(2)));
    assert_eq!(world.frame(2, channel), Some(home(1)));
    assert_eq!(world.dropped(), []);
}

#[test]
fn the_same_two_get_the_same_channel_while_it_lives_and_others_another() {
    let mut world = World::new();
    let (alice, bob, _) = (world.arrives(1, &[12, 13]), world.arrives(2, &[12]), world.arrives(3, &[13]));
    let first = world.introduced(alice, 2, 12);
    assert_eq!(world.introduced(bob, 1, 12), first, "whoever asks");
    assert_ne!(world.introduced(alice, 3, 13), first);
    world.leaves(bob);
    world.waits(RELAY_ABSENCE);
    world.arrives(2, &[12]);
    assert_ne!(world.introduced(alice, 2, 12), first, "an old grant is not good again");
    assert_eq!(world.frame(1, first), None);
    assert_eq!(world.dropped(), [(Dropped::UnknownChannel, 1)]);
}

#[test]
fn a_party_that_is_gone_is_waited_for_and_then_the_other_is_told() {
    let mut world = World::new();
    let (alice, bob) = (world.arrives(1, &[12]), world.arrives(2, &[12]));
    let channel = world.introduced(alice, 2, 12);
    world.leaves(bob);
    assert_eq!(world.frame(1, channel), None);
    assert_eq!(world.dropped(), [(Dropped::Absent, 1)]);
    assert_eq!(world.frame(2, channel), None, "nor is anything taken from where he was");
    assert_eq!(world.dropped(), [(Dropped::WrongSource, 1), (Dropped::Absent, 1)]);
    assert_eq!(world.waits(RELAY_ABSENCE - Duration::from_millis(1)), []);
    assert_eq!(world.waits(Duration::from_millis(1)), [Output::Send(alice, FromServer::ChannelClosed(channel))]);
    assert_eq!((world.server.channels(), world.switch.len()), (0, (0, 0)));
}

#[test]
fn whoever_comes_back_in_time_goes_on_from_the_new_address() {
    let mut world = World::new();
    let (alice, bob) = (world.arrives(1, &[12]), world.arrives(2, &[12]));
    let channel = world.introduced(alice, 2, 12);
    world.leaves(bob);
    world.waits(RELAY_ABSENCE / 2);
    let elsewhere = Location { socket: SocketIndex(1), ..Location::from(at("198.51.100.7:7")) };
    world.arrives_at(2, &[12], elsewhere);
    world.waits(RELAY_ABSENCE);
    assert_eq!(world.frame(1, channel), Some(elsewhere));
    assert_eq!(world.frame_from(elsewhere, channel), Some(home(1)));
    assert_eq!(world.frame(2, channel), None, "the old address is nobody's");
    assert_eq!(world.dropped(), [(Dropped::WrongSource, 1)]);
}

#[test]
fn a_second_registration_of_a_key_takes_its_channels_along() {
    let mut world = World::new();
    let (alice, _) = (world.arrives(1, &[12]), world.arrives(2, &[12]));
    let channel = world.introduced(alice, 2, 12);
    let elsewhere = Location::from(at("198.51.100.7:7"));
    world.arrives_at(2, &[12], elsewhere);
    assert_eq!(world.frame(1, channel), Some(elsewhere));
    world.server.handle_moved(alice, at("192.0.2.1:9"), world.now);
    world.drain();
    assert_eq!(world.frame_from(elsewhere, channel), Some(at("192.0.2.1:9").into()), "a new port is believed at once");
}

#[test]
fn whoever_is_a_contact_no_more_is_sent_nothing_through_the_relay() {
    let mut world = World::new();
    let (alice, bob) = (world.arrives(1, &[12, 13]), world.arrives(2, &[12]));
    world.arrives(3, &[13]);
    let (channel, with_carol) = (world.introduced(alice, 2, 12), world.introduced(alice, 3, 13));
    let out = world.says(bob, ToServer::Update(register(&[])));
    let closed = FromServer::ChannelClosed(channel);
    assert_eq!(out, [Output::Send(alice, closed.clone()), Output::Send(bob, closed)]);
    assert_eq!(world.frame(1, channel), None);
    assert_eq!(world.dropped(), [(Dropped::UnknownChannel, 1)]);
    assert_eq!(world.frame(1, with_carol), Some(home(3)));
}

#[test]
fn where_there_is_no_room_the_longest_idle_channel_ends() {
    let mut world = World::with(Limits { relay_channels: 2, ..Limits::default() });
    let (alice, bob) = (world.arrives(1, &[12, 13, 14]), world.arrives(2, &[12]));
    world.arrives(3, &[13]);
    let carol = world.arrives(4, &[14]);
    let busy = world.introduced(alice, 2, 12);
    world.waits(Duration::from_secs(1));
    let idle = world.introduced(alice, 3, 13);
    world.waits(Duration::from_secs(1));
    world.frame(2, busy);
    world.waits(Duration::from_secs(1));
    let out = world.introduce(carol, 1, 14);
    let told: Vec<_> = out.iter().filter(|out| is_closed(out, idle)).collect();
    assert_eq!((told.len(), out.len()), (2, 4), "both of the ended one, both of the new one: {out:?}");
    assert_eq!(world.frame(2, busy), Some(home(1)));
    assert_eq!(world.server.channels(), 2);
    world.leaves(bob);
}

#[test]
fn a_server_that_does_not_relay_grants_nothing() {
    let mut world = World::new();
    world.server = Server::new(&Limits::default(), Box::new(|| 5));
    let (alice, _) = (world.arrives(1, &[12]), world.arrives(2, &[12]));
    let out = world.introduce(alice, 2, 12);
    assert_eq!(out.iter().filter_map(channel_in).count(), 0, "{out:?}");
    assert_eq!(world.frame(1, RelayChannel(5)), None);
}

#[test]
fn only_the_two_parties_from_where_they_are_seen() {
    let mut world = World::new();
    let (alice, mallory) = (world.arrives(1, &[12]), world.arrives(9, &[]));
    world.arrives(2, &[12]);
    let channel = world.introduced(alice, 2, 12);
    assert_eq!(world.frame(9, channel), None, "a client, but none of the two");
    assert_eq!(world.frame_from(at("198.51.100.66:6").into(), channel), None, "a stranger");
    let port = Location::from(at("192.0.2.1:9"));
    assert_eq!(world.frame_from(port, channel), None, "Alice's neighbour behind the same router");
    let socket = Location { socket: SocketIndex(1), ..home(1) };
    assert_eq!(world.frame_from(socket, channel), None, "through another of our sockets");
    assert_eq!(world.dropped(), [(Dropped::WrongSource, 4)]);
    assert_eq!(world.frame(1, RelayChannel(channel.0 ^ 1)), None, "another channel");
    assert_eq!(world.dropped(), [(Dropped::UnknownChannel, 1), (Dropped::WrongSource, 4)]);
    world.leaves(mallory);
}

#[test]
fn nothing_goes_back_where_it_came_from_or_to_the_server_itself() {
    let mut world = World::new();
    let alice = world.arrives(1, &[12, 13]);
    // Two keys of one man at one address.
    world.arrives_at(2, &[12], home(1));
    let channel = world.introduced(alice, 2, 12);
    assert_eq!(world.frame(1, channel), None);
    // Somebody who makes the server believe that he is where the server is.
    let own = [Location::from(at("203.0.113.1:3478")), Location::from(at("203.0.113.2:3478"))];
    for (key, own) in [(3, own[0]), (3, own[1])] {
        world.arrives_at(key, &[13], own);
        let channel = world.introduced(alice, key, 13);
        assert_eq!(world.frame(1, channel), None);
    }
    assert_eq!(world.dropped(), [(Dropped::ToItself, 3)]);
}

#[test]
fn a_wildcard_socket_knows_itself_by_the_address_that_the_client_dialled() {
    let ip = Some("203.0.113.1".parse().expect("an address"));
    let mut world = World::listening(&["0.0.0.0:3478"]);
    let alice = world.arrives(1, &[12, 13]);
    world.arrives_at(2, &[12], Location { local_ip: ip, ..at("203.0.113.1:3478").into() });
    let neighbour = Location { local_ip: ip, ..at("203.0.113.9:3478").into() };
    world.arrives_at(3, &[13], neighbour);
    let (itself, other) = (world.introduced(alice, 2, 12), world.introduced(alice, 3, 13));
    assert_eq!(world.frame(1, itself), None);
    assert_eq!(world.frame(1, other), Some(neighbour), "another machine, on whatever port");
}

#[test]
fn a_key_has_one_quota_for_all_its_channels_and_the_other_party_its_own() {
    let mut world =
        World::with(Limits { relay_packets_per_second: 20.try_into().expect("not zero"), ..Limits::default() });
    let (alice, _, _) = (world.arrives(1, &[12, 13]), world.arrives(2, &[12]), world.arrives(3, &[13]));
    let (with_bob, with_carol) = (world.introduced(alice, 2, 12), world.introduced(alice, 3, 13));
    let frames = |channel, count| Run { channel, count, size: 100 };
    assert_eq!(world.run(home(1), frames(with_bob, 7)), Some((home(2), 7)));
    assert_eq!(world.run(home(1), frames(with_carol, 7)), Some((home(3), 3)));
    assert_eq!(world.run(home(1), frames(with_bob, 7)), None);
    assert_eq!(world.dropped(), [(Dropped::OverQuota, 11)]);
    assert_eq!(world.run(home(2), frames(with_bob, 7)), Some((home(1), 7)));
    world.now += Duration::from_millis(100);
    assert_eq!(world.run(home(1), frames(with_bob, 7)), Some((home(2), 2)));
    // Coming back with a new connection does not refill.
    world.arrives(1, &[12, 13]);
    assert_eq!(world.run(home(1), frames(with_bob, 7)), None);
}

/// One of everything that can go wrong, and one that goes right.
#[test]
fn what_is_counted() {
    let mut world =
        World::with(Limits { relay_packets_per_second: 2.try_into().expect("not zero"), ..Limits::default() });
    let (alice, bob) = (world.arrives(1, &[12, 13, 14]), world.arrives(2, &[12]));
    world.arrives_at(3, &[13], home(1));
    let carol = world.arrives(4, &[14]);
    let (with_bob, with_himself) = (world.introduced(alice, 2, 12), world.introduced(alice, 3, 13));
    let with_carol = world.introduced(alice, 4, 14);
    world.leaves(carol);
    world.frame(1, RelayChannel(99));
    world.frame(9, with_bob);
    world.frame(1, with_himself);
    world.frame(1, with_carol);
    world.frame(2, with_bob);
    world.frame(2, with_bob);
    world.frame(2, with_bob);
    world.switch.sent(1, 100);
    world.switch.dropped(Dropped::Malformed, 1);
    world.switch.dropped(Dropped::Full, 1);
    let expected = "{Malformed: 1, UnknownChannel: 1, WrongSource: 1, ToItself: 1, Absent: 1, OverQuota: 2, Full: 1}";
    assert_eq!(world.switch.counts().to_string(), expected);
    assert_eq!((world.switch.counts().frames, world.switch.counts().bytes), (1, 100));
    world.leaves(bob);
}

#[test]
fn nothing_grows_when_pairs_come_and_go() {
    let mut world = World::new();
    let mut largest = 0;
    for n in 0..500u32 {
        let (a, b) = ((n % 100) as u8, (n % 97) as u8 + 100);
        let (alice, bob) = (world.arrives(a, &[n]), world.arrives(b, &[n]));
        let channel = world.introduced(alice, b, n);
        assert_eq!(world.frame(a, channel), Some(home(b)));
        world.leaves(alice);
        world.leaves(bob);
        world.waits(Duration::from_secs(1));
        let (lines, parties) = world.switch.len();
        assert_eq!(lines, world.server.channels());
        largest = largest.max(lines + parties);
    }
    assert!(largest <= 3 * (RELAY_ABSENCE.as_secs() as usize + 1), "{largest}");
}

fn register(contacts: &[u32]) -> Register {
    let capabilities = contacts.iter().copied().map(capability).collect();
    Register { epoch: 1, capabilities, reflexive: Vec::new(), profile: NatProfile::default(), relay_only: false }
}

/// Where peer `n` is if nothing else is said.
fn home(peer: u8) -> Location {
    SocketAddr::from(([192, 0, 2, peer], 1000 + u16::from(peer))).into()
}

fn channel_in(output: &Output) -> Option<RelayChannel> {
    match output {
        Output::Send(_, FromServer::Introduction(introduction)) => introduction.relay,
        _ => None,
    }
}

fn is_closed(output: &Output, channel: RelayChannel) -> bool {
    matches!(output, Output::Send(_, FromServer::ChannelClosed(closed)) if *closed == channel)
}

/// A server with its switch, two sockets and a clock.
struct World {
    server: Server,
    switch: Switch,
    now: Instant,
    next: u64,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self::build(limits, &["203.0.113.1:3478", "203.0.113.2:3478"])
    }

    fn listening(own: &[&str]) -> Self {
        Self::build(Limits::default(), own)
    }

    fn build(limits: Limits, own: &[&str]) -> Self {
        // The worst generator that there is but one: it counts.
        let mut drawn = 0;
        let draw = Box::new(move || {
            drawn += 1;
            drawn
        });
        let server = Server::new(&limits, draw).with_relay(Channels::new(limits.relay_channels));
        let quota =
            Quota { bytes: limits.relay_bytes_per_second.get(), packets: limits.relay_packets_per_second.get() };
        let switch = Switch::new(quota, own.iter().copied().map(at).collect());
        World { server, switch, now: Instant::now(), next: 0 }
    }

    fn arrives(&mut self, peer: u8, contacts: &[u32]) -> ConnectionId {
        self.arrives_at(peer, contacts, home(peer))
    }

    fn arrives_at(&mut self, peer: u8, contacts: &[u32], location: Location) -> ConnectionId {
        let id = ConnectionId(self.next);
        self.next += 1;
        let stun = StunEndpoints { alternate_port: 3479, alternate: None };
        self.server.handle_connected(id, key(peer), location, stun, self.now);
        self.says(id, ToServer::Register(register(contacts)));
        id
    }

    fn leaves(&mut self, client: ConnectionId) {
        self.server.handle_closed(client, self.now);
        self.drain();
    }

    fn says(&mut self, client: ConnectionId, message: ToServer) -> Vec<Output> {
        self.server.handle_message(client, message, self.now);
        self.drain()
    }

    fn waits(&mut self, time: Duration) -> Vec<Output> {
        self.now += time;
        self.server.handle_relayed(self.switch.take_used(), self.now);
        self.server.handle_timeout(self.now);
        self.drain()
    }

    fn introduce(&mut self, client: ConnectionId, peer: u8, with: u32) -> Vec<Output> {
        let (capability, peer) = (capability(with), key(peer));
        self.says(
            client,
            ToServer::Introduce(Introduce { request: 7, peer, capability, sealed: vec![], envelope: vec![] }),
        )
    }

    /// The channel that both were told.
    fn introduced(&mut self, client: ConnectionId, peer: u8, with: u32) -> RelayChannel {
        let out = self.introduce(client, peer, with);
        let told: Vec<_> = out.iter().filter_map(channel_in).collect();
        assert!(told.len() == 2 && told[0] == told[1], "{out:?}");
        told[0]
    }

    /// A frame of this peer, from where it is at home: where it goes.
    fn frame(&mut self, from: u8, channel: RelayChannel) -> Option<Location> {
        self.frame_from(home(from), channel)
    }

    fn frame_from(&mut self, from: Location, channel: RelayChannel) -> Option<Location> {
        self.run(from, Run { channel, count: 1, size: 100 }).map(|(to, _)| to)
    }

    /// Where a run goes, and how much of it.
    fn run(&mut self, from: Location, run: Run) -> Option<(Location, usize)> {
        let passage = self.switch.route(from.socket, from.address, run, self.now);
        passage.map(|passage| (passage.to, passage.count))
    }

    fn dropped(&self) -> Vec<(Dropped, u64)> {
        let counts = self.switch.counts();
        Dropped::ALL.map(|why| (why, counts.dropped(why))).into_iter().filter(|(_, count)| *count > 0).collect()
    }

    fn drain(&mut self) -> Vec<Output> {
        while let Some(change) = self.server.poll_change() {
            self.switch.apply(change, self.now);
        }
        std::iter::from_fn(|| self.server.poll_output()).collect()
    }
}
