//! Who sent what when: captures of several hosts, drawn as a ladder.
//!
//! Each capture is a column, time runs downwards, and each packet is an arrow from the host that sent it to the host that
//! received it. The two ends are found to be one packet by what no NAT changes: protocol, payload, and for TCP the sequence
//! number. A packet that was sent and is in no other capture is drawn in red and ends half-way.
//!
//! The life of a capture: [`Capture::read`] takes the file apart (`read`), [`Ladder::of`] pairs what was sent with what
//! arrived (`pairing`), [`Ladder::svg`] draws it (`draw`).
//!
//! # Limits
//!
//! - All captures must be of one clock, as they are on one machine.
//! - A capture that does not say which way a packet went (pcap) is read by addresses: what most packets have in common is
//!   the host's.
//! - Multicast is left out.
//! - Equal packets are paired in the order in which they were sent; if one of several is lost, it is the last.
//! - TCP that the kernel cuts into segments late may be cut differently at both ends, and then looks lost.
//! - The first 100,000 packets of each capture are read, the first 1,500 arrows are drawn.

mod draw;
mod pairing;
mod read;
#[cfg(test)]
mod tests;

pub use pairing::Ladder;
pub use read::{Capture, ReadError};
