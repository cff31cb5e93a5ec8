//! `punchline`: parse, carry out, exit.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use client::cli::{Cli, Global};
use client::commands;
use client::exit::{Exit, Failure};
use client::output::{Mode, Printer};
use jiff::Timestamp;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let started = Instant::now();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    log_to_stderr(&cli.global);
    let mut printer = Printer::standard(cli.global.mode());
    let end = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(commands::execute(cli, started, &mut printer)),
        Err(error) => Err(Failure::other(format!("cannot start: {error}"))),
    };
    match end {
        Ok(exit) => exit.code().into(),
        Err(failure) => {
            printer.fail(&failure, Timestamp::now());
            failure.exit.code().into()
        }
    }
}

/// Help, the version, or a mistake; clap knows the words for each. A program that asked for JSON gets the mistake so.
fn misunderstood(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let failure = Failure::usage(error.render().to_string().trim_end());
        Printer::standard(Mode::Json).fail(&failure, Timestamp::now());
        return failure.exit.code().into();
    }
    let _ = error.print();
    if error.use_stderr() { Exit::Usage.code().into() } else { Exit::Done.code().into() }
}

fn log_to_stderr(global: &Global) {
    let default = match global.verbose {
        0 => "warn,quinn_udp=error",
        1 => "warn,quinn_udp=error,client=info,common=info",
        _ => "info,client=trace,common=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
