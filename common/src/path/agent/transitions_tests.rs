//! Every state of an agent and everything that can reach it there, in one table: what leaves, what the driver hears, when the
//! agent wants to be woken, and where it stands then. Read `snapshots/*every_input_in_every_state.snap`.

use std::fmt::Write;

use super::*;
use crate::candidate::{Candidate, CandidateKind};
use crate::identity::Identity;
use crate::introduction::StunEndpoints;
use crate::nat::{Mapping, NatProfile};
use crate::path::Guessing;
use crate::prediction::{Foretold, Prediction};
use crate::stun::{Change, TransactionId};

const INTRODUCTION: IntroductionId = IntroductionId(7);
/// Where the rendezvous sees us.
const OURS: [u8; 4] = [11, 1, 1, 1];
const SERVER: &str = "11.1.1.100:3478";
/// The peer, where the rendezvous sees it.
const PEER: &str = "11.1.1.2:5000";
/// The same, where another of its mappings leads.
const ELSEWHERE: &str = "11.1.1.2:6000";
/// A port of our own router.
const HAIRPIN: &str = "11.1.1.1:7000";
/// A socket that was opened for guessing, and one that never was.
const FRESH: Base = Base(2);

/// What an agent in a story has to hear to be in a state.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Punching,
    Heard,
    Settling,
    Open,
    AskedRoutinely,
    AskedOnDemand,
    RecheckBegins,
    RecheckLater,
    Failed,
    Lost,
    FollowingAfterGuesses,
    LeadingAfterGuesses,
}

const STAGES: [(Stage, &str); 12] = [
    (Stage::Punching, "punching, 5 ms after the first probe"),
    (Stage::Heard, "punching, the peer was heard"),
    (Stage::Settling, "settling: our own router's hairpin has answered, the LAN may"),
    (Stage::Open, "open, a second old"),
    (Stage::AskedRoutinely, "asked, because the rest is over"),
    (Stage::AskedOnDemand, "asked, because the driver doubts"),
    (Stage::RecheckBegins, "recheck, 5 ms old"),
    (Stage::RecheckLater, "recheck, 400 ms old"),
    (Stage::Failed, "closed: failed"),
    (Stage::Lost, "closed: lost"),
    (Stage::FollowingAfterGuesses, "open after guesses, and the peer, who leads, has not chosen yet"),
    (Stage::LeadingAfterGuesses, "asked after guesses: we lead, and have chosen"),
];

