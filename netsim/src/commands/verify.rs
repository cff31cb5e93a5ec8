//! `netsim verify`: asks each kind of router what it does and holds the answer against how it was configured.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::bail;
use netsim::model::Access;
use netsim::model::addresses::Families;
use netsim::model::behaviour::{Filtering, Mapping};
use netsim::model::presets;
use netsim::netns::{NotByKernel, Router, Survey, survey};
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
/// address and port in one and on the address in the other), and the presets
/// that the rules of a kernel can make.
///
/// The exit status is 1 if a router does not do what it was configured to do,
/// and 2 if the routers could not be built.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Only these kinds, in this order; all if not given
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    kinds: Vec<String>,
    /// One JSON object per kind and line, in place of the table
    #[arg(long)]
    json: bool,
}

/// Something to verify.
#[derive(Clone)]
struct Kind {
    name: String,
    router: Result<Router, Refusal>,
}

/// Why the kernel cannot be this.
#[derive(Clone)]
enum Refusal {
    Kernel(NotByKernel),
    NotOneIpv4Nat,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Kernel(missing) => missing.fmt(f),
            Refusal::NotOneIpv4Nat => f.write_str("kernel rules do not do this: anything but one router for IPv4"),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Report<'a> {
    Measured { kind: &'a str, configured: Survey, measured: Survey, agrees: bool },
    NotByKernel { kind: &'a str, not_by_kernel: String },
}

/// Measures every kind that was asked for and prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let kinds = chosen(&arguments.kinds)?;
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

fn chosen(names: &[String]) -> anyhow::Result<Vec<Kind>> {
    let kinds = kinds();
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

fn kinds() -> Vec<Kind> {
    let mut kinds = vec![];
    for (mapping, m) in Mapping::ALL.into_iter().zip(["eim", "adm", "apdm"]) {
        for (filtering, f) in Filtering::ALL.into_iter().zip(["eif", "adf", "apdf"]) {
            kinds.push(Kind { name: format!("{m}-{f}"), router: Ok(Router::cell(mapping, filtering)) });
        }
    }
    let presets = presets::all().into_iter();
    kinds.extend(presets.map(|preset| Kind { name: preset.name.to_owned(), router: by_kernel(&preset.access) }));
    kinds
}

fn by_kernel(access: &Access) -> Result<Router, Refusal> {
    match (access.families, &access.routers[..]) {
        (Families::Ipv4, [router]) => {
            let behaviour = router.ipv4.as_ref().ok_or(Refusal::NotOneIpv4Nat)?;
            Router::try_from(behaviour).map_err(Refusal::Kernel)
        }
        _ => Err(Refusal::NotOneIpv4Nat),
    }
}

fn report(kind: &Kind) -> anyhow::Result<Report<'_>> {
    Ok(match &kind.router {
        Ok(router) => {
            let (configured, measured) = (router.promised(), survey(*router)?);
            Report::Measured { kind: &kind.name, configured, measured, agrees: configured == measured }
        }
        Err(refusal) => Report::NotByKernel { kind: &kind.name, not_by_kernel: refusal.to_string() },
    })
}

fn lines(report: &Report<'_>) -> String {
    match report {
        Report::NotByKernel { kind, not_by_kernel } => format!("{kind:<20} {not_by_kernel}"),
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
