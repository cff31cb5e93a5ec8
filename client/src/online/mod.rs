//! Being online: what `run`, `chat` and `ping` have in common.
//!
//! An [`Engine`] takes [`Happening`]s (an event of the node, a line of input, a signal, a timer) and says what to do in
//! an [`Out`]: events to print, commands for the node, an end. It is pure; [`drive()`] feeds it from the real world. What
//! differs between the commands is a [`Task`] inside the engine.

mod drive;
mod engine;
mod input;
mod room;
mod task;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use drive::{Setup, drive};
pub use engine::{Engine, Happening};
pub use input::Line;
pub use room::Room;
pub use task::{End, Obstacle, Out, Signal, Task};

/// When something happens, by every clock that matters.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For timers.
    pub at: Instant,
    /// For people.
    pub wall: Timestamp,
    /// Since the process started.
    pub since_start: Duration,
}

impl Moment {
    /// As messages carry it: milliseconds since 1970.
    fn wall_ms(self) -> u64 {
        u64::try_from(self.wall.as_millisecond()).unwrap_or_default()
    }
}
