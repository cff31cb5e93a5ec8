//! Real programs and real sockets in networks that the model carries, each story in its own.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real networks have real clocks and sockets")]

mod alike;
mod coturn;
mod errors;
mod groups;
#[path = "../shared/coturn.rs"]
mod judge;
mod kernel_boxes;
mod lifetime;
mod lines;
mod nats;
mod silence;
mod surveys;
#[path = "../shared/voice.rs"]
mod voice;
