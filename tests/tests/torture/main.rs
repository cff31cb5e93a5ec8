//! Two people talk while their clients and the server are killed again and again, as by a power cut, while lines fall silent,
//! both go from one network to another, and a fifth of all packets is lost on each of their lines: at the end each has every
//! word of the other once, in order. At each kill, and at the end, what one was told of a message holds on the other's disk.
//!
//! `PUNCHLINE_SEED=s` plays the kills and the troubles of a seed again (time is real, so the rest differs),
//! `PUNCHLINE_MESSAGES=n` makes it longer (so many each way) and `PUNCHLINE_PACE_MS=m` the pauses between two lines shorter.
#![cfg(target_os = "linux")]

mod dice;
mod ledger;
mod stage;
mod talker;

use std::time::{Duration, Instant};

use netsim::model::{Behaviour, presets};
use netsim::netns::in_namespaces;

use crate::dice::Dice;
use crate::ledger::Ledger;
use crate::stage::Stage;
use crate::talker::{Part, Talker};

/// The share of the packets that each of the two's own line loses, each way: between the two four of ten get lost.
const LOSS: f64 = 0.2;
/// The two clients and the server.
const VICTIMS: usize = 3;
/// So many kills at least, and then peace: what is left must arrive.
const KILLS: usize = 12;
/// Until then: registering, meeting and what is left of the words, on lines that still lose as much.
const REST: Duration = Duration::from_secs(60);
/// How often what is on the disks is compared, right after a kill. Reading takes its time, and meanwhile nobody is killed.
const LOOKED_EACH: Duration = Duration::from_secs(4);
/// Each so many times all of the two histories is compared, and not only what is recent.
const ALL_EACH: usize = 20;
/// Told while it goes on, for whoever watches a long one.
const TOLD_EACH: Duration = Duration::from_secs(60);

#[test]
fn every_word_arrives_once_and_in_order_while_everybody_is_killed_and_roams_on_bad_lines() {
    torture(presets::home);
}

/// Random ports wherever they go: nothing but the relay carries.
#[test]
fn the_same_where_there_is_no_direct_path() {
    torture(presets::corporate);
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn torture(nat: fn() -> Behaviour) {
    let seed = number("PUNCHLINE_SEED", u64::from(std::process::id()));
    let count = usize::try_from(number("PUNCHLINE_MESSAGES", 200)).expect("a number of messages");
    let pace = Duration::from_millis(number("PUNCHLINE_PACE_MS", 80));
    println!("PUNCHLINE_SEED={seed} PUNCHLINE_MESSAGES={count} PUNCHLINE_PACE_MS={}", pace.as_millis());
    in_namespaces(|| {
        let begun = Instant::now();
        let mut dice = Dice::new(seed);
        let mut stage = Stage::new(seed, nat(), LOSS, dice.apart())?;
        let mut talkers =
            [(0, 1), (1, 0)].map(|(one, other)| Talker::new(stage.person(one), stage.person(other), count, pace));
        let mut ledger = Ledger::default();
        let (mut kills, mut looked) = (0, Instant::now());
        let mut next_kills = [(); VICTIMS].map(|()| Instant::now() + dice.between(500, 3000));
        let (mut peace, mut told) = (None, Instant::now());
        loop {
            for talker in &mut talkers {
                talker.step()?;
            }
            stage.step(peace.is_some())?;
            let mut killed = false;
            for (victim, next) in next_kills.iter_mut().enumerate() {
                if Instant::now() < *next || peace.is_some() {
                    continue;
                }
                let away = dice.between(0, 700);
                match talkers.get_mut(victim) {
                    Some(talker) => talker.kill(away),
                    None => stage.kill_rendezvous(away),
                }
                *next = Instant::now() + away + dice.between(500, 3000);
                kills += 1;
                killed = true;
            }
            if killed && looked.elapsed() > LOOKED_EACH {
                ledger.compare(&talkers, if ledger.looked() % ALL_EACH == 0 { Part::All } else { Part::Recent })?;
                looked = Instant::now();
                if kills >= KILLS && talkers.iter().all(Talker::has_said_all) {
                    peace = Some(Instant::now());
                    println!("{:.1?}: peace, {}", begun.elapsed(), ledger.progress());
                }
            }
            if told.elapsed() > TOLD_EACH {
                println!("{:.0?}: {kills} kills, {}, {}", begun.elapsed(), stage.troubles(), ledger.progress());
                told = Instant::now();
            }
            if let Some(since) = peace {
                if stage.is_whole() && talkers[0].is_done()? && talkers[1].is_done()? {
                    break;
                }
                assert!(since.elapsed() < REST, "it does not come to rest: {}", ledger.progress());
            }
        }
        ledger.compare(&talkers, Part::All)?;
        ledger.assert_complete(&talkers);
        println!("{:.1?}: {kills} kills, {}, {}", begun.elapsed(), stage.troubles(), ledger.progress());
        Ok(())
    });
}
