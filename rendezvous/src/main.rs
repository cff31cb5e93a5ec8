//! The command line of the rendezvous.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use rendezvous::config::{LogFormat, RunArgs};
use rendezvous::{Rendezvous, StartError};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

/// Introduces Punchline clients to each other, so that they can talk directly.
///
/// It sees who asks for whom and from which addresses, never what they say.
#[derive(Debug, Parser)]
#[command(name = "rendezvous", version, after_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server in the foreground, until SIGTERM or Ctrl-C
    #[command(after_help = EXAMPLE)]
    Run(RunArgs),
}

const EXAMPLE: &str = "\
Example, on a server with two addresses; open UDP 3478 and 3479, and TCP 443, in its firewall:
  rendezvous run --listen 203.0.113.5 --listen 203.0.113.6 --host rendezvous.example.org --tunnel 203.0.113.5

It prints one line on standard output, the link that clients join with:
  join punchline://rendezvous.example.org:3478/join#KEY

RENDEZVOUS_LOG=debug shows more on standard error. Exit codes: 0 stopped when told to, 2 wrong usage, 1 anything else.";

/// quinn warns of what strangers send, with their addresses. Nobody has to act on that.
const QUIETLY: &str = "info,quinn=error,quinn_proto=error,quinn_udp=error";

fn main() -> ExitCode {
    let Command::Run(args) = Cli::parse().command;
    let (config, log_format) = match args.resolve() {
        Ok(resolved) => resolved,
        Err(error) => return complain(&error.into(), 2),
    };
    let filter = EnvFilter::try_from_env("RENDEZVOUS_LOG").unwrap_or_else(|_| EnvFilter::new(QUIETLY));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    match serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let usage = error.downcast_ref::<StartError>().is_some_and(StartError::is_usage);
            complain(&error, if usage { 2 } else { 1 })
        }
    }
}

fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("rendezvous: {error:#}");
    ExitCode::from(code)
}

fn serve(config: &rendezvous::Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let server = Rendezvous::open(config)?;
        // Before the link is printed: whoever reads it may stop us.
        let stop = stop_signal().context("listening for signals")?;
        writeln!(std::io::stdout(), "join {}", server.link()).context("printing the link")?;
        for address in server.addresses() {
            tracing::debug!(%address, "listening");
        }
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
        server
            .run(async {
                let _ = stop.await;
            })
            .await?;
        Ok(())
    })
}

/// Done at the first signal; at the second the process ends at once.
fn stop_signal() -> std::io::Result<oneshot::Receiver<()>> {
    let (tell, stop) = oneshot::channel();
    #[cfg(unix)]
    let (mut interrupt, mut terminate) = {
        use tokio::signal::unix::{SignalKind, signal};
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    #[cfg(windows)]
    let (mut interrupt, mut terminate) = (tokio::signal::windows::ctrl_c()?, tokio::signal::windows::ctrl_close()?);
    tokio::spawn(async move {
        let mut tell = Some(tell);
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            match tell.take() {
                Some(tell) => {
                    let _ = tell.send(());
                }
                None => std::process::exit(1),
            }
        }
    });
    Ok(stop)
}
