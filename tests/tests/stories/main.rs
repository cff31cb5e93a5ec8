//! Stories of Alice and Bob across real processes and real NATs.
#![cfg(target_os = "linux")]

mod absent;
mod background;
mod clocks;
mod explained;
mod hostile;
mod ipv6;
mod judged;
mod keys;
mod lan;
mod meeting;
mod port_mapping;
mod relay_only;
mod remarks;
mod restarts;
mod switching;
mod trouble;
mod tunnel;

pub use e2e::talking::{SOON, exchange, in_public, in_two_homes, say_both, talk};
