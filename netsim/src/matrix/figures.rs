//! What many meetings of the same pair say together: how many, how soon, in a list with a line for each cell.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::{Cell, Percentiles, Table};

/// Marks after asking: what a person calls at once, and the longest that a birthday run may take.
const MARKS: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(12)];

/// What real programs tell beyond the counts of a [`Cell`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Meetings that were direct on both sides three seconds after asking.
    pub within_3_s: usize,
    /// The same after twelve.
    pub within_12_s: usize,
    /// From asking until the one who was asked had the first message.
    pub first_message_ms: Option<Percentiles>,
    /// From the introduction to the first probe that came through, by the programs' own clocks, the later side's; only of
    /// programs that say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub punched_ms: Option<Percentiles>,
    /// Direct meetings in which an attempt of one side had found no path before.
    pub second_attempts: usize,
    /// Each meeting, in the order of their seeds.
    pub each: Vec<Met>,
}

/// One meeting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Met {
    /// Of its network.
    pub seed: u64,
    /// From asking until the one who was asked had the first message; none if none was exchanged.
    pub first_message_ms: Option<u64>,
    /// From asking until both had the other's; none if one never had.
    pub message_ms: Option<u64>,
    /// From asking to a direct path on both sides; none if there was none.
    pub direct_ms: Option<u64>,
    /// From the introduction to the first probe that came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub punched_ms: Option<u64>,
    /// Attempts that found no path, of both sides.
    pub failed_attempts: usize,
    /// Datagrams of both sides.
    pub packets: u64,
}

impl Figures {
    pub(super) fn of(each: Vec<Met>) -> Figures {
        let within = |mark: Duration| {
            let in_time = |met: &&Met| met.direct_ms.is_some_and(|ms| u128::from(ms) <= mark.as_millis());
            each.iter().filter(in_time).count()
        };
        let [within_3_s, within_12_s] = MARKS.map(within);
        Figures {
            within_3_s,
            within_12_s,
            first_message_ms: Percentiles::of(each.iter().filter_map(|met| met.first_message_ms).collect()),
            punched_ms: Percentiles::of(each.iter().filter_map(|met| met.punched_ms).collect()),
            second_attempts: each.iter().filter(|met| met.direct_ms.is_some() && met.failed_attempts > 0).count(),
            each,
        }
    }
}

/// The columns of the list, behind the pair.
const COLUMNS: [&str; 9] =
    ["exchanged", "direct", "in 3 s", "in 12 s", "message, ms", "both, ms", "direct, ms", "punched, ms", "datagrams"];

impl Table {
    /// A line for each cell that was met, for a terminal; nothing if there are no figures.
    pub fn figures_text(&self) -> String {
        let lines = self.lines();
        let widest = |of: &dyn Fn(&Line) -> usize| lines.iter().map(of).max().unwrap_or(0);
        let name = widest(&|line| line.pair.chars().count());
        let mut out = String::new();
        if lines.is_empty() {
            return out;
        }
        let widths: Vec<usize> =
            COLUMNS.iter().enumerate().map(|(n, head)| head.len().max(widest(&|line| line.values[n].len()))).collect();
        // Writing to a string does not fail.
        let _ = write!(out, "{:name$}", "");
        for (head, width) in COLUMNS.iter().zip(&widths) {
            let _ = write!(out, "  {head:>width$}");
        }
        for Line { pair, values, remark } in &lines {
            let _ = write!(out, "\n{pair:name$}");
            for (value, width) in values.iter().zip(&widths) {
                let _ = write!(out, "  {value:>width$}");
            }
            let _ = write!(out, "{remark}");
        }
        let _ = writeln!(out, "\n\n{FIGURES_LEGEND}");
        out
    }

    /// The same in Markdown.
    pub fn figures_markdown(&self) -> String {
        let mut out = format!("{}. {FIGURES_LEGEND}\n\n| pair |", self.title);
        for head in COLUMNS {
            let _ = write!(out, " {head} |");
        }
        let _ = writeln!(out, "\n|---|{}", "--:|".repeat(COLUMNS.len()));
        for Line { pair, values, remark } in self.lines() {
            let _ = writeln!(out, "| {pair}{remark} | {} |", values.join(" | "));
        }
        out
    }

