//! What a contact can make us do by what it says of its ports, and which strategy fits what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::foretell::Look;
use super::rounds::{MAX_ROUNDS, Rounds, Sending};
use super::{
    Agent, BUDGET, Base, Command, Config, Ending, Event, Guessing, MAX_CANDIDATES, MAX_SOCKETS, Received, Report,
    Request, Strategy, scatter,
};
use crate::candidate::{Candidate, CandidateKind};
use crate::identity::Identity;
use crate::introduction::{IntroductionId, StunEndpoints};
use crate::nat::{Mapping, NatProfile};
use crate::pairing::Pairing;
use crate::prediction::{Foretold, Prediction};
use crate::stun::{self, Message, Response};

const SERVER: [u8; 4] = [11, 1, 1, 100];
const OURS: [u8; 4] = [11, 1, 1, 1];
const THEIRS: [u8; 4] = [11, 1, 1, 2];

/// Of an attempt: two birthday runs, and looks and smaller strategies in the other two rounds.
const MAX_PACKETS_IN_ALL: u32 = 3600;
/// The same for sockets, one after the other; there are never more than [`MAX_SOCKETS`] at a time.
const MAX_SOCKETS_IN_ALL: u32 = MAX_SOCKETS as u32 * MAX_ROUNDS as u32;

/// Which ports our NAT gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnNat {
    Stands,
    Sequential,
    Random,
    /// The server's answers do not come back.
    Deaf,
}

/// An agent whose STUN is answered at once, alone with a peer that only talks through the rendezvous.
struct Lonely {
    agent: Agent,
    now: Instant,
    nat: OwnNat,
    mappings: BTreeMap<(Base, SocketAddr), u16>,
    open: BTreeSet<Base>,
    most_open: usize,
    sent: Vec<(Base, SocketAddr)>,
    told: Vec<Prediction>,
    asked_for_birthday: usize,
    grants: bool,
    ended: Option<Report>,
}

impl Lonely {
    fn new(nat: OwnNat, change: impl FnOnce(&mut Guessing)) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "virtual time has to start somewhere, and only the clock makes an Instant"
        )]
        let now = Instant::now() + Duration::from_secs(1000);
        let identities = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]));
        let pairing = Pairing::new(&identities[0], identities[1].peer_id()).expect("a secret");
        let mut guessing = guessing();
        change(&mut guessing);
        let config = Config {
            introduction: IntroductionId(7),
            own_reflexive: Some(guessing.observed.ip()),
            keepalive: Default::default(),
            guessing: Some(guessing),
        };
        let mut lonely = Lonely {
            agent: Agent::new(config, &pairing, now),
            now,
            nat,
            mappings: BTreeMap::new(),
            open: BTreeSet::from([Base::MAIN]),
            most_open: 0,
            sent: Vec::new(),
            told: Vec::new(),
            asked_for_birthday: 0,
            grants: true,
            ended: None,
        };
        let reflexive = Candidate { kind: CandidateKind::ServerReflexive, address: guessing.peer };
        lonely.command(Command::AddCandidates(vec![reflexive]));
        lonely
    }

    fn command(&mut self, command: Command) {
        self.agent.handle_command(command, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            while let Some(request) = self.agent.poll_request() {
                match request {
                    Request::Open(base) => {
                        assert!(self.open.insert(base), "{base:?} twice");
                        self.most_open = self.most_open.max(self.open.len() - 1);
                        self.agent.handle_command(Command::Opened(base, 20_000 + base.0), self.now);
                    }
                    Request::Close(base) => assert!(base != Base::MAIN && self.open.remove(&base), "{base:?}"),
                    Request::Trickle(prediction) => self.told.push(prediction),
                    Request::BirthdayWanted => {
                        self.asked_for_birthday += 1;
                        if self.grants {
                            self.agent.handle_command(Command::GrantBirthday, self.now);
                        }
                    }
                    Request::BirthdayOver => {}
                }
            }
            while let Some(event) = self.agent.poll_event() {
                if let Event::Failed(report) = event {
                    self.ended = Some(report);
                }
            }
            let Some(transmit) = self.agent.poll_transmit() else { return };
            assert!(self.open.contains(&transmit.base), "from a socket that is not there");
            self.sent.push((transmit.base, transmit.destination));
            if transmit.destination.ip() == IpAddr::from(SERVER) && self.nat != OwnNat::Deaf {
                self.answer(transmit.base, transmit.destination, &transmit.payload);
            }
        }
    }

    fn answer(&mut self, base: Base, server: SocketAddr, payload: &[u8]) {
        let Ok(Message::Request(request)) = stun::decode(payload) else { panic!("no STUN request to the server") };
        let made = self.mappings.len() as u16;
        let port = match self.nat {
            OwnNat::Stands | OwnNat::Deaf => 20_000 + base.0,
            OwnNat::Sequential => *self.mappings.entry((base, server)).or_insert(30_000 + made),
            OwnNat::Random => {
                *self.mappings.entry((base, server)).or_insert(made.wrapping_mul(27_073).wrapping_add(1) | 1024)
            }
        };
        let mapped = SocketAddr::from((OURS, port));
        let response = Response { transaction: request.transaction, mapped, origin: None, other: None };
        let payload = stun::encode_response(&response);
        self.agent.handle_datagram(Received { base, source: server, payload: &payload }, self.now);
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..100_000 {
            let Some(next) = self.agent.poll_wakeup().map(|wakeup| wakeup.at).filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            self.agent.handle_timeout(self.now);
            self.drain();
        }
        panic!("it wakes up for nothing");
    }

    /// Where probes went, the server's STUN left out.
    fn probed(&self) -> BTreeSet<SocketAddr> {
        self.sent.iter().map(|(_, to)| *to).filter(|to| to.ip() != IpAddr::from(SERVER)).collect()
    }
}

