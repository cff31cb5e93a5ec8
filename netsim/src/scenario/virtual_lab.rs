//! Scenarios over the model in virtual time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::process::Command;
use std::rc::Rc;
use std::time::Instant;

use super::lab::Lab;
use super::plan::{HostPlan, RouterPlan};
use super::program::Program;
use super::virtual_host::VirtualHost;
use super::virtual_program::{Net, VirtualProgram};
use super::waiting::{Interrupt, Interrupted};
use super::{Refusal, Scenario};
use crate::model::{Families, HostId, INTERNET, Line, NetworkId, Place, RouterId, Topology};
use crate::netns::{Error, Process, Result};
use crate::virtual_net::VirtualNet;

/// The program that is built in, as files call it.
const BUILT_IN: [&str; 2] = ["netsim", "udp"];

/// Hosts that are machines, and the model between them.
pub(super) struct VirtualLab {
    net: Net,
    routers: BTreeMap<String, Site>,
    hosts: BTreeMap<String, (HostId, Vec<IpAddr>)>,
}

/// A LAN and the router before it.
#[derive(Clone, Copy)]
struct Site {
    network: NetworkId,
    families: Families,
    nearest: Option<RouterId>,
}

const EVERYWHERE: Site = Site { network: INTERNET, families: Families::Both, nearest: None };

impl VirtualLab {
    pub(super) fn new(seed: u64) -> VirtualLab {
        // Which instant time begins with makes no difference to anything.
        let net = VirtualNet::new(Topology::new(seed), Instant::now());
        let (routers, hosts) = (BTreeMap::new(), BTreeMap::new());
        VirtualLab { net: Rc::new(RefCell::new(net)), routers, hosts }
    }

    /// What of the scenario cannot run in virtual time: every program but one.
    pub(super) fn refuses(scenario: &Scenario) -> Option<Refusal> {
        let other = scenario.plan.programs.values().find_map(|program| {
            let words: Vec<String> = program.command.iter().take(2).map(ToString::to_string).collect();
            (words != BUILT_IN).then(|| (program.at, words.into_iter().next().unwrap_or_default()))
        });
        let (line, program) = other?;
        let message = format!(
            "cannot run `{program}`: of programs it has only `netsim udp`, which is built in: use that, or --driver wire"
        );
        Some(Refusal { line, field: "command".to_owned(), message })
    }

    fn site(&self, behind: Option<&str>) -> Result<Site> {
        match behind {
            None => Ok(EVERYWHERE),
            Some(name) => self.routers.get(name).copied().ok_or_else(|| missing(name)),
        }
    }

    fn host(&self, name: &str) -> Result<HostId> {
        self.hosts.get(name).map(|(host, _)| *host).ok_or_else(|| missing(name))
    }

    fn router(&self, name: &str) -> Result<RouterId> {
        self.site(Some(name))?.nearest.ok_or_else(|| missing(name))
    }

    fn place(&self, name: &str) -> Result<Place> {
        match self.routers.contains_key(name) {
            true => self.router(name).map(Place::Router),
            false => self.host(name).map(Place::Host),
        }
    }

    fn set_line(&self, place: Place, line: Line) {
        let mut net = self.net.borrow_mut();
        net.topology().links(place).into_iter().flatten().for_each(|link| link.change(line));
    }

    /// The machine has the addresses that the topology has given it.
    fn tell_addresses(&self, host: &str) {
        let (Ok(id), addresses) = (self.host(host), self.addresses(host)) else { return };
        self.net.borrow_mut().act(id, |machine, _| machine.addresses = addresses);
    }
}

impl Lab for VirtualLab {
    fn add_router(&mut self, name: &str, plan: &RouterPlan) -> Result<()> {
        let above = self.site(plan.behind.as_deref())?;
        let (network, routers) = plan.access.build(self.net.borrow_mut().topology(), above.network, Line::default());
        let nearest = routers.first().copied().or(above.nearest);
        if let Some(router) = routers.first() {
            self.set_line(Place::Router(*router), plan.line);
        }
        self.routers.insert(name.to_owned(), Site { network, families: plan.access.families, nearest });
        Ok(())
    }

