//! The matrix as text for a terminal, as Markdown for the documentation, and as JSON.

use std::fmt::Write;

use super::{Cell, Table, Word};
use crate::oracle::{Relation, Verdict};

impl Word {
    /// One character for a table.
    pub(super) fn sign(self) -> char {
        match self {
            Word::Direct => '●',
            Word::Sometimes => '◐',
            Word::NotYet => '○',
            Word::Relayed => '·',
        }
    }
}

impl Cell {
    /// The median, or a sign; a cell that is not what the oracle says has a `!`.
    fn short(&self) -> String {
        let seen = match (self.word(), self.direct_ms) {
            (Word::Direct, Some(ms)) => ms.p50.to_string(),
            (Word::Sometimes, _) => format!("{}/{}", self.direct, self.meetings),
            (word, _) => word.sign().to_string(),
        };
        if self.agrees() { seen } else { seen + "!" }
    }
}

const LEGEND: &str = "number = milliseconds from asking to a direct path on both sides (median)   \
                      ○ = not yet   · = no direct path possible   n/m = sometimes   ! = not as the oracle says";

impl Table {
    /// For a terminal.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let width = self.kinds.iter().map(String::len).max().unwrap_or(0);
        // Writing to a string does not fail.
        for (number, kind) in self.kinds.iter().enumerate() {
            let _ = write!(out, "{:>2} {kind:width$} ", number + 1);
            for column in &self.kinds {
                let _ = write!(out, " {:>5}", self.cell(kind, column).map(Cell::short).unwrap_or_default());
            }
            out.push('\n');
        }
        let _ = write!(out, "{:width$}    ", "");
        for number in 1..=self.kinds.len() {
            let _ = write!(out, " {number:>5}");
        }
        let _ = write!(out, "\n\n{LEGEND}\n\ntwo behind one router {:width$} LAN   kept apart\n", "");
        for lan in self.in_relation(Relation::SameLan) {
            let apart = self.in_relation(Relation::SameOuterNat).find(|apart| apart.row == lan.row);
            let apart = apart.map(Cell::short).unwrap_or_default();
            let _ = writeln!(out, "   {:width$}                    {:>5}   {apart:>10}", lan.row, lan.short());
        }
        let _ = writeln!(out, "\nno path any more if the second hears late:");
        for (column, rows) in self.spoilt_by_late_words() {
            let _ = writeln!(out, "   {} x {column}", rows.join(", "));
        }
        for cell in self.disagreements() {
            let expected = if cell.expected_direct { "direct" } else { "no path" };
            let Cell { row, column, relation, timing, direct, meetings, .. } = cell;
            let because = &cell.possible.because;
            let _ = writeln!(
                out,
                "NOT AS THE ORACLE SAYS: {row} x {column} ({relation:?}, {timing:?}): {direct} of {meetings} direct, \
                 expected {expected}: {because}"
            );
        }
        out
    }

    /// As pretty JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// For `docs/nat-matrix.md`.
    pub fn markdown(&self) -> String {
        let mut out = String::from(HEAD);
        let _ = write!(out, "\n| | kind | stands for |\n|--:|---|---|\n");
        for (number, (kind, stands_for)) in self.kinds.iter().zip(&self.stands_for).enumerate() {
            let _ = writeln!(out, "| {} | `{kind}` | {stands_for} |", number + 1);
        }
        let _ =
            write!(out, "\n## Each behind routers of its own\n\nRow asks, column is asked. {MARKDOWN_LEGEND}\n\n| |");
        for number in 1..=self.kinds.len() {
            let _ = write!(out, " {number} |");
        }
        let _ = write!(out, "\n|---|{}\n", "--:|".repeat(self.kinds.len()));
        for (number, kind) in self.kinds.iter().enumerate() {
            let _ = write!(out, "| **{}** `{kind}` |", number + 1);
            for column in &self.kinds {
                let _ = write!(out, " {} |", self.cell(kind, column).map(Cell::short).unwrap_or_default());
            }
            out.push('\n');
        }
        self.together(&mut out);
        self.late_words(&mut out);
        self.why(&mut out);
        self.cost(&mut out);
        out
    }

    fn together(&self, out: &mut String) {
        let _ = write!(out, "\n## Two behind one router\n\n{TOGETHER}\n\n| kind | one LAN | kept apart | why |\n");
        let _ = writeln!(out, "|---|--:|--:|---|");
        for lan in self.in_relation(Relation::SameLan) {
            let apart = self.in_relation(Relation::SameOuterNat).find(|apart| apart.row == lan.row);
            let (short, because) =
                apart.map(|apart| (apart.short(), apart.possible.because.as_str())).unwrap_or_default();
            let _ = writeln!(out, "| `{}` | {} | {short} | {because} |", lan.row, lan.short());
        }
    }

    fn late_words(&self, out: &mut String) {
        let _ = write!(
            out,
            "\n## When one hears late\n\n{LATE_WORDS}\n\n| who hears late | no path any more from |\n|---|---|\n"
        );
        for (column, rows) in self.spoilt_by_late_words() {
            let _ = writeln!(out, "| `{column}` | {} |", rows.join(", "));
        }
    }

    /// Of each column the rows that find a path to it, but not when it hears late.
    fn spoilt_by_late_words(&self) -> Vec<(&str, Vec<&str>)> {
        let spoilt = |row: &str, column: &str| {
            let late = self.late().find(|cell| cell.row == row && cell.column == column);
            let together = self.cell(row, column);
            late.zip(together)
                .is_some_and(|(late, together)| late.direct < late.meetings && late.direct < together.direct)
        };
        let rows = |column: &str| self.kinds.iter().map(String::as_str).filter(|row| spoilt(row, column)).collect();
        let columns = self.kinds.iter().map(|column| (column.as_str(), rows(column)));
        columns.filter(|(_, rows): &(&str, Vec<&str>)| !rows.is_empty()).collect()
    }

    /// One line for each reason, with the pairs that it holds for.
    fn why(&self, out: &mut String) {
        let mut reasons: Vec<(Verdict, &str, Vec<String>)> = Vec::new();
        for cell in self.in_relation(Relation::Separate) {
            // The oracle says the same of both orders.
            let order = |name: &str| self.kinds.iter().position(|kind| kind == name);
            if cell.word() == Word::Direct || order(&cell.row) > order(&cell.column) {
                continue;
            }
            let pair = format!("{} × {}", cell.row, cell.column);
            let because = cell.possible.because.as_str();
            match reasons.iter_mut().find(|(verdict, known, _)| *known == because && *verdict == cell.possible.verdict)
            {
                Some((.., pairs)) => pairs.push(pair),
                None => reasons.push((cell.possible.verdict, because, vec![pair])),
            }
        }
        let _ = write!(out, "\n## Why not\n\n{WHY}\n\n| possible | because | pairs |\n|---|---|---|\n");
        for (verdict, because, pairs) in reasons {
            let _ = writeln!(out, "| {verdict} | {because} | {} |", pairs.join(", "));
        }
    }

    fn cost(&self, out: &mut String) {
        let separate = || self.in_relation(Relation::Separate);
        let direct: Vec<&Cell> = separate().filter(|cell| cell.word() == Word::Direct).collect();
        let slowest = direct.iter().filter_map(|cell| Some((cell.direct_ms?.p95, *cell))).max_by_key(|(ms, _)| *ms);
        let most = |cells: &[&Cell]| cells.iter().map(|cell| cell.packets.p95).max().unwrap_or(0);
        let failed: Vec<&Cell> = separate().filter(|cell| cell.direct == 0).collect();
        let _ = write!(
            out,
            "\n## What it costs\n\n{} of {} cells are direct. A direct path took at most {} datagrams of both sides together \
             (95th percentile of the worst cell), an attempt that finds none {}.",
            direct.len(),
            separate().count(),
            most(&direct),
            most(&failed)
        );
        if let Some((ms, cell)) = slowest {
            let _ = write!(
                out,
                " The slowest cell is `{}` × `{}`, with {ms} ms at the 95th percentile.",
                cell.row, cell.column
            );
        }
        out.push('\n');
    }
}

