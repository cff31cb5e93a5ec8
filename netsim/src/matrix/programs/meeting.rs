//! One meeting: two houses, a program in each, and what came of it.

use std::fs;
use std::time::{Duration, Instant};

use super::Error;
use super::story::{Ending, Story};
use super::town::Town;
use crate::matrix::Met;
use crate::model::Preset;
use crate::scenario::{Running, in_words};

/// Between two looks whether a program has ended that has said its last line.
const LOOK: Duration = Duration::from_millis(100);
/// After the other has failed, this one may still say why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What came of a meeting.
#[derive(Debug, Clone)]
pub(super) struct Meeting {
    pub(super) seed: u64,
    pub(super) ending: Ending,
    /// Datagrams that both hosts sent.
    pub(super) packets: u64,
    /// What both said last, if nothing was exchanged.
    pub(super) trouble: Option<String>,
}

impl Meeting {
    /// What of it goes into the figures of its cell.
    pub(super) fn figures(&self) -> Met {
        let Ending { direct, exchanged, heard, punched_ms, failed_attempts, .. } = self.ending;
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Met {
            seed: self.seed,
            first_message_ms: heard.map(ms),
            message_ms: exchanged.map(ms),
            direct_ms: direct.map(ms),
            punched_ms: punched_ms.filter(|_| direct.is_some()),
            failed_attempts,
            packets: self.packets,
        }
    }
}

/// One of the two.
struct Side {
    host: String,
    running: Running,
}

impl Town<'_> {
    /// Lets these two meet, and tells them how long to wait for a direct path. The number makes their names different from
    /// all others'.
    pub(super) fn meet(&self, a: &Preset, b: &Preset, linger: Duration, number: usize) -> Result<Meeting, Error> {
        let folder = self.folder.join(format!("{number}-{}-{}", a.name, b.name));
        fs::create_dir_all(&folder)?;
        let mut settled = vec![];
        let names = [format!("alice-{number}"), format!("bob-{number}")];
        for (side, kind, name, peer) in
            [("a", a, names[0].as_str(), names[1].as_str()), ("b", b, names[1].as_str(), names[0].as_str())]
        {
            let host = self.settle(kind, name)?;
            let ipv4 = self.addresses(&host).iter().any(|ip| ip.is_ipv4());
            let mut values = self.values(ipv4, &folder);
            let linger = linger.as_secs().to_string();
            for (placeholder, value) in [("side", side), ("me", name), ("peer", peer), ("linger", linger.as_str())] {
                values.insert(placeholder.to_owned(), value.to_owned());
            }
            settled.push((host, self.programs.peer.filled(&values, &folder)?));
        }
        let mut captures = vec![];
        for (host, _) in settled.iter().filter(|_| self.how.pcap && self.how.keep.is_some()) {
            captures.extend(self.capture(host, &folder)?);
        }
        // Both houses stand before anybody begins.
        let mut sides = vec![];
        for (host, command) in settled {
            sides.push(Side { running: self.start(&host, command)?, host });
        }
        let started = Instant::now();
        self.wait_for_both(&mut sides, started + self.how.patience)?;

        let mut packets = 0;
        for side in &sides {
            packets += self.datagrams(&side.host)?;
        }
        let (mut stories, mut transcripts) = ([Story::default(); 2], String::new());
        for (story, side) in stories.iter_mut().zip(&mut sides) {
            let status = side.running.wait(Duration::ZERO).map_err(|_| Error::Interrupted)?;
            let succeeded = status.is_some_and(|status| status.success());
            let ended = status.map_or("still runs".to_owned(), |status| format!("ended with {}", in_words(status)));
            let lines = side.running.output();
            *story = Story::of(lines.iter().map(|(at, line)| (*at, line.as_str())), succeeded);
            let said = side.running.transcript();
            let what = if said.is_empty() { "and said nothing" } else { "and said last (! on standard error)" };
            if self.how.keep.is_some() {
                fs::write(folder.join(format!("{}.said", side.host)), side.running.all_lines())?;
            }
            transcripts += &format!("--- {} {ended} {what}\n{said}", side.host);
        }
        let ending = Story::ending(stories, started);
        // The programs first, then their files.
        drop((sides, captures));
        if self.how.keep.is_none() {
            fs::remove_dir_all(&folder)?;
        }
        Ok(Meeting { seed: self.seed, ending, packets, trouble: ending.exchanged.is_none().then_some(transcripts) })
    }

    /// Until both have ended, or one has failed and the other had its last words.
    fn wait_for_both(&self, sides: &mut [Side], mut deadline: Instant) -> Result<(), Error> {
        loop {
            let mut under_way = false;
            for side in sides.iter_mut() {
                match side.running.wait(Duration::ZERO).map_err(|_| Error::Interrupted)? {
                    None => under_way = true,
                    Some(status) if !status.success() => deadline = deadline.min(Instant::now() + LAST_WORDS),
                    Some(_) => {}
                }
            }
            let now = Instant::now();
            if !under_way || now >= deadline {
                return Ok(());
            }
            let mut first = true;
            // Until something is said, or it is time to look again.
            let look = || (!std::mem::take(&mut first)).then_some(());
            let until = deadline.min(now + LOOK);
            self.how.interrupt.wait_for(until, look).map_err(|_| Error::Interrupted)?;
        }
    }
}
