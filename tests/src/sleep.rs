//! A laptop that sleeps until everybody has given it up, and wakes.
//!
//! No machine can be put to sleep in a namespace. A client that stands still while the others' clocks go on is nearly the same: when
//! it wakes all its timers have run out, the router has forgotten its mappings, the rendezvous its registration, and the
//! peer its path. Only that its own clock went on is different; what a client makes of a clock that did not has a test of its
//! own (`client/src/net/watch.rs`).

use std::time::{Duration, Instant};

use anyhow::Result;
use netsim::netns::Signal;

use crate::flow::{direct_again, heard};
use crate::running::Running;
use crate::town::Town;

/// The rendezvous gives a silent client up after ten seconds, and the peer asks for it every other second.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// Lines that are typed while he sleeps.
const LINES: usize = 40;

/// What became of it.
#[derive(Debug)]
pub struct Slept {
    /// How long.
    pub slept: Duration,
    /// From waking to the last line that was typed meanwhile.
    pub last: Duration,
    /// From waking to messages on a direct path, at both sides.
    pub direct: Duration,
}

/// Bob sleeps, Alice goes on typing until the rendezvous has said that he is not there, and he wakes. An error if not all of her
/// lines arrive, once and in order, and over a direct path in the end.
pub fn sleep_and_wake(town: &Town, alices: &mut Running, bobs: &mut Running, patience: Duration) -> Result<Slept> {
    let fell_asleep = Instant::now();
    bobs.signal(Signal::SIGSTOP);
    town.bobs.reboot()?;
    for number in 0..LINES / 2 {
        alices.say(&format!("line {number}"));
    }
    alices.expect("refused", GIVEN_UP);
    // What he had sent a moment before he fell asleep may have opened it again.
    town.bobs.reboot()?;
    for number in LINES / 2..LINES {
        alices.say(&format!("line {number}"));
    }
    let woke = Instant::now();
    bobs.signal(Signal::SIGCONT);
    while heard(bobs).len() < LINES && woke.elapsed() < patience {
        let _ = bobs.next_line(Duration::from_millis(20));
    }
    let lines = heard(bobs);
    let numbers: Vec<usize> = lines.iter().map(|(number, _)| *number).collect();
    anyhow::ensure!(
        numbers.iter().copied().eq(0..LINES),
        "{numbers:?} of {LINES} lines\n{}{}",
        alices.transcript(),
        bobs.transcript()
    );
    let mut direct = Duration::ZERO;
    for side in [&mut *alices, &mut *bobs] {
        direct = direct.max(direct_again(side, woke, patience)?);
    }
    let last = lines[LINES - 1].1.saturating_duration_since(woke);
    Ok(Slept { slept: woke - fell_asleep, last, direct })
}
