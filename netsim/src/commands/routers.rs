//! `netsim routers`: asks each kind of router what it does and holds the answer against what it promises.

use std::io::{self, Write};
use std::process::ExitCode;

use netsim::model::Observed;
use netsim::netns::{PortAssignment, Router, WanInput, survey};
use serde::Serialize;

/// Measure what each kind of router does to UDP
///
/// Builds each router with two hosts behind it and two on the Internet, and
/// asks it with real sockets. The words are those of RFC 4787:
///
///   mapping      how far one external port serves: for packets to everyone
///                (endpoint-independent), or a new one for each address and
///                port sent to. Hole punching needs the first on one side.
///   keeps port   the external port is the internal one, where it is free
///   filtering    whose packets come in through a mapping
///   hairpinning  two hosts on the LAN reach each other by their external
///                addresses
///   early probe  what a peer's packet does that arrives before ours to that
///                peer: where stray packets are taken in, it occupies the port,
///                our mapping moves, and the punch fails
///
/// The exit status is 1 if a router does not keep what it promises, and 2 if
/// the routers could not be built.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// One JSON object per router and line, in place of the table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    router: &'static str,
    wan_input: &'static str,
    port_assignment: &'static str,
    #[serde(flatten)]
    measured: Observed,
    as_promised: bool,
}

/// Measures every kind and prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let kinds = [("home", Router::home()), ("plain-linux", Router::plain_linux()), ("corporate", Router::corporate())];
    let mut out = io::stdout().lock();
    let mut all_as_promised = true;
    if !arguments.json {
        writeln!(
            out,
            "{}",
            row(["ROUTER", "WAN INPUT", "MAPPING", "KEEPS PORT", "FILTERING", "HAIRPINNING", "EARLY PROBE"])
        )?;
    }
    for (name, router) in kinds {
        let report = report(name, router)?;
        all_as_promised &= report.as_promised;
        if arguments.json {
            writeln!(out, "{}", serde_json::to_string(&report)?)?;
        } else {
            writeln!(out, "{}", table_row(&report))?;
        }
    }
    if !all_as_promised {
        eprintln!(
            "a router does not keep its promise: do not trust tests made with it, and report this kernel's version"
        );
    }
    Ok(if all_as_promised { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(name: &'static str, router: Router) -> anyhow::Result<Report> {
    let measured = survey(router)?;
    Ok(Report {
        router: name,
        wan_input: match router.wan_input {
            WanInput::Drop => "drop",
            WanInput::Accept => "accept",
        },
        port_assignment: match router.port_assignment {
            PortAssignment::Preserving => "preserving",
            PortAssignment::Random => "random",
        },
        measured,
        as_promised: measured == router.promised(),
    })
}

fn table_row(report: &Report) -> String {
    let measured = &report.measured;
    let line = row([
        report.router,
        report.wan_input,
        &measured.mapping.to_string(),
        yes_or_no(measured.port_preservation),
        &measured.filtering.to_string(),
        yes_or_no(measured.hairpinning),
        &measured.early_probe.to_string(),
    ]);
    if report.as_promised { line } else { line + "  NOT AS PROMISED" }
}

fn row(cells: [&str; 7]) -> String {
    let [router, input, mapping, port, filtering, hairpinning, probe] = cells;
    format!("{router:<12} {input:<10} {mapping:<27} {port:<11} {filtering:<27} {hairpinning:<12} {probe}")
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
