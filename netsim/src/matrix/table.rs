//! What a matrix says: cells, and what can be asked of them.

use std::time::Duration;

use serde::Serialize;

use super::Figures;
use crate::oracle::{Judgement, Relation, Verdict};

/// When the one who is asked hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timing {
    /// At the same instant as the one who asked, as far as their lines allow.
    Together,
    /// Later than that: the packet was lost and sent again. So the first probes come before he has sent any.
    Late,
}

/// What the oracle says of what those who meet should reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// A direct path, each time.
    Direct,
    /// A direct path, four times in five at least: ports have to be guessed.
    Likely,
    /// None.
    NoPath,
    /// It hangs on whose first probe is earlier, which nobody says here: lines without delay and a router that strays spoil.
    Either,
}

/// A cell: what came of all meetings of these two kinds in this relation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Who asks.
    pub row: String,
    /// Who is asked.
    pub column: String,
    /// How they stand to each other.
    pub relation: Relation,
    /// When the column hears of the row.
    pub timing: Timing,
    /// What anybody could reach.
    pub possible: Judgement,
    /// What these two should reach.
    pub expected: Expected,
    /// All of them.
    pub meetings: usize,
    /// Those that ended with a direct path on both sides.
    pub direct: usize,
    /// Those of the others in which messages were exchanged all the same: somebody relays.
    pub relayed: usize,
    /// Those of which only one side has a direct path: a bug.
    pub one_sided: usize,
    /// Those in which somebody did not reach the rendezvous, as far as that can be seen.
    pub not_introduced: usize,
    /// From asking until both have the other's first message, in milliseconds.
    pub message_ms: Option<Percentiles>,
    /// From asking to a direct path that both have, in milliseconds.
    pub direct_ms: Option<Percentiles>,
    /// Datagrams that both sides sent.
    pub packets: Option<Percentiles>,
    /// What real programs tell beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
    /// Why there was no meeting: the driver has no such network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_by_this_driver: Option<String>,
    /// What the first meeting without an exchange said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Half of the values, and nineteen of twenty, are at most this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: u64,
    /// The slow end.
    pub p95: u64,
}

impl Percentiles {
    /// Of these; none of none.
    pub fn of(mut values: Vec<u64>) -> Option<Percentiles> {
        values.sort_unstable();
        let at = |percent: usize| values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Percentiles { p50: at(50)?, p95: at(95)? })
    }

    /// Of times, in milliseconds.
    pub fn of_times(times: impl Iterator<Item = Duration>) -> Option<Percentiles> {
        Percentiles::of(times.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).collect())
    }
}

/// What a cell shows, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// Every meeting ended with a direct path.
    Direct,
    /// Some did.
    Sometimes,
    /// None did, and some exchanged messages through a relay.
    Relayed,
    /// None did, and physics would allow it: work for later.
    NotYet,
    /// None did, and none can: this is what relays are for.
    Impossible,
    /// The driver has no such network.
    NotByThisDriver,
}

impl Cell {
    /// In one word.
    pub fn word(&self) -> Word {
        match self.direct {
            _ if self.meetings == 0 => Word::NotByThisDriver,
            all if all == self.meetings => Word::Direct,
            0 if self.relayed > 0 => Word::Relayed,
            0 if self.possible.verdict == Verdict::Relayed => Word::Impossible,
            0 => Word::NotYet,
            _ => Word::Sometimes,
        }
    }

    /// Is this what the oracle expects?
    pub fn agrees(&self) -> bool {
        self.one_sided == 0
            && match self.expected {
                _ if self.meetings == 0 => true,
                Expected::Direct => self.direct == self.meetings,
                Expected::Likely => self.direct * 5 >= self.meetings * 4,
                Expected::NoPath => self.direct == 0,
                Expected::Either => true,
            }
    }

