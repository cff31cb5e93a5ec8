//! A scenario file, as it is written: shapes only, nothing is resolved here.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use crate::model::Line;
use crate::model::behaviour::{Filtering, Hairpinning, Lifetimes, Limits, Mapping, PortAssignment, Quirks};

/// A name, and where it stands.
pub(super) type Name = Spanned<String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) title: String,
    #[serde(default)]
    pub(super) about: String,
    #[serde(default)]
    pub(super) routers: BTreeMap<String, Spanned<Router>>,
    #[serde(default)]
    pub(super) hosts: BTreeMap<String, Spanned<Host>>,
    #[serde(default)]
    pub(super) programs: BTreeMap<String, Spanned<Program>>,
    #[serde(default)]
    pub(super) steps: Vec<Spanned<Step>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Router {
    pub(super) preset: Name,
    pub(super) behind: Option<Name>,
    #[serde(default)]
    pub(super) carrier: bool,
    #[serde(rename = "box")]
    pub(super) made_of: Option<Made>,
    #[serde(rename = "port-mapping", alias = "port_mapping")]
    pub(super) port_mapping: Option<PortMapping>,
    pub(super) mapping: Option<Mapping>,
    pub(super) filtering: Option<Filtering>,
    pub(super) ports: Option<PortAssignment>,
    pub(super) hairpinning: Option<Hairpinning>,
    pub(super) lifetimes: Option<Lifetimes>,
    pub(super) limits: Option<Limits>,
    pub(super) quirks: Option<Quirks>,
    pub(super) line: Option<Spanned<Line>>,
}

/// How a router may be asked for ports: not at all, in every way, or in these ways.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "`true`, `false`, or a list of \"upnp\", \"nat-pmp\" and \"pcp\"")]
pub(crate) enum PortMapping {
    All(bool),
    Some(BTreeSet<Way>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    Upnp,
    NatPmp,
    Pcp,
}

/// What does a router's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Made {
    /// A namespace with nftables' rules.
    Kernel,
    /// The model.
    Model,
}

impl Router {
    /// Does it want the NAT of its preset otherwise?
    pub(super) fn changes_nat(&self) -> bool {
        self.mapping.is_some()
            || self.filtering.is_some()
            || self.ports.is_some()
            || self.hairpinning.is_some()
            || self.lifetimes.is_some()
            || self.limits.is_some()
            || self.quirks.is_some()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Host {
    pub(super) behind: Option<Name>,
    pub(super) addresses: Option<Spanned<u8>>,
    pub(super) line: Option<Spanned<Line>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Program {
    pub(super) host: Name,
    pub(super) command: Spanned<Vec<Name>>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, Name>,
}

/// Exactly one of the fields that name an action is there, with those that belong to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// Seconds after the first step.
    pub(super) at: Option<Spanned<f64>>,

    pub(super) start: Option<Name>,
    pub(super) run: Option<Name>,
    pub(super) send: Option<Name>,
    pub(super) close: Option<Name>,
    pub(super) stop: Option<Name>,
    pub(super) kill: Option<Name>,
    pub(super) roam: Option<Name>,
    pub(super) reboot: Option<Name>,
    pub(super) renumber: Option<Name>,
    pub(super) cut: Option<Name>,
    pub(super) restore: Option<Name>,
    pub(super) unplug: Option<Name>,
    pub(super) plug: Option<Name>,
    pub(super) change: Option<Name>,
    pub(super) wait: Option<Spanned<f64>>,
    pub(super) expect: Option<Name>,

    pub(super) to: Option<Name>,
    pub(super) behind: Option<Name>,
    pub(super) line: Option<Spanned<Line>>,
    pub(super) says: Option<Name>,
    pub(super) matches: Option<Name>,
    pub(super) event: Option<Name>,
    #[serde(rename = "where")]
    pub(super) fields: Option<Spanned<BTreeMap<String, Spanned<Comparison>>>>,
    pub(super) exit: Option<Spanned<i32>>,
    pub(super) within: Option<Spanned<f64>>,
    pub(super) absent: Option<Spanned<bool>>,
    pub(super) save: Option<Spanned<BTreeMap<String, String>>>,
}

/// What a field of an event is to be.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Comparison {
    Compare(Compare),
    Equal(Value),
}

/// All that is given must hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Compare {
    pub(super) below: Option<f64>,
    pub(super) above: Option<f64>,
    pub(super) contains: Option<String>,
    pub(super) matches: Option<String>,
    pub(super) not: Option<Value>,
}
