//! Scenarios over the kernel's own routers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;

use super::file::{self, Made, Way};
use super::lab::Lab;
use super::plan::{Action, HostPlan, RouterPlan};
use super::{Refusal, Scenario};
use crate::model::{Access, Families, Line};
use crate::netns::{Error, Host, KernelRouter, Network, PortMapping, Process, Result, Router};

/// What is said where a file asks for delay or loss.
const PERFECT: &str = "has perfect lines only: use --driver wire";

/// Namespaces with veth cables between them.
pub(super) struct KernelLab {
    network: Network,
    routers: BTreeMap<String, KernelRouter>,
    hosts: BTreeMap<String, (Host, Vec<IpAddr>)>,
}

impl KernelLab {
    pub(super) fn new() -> Result<KernelLab> {
        Ok(KernelLab { network: Network::new()?, routers: BTreeMap::new(), hosts: BTreeMap::new() })
    }

    /// What of the scenario the kernel's routers cannot do.
    pub(super) fn refuses(scenario: &Scenario) -> Option<Refusal> {
        let refusal =
            |line: usize, field: &str, message: String| Some(Refusal { line, field: field.to_owned(), message });
        for (name, router) in &scenario.plan.routers {
            if router.made_of == Some(Made::Model) {
                return refusal(router.at, "box", "has the kernel's boxes only: use --driver wire".to_owned());
            }
            if let Err(reason) = kernel_routers(router) {
                let message = format!("cannot be `{name}`: {reason}: use --driver wire");
                return refusal(router.at, "preset", message);
            }
            if router.line != Line::default() {
                return refusal(router.at, "line", PERFECT.to_owned());
            }
        }
        if let Some(host) = scenario.plan.hosts.values().find(|host| host.line != Line::default()) {
            return refusal(host.at, "line", PERFECT.to_owned());
        }
        for step in &scenario.plan.steps {
            match &step.action {
                Action::Change { .. } => {
                    return refusal(step.at_line, "change", PERFECT.to_owned());
                }
                Action::Cut { place, cut } if scenario.plan.hosts.contains_key(place) => {
                    let field = if *cut { "cut" } else { "restore" };
                    let message = "cuts lines of routers only: use --driver wire, or `unplug` and `plug`";
                    return refusal(step.at_line, field, message.to_owned());
                }
                Action::Roam { behind: None, .. } => {
                    let message = "takes hosts behind routers only: use --driver wire".to_owned();
                    return refusal(step.at_line, "roam", message);
                }
                _ => {}
            }
        }
        None
    }

    fn router(&self, name: &str) -> Result<&KernelRouter> {
        self.routers.get(name).ok_or_else(|| missing(name))
    }

    fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.get(name).map(|(host, _)| host).ok_or_else(|| missing(name))
    }
}

impl Lab for KernelLab {
    fn add_router(&mut self, name: &str, plan: &RouterPlan) -> Result<()> {
        let mut above = plan.behind.as_deref().map(|above| self.router(above)).transpose()?.cloned();
        for router in kernel_routers(plan).map_err(|_| missing(name))?.into_iter().rev() {
            above = Some(match &above {
                Some(above) => above.router(name, router)?,
                None => self.network.router(name, router)?,
            });
        }
        self.routers.extend(above.map(|nearest| (name.to_owned(), nearest)));
        Ok(())
    }

