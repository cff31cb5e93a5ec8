//! What a scenario needs from a network, whoever carries the packets.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::process::Command;
use std::time::Instant;

use super::kernel_lab::{KernelLab, routers_for};
use super::plan::{HostPlan, RouterPlan};
use super::problem::Problem;
use super::program::{Program, Running};
use super::virtual_lab::VirtualLab;
use super::waiting::{Interrupt, Interrupted};
use super::wire_lab::WireLab;
use super::{Options, Refusal, Scenario};
use crate::model::{Access, Line};
use crate::netns::{Error, Process, Result};
use crate::wire::Site;

/// Who carries the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The kernel's own routers ([`crate::netns`]).
    Netns,
    /// The model ([`crate::wire`]).
    Wire,
    /// The model in virtual time ([`crate::virtual_net`]), with programs that are built in.
    Virtual,
}

impl Driver {
    /// Those there are, the preferred one first.
    pub const ALL: [Driver; 3] = [Driver::Netns, Driver::Wire, Driver::Virtual];

    /// The first driver that can tell this scenario: the kernel's routers if they can, since they are the real thing.
    pub fn for_scenario(scenario: &Scenario) -> std::result::Result<Driver, Problem> {
        if Driver::Netns.check(scenario).is_ok() {
            Ok(Driver::Netns)
        } else {
            Driver::Wire.check(scenario).map(|()| Driver::Wire)
        }
    }

    /// Can it do everything that this scenario asks for?
    pub fn check(self, scenario: &Scenario) -> std::result::Result<(), Problem> {
        let refusal = match self {
            Driver::Netns => KernelLab::refuses(scenario),
            Driver::Wire => WireLab::refuses(scenario),
            Driver::Virtual => VirtualLab::refuses(scenario),
        };
        let Some(Refusal { line, field, message }) = refusal else { return Ok(()) };
        let message = format!("the driver {self} {message}");
        Err(Problem { file: scenario.file.clone(), line: Some(line), field: Some(field), message })
    }

    pub(super) fn lab(self, options: &Options) -> Result<Box<dyn Lab>> {
        match self {
            Driver::Virtual => Ok(Box::new(VirtualLab::new(options.seed))),
            _ => Ok(self.real_lab(options.seed)?),
        }
    }

    /// A network for real programs.
    pub(crate) fn real_lab(self, seed: u64) -> Result<Box<dyn Lab + Send>> {
        Ok(match self {
            Driver::Netns => Box::new(KernelLab::new()?),
            Driver::Wire => Box::new(WireLab::new(seed)?),
            Driver::Virtual => {
                let refused = Error::kernel("internet", "run real programs in virtual time");
                return Err(refused(io::ErrorKind::Unsupported.into()));
            }
        })
    }

    /// What of this access it has no routers for.
    pub(crate) fn refusal_of(self, access: &Access) -> Option<String> {
        match self {
            Driver::Netns => routers_for(access).err(),
            Driver::Wire | Driver::Virtual => None,
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Driver::Netns => "netns",
            Driver::Wire => "wire",
            Driver::Virtual => "virtual",
        })
    }
}

/// A network that a scenario is told in. Names are the scenario's, and known to exist; what a driver cannot do its
/// `refuses` has said before.
pub(crate) trait Lab {
    /// Adds a router; the one that it is behind is there already.
    fn add_router(&mut self, name: &str, plan: &RouterPlan) -> Result<()>;

    /// Adds a host; the routers are there already.
    fn add_host(&mut self, name: &str, plan: &HostPlan) -> Result<()>;

    /// The addresses of a host, or those of a router's outside.
    fn addresses(&self, name: &str) -> Vec<IpAddr>;

    /// The time, there.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Nothing happens on the stage until then.
    fn wait_until(&self, deadline: Instant, interrupt: &Interrupt) -> std::result::Result<(), Interrupted> {
        interrupt.wait_for(deadline, || None::<()>).map(drop)
    }

    /// Puts a program on the stage.
    fn start(&self, host: &str, command: Command, interrupt: &Interrupt) -> Result<Box<dyn Program>> {
        let start = &mut |command| self.spawn(host, command);
        Ok(Box::new(Running::start(start, command, interrupt)?))
    }

    /// Starts a process in a host.
    fn spawn(&self, host: &str, command: Command) -> Result<Process>;

    /// Works in the namespace of a host, or of a router if that has one.
    fn enter(&self, place: &str, work: &mut (dyn FnMut() + Send)) -> Result<()>;

    /// Where a router is that has no namespace.
    fn modelled(&self, _router: &str) -> Option<Site> {
        None
    }

    /// Takes a host behind another router, or to the Internet.
    fn roam(&mut self, host: &str, behind: Option<&str>) -> Result<()>;

    /// A router forgets its mappings.
    fn reboot(&self, router: &str) -> Result<()>;

    /// A router gets another address outside.
    fn renumber(&self, router: &str) -> Result<()>;

    /// Cuts or restores the line of a host or a router, silently.
    fn cut(&self, place: &str, cut: bool) -> Result<()>;

    /// Takes a host's link down or up, so that it knows.
    fn plug(&self, host: &str, plugged: bool) -> Result<()>;

    /// The line of a host or a router is like this from now on.
    fn change_line(&self, place: &str, line: Line) -> Result<()>;
}
