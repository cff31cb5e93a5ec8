//! What others can make a client send: a rendezvous that lies, contacts that lie, and strangers. Every packet is counted at the
//! address that it goes to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use client::node::{Config, ControlEvent, Machine, NodeCommand, Output, Random as Bytes, SocketId};
use common::candidate::{Contents, pack};
use common::identity::{Identity, PeerId};
use common::introduction::{
    FromServer, Introduction, IntroductionId, Registered, Role, StunEndpoints, ToServer, Trickle,
};
use common::nat::{Mapping, NatProfile};
use common::pairing::Pairing;
use common::path::purse::{INTRODUCTIONS, LOOKS, Rate, TO_ALL, TO_OTHERS, TO_PEER};
use common::path::{BUDGET, MAX_SOCKETS};
use common::prediction::{Foretold, Prediction};
use common::stun::{self, Message, Response};
use netsim::model::Random;

const SERVER: [u8; 4] = [11, 1, 1, 100];
const OURS: [u8; 4] = [11, 1, 1, 1];
const VICTIM: [u8; 4] = [11, 9, 9, 9];
const MINUTE: Duration = Duration::from_secs(60);
/// A node has so many sockets beside the main one: a birthday run, and a few looks.
const SOCKETS: usize = MAX_SOCKETS + 64;

/// How our NAT gives ports to those who ask the rendezvous.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ports {
    Stand,
    Any,
}

/// Alice's machine, with nobody around it but who lies to her.
struct Alone {
    machine: Machine,
    contacts: Vec<Identity>,
    start: Instant,
    now: Instant,
    ports: Ports,
    introductions: u64,
    /// What left, to whom and when.
    sent: Vec<(Instant, SocketAddr)>,
    sockets: BTreeSet<SocketId>,
    most_sockets: usize,
    looks: usize,
    acted_on: usize,
    trickled: Vec<Trickle>,
}

fn profile() -> NatProfile {
    NatProfile { mapping: Some(Mapping::AddressAndPortDependent), ..NatProfile::default() }
}

fn alice() -> Identity {
    Identity::from_seed(&[1; 32])
}

impl Alone {
    fn new(contacts: usize, ports: Ports) -> Self {
        let contacts: Vec<Identity> = (0..contacts).map(|n| e2e::numbered(1000 + n as u32)).collect();
        let mut luck = Random::new(5);
        let machine = Machine::new(Config {
            identity: alice(),
            rendezvous: Identity::from_seed(&[3; 32]).peer_id(),
            epoch: 1,
            contacts: contacts.iter().map(Identity::peer_id).collect(),
            birthday: true,
            relay_only: false,
            random: Bytes::new(move |bytes: &mut [u8]| {
                bytes.fill_with(|| luck.bits() as u8);
                true
            }),
        });
        let start = Instant::now();
        let (sent, sockets, trickled) = Default::default();
        let mut alone = Alone {
            machine,
            contacts,
            start,
            now: start,
            ports,
            introductions: 0,
            sent,
            sockets,
            most_sockets: 0,
            looks: 0,
            acted_on: 0,
            trickled,
        };
        let server: SocketAddr = (SERVER, 3478).into();
        alone.machine.handle_hosts(vec!["192.168.1.10:4000".parse().expect("an address")]);
        let rtt = Duration::from_millis(20);
        alone.control(ControlEvent::Connected { server, remote: server, rtt });
        alone.registered((OURS, 4000).into(), None);
        alone
    }

    fn control(&mut self, event: ControlEvent) {
        self.machine.handle_control(event, self.now);
        self.drain();
    }

    fn says(&mut self, message: FromServer) {
        self.control(ControlEvent::Message(message));
    }

    fn registered(&mut self, observed: SocketAddr, alternate: Option<SocketAddr>) {
        let stun = StunEndpoints { alternate_port: 3479, alternate };
        self.says(FromServer::Registered(Registered { observed, stun, now_s: 0 }));
    }