    fn add_host(&mut self, name: &str, plan: &HostPlan) -> Result<()> {
        let host = match &plan.behind {
            Some(router) => self.router(router)?.host(name)?,
            None => self.network.public_host(name)?,
        };
        let further = (1..plan.addresses).map(|_| host.add_address().map(IpAddr::from)).collect::<Result<_>>()?;
        self.hosts.insert(name.to_owned(), (host, further));
        Ok(())
    }

    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        if let Some(router) = self.routers.get(name) {
            return vec![router.wan_address().into()];
        }
        let Some((host, further)) = self.hosts.get(name) else { return vec![] };
        std::iter::once(host.address().into()).chain(further.iter().copied()).collect()
    }

    fn spawn(&self, host: &str, command: Command) -> Result<Process> {
        self.host(host)?.spawn(command)
    }

    fn enter(&self, place: &str, work: &mut (dyn FnMut() + Send)) -> Result<()> {
        match self.routers.get(place) {
            Some(router) => router.enter(work),
            None => self.host(place)?.enter(work),
        }
    }

    fn roam(&mut self, host: &str, behind: Option<&str>) -> Result<()> {
        let router = self.router(behind.unwrap_or_default())?;
        self.host(host)?.move_behind(router)?;
        if let Some((_, further)) = self.hosts.get_mut(host) {
            further.clear();
        }
        Ok(())
    }

    fn reboot(&self, router: &str) -> Result<()> {
        self.router(router)?.forget_mappings()
    }

    fn renumber(&self, router: &str) -> Result<()> {
        self.router(router)?.change_wan_address().map(drop)
    }

    fn cut(&self, place: &str, cut: bool) -> Result<()> {
        let router = self.router(place)?;
        if cut { router.wan_down() } else { router.wan_up() }
    }

    fn plug(&self, host: &str, plugged: bool) -> Result<()> {
        let host = self.host(host)?;
        if plugged { host.link_up() } else { host.link_down() }
    }

    fn change_line(&self, place: &str, _line: Line) -> Result<()> {
        Err(missing(place))
    }
}

/// A file is checked before it is told, so nobody sees this one.
fn missing(name: &str) -> Error {
    Error::kernel(name, "find it in this network")(std::io::ErrorKind::NotFound.into())
}

/// The kernel's routers that do what is asked for, the nearest first; or what there is no such for.
pub(super) fn kernel_routers(plan: &RouterPlan) -> std::result::Result<Vec<Router>, String> {
    let mut routers = routers_for(&plan.access)?;
    if let Some((nearest, wanted)) = routers.first_mut().zip(plan.port_mapping.as_ref()) {
        nearest.port_mapping = match wanted {
            file::PortMapping::All(true) => PortMapping::ALL,
            file::PortMapping::All(false) => PortMapping::NONE,
            file::PortMapping::Some(ways) => PortMapping {
                upnp: ways.contains(&Way::Upnp),
                nat_pmp: ways.contains(&Way::NatPmp),
                pcp: ways.contains(&Way::Pcp),
            },
        };
    }
    Ok(routers)
}

/// The timers are the scenario's, what refreshes them is the kernel's: packets of both directions.
pub(super) fn routers_for(access: &Access) -> std::result::Result<Vec<Router>, String> {
    if access.families != Families::Ipv4 || access.routers.iter().any(|router| router.isolates) {
        return Err("it has IPv4 only, and no LAN whose hosts are kept from each other".to_owned());
    }
    let routers = access.routers.iter().map(|router| {
        let behaviour = router.ipv4.as_ref().ok_or("it has IPv4 only")?;
        let kernel = Router::try_from(behaviour).map_err(|reason| reason.to_string())?;
        Ok(if router.carrier { Router { lan: Router::carrier().lan, ..kernel } } else { kernel })
    });
    routers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets;

    #[test]
    fn the_kernel_is_every_preset_but_those() {
        let able = presets::all()
            .into_iter()
            .filter(|preset| routers_for(&preset.access).is_ok_and(|routers| !routers.is_empty()));
        let able: Vec<_> = able.map(|preset| preset.name).collect();
        let unable = ["open", "cgnat", "home_behind_cgnat", "mobile", "udp_blocked", "ipv6_firewall", "dual_stack"];
        let expected = presets::all().into_iter().map(|preset| preset.name).filter(|name| !unable.contains(name));
        assert_eq!(able, expected.collect::<Vec<_>>());
    }
}
