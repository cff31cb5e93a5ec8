//! From the file as it is written to a plan: every name is looked up, and where one is wrong the line is named.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;

use super::file::{File, Host, Name, PortMapping, Program, Router};
use super::names::is_known;
use super::plan::{HostPlan, Plan, ProgramPlan, RouterPlan};
use super::problem::{Problem, Source};
use super::steps;
use super::template::Template;
use crate::model::{Access, Line, presets};

/// Hosts, routers and programs of one file; each host is a namespace with threads of its own.
const MOST: usize = 200;
/// Addresses of one host.
const MOST_ADDRESSES: u8 = 8;

/// What every part of the check looks things up in.
pub(super) struct Checker<'a> {
    pub(super) source: Source<'a>,
    pub(super) routers: BTreeSet<String>,
    pub(super) hosts: BTreeSet<String>,
    pub(super) programs: BTreeSet<String>,
    /// Hosts and routers, and how many addresses each has.
    places: BTreeMap<String, u8>,
    /// Variables that some step saves.
    pub(super) saved: BTreeSet<String>,
}

/// Makes a plan of a file, or says what keeps it from being one.
pub(super) fn check(file: File, source: Source<'_>) -> Result<Plan, Problem> {
    let mut checker = Checker {
        source,
        routers: file.routers.keys().cloned().collect(),
        hosts: file.hosts.keys().cloned().collect(),
        programs: file.programs.keys().cloned().collect(),
        places: BTreeMap::new(),
        saved: BTreeSet::new(),
    };
    checker.names(&file)?;
    for step in &file.steps {
        let saved = steps::saves(&checker, step.get_ref())?;
        checker.saved.extend(saved);
    }
    let routers = checker.routers(file.routers)?;
    let hosts = file.hosts.into_iter().map(|(name, host)| Ok((name, checker.host(host)?))).collect::<Result<_, _>>()?;
    let programs = file
        .programs
        .into_iter()
        .map(|(name, program)| Ok((name, checker.program(program)?)))
        .collect::<Result<_, _>>()?;
    let steps = steps::check(&checker, file.steps)?;
    Ok(Plan { routers, hosts, programs, steps })
}

