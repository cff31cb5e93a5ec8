//! Stories told in simulated networks, each in its own.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real networks have real clocks and sockets")]
#![cfg(target_os = "linux")]

mod cells;
mod command;
mod coturn;
#[path = "../shared/coturn.rs"]
mod judge;
mod lifetime;
mod links;
mod port_mapping;
mod routers;
mod silence;
#[path = "../shared/voice.rs"]
mod voice;
