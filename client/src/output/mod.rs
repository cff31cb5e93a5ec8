//! What people and programs read: [`Event`]s, printed as text or as one JSON object a line.

mod backup;
mod bar;
mod event;
#[cfg(test)]
#[path = "tests/examples.rs"]
mod examples;
mod kept;
pub mod markdown;
mod netcheck;
mod parts;
mod printer;
mod said;
pub mod sanitize;
mod text;
mod why;

pub use backup::{BackedUp, Replacing, Restored};
pub use bar::Bar;
pub use event::{ContactChange, Direction, Event, JoinChange, Mbps, Millis, NodeChange, SessionLine, Tried, Who};
pub use kept::Kept;
pub use netcheck::{LifetimeLine, Netcheck, ReachLine};
pub(crate) use printer::json;
pub use printer::{Gone, Mode, Printer, Renderer};
pub use why::{CandidateLine, ConnectionLine, PathLine, SideLine, StrategyLine, Why};