fn guessing() -> Guessing {
    let symmetric = NatProfile { mapping: Some(Mapping::AddressAndPortDependent), ..NatProfile::default() };
    Guessing {
        server: (SERVER, 3478).into(),
        endpoints: StunEndpoints { alternate_port: 3479, alternate: None },
        observed: (OURS, 4000).into(),
        peer: (THEIRS, 5000).into(),
        profile: symmetric,
        peer_profile: symmetric,
        birthday: true,
        hint: None,
        seed: [7; 32],
    }
}

fn words() -> Vec<Foretold> {
    vec![
        Foretold::Stands { port: 9 },
        Foretold::Exact { port: 53 },
        Foretold::Next { last: 40_000, step: 1 },
        Foretold::Next { last: 65_535, step: i16::MIN },
        Foretold::Among { low: 1, high: 65_535 },
        Foretold::Among { low: 5000, high: 5511 },
        Foretold::Laid { first: 1, gap: i16::MAX, step: -1, marks: vec![1, 65_535, 2, 0, 40_000] },
    ]
}

#[test]
fn whatever_a_contact_says_of_its_ports_nothing_goes_to_another_address_than_its_own_and_the_caps_hold() {
    for nat in [OwnNat::Stands, OwnNat::Sequential, OwnNat::Random, OwnNat::Deaf] {
        for word in words() {
            let mut lonely = Lonely::new(nat, |_| ());
            for step in 0..400_u32 {
                // Every round in turn, each word many times, and sometimes a round that cannot be.
                let round = (step / 80) as u8;
                let ports = if step % 3 == 0 { words()[step as usize % 7].clone() } else { word.clone() };
                lonely.command(Command::Predict(Prediction { round, rtt_ms: 40, ports }));
                lonely.run_for(Duration::from_millis(50));
            }
            assert!(lonely.probed().iter().all(|to| to.ip() == IpAddr::from(THEIRS)), "{nat:?} {word:?}");
            assert!(lonely.most_open <= MAX_SOCKETS, "{nat:?} {word:?}: {}", lonely.most_open);
            let report = lonely.ended.unwrap_or_else(|| panic!("it goes on for ever: {nat:?} {word:?}"));
            assert_eq!(lonely.open, BTreeSet::from([Base::MAIN]), "all sockets are closed");
            let rounds = u32::from(MAX_ROUNDS);
            let packets = |strategy| report.of(strategy).packets;
            assert!(packets(Strategy::Plain) <= BUDGET);
            assert!(packets(Strategy::FreshSocket) <= 8 * rounds);
            assert!(packets(Strategy::Sequential) <= super::sequential::MAX_PACKETS * rounds);
            assert!(packets(Strategy::Sweep) <= super::sweep::PROBES as u32 * rounds);
            assert!(packets(Strategy::Block) <= u32::from(scatter::BLOCK.probes) * rounds);
            assert!(packets(Strategy::Birthday) <= 1200 * u32::from(scatter::RUNS), "{report:?}");
            assert!(lonely.asked_for_birthday <= 1);
            assert!(lonely.told.len() < 2 * usize::from(MAX_ROUNDS), "more words than the rendezvous passes on");
            let counted: u32 = report.tried().map(|(_, effort)| effort.packets).sum();
            assert_eq!(counted as usize, lonely.sent.len(), "every packet is in the report");
        }
    }
}

