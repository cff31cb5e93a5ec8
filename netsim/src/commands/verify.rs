//! `netsim verify`: asks each kind of router what it does and holds the answer against how it was configured.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::bail;
use netsim::model::behaviour::{Filtering, Mapping};
use netsim::model::{Access, Behaviour, presets};
use netsim::netns::{NotByKernel, Router, Survey, survey, survey_between};
use netsim::wire::Internet;
use serde::Serialize;

/// Measure what each kind of router does to UDP
///
/// Builds each router with two hosts behind it and two on the Internet, asks
/// it with real sockets, and prints what it was configured to do next to what
/// it does. The words are those of RFC 4787:
///
///   mapping      how far one external port serves: for packets to everyone
///                (endpoint-independent), or a new one for each address, or
///                for each address and port sent to. Hole punching needs the
///                first on one side.
///   filtering    whose packets come in through a mapping
///   ports        which external port a mapping gets: the internal one where
///                it is free (preserved), the next one, or a random one
///   hairpinning  two hosts on the LAN reach each other by their external
///                addresses
///   early probe  what a peer's packet does that arrives before ours to that
///                peer: where stray packets are taken in, it occupies the port,
///                our mapping moves, and the punch fails
///
/// The kinds are the nine cells of the table mapping x filtering, by their
/// initials (eim-eif is endpoint-independent in both, apdm-adf depends on
/// address and port in one and on the address in the other), and the presets.
/// Those that cannot be measured are listed with the reason: the rules of a
/// kernel make some only, a survey asks one router over IPv4.
///
/// The exit status is 1 if a router does not do what it was configured to do,
/// and 2 if the routers could not be built.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// What the routers are
    #[arg(long, value_enum, default_value = "kernel")]
    driver: Driver,

    /// Only these kinds, in this order; all if not given
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    kinds: Vec<String>,

    /// One JSON object per kind and line, in place of the table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Driver {
    /// Routers made of the kernel's own rules
    Kernel,
    /// The model, which carries the packets of real sockets
    Wire,
}

/// Of the model's luck: the same in every run.
const SEED: u64 = 1;

/// Something to verify.
#[derive(Clone)]
struct Kind {
    name: String,
    subject: Result<Subject, Refusal>,
}

#[derive(Clone)]
enum Subject {
    Kernel(Router),
    /// One NAT of the model.
    Wire(Behaviour),
}

/// Why this cannot be measured.
#[derive(Clone)]
enum Refusal {
    Kernel(NotByKernel),
    NotOneIpv4Nat,
    NoUdp,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Kernel(missing) => missing.fmt(f),
            Refusal::NotOneIpv4Nat => f.write_str("not measured: it is not one router for IPv4"),
            Refusal::NoUdp => f.write_str("not measured: no UDP gets out"),
        }
    }
}

impl Subject {
    fn new(behaviour: &Behaviour, driver: Driver) -> Result<Subject, Refusal> {
        match driver {
            _ if behaviour.quirks.blocks_udp => Err(Refusal::NoUdp),
            Driver::Kernel => Router::try_from(behaviour).map(Subject::Kernel).map_err(Refusal::Kernel),
            Driver::Wire => Ok(Subject::Wire(behaviour.clone())),
        }
    }

    fn configured(&self) -> Survey {
        match self {
            Subject::Kernel(router) => router.promised(),
            Subject::Wire(behaviour) => Survey::from(behaviour),
        }
    }