    fn lines(&self) -> Vec<Line> {
        self.cells.iter().filter_map(|cell| Some(Line::of(cell, cell.figures.as_ref()?))).collect()
    }
}

const FIGURES_LEGEND: &str = "Times: median / 95th percentile. Message: from asking, a cold start, until the one who is asked has \
                              the first; both: until each has the other's; direct: from asking to a direct path on both sides; punched: from the introduction to the first \
                              probe that came through, by the programs' own clocks. What became direct in 3 and in 12 s is a share of all meetings";

/// A line of the list.
struct Line {
    pair: String,
    values: [String; COLUMNS.len()],
    remark: String,
}

impl Line {
    fn of(cell: &Cell, figures: &Figures) -> Line {
        let Cell { row, column, meetings, direct, relayed, .. } = cell;
        let count = |n: usize| format!("{n}/{meetings}");
        let share = |n: usize| format!("{} %", n * 100 / (*meetings).max(1));
        let spread = |value: Option<Percentiles>| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{} / {}", value.p50, value.p95))
        };
        let remark = match figures.second_attempts {
            0 => String::new(),
            1 => " (one needed a second attempt)".to_owned(),
            many => format!(" ({many} needed a second attempt)"),
        };
        let values = [
            count(direct + relayed),
            count(*direct),
            share(figures.within_3_s),
            share(figures.within_12_s),
            spread(figures.first_message_ms),
            spread(cell.message_ms),
            spread(cell.direct_ms),
            spread(figures.punched_ms),
            spread(cell.packets),
        ];
        Line { pair: format!("{row} × {column}"), values, remark }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Expected, Timing};
    use super::*;
    use crate::oracle::{Judgement, Relation, Verdict};

    fn met(seed: u64, direct_ms: Option<u64>, failed_attempts: usize) -> Met {
        Met {
            seed,
            first_message_ms: Some(90),
            message_ms: Some(100),
            direct_ms,
            punched_ms: direct_ms.map(|ms| ms / 2),
            failed_attempts,
            packets: 7,
        }
    }

    fn table() -> Table {
        let each = vec![met(1, Some(200), 0), met(2, Some(3000), 0), met(3, Some(3001), 1), met(4, None, 2)];
        let cell = Cell {
            row: "a".to_owned(),
            column: "b".to_owned(),
            relation: Relation::Separate,
            timing: Timing::Together,
            possible: Judgement { verdict: Verdict::Direct, because: String::new() },
            expected: Expected::Direct,
            meetings: 4,
            direct: 3,
            relayed: 1,
            one_sided: 0,
            not_introduced: 0,
            message_ms: Percentiles::of(vec![100; 4]),
            direct_ms: Percentiles::of(vec![200, 3000, 3001]),
            packets: Percentiles::of(vec![7; 4]),
            figures: Some(Figures::of(each)),
            not_by_this_driver: None,
            trouble: None,
        };
        Table {
            title: "Somebody".to_owned(),
            kinds: vec!["a".to_owned(), "b".to_owned()],
            stands_for: vec![String::new(); 2],
            seed: 1,
            meetings: 4,
            cells: vec![cell],
        }
    }

    #[test]
    fn shares_are_of_all_meetings_and_a_second_attempt_is_one_that_became_direct() {
        let figures = Figures::of(table().cells.remove(0).figures.expect("figures").each);
        assert_eq!((figures.within_3_s, figures.within_12_s, figures.second_attempts), (2, 3, 1));
        assert_eq!(figures.punched_ms, Percentiles::of(vec![100, 1500, 1500]));
    }

    #[test]
    fn each_cell_is_a_line_with_counts_shares_and_times() {
        let wanted = ["4/4", "3/4", "50 %", "75 %", "90 / 90", "100 / 100", "3000 / 3001", "1500 / 1500", "7 / 7"];
        let markdown = table().figures_markdown();
        let line = format!("| a × b (one needed a second attempt) | {} |\n", wanted.join(" | "));
        assert!(markdown.starts_with("Somebody. ") && markdown.ends_with(&line), "{markdown}");
        let text = table().figures_text();
        assert!(wanted.iter().all(|value| text.contains(value)) && text.contains("second attempt"), "{text}");
        let without = Table { cells: vec![], ..table() };
        assert_eq!(without.figures_text(), "");
    }
}