#[test]
fn a_contact_that_flips_its_predictions_makes_us_guess_no_more_than_one_that_does_not() {
    for nat in [OwnNat::Stands, OwnNat::Sequential, OwnNat::Random] {
        // A round after so many milliseconds: before a look is over, in the middle of a strategy, and just behind its end.
        for pace in [10, 100, 400, 700, 3050, 3150, 3200, 3300, 4000] {
            for first in words() {
                let mut lonely = Lonely::new(nat, |_| ());
                for step in 0..1600_u64 {
                    let round = u8::try_from(step * 10 / pace).unwrap_or(u8::MAX);
                    let ports = if step % 7 == 0 { first.clone() } else { words()[step as usize % 7].clone() };
                    lonely.command(Command::Predict(Prediction { round, rtt_ms: 1, ports }));
                    lonely.run_for(Duration::from_millis(10));
                }
                lonely.run_for(Duration::from_secs(20));
                let report = lonely.ended.expect("an end");
                let packets = |strategy| report.of(strategy).packets;
                let story = format!("{nat:?}, {first:?}, a round in {pace} ms: {report:?}");
                assert!(packets(Strategy::Birthday) <= 1200 * u32::from(scatter::RUNS), "{story}");
                let sockets: u32 = report.tried().map(|(_, effort)| effort.sockets).sum();
                assert!(sockets <= MAX_SOCKETS_IN_ALL, "{story}");
                assert!(lonely.sent.len() <= MAX_PACKETS_IN_ALL as usize, "{}: {story}", lonely.sent.len());
            }
        }
    }
}

#[test]
fn a_word_that_is_repeated_a_thousand_times_counts_once() {
    let once = |times: usize| {
        let mut lonely =
            Lonely::new(OwnNat::Stands, |guessing| guessing.profile.mapping = Some(Mapping::EndpointIndependent));
        for _ in 0..times {
            let ports = Foretold::Next { last: 40_000, step: 1 };
            lonely.command(Command::Predict(Prediction { round: 0, rtt_ms: 40, ports }));
        }
        lonely.run_for(Duration::from_secs(20));
        lonely.sent.len()
    };
    assert_eq!(once(1), once(1000));
}

#[test]
fn a_thousand_candidates_and_a_victim_among_them_get_no_more_than_the_plain_budget() {
    let mut lonely = Lonely::new(OwnNat::Random, |_| ());
    let victim: SocketAddr = "11.9.9.9:53".parse().expect("an address");
    let offered = (0..1000_u16).map(|n| SocketAddr::from(([11, 9, (n >> 8) as u8, n as u8], 53)));
    let kinds = [CandidateKind::Host, CandidateKind::ServerReflexive, CandidateKind::PeerReflexive];
    let offered = [victim].into_iter().chain(offered).zip(kinds.into_iter().cycle());
    let candidates = offered.map(|(address, kind)| Candidate { kind, address }).collect();
    lonely.command(Command::AddCandidates(candidates));
    lonely.command(Command::Predict(Prediction { round: 0, rtt_ms: 1, ports: Foretold::Stands { port: 53 } }));
    lonely.run_for(Duration::from_secs(20));
    let elsewhere = || lonely.sent.iter().filter(|(_, to)| ![SERVER, THEIRS].map(IpAddr::from).contains(&to.ip()));
    let addresses: BTreeSet<_> = elsewhere().map(|(_, to)| *to).collect();
    assert!(addresses.len() <= MAX_CANDIDATES && elsewhere().count() <= BUDGET as usize);
    assert!(elsewhere().all(|(base, _)| *base == Base::MAIN), "only the peer's own address is guessed at");
}

#[test]
fn a_peer_that_the_server_sees_on_our_own_machine_or_in_a_group_is_not_guessed_at() {
    for peer in ["127.0.0.1:22", "224.0.0.251:5353", "255.255.255.255:9", "[2001:db8::1]:9"] {
        let mut lonely = Lonely::new(OwnNat::Random, |guessing| guessing.peer = peer.parse().expect("an address"));
        lonely.command(Command::Predict(Prediction {
            round: 0,
            rtt_ms: 1,
            ports: Foretold::Among { low: 1, high: 9999 },
        }));
        lonely.run_for(Duration::from_secs(20));
        let report = lonely.ended.expect("an end");
        let others = report.tried().filter(|(strategy, _)| *strategy != Strategy::Plain).count();
        assert_eq!((others, report.ending), (0, Ending::OnlyPlain), "{peer}");
    }
}

