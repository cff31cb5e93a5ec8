//! What the two sides of a meeting said, and what became of it.

use std::time::{Duration, Instant};

use serde_json::Value;

/// One side's story: when it first said what.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Story {
    asked: Option<Instant>,
    direct: Option<Instant>,
    message: Option<Instant>,
    /// From the introduction to the first probe that came through, as it says itself.
    punched_ms: Option<u64>,
    /// Attempts that found no path.
    failed_attempts: usize,
    /// Did it end with 0?
    succeeded: bool,
}

/// What became of a meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// When both had a direct path, if they exchanged their messages too.
    pub(super) direct: Option<Duration>,
    /// When both had the other's message; none if somebody failed.
    pub(super) exchanged: Option<Duration>,
    /// When the one who was asked had the other's, if that was so.
    pub(super) heard: Option<Duration>,
    /// One had a direct path and the other had not.
    pub(super) one_sided: bool,
    /// The later of what both say, if both do.
    pub(super) punched_ms: Option<u64>,
    /// Attempts of both that found no path.
    pub(super) failed_attempts: usize,
}

impl Story {
    /// From the lines of its output, each with the time when it was read. What is no JSON, or says something else, is the
    /// program's own business.
    pub(super) fn of<'a>(lines: impl Iterator<Item = (Instant, &'a str)>, succeeded: bool) -> Story {
        let mut story = Story { succeeded, ..Story::default() };
        for (at, line) in lines {
            let Ok(object) = serde_json::from_str::<Value>(line) else { continue };
            let moment = match (object["event"].as_str(), object["kind"].as_str()) {
                (Some("asked"), _) => &mut story.asked,
                (Some("path"), Some("direct")) => &mut story.direct,
                (Some("message"), _) => &mut story.message,
                (Some("punched"), _) => {
                    story.punched_ms = story.punched_ms.or_else(|| milliseconds(&object["after_ms"]));
                    continue;
                }
                (Some("no_path"), _) => {
                    story.failed_attempts += 1;
                    continue;
                }
                _ => continue,
            };
            moment.get_or_insert(at);
        }
        story
    }

    /// Holds two stories against each other. Time counts from when the last of those asked who say so, else from when both
    /// had been started.
    pub(super) fn ending([a, b]: [Story; 2], started: Instant) -> Ending {
        let asked = a.asked.max(b.asked).unwrap_or(started);
        let both =
            |one: Option<Instant>, other: Option<Instant>| Some(one?.max(other?).saturating_duration_since(asked));
        let exchanged = both(a.message, b.message).filter(|_| a.succeeded && b.succeeded);
        let direct = both(a.direct, b.direct).filter(|_| exchanged.is_some());
        let heard = b.message.filter(|_| exchanged.is_some()).map(|at| at.saturating_duration_since(asked));
        Ending {
            heard,
            direct,
            exchanged,
            one_sided: a.direct.is_some() != b.direct.is_some(),
            punched_ms: a.punched_ms.zip(b.punched_ms).map(|(a, b)| a.max(b)),
            failed_attempts: a.failed_attempts + b.failed_attempts,
        }
    }
}

/// As whole ones; what is no time is none.
fn milliseconds(value: &Value) -> Option<u64> {
    let span = Duration::try_from_secs_f64(value.as_f64()? / 1000.0).ok()?;
    u64::try_from(span.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &str = r#"{"event":"asked"}"#;
    const DIRECT: &str = r#"{"event":"path","kind":"direct","more":1}"#;
    const RELAYED: &str = r#"{"event":"path","kind":"relayed"}"#;
    const MESSAGE: &str = r#"{"event":"message"}"#;

    /// Each line ten milliseconds after the one before.
    fn story(start: Instant, lines: &[&str], succeeded: bool) -> Story {
        let times = (1..).map(|n: u32| start + Duration::from_millis(10) * n);
        Story::of(times.zip(lines.iter().copied()), succeeded)
    }

    fn ending(a: &[&str], b: &[&str]) -> Ending {
        let start = Instant::now();
        Story::ending([story(start, a, true), story(start, b, true)], start)
    }

    #[test]
    fn a_meeting_is_direct_when_both_say_so_and_both_have_the_others_message() {
        let met = ending(&["hello", DIRECT, MESSAGE], &[DIRECT, "{}", MESSAGE, MESSAGE]);
        let milliseconds = |n| Some(Duration::from_millis(n));
        assert_eq!((met.direct, met.exchanged, met.one_sided), (milliseconds(20), milliseconds(30), false));
        let asked = ending(&[ASKED, DIRECT, MESSAGE], &[DIRECT, MESSAGE]);
        assert_eq!((asked.direct, asked.exchanged), (milliseconds(10), milliseconds(20)));
        assert_eq!(asked.heard, milliseconds(10), "the second has the first's message before");
    }

    #[test]
    fn a_relayed_meeting_is_not_direct_and_half_a_path_is_none() {
        let relayed = ending(&[RELAYED, MESSAGE], &[RELAYED, MESSAGE]);
        assert!(relayed.direct.is_none() && relayed.exchanged.is_some() && !relayed.one_sided);
        let half = ending(&[DIRECT, MESSAGE], &[RELAYED, MESSAGE]);
        assert!(half.direct.is_none() && half.exchanged.is_some() && half.one_sided);
    }

    #[test]
    fn what_programs_say_of_their_attempts_is_kept_and_the_later_probe_counts() {
        let punched = |ms: &str| format!(r#"{{"event":"punched","after_ms":{ms}}}"#);
        let (early, late) = (punched("41.8"), punched("1200.0"));
        let failed = r#"{"event":"no_path"}"#;
        let met = ending(&[failed, &late, &early, DIRECT, MESSAGE], &[failed, failed, &early, DIRECT, MESSAGE]);
        assert_eq!((met.punched_ms, met.failed_attempts), (Some(1200), 3));
        for one_silent in [&[DIRECT, MESSAGE][..], &[&punched("-1"), DIRECT, MESSAGE], &[&punched("{}"), MESSAGE]] {
            assert_eq!(ending(&[&early, DIRECT, MESSAGE], one_silent).punched_ms, None);
        }
    }

    #[test]
    fn who_ends_otherwise_than_well_or_never_heard_the_other_has_exchanged_nothing() {
        let start = Instant::now();
        let told = |succeeded| [story(start, &[DIRECT, MESSAGE], true), story(start, &[DIRECT, MESSAGE], succeeded)];
        assert!(Story::ending(told(true), start).direct.is_some());
        let failed = Story::ending(told(false), start);
        assert!(failed.direct.is_none() && failed.exchanged.is_none());
        assert_eq!(ending(&[DIRECT, MESSAGE], &[DIRECT]).exchanged, None);
    }
}
