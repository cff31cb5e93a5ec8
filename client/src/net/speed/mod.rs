//! Measuring the line to a peer, beside a session, on streams of its own ([`common::speed`]).
//!
//! The asker (`ask.rs`) leads; the other side (`answer.rs`) does what it is asked, within the bounds of its [`Desk`]. What is measured
//! is sent and counted in `bulk.rs`.

mod answer;
mod ask;
mod bulk;
mod desk;
mod frames;
#[cfg(test)]
mod tests;

pub(super) use answer::serve;
pub(super) use ask::{Run, refuse};
pub(super) use desk::Desk;
