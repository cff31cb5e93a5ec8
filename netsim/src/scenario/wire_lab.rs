//! Scenarios over the model, with real packets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;

use super::file::Made;
use super::kernel_lab::kernel_routers;
use super::lab::Lab;
use super::plan::{HostPlan, RouterPlan};
use super::{Refusal, Scenario};
use crate::model::Line;
use crate::netns::{Error, Process, Result};
use crate::wire::{Host, Internet, Site};

/// Namespaces with a TUN device each, and the model between them.
pub(super) struct WireLab {
    internet: Internet,
    sites: BTreeMap<String, Site>,
    hosts: BTreeMap<String, (Host, Vec<IpAddr>)>,
}

impl WireLab {
    pub(super) fn new(seed: u64) -> Result<WireLab> {
        Ok(WireLab { internet: Internet::new(seed)?, sites: BTreeMap::new(), hosts: BTreeMap::new() })
    }

    /// The model can do all that a file can say, except that its boxes map no ports; and the kernel's boxes are not all
    /// that the model's are.
    pub(super) fn refuses(scenario: &Scenario) -> Option<Refusal> {
        let refusal =
            |line: usize, field: &str, message: String| Some(Refusal { line, field: field.to_owned(), message });
        scenario.plan.routers.iter().find_map(|(name, router)| {
            if router.made_of != Some(Made::Kernel) {
                let message = "maps ports in the kernel's boxes only: add box = \"kernel\"".to_owned();
                return router.port_mapping.as_ref().and_then(|_| refusal(router.at, "port-mapping", message));
            }
            let reason = kernel_routers(router).err()?;
            let message = format!("has no kernel's box that could be `{name}`: {reason}: leave out `box`");
            refusal(router.at, "box", message)
        })
    }

    fn site(&self, behind: Option<&str>) -> Result<&Site> {
        match behind {
            None => Ok(self.internet.everywhere()),
            Some(name) => self.sites.get(name).ok_or_else(|| missing(name)),
        }
    }

    fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.get(name).map(|(host, _)| host).ok_or_else(|| missing(name))
    }
}

impl Lab for WireLab {
    fn add_router(&mut self, name: &str, plan: &RouterPlan) -> Result<()> {
        let mut site = self.site(plan.behind.as_deref())?.clone();
        if plan.made_of == Some(Made::Kernel) {
            for router in kernel_routers(plan).map_err(|_| missing(name))?.into_iter().rev() {
                site = site.kernel_router(name, router, Line::default())?;
            }
        } else {
            site = site.site(name, &plan.access, Line::default());
        }
        site.set_line(plan.line);
        self.sites.insert(name.to_owned(), site);
        Ok(())
    }

    fn add_host(&mut self, name: &str, plan: &HostPlan) -> Result<()> {
        let host = self.site(plan.behind.as_deref())?.host(name)?;
        host.set_line(plan.line);
        let further: Vec<IpAddr> = (1..plan.addresses).map(|_| host.add_address()).collect::<Result<_>>()?;
        self.hosts.insert(name.to_owned(), (host, further));
        Ok(())
    }

    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        if let Some(site) = self.sites.get(name) {
            return site.wan_addresses();
        }
        let Some((host, further)) = self.hosts.get(name) else { return vec![] };
        host.addresses().iter().chain(further.iter().copied()).collect()
    }

    fn spawn(&self, host: &str, command: Command) -> Result<Process> {
        self.host(host)?.spawn(command)
    }

    fn enter(&self, place: &str, work: &mut (dyn FnMut() + Send)) -> Result<()> {
        match self.sites.get(place) {
            Some(site) => site.enter_router(work).unwrap_or_else(|| Err(missing(place))),
            None => self.host(place)?.enter(work),
        }
    }

    fn modelled(&self, router: &str) -> Option<Site> {
        self.sites.get(router).filter(|site| site.namespace_path().is_none()).cloned()
    }

    fn roam(&mut self, host: &str, behind: Option<&str>) -> Result<()> {
        self.host(host)?.roam(self.site(behind)?)?;
        if let Some((_, further)) = self.hosts.get_mut(host) {
            further.clear();
        }
        Ok(())
    }

    fn reboot(&self, router: &str) -> Result<()> {
        self.site(Some(router))?.reboot()
    }

    fn renumber(&self, router: &str) -> Result<()> {
        self.site(Some(router))?.renumber()
    }

    fn cut(&self, place: &str, cut: bool) -> Result<()> {
        match (self.sites.get(place), cut) {
            (Some(site), true) => site.cut(),
            (Some(site), false) => site.restore(),
            (None, true) => self.host(place)?.cut(),
            (None, false) => self.host(place)?.restore(),
        }
        Ok(())
    }

    fn plug(&self, host: &str, plugged: bool) -> Result<()> {
        let host = self.host(host)?;
        if plugged { host.link_up() } else { host.link_down() }
    }

    fn change_line(&self, place: &str, line: Line) -> Result<()> {
        match self.sites.get(place) {
            Some(site) => site.set_line(line),
            None => self.host(place)?.set_line(line),
        }
        Ok(())
    }
}

/// A file is checked before it is told, so nobody sees this one.
fn missing(name: &str) -> Error {
    Error::kernel(name, "find it in this network")(std::io::ErrorKind::NotFound.into())
}
