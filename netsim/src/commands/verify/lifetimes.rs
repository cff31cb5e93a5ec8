//! `netsim verify --lifetimes`: one pass for all kinds, on one Internet.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::bail;
use netsim::model::observed::{ObservedLifetimes, SeenLifetimes};
use netsim::model::{Behaviour, Line};
use netsim::netns::{self, Network, Patient, Vantage, kernel_site};
use netsim::scenario::Interrupt;
use netsim::wire::Internet;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::kinds::{Kind, SEED, Subject};
use super::{Driver, Progress, Report, table};

/// The port that the first kind is knocked from, on the public host.
const FIRST_PORT: u16 = 3478;

type Found<'a> = Report<'a, ObservedLifetimes, SeenLifetimes>;

/// Whether all agree; `None` if somebody did not want to wait for that.
pub(super) fn run(kinds: &[Kind], driver: Driver, json: bool, interrupt: &Interrupt) -> anyhow::Result<Option<bool>> {
    let expected: Vec<Result<ObservedLifetimes, String>> = kinds.iter().map(expected).collect();
    // Some eight hundred sockets and namespaces for all kinds: near the usual limit of 1024. If it cannot be raised, the
    // kernel says so where it is reached.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let mut out = io::stdout().lock();
    if !json {
        writeln!(out, "{:<31} {:<15} {:<15} REFRESHED BY", "KIND", "UNREPLIED", "REPLIED")?;
    }
    let measured = match driver {
        Driver::Kernel => {
            let net = Network::new()?;
            let host = |subject: &Subject| kernel_site(&net, &subject.routers)?("alice");
            measure(kinds, &expected, &net.public_host("server")?, host, interrupt)?
        }
        Driver::Wire => {
            let net = Internet::new(SEED)?;
            let host = |subject: &Subject| net.site("router", &subject.access, Line::default()).host("alice");
            measure(kinds, &expected, &net.public_host("server")?, host, interrupt)?
        }
    };
    let Some(measured) = measured else { return Ok(None) };
    let mut measured = measured.into_iter();
    let mut all_agree = true;
    for (kind, expected) in kinds.iter().zip(expected) {
        let report: Found<'_> = match expected.map(|expected| (expected, measured.next())) {
            Err(because) => kind.not_measured(because),
            Ok((expected, Some(seen))) => kind.measured(expected, seen, expected.agrees(&seen)),
            Ok((_, None)) => bail!("{} was not measured: please report this", kind.name),
        };
        all_agree &= !matches!(report, Report::Measured { agrees: false, .. });
        let text = if json { serde_json::to_string(&report)? } else { table::pair(&report, configured, seen) };
        writeln!(out, "{text}")?;
    }
    Ok(Some(all_agree))
}

/// What is to be found of it, or why it is not asked.
fn expected(kind: &Kind) -> Result<ObservedLifetimes, String> {
    let subject = kind.subject.as_ref().map_err(ToString::to_string)?;
    let chain = subject.chain();
    let chain: Vec<&Behaviour> = chain.iter().collect();
    ObservedLifetimes::of_chain(&chain).ok_or_else(|| match chain[..] {
        [] => "not measured: nothing on the way remembers anything".to_owned(),
        _ => "not measured: no UDP gets out".to_owned(),
    })
}

fn measure<V: Vantage>(
    kinds: &[Kind],
    expected: &[Result<ObservedLifetimes, String>],
    server: &V,
    host: impl Fn(&Subject) -> netns::Result<V>,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<Vec<SeenLifetimes>>> {
    let mut hosts = vec![];
    for (kind, expected) in kinds.iter().zip(expected) {
        if let (Ok(subject), Ok(expected)) = (&kind.subject, expected) {
            hosts.push((host(subject)?, kind.family, *expected));
        }
    }
    let patients: Vec<Patient<'_, V>> = (FIRST_PORT..)
        .zip(&hosts)
        .map(|(port, (inside, family, expected))| Patient {
            inside,
            outside: (server, port),
            family: *family,
            expected: *expected,
        })
        .collect();
    let progress = Progress::begin();
    let mut shown = u64::MAX;
    let seen = netns::lifetimes(&patients, |left| {
        let left = left.as_secs();
        if left != shown {
            shown = left;
            progress.show(&format!("{} kinds, {}:{:02} left", patients.len(), left / 60, left % 60));
        }
        if interrupt.is_raised() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(seen)
}

fn configured(expected: &ObservedLifetimes) -> String {
    let seconds = |lifetime: Duration| format!("{} s", lifetime.as_secs_f64());
    let ObservedLifetimes { unreplied, replied, refreshed_by, .. } = expected;
    format!("{:<15} {:<15} {refreshed_by:<17}", seconds(*unreplied), seconds(*replied))
}

fn seen(seen: &SeenLifetimes) -> String {
    let SeenLifetimes { unreplied, replied, refreshed_by } = seen;
    format!("{unreplied:<15} {replied:<15} {refreshed_by:<17}")
}
