//! The matrix: every kind of access meets every other, and each cell is held against the oracle's word.
//!
//! A cell is some meetings of two behind routers of these kinds. It says how many ended with a direct path on both sides, how
//! long after asking that was, when the first message had arrived, and what it cost; [`Cell::agrees`] compares that with
//! the oracle, which knows the behaviours and sends nothing. There are two ways to have a meeting:
//!
//! - `machines`: `common`'s own punching machine on both sides, introduced by the rendezvous' own decisions, over the model's
//!   NATs in virtual time, held to [`oracle::reachable`](crate::oracle::reachable). This is the one part of the crate that knows Punchline; it is behind the feature `punchline`.
//! - `programs`: any two real programs in real hosts (Linux), held to [`oracle::plain_path`](crate::oracle::plain_path). What is
//!   asked of them stands in `netsim/docs/matrix.md`.
//!
//! Both fill a [`Table`], which `render` prints as text, Markdown and JSON, `heat_map` draws, and `page` makes a page of. Of many
//! meetings of real programs `figures` makes a list: counts, shares and times.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod figures;
mod heat_map;
pub mod kinds;
#[cfg(feature = "punchline")]
mod machines;
mod page;
#[cfg(target_os = "linux")]
pub mod programs;
mod render;
mod table;

#[cfg(all(test, feature = "punchline"))]
mod tests;

use crate::model::{Preset, presets};
pub use figures::{Figures, Met};
#[cfg(feature = "punchline")]
pub use machines::{LATE, run, study, trace};
pub use table::{Cell, Expected, Percentiles, Table, Timing, Word};

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The kinds, in the order of rows and columns.
    pub kinds: Vec<Preset>,
    /// The first seed.
    pub seed: u64,
    /// How many seeds, each a meeting of every cell.
    pub meetings: u64,
}

impl Default for Plan {
    /// All presets, five meetings each.
    fn default() -> Self {
        Plan { kinds: presets::all(), seed: 1, meetings: 5 }
    }
}