const HEAD: &str = "\
# Who reaches whom

Written by `cargo run -p netsim -- matrix --format markdown`, and compared by a test; do not edit it.

Every kind of access meets every other, in virtual time: the client's own punching machine on both sides, introduced by the
rendezvous' own decisions, over the NAT model of `netsim`. Lines take 5 to 25 ms one way, drawn anew for each meeting, and lose
nothing. Every cell is what the oracle (`netsim::oracle`) says of what is built today.
";

const MARKDOWN_LEGEND: &str = "\
A number is the milliseconds from asking to a direct path that both sides have validated, the median of the meetings. `○` is
not yet: none of the meetings ended with a direct path, but one is possible. `·`: none is possible, whatever one does.";

const TOGETHER: &str = "\
On one LAN they meet by their host candidates. Kept apart (a guest network, a carrier's subscribers), only a NAT that hairpins
lets them meet.";

const LATE_WORDS: &str = "\
All of it once more, with a word to the column that comes 200 ms late (a packet was lost), so that the row's probes are
there before the column has sent any. Where a stray packet occupies the endpoint, the column's mapping has moved by then: its
probes come from a port that nobody foretold, and the row's filter keeps them out unless it does not look at ports. Every other
cell stays as it is above.";

const WHY: &str = "\
What the oracle says of the pairs without a direct path today.";
