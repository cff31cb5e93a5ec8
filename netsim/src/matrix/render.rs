//! The matrix as text for a terminal, as Markdown for the documentation, and as JSON.

use std::fmt::Write;

use super::{Cell, Expected, Percentiles, Table, Word};
use crate::oracle::{Relation, Verdict};

/// One of a cell's figures.
type Value = dyn Fn(&Cell) -> Option<Percentiles>;

impl Cell {
    pub(super) fn expected_in_words(&self) -> &'static str {
        match self.expected {
            Expected::Direct => "direct",
            Expected::Likely => "likely",
            Expected::NoPath => "no path",
            Expected::Either => "either",
        }
    }

    /// The median, or a sign; a cell that is not what the oracle says has a `!`, one that is better a `+`.
    pub(super) fn short(&self) -> String {
        let seen = match (self.word(), self.direct_ms) {
            (Word::Direct, Some(ms)) => ms.p50.to_string(),
            (Word::Direct | Word::Sometimes, _) => format!("{}/{}", self.direct, self.meetings),
            (Word::Relayed, _) if self.relayed == self.meetings => "R".to_owned(),
            (Word::Relayed, _) => format!("R{}/{}", self.relayed, self.meetings),
            (Word::NotYet, _) => "○".to_owned(),
            (Word::Impossible, _) => "·".to_owned(),
            (Word::NotByThisDriver, _) => "-".to_owned(),
        };
        match (self.agrees(), self.surpasses()) {
            (true, _) => seen,
            (false, true) => seen + "+",
            (false, false) => seen + "!",
        }
    }
}

const LEGEND: &str = "number = milliseconds from asking to a direct path on both sides (median)   n/m = sometimes\n\
                      R = relayed   ○ = no direct path, though possible   · = none is possible   - = not by this driver\n\
                      ! = not as the oracle says   + = more than was expected";

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
        let _ = writeln!(out, "\n\n{LEGEND}\n\n{}", self.summary());
        self.text_together(&mut out, width);
        out + &self.text_of_disagreements()
    }

    /// What is not by this driver, and what is not as the oracle says; nothing if there is neither.
    pub fn text_of_disagreements(&self) -> String {
        let mut out = String::new();
        self.text_refusals(&mut out);
        for cell in self.disagreements() {
            let expected = cell.expected_in_words();
            let Cell { row, column, relation, timing, direct, meetings, .. } = cell;
            let because = &cell.possible.because;
            let _ = writeln!(
                out,
                "NOT AS THE ORACLE SAYS: {row} x {column} ({relation:?}, {timing:?}): {direct} of {meetings} direct, \
                 expected {expected}: {because}"
            );
            for line in cell.trouble.iter().flat_map(|trouble| trouble.lines()) {
                let _ = writeln!(out, "   {line}");
            }
        }
        out
    }

    fn text_together(&self, out: &mut String, width: usize) {
        if self.in_relation(Relation::SameLan).next().is_some() {
            let _ = writeln!(out, "\ntwo behind one router {:width$} LAN   kept apart", "");
        }
        for lan in self.in_relation(Relation::SameLan) {
            let apart = self.in_relation(Relation::SameOuterNat).find(|apart| apart.row == lan.row);
            let apart = apart.map(Cell::short).unwrap_or_default();
            let _ = writeln!(out, "   {:width$}                    {:>5}   {apart:>10}", lan.row, lan.short());
        }
        let spoilt = self.spoilt_by_late_words();
        if !spoilt.is_empty() {
            let _ = writeln!(out, "\nno path any more if the second hears late:");
        }
        for (column, rows) in spoilt {
            let _ = writeln!(out, "   {} x {column}", rows.join(", "));
        }
    }

    fn text_refusals(&self, out: &mut String) {
        let mut refusals: Vec<&str> = self.cells.iter().filter_map(|cell| cell.not_by_this_driver.as_deref()).collect();
        refusals.sort_unstable();
        refusals.dedup();
        for refusal in refusals {
            let _ = writeln!(out, "not by this driver: {refusal}");
        }
    }

    /// In a line or two: how many are direct, how soon, and what it takes.
    pub(super) fn summary(&self) -> String {
        let separate: Vec<&Cell> = self.in_relation(Relation::Separate).filter(|cell| cell.meetings > 0).collect();
        let count = |word: Word| separate.iter().filter(|cell| cell.word() == word).count();
        let spread = |of: &Value, unit: &str| {
            let all: Vec<Percentiles> = separate.iter().filter_map(|cell| of(cell)).collect();
            let median = Percentiles::of(all.iter().map(|cell| cell.p50).collect()).map(|middle| middle.p50);
            let worst = all.iter().map(|cell| cell.p95).max();
            median
                .zip(worst)
                .map_or_else(|| "never".to_owned(), |(median, worst)| format!("{median}{unit} ({worst}{unit})"))
        };
        format!(
            "{} of {} direct, {} relayed; first message after {}, direct after {}, {} datagrams: the median cell's median (the \
             worst cell's 95th percentile)",
            count(Word::Direct),
            separate.len(),
            count(Word::Relayed),
            spread(&|cell| cell.message_ms, " ms"),
            spread(&|cell| cell.direct_ms, " ms"),
            spread(&|cell| cell.packets, "")
        )
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
        let _ = write!(out, "\n## When one hears late\n\n{LATE_WORDS}\n\n");
        let of_words = |late: &Cell| {
            let first = self.cell(&late.row, &late.column)?;
            let (before, after) = (first.direct_ms?.p50, late.direct_ms?.p50);
            (before + 2 * LATE_MS < after).then(|| (late.column.clone(), format!("{} ({after})", late.row)))
        };
        let mut slower: Vec<(String, Vec<String>)> = Vec::new();
        for (column, row) in self.late().filter(|late| late.expected == Expected::Direct).filter_map(of_words) {
            match slower.iter_mut().find(|(known, _)| *known == column) {
                Some((_, rows)) => rows.push(row),
                None => slower.push((column, vec![row])),
            }
        }
        let spoilt = self.spoilt_by_late_words();
        let _ = writeln!(out, "| who hears late | direct long after the delay (ms from asking) | no path any more |");
        let _ = writeln!(out, "|---|---|---|");
        for kind in &self.kinds {
            let slow = slower.iter().find(|(column, _)| column == kind).map(|(_, rows)| rows.join(", "));
            let lost = spoilt.iter().find(|(column, _)| column == kind).map(|(_, rows)| rows.join(", "));
            if slow.is_some() || lost.is_some() {
                let none = || "none".to_owned();
                let _ = writeln!(out, "| `{kind}` | {} | {} |", slow.unwrap_or_else(none), lost.unwrap_or_else(none));
            }
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
        let mut reasons: Vec<(Verdict, &str, Vec<String>, [usize; 2])> = Vec::new();
        for cell in self.in_relation(Relation::Separate).filter(|cell| cell.possible.verdict != Verdict::Direct) {
            let because = cell.possible.because.as_str();
            let known = |(verdict, known, ..): &(Verdict, &str, Vec<String>, [usize; 2])| {
                *known == because && *verdict == cell.possible.verdict
            };
            let place = reasons.iter().position(known).unwrap_or_else(|| {
                reasons.push((cell.possible.verdict, because, Vec::new(), [0; 2]));
                reasons.len() - 1
            });
            let (_, _, pairs, [direct, meetings]) = &mut reasons[place];
            *direct += cell.direct;
            *meetings += cell.meetings;
            // The oracle says the same of both orders.
            let order = |name: &str| self.kinds.iter().position(|kind| kind == name);
            if order(&cell.row) <= order(&cell.column) {
                pairs.push(format!("{} × {}", cell.row, cell.column));
            }
        }
        reasons.sort_by(|a, b| b.0.probability().total_cmp(&a.0.probability()));
        let _ = write!(
            out,
            "\n## By guessing, and not at all\n\n{WHY}\n\n| possible | because | meetings | pairs |\n|---|---|--:|---|\n"
        );
        for (verdict, because, pairs, [direct, meetings]) in reasons {
            let _ = writeln!(out, "| {verdict} | {because} | {direct} of {meetings} | {} |", pairs.join(", "));
        }
    }

    fn cost(&self, out: &mut String) {
        let separate = || self.in_relation(Relation::Separate);
        let direct: Vec<&Cell> = separate().filter(|cell| cell.word() == Word::Direct).collect();
        let slowest = direct.iter().filter_map(|cell| Some((cell.direct_ms?.p95, *cell))).max_by_key(|(ms, _)| *ms);
        let most = |cells: &[&Cell]| cells.iter().filter_map(|cell| Some(cell.packets?.p95)).max().unwrap_or(0);
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
        let _ = write!(out, "\n\n{COST}\n\n| | median | 95th percentile |\n|---|--:|--:|\n");
        let rows: [(&str, &Value); 3] = [
            ("a direct path, ms", &|cell| cell.direct_ms),
            ("the first message, ms", &|cell| cell.message_ms),
            ("datagrams of both sides", &|cell| cell.packets),
        ];
        for (what, of) in rows {
            let all: Vec<Percentiles> = direct.iter().filter_map(|cell| of(cell)).collect();
            let middle = |value: fn(&Percentiles) -> u64| Percentiles::of(all.iter().map(value).collect());
            if let (Some(p50), Some(p95)) = (middle(|cell| cell.p50), middle(|cell| cell.p95)) {
                let _ = writeln!(out, "| {what} | {} | {} |", p50.p50, p95.p50);
            }
        }
    }
}

