//! Stories told in simulated networks, each in its own.

#![cfg(target_os = "linux")]

mod command;
mod coturn;
mod lifetime;
mod links;
mod routers;
mod wire;