impl Checker<'_> {
    pub(super) fn problem(&self, at: Range<usize>, message: impl Into<String>) -> Problem {
        self.source.problem(at, message)
    }

    fn names(&mut self, file: &File) -> Result<(), Problem> {
        let routers = file.routers.iter().map(|(name, router)| (name, router.span(), 1));
        let addresses = |host: &Host| host.addresses.as_ref().map_or(1, |number| *number.get_ref());
        let hosts = file.hosts.iter().map(|(name, host)| (name, host.span(), addresses(host.get_ref())));
        for (name, span, addresses) in routers.chain(hosts) {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if name.is_empty() || !name.chars().all(plain) {
                return Err(self.problem(span, format!("`{name}` is no name: use letters, digits, - and _")));
            }
            if name == INTERNET || self.places.insert(name.clone(), addresses).is_some() {
                return Err(self.problem(span, format!("the name `{name}` is taken: choose another")));
            }
        }
        if self.places.len() > MOST || self.programs.len() > MOST {
            let message = format!("more than {MOST} hosts and routers, or programs");
            return Err(Problem { file: self.source.file.to_owned(), line: None, field: None, message });
        }
        Ok(())
    }

    /// A name that is one of those.
    pub(super) fn one_of(&self, name: &Name, kind: &str, known: &BTreeSet<String>) -> Result<String, Problem> {
        if known.contains(name.get_ref()) {
            return Ok(name.get_ref().clone());
        }
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let there_are = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(self.problem(name.span(), format!("there is no {kind} `{}`; there are: {there_are}", name.get_ref())))
    }

    /// A router's name, or the Internet.
    pub(super) fn behind(&self, name: &Name) -> Result<Option<String>, Problem> {
        if name.get_ref() == INTERNET { Ok(None) } else { self.one_of(name, "router", &self.routers).map(Some) }
    }

    /// Text with names in it, all of which are known.
    pub(super) fn template(&self, text: &Name) -> Result<Template, Problem> {
        self.template_at(text.get_ref(), text.span())
    }

    pub(super) fn template_at(&self, text: &str, at: Range<usize>) -> Result<Template, Problem> {
        let template = Template::parse(text).map_err(|error| self.problem(at.clone(), error))?;
        let unknown = template.names().into_iter().find(|name| !is_known(name, &self.places, &self.saved));
        match unknown {
            None => Ok(template),
            Some(name) => {
                let message = format!(
                    "nothing is called `{{{name}}}`: there are {{folder}}, {{here}}, {{seed}}, {{HOST.address}}, {{HOST.address2}}, \
                     {{HOST.ipv6}}, {{ROUTER.address}}, and what steps `save`"
                );
                Err(self.problem(at, message))
            }
        }
    }

    pub(super) fn line(&self, line: Option<&Spanned<Line>>) -> Result<Line, Problem> {
        let Some(spanned) = line else { return Ok(Line::default()) };
        let line = *spanned.get_ref();
        let chances = [
            line.loss,
            line.reordering,
            line.duplication,
            line.burst_loss.fall_ill,
            line.burst_loss.recover,
            line.burst_loss.loss_when_ill,
        ];
        if chances.iter().all(|chance| (0.0..=1.0).contains(chance)) {
            Ok(line)
        } else {
            Err(self.problem(spanned.span(), "a chance is from 0 to 1"))
        }
    }

    /// In an order in which they can be built.
    fn routers(&self, routers: BTreeMap<String, Spanned<Router>>) -> Result<Vec<(String, RouterPlan)>, Problem> {
        let mut waiting: Vec<(String, Range<usize>, RouterPlan)> = vec![];
        for (name, router) in routers {
            let span = router.span();
            waiting.push((name, span, self.router(router)?));
        }
        let mut ordered: Vec<(String, RouterPlan)> = vec![];
        while !waiting.is_empty() {
            let built: BTreeSet<String> = ordered.iter().map(|(name, _)| name.clone()).collect();
            let (ready, rest): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|(_, _, plan)| plan.behind.as_ref().is_none_or(|above| built.contains(above)));
            if let ([], [(name, span, _), ..]) = (&ready[..], &rest[..]) {
                return Err(self.problem(span.clone(), format!("`{name}` is behind itself, in the end")));
            }
            ordered.extend(ready.into_iter().map(|(name, _, plan)| (name, plan)));
            waiting = rest;
        }
        Ok(ordered)
    }

    fn router(&self, router: Spanned<Router>) -> Result<RouterPlan, Problem> {
        let at = self.source.line(router.span().start);
        let router = router.into_inner();
        let known: BTreeSet<String> = presets::all()
            .iter()
            .filter(|p| !p.access.routers.is_empty())
            .map(|preset| preset.name.to_owned())
            .collect();
        let preset = self.one_of(&router.preset, "preset of a router", &known)?;
        let mut access = presets::named(&preset).map(|preset| preset.access).unwrap_or(OPEN);
        if let Some(nearest) = access.routers.first_mut() {
            nearest.carrier |= router.carrier;
        }
        let nat = access.routers.first_mut().and_then(|nearest| nearest.ipv4.as_mut());
        match nat {
            Some(nat) => {
                nat.mapping = router.mapping.unwrap_or(nat.mapping);
                nat.filtering = router.filtering.unwrap_or(nat.filtering);
                nat.ports = router.ports.unwrap_or(nat.ports);
                nat.hairpinning = router.hairpinning.unwrap_or(nat.hairpinning);
                nat.lifetimes = router.lifetimes.unwrap_or(nat.lifetimes);
                nat.limits = router.limits.unwrap_or_else(|| nat.limits.clone());
                nat.quirks = router.quirks.unwrap_or(nat.quirks);
            }
            None if router.changes_nat() => {
                let message = format!("a router `{preset}` has no NAT whose behaviour could be changed");
                return Err(self.problem(router.preset.span(), message));
            }
            None => {}
        }
        let behind = router.behind.as_ref().map(|name| self.behind(name)).transpose()?.flatten();
        let (made_of, port_mapping, line) = (router.made_of, router.port_mapping, self.line(router.line.as_ref())?);
        let port_mapping = port_mapping.filter(|wanted| !matches!(wanted, PortMapping::All(false)));
        Ok(RouterPlan { at, access, made_of, port_mapping, behind, line })
    }

    fn host(&self, host: Spanned<Host>) -> Result<HostPlan, Problem> {
        let at = self.source.line(host.span().start);
        let host = host.into_inner();
        let addresses = match &host.addresses {
            Some(number) if !(1..=MOST_ADDRESSES).contains(number.get_ref()) => {
                return Err(self.problem(number.span(), format!("a host has 1 to {MOST_ADDRESSES} addresses")));
            }
            number => number.as_ref().map_or(1, |number| *number.get_ref()),
        };
        let behind = host.behind.as_ref().map(|name| self.behind(name)).transpose()?.flatten();
        Ok(HostPlan { at, behind, addresses, line: self.line(host.line.as_ref())? })
    }

    fn program(&self, program: Spanned<Program>) -> Result<ProgramPlan, Problem> {
        let program = program.into_inner();
        if program.command.get_ref().is_empty() {
            return Err(self.problem(program.command.span(), "a command has at least the program's name"));
        }
        let command = program.command.get_ref().iter().map(|word| self.template(word)).collect::<Result<_, _>>()?;
        let env = program
            .env
            .into_iter()
            .map(|(name, value)| Ok((name, self.template(&value)?)))
            .collect::<Result<_, _>>()?;
        let at = self.source.line(program.command.span().start);
        Ok(ProgramPlan { at, host: self.one_of(&program.host, "host", &self.hosts)?, command, env })
    }
}

/// Where hosts and routers are that stand behind nothing.
const INTERNET: &str = "internet";
const OPEN: Access = Access { families: crate::model::Families::Ipv4, routers: vec![] };