    /// Did it find more than was expected, and physics allows it?
    pub fn surpasses(&self) -> bool {
        let more = self.expected == Expected::NoPath && self.direct > 0;
        more && self.one_sided == 0 && self.possible.verdict != Verdict::Relayed
    }
}

/// The whole matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// Who met, and over what.
    pub title: String,
    /// The names of rows and columns.
    pub kinds: Vec<String>,
    /// What each stands for.
    pub stands_for: Vec<String>,
    /// The first seed.
    pub seed: u64,
    /// Meetings of each cell.
    pub meetings: u64,
    /// Row by row, each behind routers of its own; then, if the driver does that, two behind one router of each kind, and the
    /// first ones again with a late word.
    pub cells: Vec<Cell>,
}

impl Table {
    /// The cell of two kinds that are behind routers of their own.
    pub fn cell(&self, row: &str, column: &str) -> Option<&Cell> {
        self.in_relation(Relation::Separate).find(|cell| cell.row == row && cell.column == column)
    }

    /// The cells of this relation in which both hear together.
    pub fn in_relation(&self, relation: Relation) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| cell.relation == relation && cell.timing == Timing::Together)
    }

    /// The cells in which one hears late.
    pub fn late(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|cell| cell.timing == Timing::Late)
    }

    /// Those in which what was seen is not what the oracle says, and is not better either.
    pub fn disagreements(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|cell| !cell.agrees() && !cell.surpasses())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(expected: Expected, verdict: Verdict, [meetings, direct, relayed, one_sided]: [usize; 4]) -> Cell {
        Cell {
            row: "a".to_owned(),
            column: "b".to_owned(),
            relation: Relation::Separate,
            timing: Timing::Together,
            possible: Judgement { verdict, because: String::new() },
            expected,
            meetings,
            direct,
            relayed,
            one_sided,
            not_introduced: 0,
            message_ms: None,
            direct_ms: None,
            packets: None,
            figures: None,
            not_by_this_driver: None,
            trouble: None,
        }
    }

    #[test]
    fn a_cell_is_held_to_the_oracles_word_and_may_surpass_it_where_physics_allows() {
        let judged = |expected, verdict, counts| {
            let cell = cell(expected, verdict, counts);
            (cell.word(), cell.agrees(), cell.surpasses())
        };
        let (direct, chance) = (Verdict::Direct, Verdict::DirectByChance { p: 0.9 });
        assert_eq!(judged(Expected::Direct, direct, [2, 2, 0, 0]), (Word::Direct, true, false));
        assert_eq!(judged(Expected::Direct, direct, [2, 1, 1, 0]), (Word::Sometimes, false, false));
        assert_eq!(judged(Expected::Direct, direct, [2, 0, 1, 1]), (Word::Relayed, false, false));
        assert_eq!(judged(Expected::NoPath, chance, [2, 1, 0, 0]), (Word::Sometimes, false, true));
        assert_eq!(judged(Expected::NoPath, chance, [2, 0, 0, 0]), (Word::NotYet, true, false));
        assert_eq!(judged(Expected::NoPath, Verdict::Relayed, [2, 1, 0, 0]), (Word::Sometimes, false, false));
        assert_eq!(judged(Expected::NoPath, Verdict::Relayed, [2, 0, 0, 0]), (Word::Impossible, true, false));
        assert_eq!(judged(Expected::Likely, chance, [5, 4, 0, 0]), (Word::Sometimes, true, false));
        assert_eq!(judged(Expected::Likely, chance, [5, 3, 0, 0]), (Word::Sometimes, false, false));
        assert_eq!(judged(Expected::Either, direct, [2, 1, 0, 0]), (Word::Sometimes, true, false));
        assert_eq!(judged(Expected::Either, direct, [2, 1, 0, 1]), (Word::Sometimes, false, false));
        assert_eq!(judged(Expected::Direct, direct, [0, 0, 0, 0]), (Word::NotByThisDriver, true, false));
    }
}
