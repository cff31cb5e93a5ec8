//! A thousand numbered lines from one person to another while something happens to the network: they arrive exactly once
//! and in order, or it is a failure. How long they stood still is a figure.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::running::{Running, Said};

/// What became of the lines.
#[derive(Debug)]
pub struct Flow {
    /// When each was typed.
    pub typed: Vec<Instant>,
    /// When each was read at the other side.
    pub arrived: Vec<Instant>,
}

impl Flow {
    /// Types `count` lines, one each `pace`; before line `at` something happens. Then waits until all have arrived.
    pub fn run(
        from: &mut Running,
        to: &mut Running,
        (count, pace): (usize, Duration),
        at: usize,
        happens: impl FnOnce() -> Result<()>,
        patience: Duration,
    ) -> Result<(Flow, Instant)> {
        let (mut happens, mut happened) = (Some(happens), Instant::now());
        let (start, mut typed) = (Instant::now(), Vec::new());
        for number in 0..count {
            if number == at
                && let Some(happens) = happens.take()
            {
                happened = Instant::now();
                happens()?;
            }
            thread::sleep((start + pace * number as u32).saturating_duration_since(Instant::now()));
            typed.push(Instant::now());
            from.say(&format!("line {number}"));
        }
        let deadline = Instant::now() + patience;
        while heard(to).len() < count && Instant::now() < deadline {
            let _ = to.next_line(Duration::from_millis(50));
        }
        let heard = heard(to);
        let numbers: Vec<usize> = heard.iter().map(|(number, _)| *number).collect();
        if !numbers.iter().copied().eq(0..count) {
            let wrong = numbers.iter().enumerate().find(|(place, number)| place != *number);
            let (got, missing) = (numbers.len(), (0..count).find(|number| !numbers.contains(number)));
            ensure!(
                false,
                "{got} of {count} lines arrived, first out of place: {wrong:?}, first missing: {missing:?}\n{}{}",
                from.transcript(),
                to.transcript()
            );
        }
        Ok((Flow { typed, arrived: heard.into_iter().map(|(_, at)| at).collect() }, happened))
    }

    /// From an event to the arrival of the first line that was typed after it.
    pub fn recovery(&self, event: Instant) -> Result<Duration> {
        let after = self.typed.iter().position(|typed| *typed >= event).context("nothing was typed after the event")?;
        Ok(self.arrived[after].saturating_duration_since(event))
    }

    /// The longest time in which nothing arrived.
    pub fn longest_gap(&self) -> Duration {
        self.arrived.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max().unwrap_or_default()
    }
}

/// From then to messages that rely on a direct path which was punched after it.
pub fn direct_again(side: &mut Running, since: Instant, patience: Duration) -> Result<Duration> {
    let is_direct = |said: &Said| said.event["event"] == "path" && said.event["kind"] == "direct";
    loop {
        let after = |said: &&Said| said.at > since;
        let punched =
            side.said().iter().filter(after).find(|said| said.event["event"] == "punched").map(|said| said.at);
        let direct = side.said().iter().rfind(|said| said.event["event"] == "path").is_some_and(is_direct);
        let last = side.said().iter().filter(after).rfind(|said| is_direct(said)).map(|said| said.at);
        if let (Some(punched), true) = (punched, direct) {
            return Ok(last.unwrap_or(punched).max(punched).saturating_duration_since(since));
        }
        ensure!(since.elapsed() < patience, "no direct path within {patience:?}\n{}", side.transcript());
        let _ = side.next_line(Duration::from_millis(20));
    }
}

/// The numbers that came in, in the order of their coming.
pub(crate) fn heard(side: &mut Running) -> Vec<(usize, Instant)> {
    let incoming = side.said().iter().filter(|said| said.event["event"] == "message" && said.event["dir"] == "in");
    let number = |said: &Said| Some((said.event["text"].as_str()?.strip_prefix("line ")?.parse().ok()?, said.at));
    incoming.filter_map(number).collect()
}

/// The middle, the 95th percentile and the ends of some figures, in milliseconds.
pub fn summary(values: impl IntoIterator<Item = f64>) -> String {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    if sorted.is_empty() {
        return "nothing was measured".to_owned();
    }
    sorted.sort_by(f64::total_cmp);
    let middle = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
    let p95 = sorted[(sorted.len() * 95).div_ceil(100) - 1];
    format!("median {middle:.1} ms, p95 {p95:.1}, least {:.1}, most {:.1}", sorted[0], sorted[sorted.len() - 1])
}