/// What can happen.
#[derive(Debug, Clone, Copy)]
enum Input {
    Probe(&'static str),
    ProbeAtFresh,
    Nomination(&'static str),
    NominationAtFresh,
    ForgedProbe,
    ForeignProbe,
    ReflectedProbe,
    Answer,
    AnswerFromElsewhere,
    AnswerAtAnotherSocket,
    ForgedAnswer,
    AnswerToNothing,
    PlainBinding,
    Junk,
    NewCandidate,
    KnownCandidate,
    ForbiddenCandidate,
    Predict,
    Opened,
    Granted,
    Verify,
    Early,
    Due,
    AfterAnHour,
}

const INPUTS: [(Input, &str); 27] = [
    (Input::Probe(PEER), "the peer's probe"),
    (Input::Probe(ELSEWHERE), "the peer's probe, from elsewhere"),
    (Input::Probe(HAIRPIN), "the peer's probe, through our own router"),
    (Input::ProbeAtFresh, "the peer's probe, at a fresh socket"),
    (Input::Nomination(PEER), "the peer's choice"),
    (Input::Nomination(ELSEWHERE), "the peer's choice, from elsewhere"),
    (Input::Nomination(HAIRPIN), "the peer's choice, through our own router"),
    (Input::NominationAtFresh, "the peer's choice, at a fresh socket"),
    (Input::ForgedProbe, "a forged probe"),
    (Input::ForeignProbe, "a probe of another introduction"),
    (Input::ReflectedProbe, "our own probe, reflected"),
    (Input::Answer, "the answer to the last probe"),
    (Input::AnswerFromElsewhere, "the same from elsewhere"),
    (Input::AnswerAtAnotherSocket, "the same at another socket"),
    (Input::ForgedAnswer, "a forged answer"),
    (Input::AnswerToNothing, "an answer to nothing"),
    (Input::PlainBinding, "a Binding request of anybody"),
    (Input::Junk, "junk"),
    (Input::NewCandidate, "one more candidate"),
    (Input::KnownCandidate, "a candidate that is known"),
    (Input::ForbiddenCandidate, "a candidate on our own machine"),
    (Input::Predict, "a word of the peer's ports"),
    (Input::Opened, "a socket was opened"),
    (Input::Granted, "a birthday run was granted"),
    (Input::Verify, "verify"),
    (Input::Early, "a timeout too early"),
    (Input::Due, "the timeout that it asked for"),
];

/// An agent, alone with whoever writes to it.
struct Bench {
    agent: Agent,
    now: Instant,
    /// Signs what the peer sends, and what answers us.
    peer: Credential,
    own: Credential,
    foreign: Credential,
    /// The last probe that left: from where, where to, and its transaction.
    last: Option<(Base, SocketAddr, TransactionId)>,
    serial: u8,
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

impl Bench {
    /// With the lower id, or the higher one.
    fn new(leads: bool, guessing: bool) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "virtual time has to start somewhere, and only the clock makes an Instant"
        )]
        let now = Instant::now() + Duration::from_secs(10_000);
        let mut identities = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]));
        identities.sort_by_key(Identity::peer_id);
        if !leads {
            identities.reverse();
        }
        let pairing = Pairing::new(&identities[0], identities[1].peer_id()).expect("a secret");
        assert_eq!(pairing.leads(), leads);
        let stranger = Identity::from_seed(&[9; 32]);
        let foreign = Pairing::new(&stranger, identities[1].peer_id()).expect("a secret");
        let profile = NatProfile { mapping: Some(Mapping::AddressAndPortDependent), ..NatProfile::default() };
        let guessing = guessing.then(|| Guessing {
            server: at(SERVER),
            endpoints: StunEndpoints { alternate_port: 3479, alternate: None },
            observed: (OURS, 4000).into(),
            peer: at(PEER),
            profile,
            peer_profile: profile,
            birthday: true,
            hint: None,
            seed: [7; 32],
        });
        let config = Config {
            introduction: INTRODUCTION,
            own_reflexive: Some(OURS.into()),
            keepalive: Keepalive::default(),
            guessing,
        };
        Bench {
            agent: Agent::new(config, &pairing, now),
            now,
            peer: Credential::new(&pairing.peer_probe_key(INTRODUCTION)),
            own: Credential::new(&pairing.own_probe_key(INTRODUCTION)),
            foreign: Credential::new(&foreign.own_probe_key(INTRODUCTION)),
            last: None,
            serial: 0,
        }
    }

    fn candidate(&mut self, kind: CandidateKind, address: &str) {
        let candidate = Candidate { kind, address: at(address) };
        self.agent.handle_command(Command::AddCandidates(vec![candidate]), self.now);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.agent.handle_timeout(self.now);
    }

    fn hear(&mut self, base: Base, source: &str, payload: &[u8]) -> bool {
        self.agent.handle_datagram(Received { base, source: at(source), payload }, self.now)
    }

    fn fresh_transaction(&mut self) -> TransactionId {
        self.serial += 1;
        TransactionId([self.serial; 12])
    }

    fn probe(&mut self, base: Base, source: &str, nominates: bool) {
        let encode = if nominates { stun::encode_nomination } else { stun::encode_probe };
        let payload = encode(self.fresh_transaction(), &username(INTRODUCTION), &self.peer);
        assert!(self.hear(base, source, &payload), "it claims to be for this agent");
    }

    /// Answers the last probe, as if it had come to `seen`.
    fn answer(&mut self, seen: Option<&str>, base: Option<Base>, forged: bool) -> bool {
        let Some((from, to, transaction)) = self.last else { return false };
        let credential = if forged { &self.foreign } else { &self.own };
        let payload = stun::encode_probe_response(transaction, (OURS, 4000).into(), credential);
        let source = seen.map_or(to, at).to_string();
        self.hear(base.unwrap_or(from), &source, &payload)
    }

    /// Everything that came out since the last look, in words.
    fn drain(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(request) = self.agent.poll_request() {
            if let Request::Open(base) = request {
                self.agent.handle_command(Command::Opened(base, 20_000 + base.0), self.now);
            }
            said.push(format!("{request:?}"));
        }
        while let Some(Transmit { base, destination, payload }) = self.agent.poll_transmit() {
            let from = if base == Base::MAIN { String::new() } else { format!(" from {}", base.0) };
            said.push(match stun::decode(&payload) {
                Ok(Message::Request(request)) if request.username.is_none() => {
                    format!("question to {destination}{from}")
                }
                Ok(Message::Request(request)) => {
                    self.last = Some((base, destination, request.transaction));
                    let what = if request.nominates { "choice" } else { "probe" };
                    format!("{what} to {destination}{from}")
                }
                Ok(Message::Response(_)) => format!("answer to {destination}{from}"),
                other => panic!("neither a probe nor an answer: {other:?}"),
            });
        }
        while let Some(event) = self.agent.poll_event() {
            said.push(match event {
                Event::Failed(_) => "EVENT Failed".to_owned(),
                Event::Heard { remote, .. } => format!("EVENT Heard {remote}"),
                Event::Punched { remote, after, .. } => format!("EVENT Punched {} {after:?}", remote.address),
                Event::Moved { remote, .. } => format!("EVENT Moved {}", remote.address),
                Event::Lost => "EVENT Lost".to_owned(),
            });
        }
        said
    }

    fn state(&self) -> String {
        let path = |path: &Path| path.remote.address.to_string();
        let mut state = match &self.agent.state {
            State::Punching { .. } => "punching".to_owned(),
            State::Settling { best, .. } => format!("settling {}", path(best)),
            State::Open { path: open, .. } => format!("open {}", path(open)),
            State::Asked { path: asked, routine, .. } => {
                format!("asked {}{}", path(asked), if *routine { "" } else { ", on demand" })
            }
            State::Recheck { path: old, routine, .. } => {
                format!("recheck {}{}", path(old), if *routine { "" } else { ", on demand" })
            }
            State::Closed => "closed".to_owned(),
        };
        if self.agent.linger.is_some() {
            state += ", lingers";
        }
        if let Some((_, pair)) = self.agent.nominated {
            let _ = write!(state, ", chosen {pair}");
        }
        state
    }

    fn wakeup(&self) -> String {
        let name = |Wakeup { at, reason }: Wakeup| {
            assert!(at > self.now, "woken at once, again and again: {reason:?} {:?}", self.now - at);
            format!("{reason:?} in {:?}", at - self.now)
        };
        self.agent.poll_wakeup().map_or_else(|| "never".to_owned(), name)
    }

    /// An agent in this state, with nothing left to be drained.
    fn reach(stage: Stage) -> Self {
        let guesses = matches!(stage, Stage::FollowingAfterGuesses | Stage::LeadingAfterGuesses);
        let mut bench = Bench::new(matches!(stage, Stage::LeadingAfterGuesses), guesses);
        let after = Duration::from_millis;
        bench.candidate(CandidateKind::ServerReflexive, if matches!(stage, Stage::Settling) { HAIRPIN } else { PEER });
        bench.drain();
        match stage {
            Stage::Punching => bench.now += after(5),
            Stage::Heard => {
                bench.now += after(5);
                bench.probe(Base::MAIN, PEER, false);
                bench.drain();
                // Nobody is probed back twice within so short a time.
                bench.now += after(1);
            }
            Stage::Settling | Stage::Open => {
                bench.now += after(5);
                bench.answer(None, None, false);
                if matches!(stage, Stage::Open) {
                    bench.wait(after(1000));
                }
            }
            Stage::AskedRoutinely => {
                bench.answer(None, None, false);
                bench.wait(crate::path::keepalive::FIRST);
            }
            Stage::AskedOnDemand | Stage::RecheckBegins | Stage::RecheckLater => {
                bench.answer(None, None, false);
                bench.agent.handle_command(Command::Verify, bench.now);
                if !matches!(stage, Stage::AskedOnDemand) {
                    bench.wait(MIN_ANSWER_TIMEOUT);
                    bench.now += after(5);
                }
                if matches!(stage, Stage::RecheckLater) {
                    bench.wait(after(395));
                }
            }
            Stage::Failed => bench.wait(PUNCHING_TIMEOUT),
            Stage::Lost => {
                bench.answer(None, None, false);
                bench.agent.handle_command(Command::Verify, bench.now);
                bench.wait(MIN_ANSWER_TIMEOUT);
                bench.wait(RECHECK_TIMEOUT);
            }
            Stage::FollowingAfterGuesses | Stage::LeadingAfterGuesses => {
                bench.now += after(5);
                // Heard at a fresh socket as well: it stays open until it is clear which one it will be.
                bench.probe(FRESH, ELSEWHERE, false);
                bench.drain();
                bench.last = Some((Base::MAIN, at(PEER), bench.last.expect("a probe").2));
                bench.candidate(CandidateKind::ServerReflexive, PEER);
                bench.wait(after(5));
                bench.drain();
                while bench.last.is_none_or(|(base, to, _)| base != Base::MAIN || to != at(PEER)) {
                    bench.wait(after(5));
                    bench.drain();
                }
                bench.answer(None, None, false);
            }
        }
        bench.drain();
        bench
    }

    fn give(&mut self, input: Input) {
        match input {
            Input::Probe(source) => self.probe(Base::MAIN, source, false),
            Input::ProbeAtFresh => self.probe(FRESH, ELSEWHERE, false),
            Input::Nomination(source) => self.probe(Base::MAIN, source, true),
            Input::NominationAtFresh => self.probe(FRESH, ELSEWHERE, true),
            Input::ForgedProbe => {
                let payload = stun::encode_probe(self.fresh_transaction(), &username(INTRODUCTION), &self.foreign);
                assert!(self.hear(Base::MAIN, ELSEWHERE, &payload), "it has the name");
            }
            Input::ForeignProbe => {
                let payload = stun::encode_probe(self.fresh_transaction(), &username(IntroductionId(8)), &self.peer);
                assert!(!self.hear(Base::MAIN, PEER, &payload), "it is another one's");
            }
            Input::ReflectedProbe => {
                let payload = stun::encode_probe(self.fresh_transaction(), &username(INTRODUCTION), &self.own);
                self.hear(Base::MAIN, PEER, &payload);
            }
            Input::Answer => drop(self.answer(None, None, false)),
            Input::AnswerFromElsewhere => drop(self.answer(Some(ELSEWHERE), None, false)),
            Input::AnswerAtAnotherSocket => drop(self.answer(None, Some(FRESH), false)),
            Input::ForgedAnswer => drop(self.answer(None, None, true)),
            Input::AnswerToNothing => {
                let transaction = self.fresh_transaction();
                let payload = stun::encode_probe_response(transaction, (OURS, 4000).into(), &self.own);
                assert!(!self.hear(Base::MAIN, PEER, &payload), "nobody asked");
            }
            Input::PlainBinding => {
                let payload = stun::encode_request(self.fresh_transaction(), Change::default());
                assert!(!self.hear(Base::MAIN, PEER, &payload), "a client is no STUN server");
            }
            Input::Junk => assert!(!self.hear(Base::MAIN, PEER, &[0; 40])),
            Input::NewCandidate => self.candidate(CandidateKind::Host, "192.168.1.7:4000"),
            Input::KnownCandidate => self.candidate(CandidateKind::ServerReflexive, PEER),
            Input::ForbiddenCandidate => self.candidate(CandidateKind::Host, "127.0.0.1:22"),
            Input::Predict => {
                let word = Prediction { round: 0, rtt_ms: 40, ports: Foretold::Next { last: 9000, step: 1 } };
                self.agent.handle_command(Command::Predict(word), self.now);
            }
            Input::Opened => self.agent.handle_command(Command::Opened(FRESH, 20_002), self.now),
            Input::Granted => self.agent.handle_command(Command::GrantBirthday, self.now),
            Input::Verify => self.agent.handle_command(Command::Verify, self.now),
            Input::Early => self.agent.handle_timeout(self.now),
            Input::Due => {
                if let Some(wakeup) = self.agent.poll_wakeup() {
                    self.now = wakeup.at;
                    self.agent.handle_timeout(self.now);
                }
            }
            Input::AfterAnHour => self.wait(Duration::from_secs(3600)),
        }
    }
}

