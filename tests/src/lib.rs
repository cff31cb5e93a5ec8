//! The stage for stories: a small Internet from [`netsim`], a real `rendezvous` process on it, and people, each with a
//! computer and a data folder, who run the real `punchline`.
//!
//! A story reads like this:
//!
//! ```no_run
//! # use std::time::Duration;
//! # use e2e::{World, router_of};
//! # use netsim::netns::{Router, in_namespaces};
//! in_namespaces(|| {
//!     let world = World::new()?;
//!     let alice = world.alice(&router_of(&world, "alice-home", Router::home())?.host("alice")?)?;
//!     let bob = world.bob(&router_of(&world, "bob-home", Router::home())?.host("bob")?)?;
//!     world.acquaint(&alice, &bob)?;
//!     let mut bobs = bob.chat(&alice)?;
//!     let mut alices = alice.chat(&bob)?;
//!     alices.expect_direct(Duration::from_secs(5));
//!     alices.say("hello");
//!     assert_eq!(bobs.expect_message(Duration::from_secs(5))["text"], "hello");
//!     Ok(())
//! });
//! ```
//!
//! Everything a process says in JSON is kept, with the time when it was said; a failed expectation shows all of it. A
//! line at level ERROR in any log fails the story.
#![cfg(target_os = "linux")]

mod binaries;
mod counter;
mod ear;
mod firewall;
mod flow;
mod person;
mod running;
mod sleep;
pub mod talking;
mod town;
mod world;

pub use binaries::binary;
pub use counter::Counter;
pub use ear::{Ear, Packet};
pub use firewall::Firewall;
pub use flow::{Flow, direct_again, summary};
pub use person::{Background, Computer, Person};
pub use running::{Running, Said};
pub use sleep::{Slept, sleep_and_wake};
pub use town::Town;
pub use world::{RendezvousOptions, World, router_of, start_rendezvous, start_rendezvous_with};

/// An identity that everybody has who knows its number.
pub fn numbered(number: u32) -> common::identity::Identity {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    common::identity::Identity::from_seed(&seed)
}
