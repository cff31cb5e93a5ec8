//! What there is to verify, and how it is built.

use std::fmt;

use netsim::model::behaviour::{Filtering, Mapping};
use netsim::model::{Access, Behaviour, Families, Family, Line, Survey, presets};
use netsim::netns::{NotByKernel, Router, kernel_routers, survey_over, survey_series};
use netsim::wire::Internet;

use super::{Driver, Report};

/// Of the model's luck: the same in every run.
pub(super) const SEED: u64 = 1;

/// Something to verify, over one version of IP.
#[derive(Clone)]
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) family: Family,
    pub(super) subject: Result<Subject, Refusal>,
}

/// As the driver has it.
#[derive(Clone)]
pub(super) struct Subject {
    driver: Driver,
    /// As the model has it.
    pub(super) access: Access,
    /// As the kernel has it: in series, the nearest to the host first.
    pub(super) routers: Vec<Router>,
    family: Family,
}

/// Why this driver cannot build it.
#[derive(Clone)]
pub(super) enum Refusal {
    Rules(NotByKernel),
    Family(Family),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Rules(missing) => write!(f, "not by this driver: {missing}"),
            Refusal::Family(family) => write!(f, "not by this driver: its networks have no {family}"),
        }
    }
}

/// All cells and presets, the latter over each version of IP that they speak.
pub(super) fn all(driver: Driver) -> Vec<Kind> {
    let mut kinds = vec![];
    for (mapping, m) in Mapping::ALL.into_iter().zip(["eim", "adm", "apdm"]) {
        for (filtering, f) in Filtering::ALL.into_iter().zip(["eif", "adf", "apdf"]) {
            let cell = netsim::model::Router::ipv4(Router::cell(mapping, filtering).behaviour());
            let access = Access { families: Families::Ipv4, routers: vec![cell] };
            kinds.push(Kind::new(format!("{m}-{f}"), &access, Family::Ipv4, driver));
        }
    }
    // What kernel rules can do of two NATs in series: the preset's carrier gives out blocks of ports.
    let routers = [Router::home(), Router::carrier()].map(|nat| netsim::model::Router::ipv4(nat.behaviour()));
    let [home, carrier] = routers;
    let routers = vec![home, netsim::model::Router { carrier: true, ..carrier }];
    let access = Access { families: Families::Ipv4, routers };
    kinds.push(Kind::new("home_behind_carrier".to_owned(), &access, Family::Ipv4, driver));
    for preset in presets::all() {
        let spoken = Family::ALL.into_iter().filter(|family| family.is_in(preset.access.families));
        kinds.extend(spoken.map(|family| Kind::new(preset.name.to_owned(), &preset.access, family, driver)));
    }
    kinds
}

impl Kind {
    fn new(name: String, access: &Access, family: Family, driver: Driver) -> Kind {
        let routers = match (driver, family) {
            (Driver::Kernel, Family::Ipv4) => kernel_routers(access).map_err(Refusal::Rules),
            (Driver::Kernel, Family::Ipv6) => Err(Refusal::Family(family)),
            (Driver::Wire, _) => Ok(vec![]),
        };
        let subject = routers.map(|routers| Subject { driver, access: access.clone(), routers, family });
        Kind { name, family, subject }
    }

    pub(super) fn measured<C, M>(&self, configured: C, measured: M, agrees: bool) -> Report<'_, C, M> {
        Report::Measured { kind: &self.name, family: self.family, configured, measured, agrees }
    }

    pub(super) fn not_measured<C, M>(&self, because: impl fmt::Display) -> Report<'_, C, M> {
        Report::NotMeasured { kind: &self.name, family: self.family, because: because.to_string() }
    }
}

impl Subject {
    /// What each box on the way is configured to do, the nearest to the host first.
    pub(super) fn chain(&self) -> Vec<Behaviour> {
        match self.driver {
            Driver::Kernel => self.routers.iter().map(Router::behaviour).collect(),
            Driver::Wire => {
                self.access.routers.iter().filter_map(|router| router.behaviour(self.family).cloned()).collect()
            }
        }
    }

    pub(super) fn configured(&self) -> Survey {
        Survey::of_chain(&self.chain().iter().collect::<Vec<_>>())
    }

    pub(super) fn measured(&self) -> anyhow::Result<Survey> {
        Ok(match self.driver {
            Driver::Kernel => survey_series(&self.routers)?,
            Driver::Wire => {
                let net = Internet::new(SEED)?;
                let outside = [net.public_host("one")?, net.public_host("two")?];
                let site = net.site("router", &self.access, Line::default());
                survey_over(self.family, &[site.host("alice")?, site.host("bob")?], &outside)?
            }
        })
    }
}
