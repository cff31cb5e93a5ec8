//! Real programs and real sockets in networks that the model carries, each story in its own.

#![cfg(target_os = "linux")]

mod nats;
mod voice;
