//! `config.json`: our name and where we register.

use common::link::Rendezvous;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The format written.
pub(super) const FORMAT: u64 = 1;

/// What `join` sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    format: u64,
    /// The name that we suggest for ourselves; may be empty.
    #[serde(default)]
    pub name: String,
    /// Where we register.
    pub rendezvous: Rendezvous,
    /// What another version of this program may have put here.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl Config {
    /// A configuration from nothing.
    pub fn new(rendezvous: Rendezvous, name: String) -> Self {
        Config { format: FORMAT, name, rendezvous, unknown: Map::new() }
    }
}