    fn add_host(&mut self, name: &str, plan: &HostPlan) -> Result<()> {
        let Site { network, families, .. } = self.site(plan.behind.as_deref())?;
        let mut net = self.net.borrow_mut();
        let host = net.topology().add_host(network, families, plan.line);
        let further = (1..plan.addresses).map_while(|_| net.topology().add_address(host)).collect();
        net.place(host, VirtualHost::default());
        drop(net);
        self.hosts.insert(name.to_owned(), (host, further));
        self.tell_addresses(name);
        Ok(())
    }

    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let mut net = self.net.borrow_mut();
        if let Some(site) = self.routers.get(name) {
            return site.nearest.map(|router| net.topology().wan_addresses(router)).unwrap_or_default();
        }
        let Some((host, further)) = self.hosts.get(name) else { return vec![] };
        net.topology().addresses(*host).iter().chain(further.iter().copied()).collect()
    }

    fn now(&self) -> Instant {
        self.net.borrow().now()
    }

    fn wait_until(&self, deadline: Instant, interrupt: &Interrupt) -> std::result::Result<(), Interrupted> {
        let left = deadline.saturating_duration_since(self.now());
        self.net.borrow_mut().run_while(left, |_| !interrupt.is_raised());
        if interrupt.is_raised() { Err(Interrupted) } else { Ok(()) }
    }

    fn start(&self, host: &str, command: Command, interrupt: &Interrupt) -> Result<Box<dyn Program>> {
        let arguments: Vec<String> =
            command.get_args().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        Ok(Box::new(VirtualProgram::start(&self.net, self.host(host)?, &arguments, interrupt)))
    }

    fn spawn(&self, host: &str, _command: Command) -> Result<Process> {
        Err(Error::kernel(host, "run a process in virtual time")(io::ErrorKind::Unsupported.into()))
    }

    fn enter(&self, host: &str, _work: &mut (dyn FnMut() + Send)) -> Result<()> {
        Err(Error::kernel(host, "enter a host in virtual time")(io::ErrorKind::Unsupported.into()))
    }

    fn roam(&mut self, host: &str, behind: Option<&str>) -> Result<()> {
        let (id, site) = (self.host(host)?, self.site(behind)?);
        self.net.borrow_mut().topology().move_host(id, site.network);
        if let Some((_, further)) = self.hosts.get_mut(host) {
            further.clear();
        }
        self.tell_addresses(host);
        Ok(())
    }

    fn reboot(&self, router: &str) -> Result<()> {
        let router = self.router(router)?;
        self.net.borrow_mut().topology().reboot(router);
        Ok(())
    }

    fn renumber(&self, router: &str) -> Result<()> {
        let router = self.router(router)?;
        self.net.borrow_mut().topology().renumber(router);
        Ok(())
    }

    fn cut(&self, place: &str, cut: bool) -> Result<()> {
        let place = self.place(place)?;
        let mut net = self.net.borrow_mut();
        net.topology().links(place).into_iter().flatten().for_each(|link| link.cut(cut));
        Ok(())
    }

    fn plug(&self, host: &str, plugged: bool) -> Result<()> {
        let host = self.host(host)?;
        self.net.borrow_mut().act(host, |machine, _| machine.unplugged = !plugged);
        Ok(())
    }

    fn change_line(&self, place: &str, line: Line) -> Result<()> {
        self.set_line(self.place(place)?, line);
        Ok(())
    }
}

/// A file is checked before it is told, so nobody sees this one.
fn missing(name: &str) -> Error {
    Error::kernel(name, "find it in this network")(io::ErrorKind::NotFound.into())
}