#[test]
fn a_birthday_run_waits_for_its_turn_and_can_be_switched_off() {
    let full = Prediction { round: 0, rtt_ms: 40, ports: Foretold::Among { low: 1030, high: 65_000 } };
    let story = |birthday, grants| {
        let mut lonely = Lonely::new(OwnNat::Stands, |guessing| guessing.birthday = birthday);
        lonely.grants = grants;
        lonely.command(Command::Predict(full.clone()));
        lonely.run_for(Duration::from_secs(20));
        let report = lonely.ended.expect("an end");
        (report.of(Strategy::Birthday).packets, lonely.asked_for_birthday, report.ending)
    };
    assert_eq!(story(true, true), (1200, 1, Ending::Exhausted));
    let (packets, asked, ending) = story(false, true);
    assert_eq!((packets, asked, ending), (0, 0, Ending::BirthdayOff));
    assert_eq!(story(true, false), (0, 1, Ending::BirthdayNotGranted));
}

#[test]
fn a_server_that_does_not_answer_leaves_plain_probing_and_a_reason() {
    let mut lonely = Lonely::new(OwnNat::Deaf, |_| ());
    lonely.run_for(Duration::from_secs(20));
    assert_eq!(lonely.ended.map(|report| report.ending), Some(Ending::NothingObserved));
}

#[test]
fn a_report_survives_being_written_down() {
    let mut lonely = Lonely::new(OwnNat::Sequential, |_| ());
    lonely.run_for(Duration::from_secs(20));
    let report = lonely.ended.expect("an end");
    let bytes = postcard::to_stdvec(&report).expect("small");
    assert!(bytes.len() < 40, "{}", bytes.len());
    assert_eq!(postcard::from_bytes::<Report>(&bytes), Ok(report));
}

/// Every pair of what we have seen and what the peer says, and what comes of it.
#[test]
fn what_both_have_seen_decides_which_strategy_begins() {
    #[expect(
        clippy::disallowed_methods,
        reason = "virtual time has to start somewhere, and only the clock makes an Instant"
    )]
    let now = Instant::now() + Duration::from_secs(1000);
    let looks = [
        Look::Stands { port: 20_001 },
        Look::Exact,
        Look::Next { last: 30_000, step: 1, stride: 1.0 },
        Look::Among { low: 5000, high: 5500 },
        Look::Among { low: 1100, high: 65_000 },
    ];
    let words = [
        None,
        Some(Foretold::Stands { port: 6000 }),
        Some(Foretold::Exact { port: 6000 }),
        Some(Foretold::Next { last: 40_000, step: -2 }),
        Some(Foretold::Among { low: 7000, high: 7400 }),
        Some(Foretold::Among { low: 1100, high: 65_000 }),
    ];
    let mut table = String::new();
    for leads in [true, false] {
        let _ = writeln!(table, "{}", if leads { "we lead" } else { "the peer leads" });
        for own in looks {
            for word in &words {
                let mut rounds = Rounds::new(guessing(), leads, now).expect("an address to guess at");
                rounds.handle_granted(now);
                let before = rounds.report;
                let (act, until) = rounds.act_on(own, word.clone(), now);
                let mut sent: BTreeMap<&str, usize> = BTreeMap::new();
                rounds.observation.clear();
                while let Some(sending) = rounds.poll(until) {
                    let Sending::Probe { base, destination } = sending else { continue };
                    assert_eq!(destination.ip(), IpAddr::from(THEIRS));
                    *sent.entry(if base == Base::MAIN { "main" } else { "fresh" }).or_default() += 1;
                }
                let tried = Strategy::ALL.into_iter().filter(|s| rounds.report.of(*s) != before.of(*s));
                let tried: Vec<_> = tried.map(|s| (s, rounds.report.of(s).sockets - before.of(s).sockets)).collect();
                let act = format!("{act:?}");
                let act = act.split([' ', '(']).next().unwrap_or_default();
                let word = word.as_ref().map_or("nothing".to_owned(), |word| format!("{word:?}"));
                let _ = writeln!(table, "  {own:?} / {word}: {act} {tried:?} {sent:?} {:?}", until - now);
            }
        }
    }
    insta::assert_snapshot!(table);
}
