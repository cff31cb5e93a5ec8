//! Stories told in simulated networks, each in its own.

mod command;
mod lifetime;
mod links;
mod routers;
mod wire;
