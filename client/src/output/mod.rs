//! What people and programs read: [`Event`]s, printed as text or as one JSON object a line.

mod bar;
mod event;
#[cfg(test)]
mod examples;
mod printer;
pub mod sanitize;
mod text;

pub use bar::Bar;
pub use event::{ContactChange, Direction, Event, JoinChange, Mbps, Millis, SessionLine, Tried, Who};
pub use printer::{Gone, Mode, Printer};