const HEAD: &str = "\
# Who reaches whom

Written by `cargo run -p netsim -- matrix --format markdown`, and compared by a test; do not edit it.

Every kind of access meets every other, in virtual time: the client's own punching machine on both sides, introduced by the
rendezvous' own decisions, over the NAT model of `netsim`. Lines take 5 to 25 ms one way, drawn anew for each meeting, and lose
nothing. Every cell is what the oracle (`netsim::oracle`) says. How often each strategy finds its path, how soon and at what
price, over many more meetings, is in `docs/decisions.md`.
";

const MARKDOWN_LEGEND: &str = "\
A number is the milliseconds from asking to a direct path that both sides have validated, the median of the meetings. `n/m`: some
of them, where ports have to be guessed. `○` is not yet: none of the meetings ended with a direct path, but one is possible. `·`: none is possible, whatever one does.";

const TOGETHER: &str = "\
On one LAN they meet by their host candidates. Kept apart (a guest network, a carrier's subscribers), only a NAT that hairpins
lets them meet.";

/// By how much a late word is late.
const LATE_MS: u64 = 200;

const LATE_WORDS: &str = "\
All of it once more, with a word to the column that comes 200 ms late (a packet was lost), so that the row's probes are
there before the column has sent any. Where a stray packet occupies the endpoint, the column's mapping has moved by then: its
probes come from a port that nobody foretold, and the row's filter keeps them out unless it does not look at ports. Then both take
fresh sockets. Every other cell is later by the delay and stays as it is above.";

const COST: &str = "\
Of the direct cells, the middle one. The first message is there when each side has the other's: as soon as a side has a path, it
sends one datagram. What QUIC's handshake adds to that is not in here; with real clients it is, in `netsim matrix --driver wire`.";

const WHY: &str = "\
What the oracle says of the pairs for which plain probing is not enough, and what became of their meetings.";