    /// The rendezvous introduces Alice to this contact, at these addresses.
    fn introduce(&mut self, contact: usize, addresses: Vec<SocketAddr>) -> IntroductionId {
        let peer = self.contacts[contact].peer_id();
        self.introduce_peer(peer, addresses)
    }

    fn introduce_peer(&mut self, peer: PeerId, addresses: Vec<SocketAddr>) -> IntroductionId {
        self.introductions += 1;
        let id = IntroductionId(self.introductions);
        let (sealed, envelope) = Default::default();
        let (role, relay) = (Role::Responder, None);
        let profile = profile();
        self.says(FromServer::Introduction(Introduction {
            id,
            peer,
            role,
            addresses,
            profile,
            sealed,
            envelope,
            relay,
            hint: None,
        }));
        id
    }

    /// The contact says something of itself.
    fn trickle(&mut self, contact: usize, introduction: IntroductionId, contents: Contents) {
        let pairing = Pairing::new(&self.contacts[contact], alice().peer_id()).expect("a secret");
        let context = [b"introduction ".as_slice(), &introduction.to_bytes()].concat();
        let sealed = pairing.seal(&context, &pack(contents), [7; 24]);
        self.says(FromServer::Trickle(Trickle { introduction, sealed }));
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Open(id) => {
                    self.sockets.insert(id);
                    self.most_sockets = self.most_sockets.max(self.sockets.len());
                    self.machine.handle_opened(id, 20_000 + (self.sockets.len() as u16), self.now);
                }
                Output::CloseSocket(id) => assert!(self.sockets.remove(&id), "it was open"),
                Output::Transmit { socket, destination, payload } => {
                    self.sent.push((self.now, destination));
                    if destination.ip() == IpAddr::from(SERVER) {
                        self.answer(socket, destination, &payload);
                    }
                }
                Output::Discover(_) => self.looks += 1,
                Output::Ask(ToServer::Trickle(trickle)) => {
                    // The first word of a responder.
                    self.acted_on += usize::from(!self.trickled.iter().any(|t| t.introduction == trickle.introduction));
                    self.trickled.push(trickle);
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, socket: SocketId, server: SocketAddr, payload: &[u8]) {
        let Ok(Message::Request(request)) = stun::decode(payload) else { return };
        let port = match self.ports {
            Ports::Stand => 9000,
            Ports::Any => (self.sent.len() as u16).wrapping_mul(27_073) | 1024,
        };
        let response =
            Response { transaction: request.transaction, mapped: (OURS, port).into(), origin: None, other: None };
        self.machine.handle_stun(socket, server, &stun::encode_response(&response), self.now);
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1_000_000 {
            self.drain();
            let Some(next) = self.machine.poll_wakeup().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            self.machine.handle_timeout(self.now);
        }
        panic!("it wakes up for nothing");
    }

    /// Everything that left, but for the rendezvous.
    fn to_others(&self) -> impl Iterator<Item = &(Instant, SocketAddr)> {
        self.sent.iter().filter(|(_, to)| to.ip() != IpAddr::from(SERVER))
    }

    fn to(&self, ip: impl Into<IpAddr>) -> usize {
        let ip = ip.into();
        self.sent.iter().filter(|(_, to)| to.ip() == ip).count()
    }

    /// In every minute that there was, not only in the whole.
    fn most_in_a_minute(&self, of: impl Fn(&SocketAddr) -> bool) -> usize {
        let times: Vec<Instant> = self.sent.iter().filter(|(_, to)| of(to)).map(|(at, _)| *at).collect();
        let mut begin = 0;
        let count = |(end, at): (usize, &Instant)| {
            while *at - times[begin] >= MINUTE {
                begin += 1;
            }
            end + 1 - begin
        };
        times.iter().enumerate().map(count).max().unwrap_or(0)
    }
}

/// What a minute holds of it.
fn a_minute_of(rate: Rate) -> usize {
    usize::try_from(rate.most_in(MINUTE)).expect("small")
}

fn victims(n: usize) -> Vec<SocketAddr> {
    let address = |k: usize| SocketAddr::from(([12, (n >> 5) as u8, (n << 3) as u8 | k as u8, 9], 53));
    (0..8).map(address).collect()
}

#[test]
fn who_is_no_contact_gets_no_packet_whatever_the_rendezvous_says() {
    let mut alone = Alone::new(1, Ports::Any);
    let stranger = Identity::from_seed(&[77; 32]);
    for n in 0..1000 {
        let introduction = alone.introduce_peer(stranger.peer_id(), vec![(VICTIM, 53).into()]);
        let sealed = vec![n as u8; 300];
        alone.says(FromServer::Trickle(Trickle { introduction, sealed }));
        alone.run_for(Duration::from_millis(20));
    }
    assert_eq!(alone.to_others().count(), 0);
}

#[test]
fn who_is_a_contact_and_does_not_answer_gets_fifty_probes_in_a_plain_attempt() {
    // It is seen through a tunnel only, so there are no ports to be guessed.
    let mut alone = Alone::new(1, Ports::Stand);
    let introduction = alone.introduce(0, vec![]);
    alone.trickle(0, introduction, Contents::hosts(vec![(VICTIM, 53).into()]));
    alone.run_for(MINUTE);
    let host_alone = alone.to(VICTIM);
    assert!((1..=6).contains(&host_alone), "a host that does not answer at once is not there: {host_alone}");

    let mut alone = Alone::new(1, Ports::Stand);
    let introduction = alone.introduce(0, victims(0));
    alone.trickle(0, introduction, Contents::hosts(victims(1)));
    alone.run_for(Duration::from_millis(390));
    assert!(alone.to_others().count() <= BUDGET as usize, "{}", alone.to_others().count());
}

#[test]
fn a_rendezvous_that_introduces_again_and_again_makes_nobody_a_victim() {
    type Lie = fn(usize) -> Vec<SocketAddr>;
    let lies: [(&str, Lie, Rate); 4] = [
        ("one victim, as the contact's address", |_| vec![(VICTIM, 53).into()], TO_PEER),
        (
            "one victim, each time at other ports",
            |n| (0..8).map(|k| (VICTIM, (n * 8 + k) as u16 | 1).into()).collect(),
            TO_PEER,
        ),
        ("one victim, behind a contact's address", |n| [&victims(n)[..1], &[(VICTIM, 53).into()]].concat(), TO_OTHERS),
        ("other victims each time", victims, TO_PEER),
    ];
    for ports in [Ports::Stand, Ports::Any] {
        for (lie, addresses, to_one) in lies {
            let mut alone = Alone::new(3, ports);
            for n in 0..6500 {
                alone.introduce(n % 3, addresses(n));
                alone.run_for(Duration::from_millis(10));
            }
            let all = alone.most_in_a_minute(|_| true);
            assert!(all <= a_minute_of(TO_ALL), "{lie}: {all} packets in a minute");
            let mut each: BTreeMap<IpAddr, usize> = BTreeMap::new();
            for (_, to) in alone.to_others() {
                *each.entry(to.ip()).or_default() += 1;
            }
            for ip in each.into_keys() {
                let most = alone.most_in_a_minute(|to| to.ip() == ip);
                assert!(most <= a_minute_of(to_one), "{lie}: {most} packets to {ip} in a minute");
            }
            let most = 3 * usize::try_from(INTRODUCTIONS.most_in(alone.now - alone.start)).expect("small");
            assert!(alone.acted_on <= most, "{lie}: {} introductions were acted on", alone.acted_on);
            assert!(alone.most_sockets <= SOCKETS, "{lie}: {} sockets", alone.most_sockets);
        }
    }
}

#[test]
fn an_introduction_that_is_replayed_is_acted_on_once() {
    let mut alone = Alone::new(1, Ports::Stand);
    alone.introduce(0, vec![(VICTIM, 53).into()]);
    alone.run_for(MINUTE);
    let once = alone.to(VICTIM);
    for _ in 0..100 {
        alone.introductions = 0;
        alone.introduce(0, vec![(VICTIM, 53).into()]);
        alone.run_for(Duration::from_secs(1));
    }
    assert_eq!((alone.to(VICTIM), alone.acted_on), (once, 1));
}

#[test]
fn a_rendezvous_that_sees_us_elsewhere_each_time_does_not_make_us_ask_its_victim_for_ever() {
    let mut alone = Alone::new(1, Ports::Stand);
    for n in 0..6000_u16 {
        alone.registered((OURS, n | 1).into(), Some((VICTIM, 53).into()));
        alone.registered(([11, 1, 2, (n % 200) as u8], 4000).into(), Some((VICTIM, 53).into()));
        alone.run_for(Duration::from_millis(10));
    }
    assert!(alone.looks <= a_minute_of(LOOKS), "{} looks at our NAT", alone.looks);
    // And none of the strategies' own looks goes there more often than to anybody.
    for n in 0..6000 {
        alone.introduce(0, vec![([11, 3, 3, 3], 5000 + (n % 100) as u16).into()]);
        alone.run_for(Duration::from_millis(10));
    }
    let most = alone.most_in_a_minute(|to| to.ip() == IpAddr::from(VICTIM));
    assert!(most <= a_minute_of(TO_OTHERS), "{most} questions to the victim in a minute");
}

#[test]
fn a_contact_cannot_aim_us_at_a_victim_by_calling_it_its_own() {
    let mut alone = Alone::new(1, Ports::Any);
    let peer: SocketAddr = ([11, 3, 3, 3], 5000).into();
    // As often as an honest rendezvous lets somebody ask.
    for n in 0..50 {
        let introduction = alone.introduce(0, vec![peer]);
        for k in 0..125_usize {
            let ports = match k % 3 {
                0 => Foretold::Stands { port: 53 },
                1 => Foretold::Among { low: 1, high: 65_535 },
                _ => Foretold::Next { last: 50, step: 1 },
            };
            let prediction = Prediction { round: (k / 32) as u8, rtt_ms: 1, ports };
            let addresses = (0..8).map(|i| (VICTIM, (k * 8 + i) as u16 + 1).into()).collect();
            let mapped = Some((VICTIM, 5351).into());
            alone.trickle(
                0,
                introduction,
                Contents { addresses, prediction: Some(prediction), mapped, ..Contents::default() },
            );
        }
        alone.run_for(Duration::from_millis(if n < 20 { 100 } else { 2000 }));
    }
    let (victim, mapped) = (alone.to(VICTIM), alone.sent.iter().filter(|(_, to)| to.port() == 5351).count());
    assert!(victim > 0, "hosts are believed, within bounds");
    assert!(victim <= a_minute_of(TO_OTHERS), "{victim} packets to the victim in a minute");
    assert!(mapped <= 1, "a port that a router has mapped is one of the IP that the rendezvous sees: {mapped}");
    assert!(alone.to_others().all(|(_, to)| [IpAddr::from(VICTIM), peer.ip()].contains(&to.ip())));
}

#[test]
fn a_contact_that_flips_its_predictions_and_asks_again_and_again_draws_no_more_than_its_share() {
    for ports in [Ports::Stand, Ports::Any] {
        let mut alone = Alone::new(1, ports);
        let peer: SocketAddr = ([11, 3, 3, 3], 5000).into();
        let mut introduction = alone.introduce(0, vec![peer]);
        for n in 0..6500_usize {
            // The 20 that a rendezvous grants at once, and one in two seconds.
            if n < 20 || n % 200 == 0 {
                introduction = alone.introduce(0, vec![peer]);
            }
            let ports = match n % 4 {
                0 => Foretold::Among { low: 1, high: 65_535 },
                1 => Foretold::Next { last: 40_000, step: 1 },
                2 => Foretold::Among { low: 5000, high: 5500 },
                _ => Foretold::Stands { port: 5000 },
            };
            let prediction = Prediction { round: (n / 40 % 4) as u8, rtt_ms: 1, ports };
            alone.trickle(0, introduction, prediction.into());
            alone.run_for(Duration::from_millis(10));
        }
        let most = alone.most_in_a_minute(|to| to.ip() == peer.ip());
        assert!(most <= a_minute_of(TO_PEER), "{ports:?}: {most} packets in a minute");
        assert!(alone.most_sockets <= SOCKETS, "{ports:?}: {} sockets", alone.most_sockets);
    }
}

#[test]
fn a_hundred_contacts_that_want_birthday_runs_at_once_get_them_one_after_the_other() {
    for ports in [Ports::Stand, Ports::Any] {
        let mut alone = Alone::new(100, ports);
        let address = |n: usize| SocketAddr::from(([11, 4, 4, n as u8], 5000));
        for n in 0..100 {
            let introduction = alone.introduce(n, vec![address(n)]);
            let any = Foretold::Among { low: 1, high: 65_535 };
            let stands = Foretold::Stands { port: 5000 };
            let said = if ports == Ports::Stand { any } else { stands };
            alone.trickle(n, introduction, Prediction { round: 0, rtt_ms: 1, ports: said }.into());
        }
        alone.run_for(MINUTE);
        assert!(alone.most_sockets <= SOCKETS, "{ports:?}: {} sockets", alone.most_sockets);
        // All attempts begin together and last ten seconds, a run three: nobody else had a turn.
        let runs = (0..100).filter(|n| alone.to(address(*n).ip()) > 600).count();
        assert!(runs <= 1 + usize::from(ports == Ports::Stand), "{ports:?}: {runs} runs");
        let all = alone.to_others().count();
        assert!(all <= a_minute_of(TO_ALL), "{ports:?}: {all} packets");
        assert!((0..100).all(|n| alone.to(address(n).ip()) > 0), "{ports:?}: everybody has a plain attempt");
        assert!(alone.sockets.is_empty(), "{ports:?}: {} sockets are left over", alone.sockets.len());
    }
}

#[test]
fn what_strangers_send_draws_nothing() {
    let mut alone = Alone::new(1, Ports::Stand);
    let introduction = alone.introduce(0, vec![(VICTIM, 53).into()]);
    alone.run_for(Duration::from_secs(5));
    let before = alone.sent.len();
    let stranger = Pairing::new(&Identity::from_seed(&[9; 32]), alice().peer_id()).expect("a secret");
    let forged = stun::Credential::new(&stranger.own_probe_key(introduction));
    let name = format!("{:016x}", introduction.0);
    for n in 0..10_000_u16 {
        let transaction = stun::TransactionId([n as u8; 12]);
        let source = SocketAddr::from(([11, 6, (n >> 8) as u8, n as u8], 53));
        for payload in [
            stun::encode_probe(transaction, &name, &forged),
            stun::encode_nomination(transaction, &name, &forged),
            stun::encode_probe_response(transaction, source, &forged),
            stun::encode_request(transaction, stun::Change { ip: true, port: true }),
        ] {
            alone.machine.handle_stun(SocketId::MAIN, source, &payload, alone.now);
            alone.drain();
        }
        assert!(alone.machine.handle_incoming(SocketId::MAIN, source).is_none(), "a stranger is not even refused");
    }
    assert_eq!(alone.sent.len(), before);
}

#[test]
fn nobody_is_asked_for_who_is_not_wanted() {
    let mut alone = Alone::new(1, Ports::Stand);
    alone.machine.handle_command(NodeCommand::Want(Identity::from_seed(&[77; 32]).peer_id()), alone.now);
    alone.run_for(MINUTE);
    assert_eq!(alone.sent.len(), 0);
}
