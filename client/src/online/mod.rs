//! Being online: what all commands that need the node have in common.
//!
//! An [`Engine`] takes [`Happening`]s (an event of the node, a command of a front end, a line of input, a timer) and says what
//! to do in an [`Out`]: records to keep, events to show, commands for the node. It is pure. What differs between the commands is a
//! [`Task`] for each of them inside the engine: what happens in the room is told to all who listen, what a task says only to its own
//! front end.
//!
//! A [`Host`] feeds the engine from the real world. Front ends reach it over [`crate::control`], also the one in its own process.

mod about;
mod drive;
mod engine;
mod fronts;
mod input;
mod mailing;
mod picture;
mod room;
mod showing;
mod task;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use about::{About, Remark, digits, only};
pub use drive::{Host, Make, Making, PAGE, Setup};
pub use engine::{Engine, Happening};
pub use input::Line;
pub(crate) use input::lines;
pub use room::Room;
pub use task::{End, FrontId, Obstacle, Out, Reading, Signal, Task, To};

/// When something happens, by every clock that matters.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For timers.
    pub at: Instant,
    /// For people.
    pub wall: Timestamp,
}

impl Moment {
    /// As messages carry it: milliseconds since 1970.
    fn wall_ms(self) -> u64 {
        u64::try_from(self.wall.as_millisecond()).unwrap_or_default()
    }

    /// That instant, which is to come, in milliseconds since 1970.
    fn wall_ms_at(self, at: Instant) -> u64 {
        let span = at.saturating_duration_since(self.at).as_millis();
        self.wall_ms().saturating_add(u64::try_from(span).unwrap_or(u64::MAX))
    }

    /// The instant of this time in milliseconds since 1970; now, if it is over. `None`: so far away that no timer says it.
    fn instant_of(self, at_ms: u64) -> Option<Instant> {
        self.at.checked_add(Duration::from_millis(at_ms.saturating_sub(self.wall_ms())))
    }
}
