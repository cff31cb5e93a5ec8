//! Every phase of the rounds and everything that can reach them there, in one table. Read
//! `snapshots/*every_input_in_every_phase.snap`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::*;
use crate::introduction::StunEndpoints;

const OURS: [u8; 4] = [11, 1, 1, 1];
const SERVER: &str = "11.1.1.100:3478";
const PEER: &str = "11.1.1.2:5000";

/// How our NAT gives ports.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ports {
    Stand,
    Next,
    Block,
    Any,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Quiet,
    Looking,
    LookingWithMany,
    Told,
    ToldAndHeard,
    Shooting,
    Laying,
    Awaiting,
    Sweeping,
    Wanting,
    Granted,
    LastRound,
    Over,
}

const STAGES: [(Stage, &str); 13] = [
    (Stage::Quiet, "quiet: our mapping stands, and plain probing has its chance"),
    (Stage::Looking, "looking"),
    (Stage::LookingWithMany, "looking from many sockets: a few have shown no order"),
    (Stage::Told, "told: our ports are the next ones, and the peer has not said anything"),
    (Stage::ToldAndHeard, "told, and heard that the peer stands"),
    (Stage::Shooting, "shooting at the next ports of the peer"),
    (Stage::Laying, "laying rows: we lead, and both are sequential"),
    (Stage::Awaiting, "awaiting rows: the peer leads, and both are sequential"),
    (Stage::Sweeping, "sweeping"),
    (Stage::Wanting, "wanting a birthday run"),
    (Stage::Granted, "a birthday run"),
    (Stage::LastRound, "shooting in the last round"),
    (Stage::Over, "over"),
];

#[derive(Debug, Clone, Copy)]
enum Input {
    Stands,
    Next,
    Block,
    Any,
    Laid,
    NextRound,
    LastRound,
    EarlierRound,
    NoSuchRound,
    Insane,
    Answer,
    AnswerFromElsewhere,
    AnswerToNothing,
    Granted,
    Early,
    Due,
    AfterAnHour,
    Stop,
}

const INPUTS: [(Input, &str); 18] = [
    (Input::Stands, "the peer stands"),
    (Input::Next, "the peer's ports are the next ones"),
    (Input::Block, "the peer's ports are in a block"),
    (Input::Any, "the peer's ports are any"),
    (Input::Laid, "the peer has laid rows"),
    (Input::NextRound, "a word of the next round"),
    (Input::LastRound, "a word of the last round"),
    (Input::EarlierRound, "a word of the round before"),
    (Input::NoSuchRound, "a word of a round that there is not"),
    (Input::Insane, "a word that makes no sense"),
    (Input::Answer, "an answer of the rendezvous"),
    (Input::AnswerFromElsewhere, "the same from elsewhere"),
    (Input::AnswerToNothing, "an answer that nobody asked for"),
    (Input::Granted, "a birthday run is granted"),
    (Input::Early, "a timeout too early"),
    (Input::Due, "the timeout that it asked for"),
    (Input::AfterAnHour, "the machine has slept for an hour"),
    (Input::Stop, "a path stands"),
];

struct Bench {
    rounds: Rounds,
    now: Instant,
    ports: Ports,
    made: u16,
    mappings: BTreeMap<(Base, SocketAddr), u16>,
    /// Questions that have left and were not answered.
    asked: VecDeque<(Base, SocketAddr, TransactionId)>,
}

fn word(round: u8, ports: Foretold) -> Prediction {
    Prediction { round, rtt_ms: 40, ports }
}