    fn measured(&self) -> anyhow::Result<Survey> {
        Ok(match self {
            Subject::Kernel(router) => survey(*router)?,
            Subject::Wire(behaviour) => {
                let net = Internet::new(SEED)?;
                let outside = [net.public_host("one")?, net.public_host("two")?];
                let router = net.router("router", behaviour.clone());
                survey_between(&[router.host("alice")?, router.host("bob")?], &outside)?
            }
        })
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Report<'a> {
    Measured { kind: &'a str, configured: Survey, measured: Survey, agrees: bool },
    NotMeasured { kind: &'a str, because: String },
}

/// Measures every kind that was asked for and prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let kinds = chosen(&arguments.kinds, arguments.driver)?;
    let mut out = io::stdout().lock();
    if !arguments.json {
        writeln!(out, "{}", row("KIND", ["", "MAPPING", "FILTERING", "PORTS", "HAIRPINNING", "EARLY PROBE"]))?;
    }
    let mut all_agree = true;
    for (number, kind) in kinds.iter().enumerate() {
        let progress = Progress::show(number + 1, kinds.len(), &kind.name);
        let report = report(kind)?;
        drop(progress);
        all_agree &= !matches!(report, Report::Measured { agrees: false, .. });
        let text = if arguments.json { serde_json::to_string(&report)? } else { lines(&report) };
        writeln!(out, "{text}")?;
    }
    if !all_agree {
        eprintln!(
            "a router does not do what it was told: trust no test made with it, and report this kernel's version"
        );
    }
    Ok(if all_agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(names: &[String], driver: Driver) -> anyhow::Result<Vec<Kind>> {
    let kinds = kinds(driver);
    if names.is_empty() {
        return Ok(kinds);
    }
    let named = |name: &String| match kinds.iter().find(|kind| kind.name == *name) {
        Some(kind) => Ok(kind.clone()),
        None => {
            let known: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
            bail!("there is no kind `{name}`: choose from {}", known.join(", "))
        }
    };
    names.iter().map(named).collect()
}

fn kinds(driver: Driver) -> Vec<Kind> {
    let mut kinds = vec![];
    for (mapping, m) in Mapping::ALL.into_iter().zip(["eim", "adm", "apdm"]) {
        for (filtering, f) in Filtering::ALL.into_iter().zip(["eif", "adf", "apdf"]) {
            let subject = Subject::new(&Router::cell(mapping, filtering).behaviour(), driver);
            kinds.push(Kind { name: format!("{m}-{f}"), subject });
        }
    }
    let subject = |access: &Access| match &access.routers[..] {
        [router] => Subject::new(router.ipv4.as_ref().ok_or(Refusal::NotOneIpv4Nat)?, driver),
        _ => Err(Refusal::NotOneIpv4Nat),
    };
    let presets = presets::all().into_iter();
    kinds.extend(presets.map(|preset| Kind { name: preset.name.to_owned(), subject: subject(&preset.access) }));
    kinds
}

fn report(kind: &Kind) -> anyhow::Result<Report<'_>> {
    Ok(match &kind.subject {
        Ok(subject) => {
            let (configured, measured) = (subject.configured(), subject.measured()?);
            Report::Measured { kind: &kind.name, configured, measured, agrees: configured == measured }
        }
        Err(refusal) => Report::NotMeasured { kind: &kind.name, because: refusal.to_string() },
    })
}

fn lines(report: &Report<'_>) -> String {
    match report {
        Report::NotMeasured { kind, because } => format!("{kind:<20} {because}"),
        Report::Measured { kind, configured, measured, agrees } => {
            let verdict = if *agrees { "agrees" } else { "DIFFERS" };
            format!(
                "{}\n{}  {verdict}",
                survey_row(kind, "configured", configured),
                survey_row("", "measured", measured)
            )
        }
    }
}

fn survey_row(kind: &str, which: &str, survey: &Survey) -> String {
    let Survey { observed, ports } = survey;
    let hairpinning = if observed.hairpinning { "yes" } else { "no" };
    let [mapping, filtering, ports, probe] = [
        observed.mapping.to_string(),
        observed.filtering.to_string(),
        ports.to_string(),
        observed.early_probe.to_string(),
    ];
    row(kind, [which, &mapping, &filtering, &ports, hairpinning, &probe])
}

fn row(kind: &str, cells: [&str; 6]) -> String {
    let [which, mapping, filtering, ports, hairpinning, probe] = cells;
    let line =
        format!("{kind:<20} {which:<10} {mapping:<26} {filtering:<26} {ports:<10} {hairpinning:<11} {probe:<17}");
    line.trim_end().to_owned()
}

/// "3/12 home" on a terminal's last line, while it lives.
struct Progress;

impl Progress {
    fn show(number: usize, of: usize, name: &str) -> Option<Progress> {
        let mut screen = io::stderr();
        if !screen.is_terminal() {
            return None;
        }
        // Nobody misses the progress of a terminal that is gone.
        let _ = write!(screen, "{number}/{of} {name} ...").and_then(|()| screen.flush());
        Some(Progress)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        eprint!("\r\x1b[K");
    }
}
