//! How long routers remember silence, in real time: the scripts of all of them side by side, one pass for all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use super::vantage::Vantage;
use super::voice::Voice;
use crate::model::Family;
use crate::model::observed::{Act, Answer, ObservedLifetimes, Script, SeenLifetimes, judge, plan};
use crate::netns::error::Result;

/// The first port of whoever is silent.
const FIRST_PORT: u16 = 5000;
/// Between two looks at whether somebody still wants to know.
const GLANCE: Duration = Duration::from_millis(200);
/// What is sent may be under way for so long before a router looks at it, on a busy machine.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// Somebody whose router's memory is asked about.
pub struct Patient<'a, V> {
    /// Who is silent. Ports from 5000 on must be free.
    pub inside: &'a V,
    /// Who knocks afterwards, from this port.
    pub outside: (&'a V, u16),
    /// Over which version of IP.
    pub family: Family,
    /// What is expected: it says where to look most closely.
    pub expected: ObservedLifetimes,
}

/// Finds out how long the routers of all these remember a silent session, and what keeps it. It takes a fifth more than the
/// longest lifetime that is expected, and `watch` hears several times a second how much of that is left; if it wants no
/// more, the result is `None`.
pub fn lifetimes<V: Vantage>(
    patients: &[Patient<'_, V>],
    mut watch: impl FnMut(Duration) -> ControlFlow<()>,
) -> Result<Option<Vec<SeenLifetimes>>> {
    let far = |patient: &Patient<'_, V>| Voice::new(patient.outside.0, patient.family, patient.outside.1);
    let voices = patients.iter().map(far).collect::<Result<Vec<Voice>>>()?;
    let mut players = vec![];
    for (number, patient) in patients.iter().enumerate() {
        for (port, script) in (FIRST_PORT..).zip(plan(&patient.expected)) {
            players.push(Player::new(number, Voice::new(patient.inside, patient.family, port)?, script));
        }
    }
    let started = Instant::now();
    let ends = started + players.iter().map(|player| player.script.takes()).max().unwrap_or_default();
    let mut due: BTreeMap<(Instant, usize), usize> = (0..players.len()).map(|number| ((started, number), 0)).collect();
    while let Some(((at, number), step)) = due.pop_first() {
        if wait_until(at, ends, &mut watch).is_break() {
            return Ok(None);
        }
        let player = &mut players[number];
        player.play(step, &voices[player.patient])?;
        if let Some((after, _)) = player.script.steps.get(step + 1) {
            due.insert((Instant::now() + *after, number), step + 1);
        }
    }
    // The last knocks have been sent just now.
    thread::sleep(UNDER_WAY);
    let mut answers: Vec<Vec<Answer>> = patients.iter().map(|_| vec![]).collect();
    for player in &players {
        answers[player.patient].push(player.answer()?);
    }
    Ok(Some(answers.iter().map(|answers| judge(answers)).collect()))
}

fn wait_until(at: Instant, ends: Instant, watch: &mut impl FnMut(Duration) -> ControlFlow<()>) -> ControlFlow<()> {
    loop {
        let now = Instant::now();
        watch(ends.saturating_duration_since(now))?;
        let left = at.saturating_duration_since(now);
        if left.is_zero() {
            return ControlFlow::Continue(());
        }
        thread::sleep(left.min(GLANCE));
    }
}

/// A socket that plays a script.
struct Player {
    patient: usize,
    near: Voice,
    script: Script,
    mapped: SocketAddr,
    /// Before and after its last packet but the knock.
    used: [Instant; 2],
    /// Before and after the knock.
    knocked: [Instant; 2],
}

impl Player {
    fn new(patient: usize, near: Voice, script: Script) -> Player {
        let (mapped, now) = (near.address, Instant::now());
        Player { patient, near, script, mapped, used: [now; 2], knocked: [now; 2] }
    }

    fn play(&mut self, step: usize, far: &Voice) -> Result<()> {
        let before = Instant::now();
        let Some((_, act)) = self.script.steps.get(step) else { return Ok(()) };
        match act {
            Act::Out => self.mapped = self.near.mapped_by(far)?,
            Act::Exchange => {
                self.mapped = self.near.mapped_by(far)?;
                far.say(ANSWER, self.mapped)?;
                self.near.hears(ANSWER)?;
            }
            Act::In => far.say(ANSWER, self.mapped)?,
            Act::Knock => far.say(KNOCK, self.mapped)?,
        }
        let times = if *act == Act::Knock { &mut self.knocked } else { &mut self.used };
        *times = [before, Instant::now()];
        Ok(())
    }

    fn answer(&self) -> Result<Answer> {
        let arrived = self.near.hears_within(Duration::from_millis(1), KNOCK)?.is_some();
        let least = self.knocked[0].saturating_duration_since(self.used[1]);
        let most = self.knocked[1].saturating_duration_since(self.used[0]) + UNDER_WAY;
        Ok(Answer { question: self.script.question, silence: least..=most, arrived })
    }
}

const ANSWER: &str = "you are heard";
const KNOCK: &str = "is anybody there?";