impl Bench {
    fn new(ports: Ports, leads: bool) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "virtual time has to start somewhere, and only the clock makes an Instant"
        )]
        let now = Instant::now() + Duration::from_secs(10_000);
        let mapping =
            if ports == Ports::Stand { Mapping::EndpointIndependent } else { Mapping::AddressAndPortDependent };
        let profile = NatProfile { mapping: Some(mapping), ..NatProfile::default() };
        let symmetric = NatProfile { mapping: Some(Mapping::AddressAndPortDependent), ..profile };
        let config = Guessing {
            server: SERVER.parse().expect("an address"),
            endpoints: StunEndpoints { alternate_port: 3479, alternate: None },
            observed: (OURS, 4000).into(),
            peer: PEER.parse().expect("an address"),
            profile,
            peer_profile: symmetric,
            birthday: true,
            hint: None,
            seed: [7; 32],
        };
        let rounds = Rounds::new(config, leads, now).expect("an address to guess at");
        Bench { rounds, now, ports, made: 0, mappings: BTreeMap::new(), asked: VecDeque::new() }
    }

    /// Sends what is due, and says what that was.
    fn drain(&mut self) -> Vec<String> {
        self.rounds.advance(self.now);
        let mut said = Vec::new();
        let mut count = |what: &str| match said.last_mut() {
            Some((last, count)) if last == what => *count += 1,
            _ => said.push((what.to_owned(), 1)),
        };
        while let Some(request) = self.rounds.requests.pop_front() {
            match request {
                Request::Open(base) => {
                    self.rounds.sockets.opened(base, 20_000 + base.0);
                    count("open");
                }
                Request::Close(_) => count("close"),
                Request::Trickle(prediction) => count(&format!("say {:?}", prediction.ports)),
                Request::BirthdayWanted => count("want a birthday run"),
                Request::BirthdayOver => count("give the turn back"),
            }
        }
        while let Some(sending) = self.rounds.poll(self.now) {
            match sending {
                Sending::Probe { .. } => count("probe"),
                Sending::Question { base, destination, transaction } => {
                    self.asked.push_back((base, destination, transaction));
                    count("question");
                }
            }
        }
        let words = said.into_iter().map(|(what, n)| if n == 1 { what } else { format!("{what} x{n}") });
        words.collect()
    }

    /// One answer of the rendezvous, the oldest that is out.
    fn answer(&mut self, from: Option<&str>) -> bool {
        let Some((base, server, transaction)) = self.asked.pop_front() else { return false };
        let made = self.made;
        self.made += 1;
        let port = match self.ports {
            Ports::Stand => *self.mappings.entry((base, SERVER.parse().expect("an address"))).or_insert(9000 + base.0),
            Ports::Next => *self.mappings.entry((base, server)).or_insert(30_000 + made),
            Ports::Block => *self.mappings.entry((base, server)).or_insert(5000 + made * 307 % 500),
            Ports::Any => *self.mappings.entry((base, server)).or_insert(made.wrapping_mul(27_073) | 1024),
        };
        let source = from.map_or(server, |text| text.parse().expect("an address"));
        self.rounds.handle_answer(transaction, (base, source), (OURS, port).into(), self.now)
    }

    /// Answers everything that is asked, until nothing more is.
    fn answer_all(&mut self) {
        loop {
            self.drain();
            if !self.answer(None) {
                return;
            }
        }
    }

    fn say(&mut self, word: Prediction) {
        self.rounds.handle_prediction(word, self.now);
    }

    fn reach(stage: Stage) -> Self {
        let next = || Foretold::Next { last: 40_000, step: 1 };
        let (ports, leads) = match stage {
            Stage::Quiet | Stage::Shooting | Stage::LastRound => (Ports::Stand, false),
            Stage::Laying => (Ports::Next, true),
            Stage::LookingWithMany => (Ports::Block, true),
            Stage::Wanting | Stage::Granted => (Ports::Any, true),
            _ => (Ports::Next, false),
        };
        let mut bench = Bench::new(ports, leads);
        bench.drain();
        match stage {
            Stage::Quiet | Stage::Looking => {}
            Stage::LookingWithMany => {
                for _ in 0..=A_FEW {
                    bench.answer(None);
                }
            }
            Stage::Told => bench.answer_all(),
            Stage::ToldAndHeard => {
                bench.answer_all();
                bench.say(word(0, Foretold::Stands { port: 6000 }));
            }
            Stage::Shooting => bench.say(word(0, next())),
            Stage::LastRound => {
                bench.say(word(MAX_ROUNDS - 1, next()));
                bench.answer_all();
                bench.now += Duration::from_millis(100);
            }
            Stage::Laying | Stage::Awaiting | Stage::Sweeping => {
                bench.answer_all();
                bench.say(word(0, next()));
                bench.now += Duration::from_millis(100);
                bench.drain();
                if matches!(stage, Stage::Sweeping) {
                    bench.give(Input::Laid);
                }
            }
            Stage::Wanting | Stage::Granted => {
                bench.say(word(0, Foretold::Stands { port: 6000 }));
                bench.answer_all();
                bench.now += Duration::from_millis(100);
                bench.drain();
                if matches!(stage, Stage::Granted) {
                    bench.rounds.handle_granted(bench.now);
                }
            }
            Stage::Over => bench.rounds.stop(),
        }
        bench.drain();
        bench
    }

    fn give(&mut self, input: Input) {
        let round = self.rounds.number;
        match input {
            Input::Stands => self.say(word(round, Foretold::Stands { port: 6000 })),
            Input::Next => self.say(word(round, Foretold::Next { last: 40_000, step: 1 })),
            Input::Block => self.say(word(round, Foretold::Among { low: 7000, high: 7400 })),
            Input::Any => self.say(word(round, Foretold::Among { low: 1100, high: 65_000 })),
            Input::Laid => {
                let marks = (0..=sweep::ROWS).map(|n| 41_000 + n * 9).collect();
                self.say(word(round, Foretold::Laid { first: 30_020, gap: 8, step: 1, marks }));
            }
            Input::NextRound => self.say(word(round + 1, Foretold::Stands { port: 6000 })),
            Input::LastRound => self.say(word(MAX_ROUNDS - 1, Foretold::Stands { port: 6000 })),
            Input::EarlierRound => self.say(word(round.saturating_sub(1), Foretold::Stands { port: 6000 })),
            Input::NoSuchRound => self.say(word(MAX_ROUNDS, Foretold::Stands { port: 6000 })),
            Input::Insane => self.say(word(round, Foretold::Next { last: 9, step: 0 })),
            Input::Answer => drop(self.answer(None)),
            Input::AnswerFromElsewhere => drop(self.answer(Some("11.1.1.66:3478"))),
            Input::AnswerToNothing => {
                let from = (Base::MAIN, SERVER.parse().expect("an address"));
                assert!(!self.rounds.handle_answer(TransactionId([9; 12]), from, (OURS, 9).into(), self.now));
            }
            Input::Granted => self.rounds.handle_granted(self.now),
            Input::Early => {}
            Input::Due => self.now = self.rounds.next_at().unwrap_or(self.now),
            Input::AfterAnHour => self.now += Duration::from_secs(3600),
            Input::Stop => self.rounds.stop(),
        }
    }

    fn state(&self) -> String {
        let phase = match &self.rounds.phase {
            Phase::Quiet { .. } => "quiet",
            Phase::Looking { many: false } => "looking",
            Phase::Looking { many: true } => "looking from many",
            Phase::Told { .. } => "told",
            Phase::Acting { act: Act::Shooting, .. } => "shooting",
            Phase::Acting { act: Act::Laying { .. }, .. } => "laying",
            Phase::Acting { act: Act::Awaiting { .. }, .. } => "awaiting",
            Phase::Acting { act: Act::Sweeping(_), .. } => "sweeping",
            Phase::Acting { act: Act::Wanting { .. }, .. } => "wanting",
            Phase::Over => "over",
        };
        let heard = if self.rounds.peer.is_some() { ", heard" } else { "" };
        let next = match self.rounds.next_at() {
            Some(at) => format!("in {:?}", at.checked_duration_since(self.now).expect("nobody is woken for the past")),
            None => "never".to_owned(),
        };
        format!("{phase} {}{heard}; {next}", self.rounds.number)
    }
}

#[test]
fn every_input_in_every_phase() {
    let mut table = String::new();
    for (stage, title) in STAGES {
        let before = Bench::reach(stage).state();
        let _ = writeln!(table, "{title} [{before}]");
        for (input, name) in INPUTS {
            let mut bench = Bench::reach(stage);
            bench.give(input);
            let said = bench.drain();
            let what = match said.is_empty() && bench.state() == before {
                true => "nothing".to_owned(),
                false if said.is_empty() => format!("-> {}", bench.state()),
                false => format!("{} -> {}", said.join(", "), bench.state()),
            };
            let _ = writeln!(table, "    {name:<38} {what}");
        }
    }
    insta::assert_snapshot!(table);
}
