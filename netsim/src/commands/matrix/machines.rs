//! The matrix in virtual time.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use netsim::matrix::{Plan, Timing, run as run_all, study, trace};
use netsim::model::Preset;
use netsim::oracle::Relation;

/// What only virtual time has.
#[derive(clap::Args)]
pub(super) struct OfMachines {
    /// Show every packet of one meeting of the first kind with the last, in place of the table
    #[arg(long)]
    pub(super) trace: bool,

    /// Play the pairs that each strategy of punching is for, 100 meetings each if not told, in place of the table
    #[arg(long, conflicts_with_all = ["trace", "kinds", "format"])]
    study: bool,

    /// In that meeting the one who is asked hears 200 ms late
    #[arg(long, requires = "trace")]
    late: bool,
}

/// Runs it and prints.
pub(super) fn run(arguments: &super::Arguments) -> anyhow::Result<ExitCode> {
    let kinds = super::kinds(&arguments.kinds)?;
    let OfMachines { trace, late, study } = arguments.machines;
    if study {
        return studies(arguments.seed, arguments.meetings.unwrap_or(100));
    }
    if trace {
        return one_meeting(&kinds, if late { Timing::Late } else { Timing::Together }, arguments.seed);
    }
    let meetings = arguments.meetings.unwrap_or(Plan::default().meetings);
    let plan = Plan { kinds, seed: arguments.seed, meetings };
    let table = run_all(&plan, Instant::now(), |done, all| super::progress(done, all, "cells"));
    super::show(&table, arguments.format)
}

fn studies(seed: u64, meetings: u64) -> anyhow::Result<ExitCode> {
    let cases = study::cases();
    let all = cases.len();
    let of = |(n, case): (usize, study::Case)| {
        let findings = study::study(&case, seed, meetings, Instant::now());
        super::progress(n + 1, all, "pairs");
        (case, findings)
    };
    let studied: Vec<_> = cases.into_iter().enumerate().map(of).collect();
    super::print(&study::markdown(&studied))?;
    Ok(ExitCode::SUCCESS)
}

fn one_meeting(kinds: &[Preset], timing: Timing, seed: u64) -> anyhow::Result<ExitCode> {
    let ([row, .., column] | [row @ column]) = kinds else {
        bail!("--trace shows a meeting of two kinds: --kinds home,mobile --trace")
    };
    let packets = trace((row, column), Relation::Separate, timing, seed, Instant::now());
    super::print(&packets.context("these two have no keys")?)?;
    Ok(ExitCode::SUCCESS)
}
