//! Two people talk while their clients and the server are killed again and again, as by a power cut: at the end each has
//! every word of the other once, in order, and is told the truth about it.
//!
//! `PUNCHLINE_SEED=s` plays the kills of a seed again (time is real, so the rest differs), `PUNCHLINE_MESSAGES=n` makes it
//! longer.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::talking::SOON;
use e2e::{Person, Running, World, router_of};
use netsim::netns::{Router, in_namespaces};
use serde_json::Value;

/// Lines typed that have not been echoed yet: what a person's terminal would hold.
const AHEAD: usize = 8;
/// Between two lines of one person, so that there is something to lose at every kill.
const PACE: Duration = Duration::from_millis(80);

/// How long one looks at one screen before the other.
const GLANCE: Duration = Duration::from_millis(2);

/// Numbers that look random (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.roll(most - least))
    }
}

/// One of the two, whose client dies and comes back.
struct Talker<'a> {
    person: &'a Person,
    to: &'a Person,
    lines: Vec<String>,
    /// Not echoed yet, in order.
    to_say: VecDeque<String>,
    typed: usize,
    next_line: Instant,
    client: Option<Running>,
    back: Instant,
}

impl<'a> Talker<'a> {
    fn new(person: &'a Person, to: &'a Person, count: usize) -> Result<Self> {
        let lines: Vec<String> = (0..count).map(|n| format!("{} {n}", person.name())).collect();
        let to_say = lines.iter().cloned().collect();
        let (client, now) = (Some(person.chat(to)?), Instant::now());
        Ok(Talker { person, to, lines, to_say, typed: 0, next_line: now, client, back: now })
    }

    /// Types on, and takes note of what the client has taken.
    fn step(&mut self) -> Result<()> {
        if self.client.is_none() && Instant::now() >= self.back {
            self.return_to_chat()?;
        }
        let Some(client) = &mut self.client else { return Ok(()) };
        // Waiting here for what comes is what keeps the story from spinning.
        while let Some(said) = client.next_line(GLANCE) {
            if said.event["event"] == "message" && said.event["dir"] == "out" {
                assert_eq!(said.event["text"].as_str(), self.to_say.pop_front().as_deref(), "echoed in order");
                self.typed -= 1;
            }
        }
        if self.typed < AHEAD.min(self.to_say.len()) && Instant::now() >= self.next_line {
            client.say(&self.to_say[self.typed]);
            self.typed += 1;
            self.next_line = Instant::now() + PACE;
        }
        Ok(())
    }

    /// What was typed and not taken is typed again, as whoever looks at the history would.
    fn return_to_chat(&mut self) -> Result<()> {
        let kept = self.history("out")?.len();
        self.to_say = self.lines[kept..].iter().cloned().collect();
        self.typed = 0;
        self.client = Some(self.person.chat(self.to)?);
        Ok(())
    }

    fn kill(&mut self, away: Duration) {
        if let Some(client) = self.client.take() {
            client.kill();
            self.back = Instant::now() + away;
        }
    }

    fn history(&self, dir: &str) -> Result<Vec<Value>> {
        let mut history = self.person.start(&["history", self.to.name(), "--all"])?;
        assert_eq!(history.exit_code(SOON), 0, "{}", history.transcript());
        Ok(history.said().iter().map(|said| said.event.clone()).filter(|event| event["dir"] == dir).collect())
    }

    fn is_done(&self) -> Result<bool> {
        if self.client.is_none() || !self.to_say.is_empty() {
            return Ok(false);
        }
        let mut outbox = self.person.start(&["outbox"])?;
        assert_eq!(outbox.exit_code(SOON), 0, "{}", outbox.transcript());
        Ok(outbox.said().is_empty())
    }
}

fn texts(history: &[Value]) -> Vec<String> {
    history.iter().map(|message| message["text"].as_str().unwrap_or_default().to_owned()).collect()
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn every_word_arrives_once_and_in_order_while_everybody_is_killed_again_and_again() {
    torture(Router::home);
}

/// Random ports on both sides: nothing but the relay carries.
#[test]
fn the_same_where_there_is_no_direct_path() {
    torture(Router::corporate);
}

fn torture(router: fn() -> Router) {
    let seed = number("PUNCHLINE_SEED", u64::from(std::process::id()));
    let count = usize::try_from(number("PUNCHLINE_MESSAGES", 200)).expect("a number of messages");
    println!("PUNCHLINE_SEED={seed} PUNCHLINE_MESSAGES={count}");
    in_namespaces(|| {
        let mut dice = Dice(seed);
        let mut world = World::new()?;
        let alice = world.alice(&router_of(&world, "a", router())?.host("alice")?)?;
        let bob = world.bob(&router_of(&world, "b", router())?.host("bob")?)?;
        world.acquaint(&alice, &bob)?;
        let mut talkers = [Talker::new(&alice, &bob, count)?, Talker::new(&bob, &alice, count)?];
        let (mut kills, mut next_kill) = (0, Instant::now() + dice.between(500, 3000));
        // Twelve kills at least, and then peace: what is left must arrive.
        let mut peace = None;
        let mut server_back = None;
        loop {
            for talker in &mut talkers {
                talker.step()?;
            }
            if server_back.is_some_and(|at| Instant::now() >= at) {
                world.start_rendezvous()?;
                server_back = None;
            }
            let said = talkers.iter().all(|talker| talker.to_say.is_empty());
            if Instant::now() >= next_kill && peace.is_none() {
                let away = dice.between(0, 700);
                match dice.roll(3) {
                    2 if server_back.is_none() => {
                        world.kill_rendezvous();
                        server_back = Some(Instant::now() + away);
                    }
                    who => talkers[usize::try_from(who % 2).expect("0 or 1")].kill(away),
                }
                kills += 1;
                next_kill = Instant::now() + dice.between(500, 3000);
                if said && kills >= 12 {
                    peace = Some(Instant::now());
                }
            }
            if let Some(since) = peace {
                if talkers[0].is_done()? && talkers[1].is_done()? && server_back.is_none() {
                    break;
                }
                assert!(since.elapsed() < SOON * 3, "it does not come to rest");
            }
        }
        for (one, other) in [(0, 1), (1, 0)] {
            let (sent, received) = (talkers[one].history("out")?, talkers[other].history("in")?);
            assert_eq!(texts(&received), talkers[one].lines, "each once, in order");
            assert_eq!(texts(&sent), talkers[one].lines);
            assert!(sent.iter().all(|message| message["state"] == "device"), "{sent:?}");
        }
        println!("{kills} kills");
        Ok(())
    });
}