#[test]
fn every_input_in_every_state() {
    let mut table = String::new();
    for (stage, title) in STAGES {
        let before = Bench::reach(stage);
        let _ = writeln!(table, "{title} [{}; {}]", before.state(), before.wakeup());
        let after_an_hour = (Input::AfterAnHour, "the machine has slept for an hour");
        for (input, name) in INPUTS.into_iter().chain([after_an_hour]) {
            let mut bench = Bench::reach(stage);
            bench.give(input);
            let said = bench.drain();
            let changed = !said.is_empty() || bench.state() != before.state() || bench.wakeup() != before.wakeup();
            let what = match changed {
                true => format!("{} -> {}; {}", shortened(said), bench.state(), bench.wakeup()),
                false => "nothing".to_owned(),
            };
            let _ = writeln!(table, "    {name:<42} {what}");
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn who_follows_goes_to_the_pair_that_the_leader_has_chosen_though_it_never_heard_of_it_before() {
    for (input, chosen) in [
        (Input::Nomination(ELSEWHERE), ELSEWHERE),
        (Input::Nomination(HAIRPIN), HAIRPIN),
        // Heard there while both were guessing.
        (Input::NominationAtFresh, ELSEWHERE),
    ] {
        let mut bench = Bench::reach(Stage::FollowingAfterGuesses);
        bench.give(input);
        let said = bench.drain();
        assert!(said.iter().any(|what| what.starts_with(&format!("probe to {chosen}"))), "{said:?}");
        bench.give(Input::Answer);
        let said = bench.drain();
        assert!(said.contains(&format!("EVENT Moved {chosen}")), "{said:?}");
        assert_eq!(bench.state(), format!("open {chosen}"));
    }
}

#[test]
fn a_choice_that_was_lost_is_said_again_as_soon_as_it_is_missed() {
    let mut bench = Bench::reach(Stage::LeadingAfterGuesses);
    bench.give(Input::Due);
    assert_eq!(bench.drain(), [format!("choice to {PEER}")]);
}

#[test]
fn the_answer_to_an_earlier_probe_does_not_say_that_the_peer_knows_of_our_choice() {
    let mut bench = Bench::new(true, true);
    bench.candidate(CandidateKind::ServerReflexive, PEER);
    bench.drain();
    let early = bench.last;
    bench.wait(Duration::from_millis(10));
    bench.drain();
    bench.give(Input::Answer);
    assert!(bench.drain().contains(&format!("choice to {PEER}")));
    let choice = bench.last;
    bench.last = early;
    bench.give(Input::Answer);
    assert_eq!(bench.state(), format!("asked {PEER}, on demand"));
    bench.last = choice;
    bench.give(Input::Answer);
    assert_eq!(bench.state(), format!("open {PEER}"));
}

#[test]
fn a_choice_that_comes_before_our_own_path_stands_is_the_path() {
    let mut bench = Bench::reach(Stage::Punching);
    bench.give(Input::Nomination(ELSEWHERE));
    bench.drain();
    let chosen = bench.last.expect("probed back");
    // The answer to another probe comes first.
    bench.give(Input::Due);
    bench.drain();
    bench.give(Input::Answer);
    assert_eq!(bench.state(), format!("open {PEER}, chosen {ELSEWHERE}"));
    bench.last = Some(chosen);
    bench.give(Input::Answer);
    bench.drain();
    assert_eq!(bench.state(), format!("open {ELSEWHERE}"));
}

#[test]
fn a_choice_that_is_the_path_already_costs_no_probe() {
    for stage in [Stage::Open, Stage::AskedOnDemand, Stage::FollowingAfterGuesses] {
        let mut bench = Bench::reach(stage);
        bench.give(Input::Nomination(PEER));
        let said = bench.drain();
        assert!(!said.iter().any(|what| what.starts_with("probe")), "{stage:?}: {said:?}");
    }
}

/// A look opens and closes many sockets of one kind.
fn shortened(said: Vec<String>) -> String {
    let mut short: Vec<(String, usize)> = Vec::new();
    for what in said {
        let kind = what.split("Base(").next().unwrap_or_default().to_owned();
        let word = if kind == what { what } else { kind.trim_end_matches('(').to_owned() };
        match short.last_mut().filter(|(last, _)| *last == word) {
            Some((_, count)) => *count += 1,
            None => short.push((word, 1)),
        }
    }
    let words = short.into_iter().map(|(word, count)| if count == 1 { word } else { format!("{word} x{count}") });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}
