//! `netsim`: shows what the simulated networks of this crate really do.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "only the library has pure parts")]

mod commands;

use std::process::ExitCode;

use clap::Parser;
#[cfg(target_os = "linux")]
use commands::interrupt::{CtrlC, on_signals};

fn main() -> ExitCode {
    run(Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("netsim: {error:#}");
        ExitCode::from(CANNOT)
    })
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        #[cfg(target_os = "linux")]
        Command::Matrix(arguments) if arguments.has_real_programs() => {
            // First of all: with a second thread the kernel would refuse.
            netsim::netns::enter_user_namespace_if_needed()?;
            commands::matrix::run_programs(&arguments, on_signals(CtrlC::Us)?)
        }
        #[cfg(any(feature = "punchline", target_os = "linux"))]
        Command::Matrix(arguments) => commands::matrix::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Verify(arguments) => {
            netsim::netns::enter_user_namespace_if_needed()?;
            commands::verify::run(&arguments, &on_signals(CtrlC::Us)?)
        }
        #[cfg(target_os = "linux")]
        Command::Run(arguments) => {
            netsim::netns::enter_user_namespace_if_needed()?;
            commands::run::run(&arguments, on_signals(CtrlC::Us)?)
        }
        #[cfg(target_os = "linux")]
        Command::Shell(arguments) => {
            netsim::netns::enter_user_namespace_if_needed()?;
            commands::shell::run(&arguments, on_signals(CtrlC::TheProgram)?)
        }
        Command::Ladder(arguments) => commands::ladder::run(&arguments),
        Command::Udp(arguments) => commands::udp::run(&arguments),
    }
}

/// The exit status when nothing could be measured; 1 says that something was, and is wrong. As clap's, for bad usage.
const CANNOT: u8 = 2;

/// Networks to test in: namespaces, links and NAT routers
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
#[command(after_help = "\
`matrix` runs in virtual time and needs nothing but this program. `verify`,
`run`, `shell`, and `matrix` with real programs build a small Internet
(11.1.1.0/24) out of Linux network namespaces. They never touch the machine's own network, send nothing outside,
and leave nothing behind, however they end. They need Linux, the program nft,
and root or a kernel that lets ordinary users make user namespaces:
  apt-get install nftables
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0   (Ubuntu)

Start with:
  netsim matrix
  netsim verify
  netsim run netsim/scenarios/tcp-through-a-home.toml")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    #[cfg(any(feature = "punchline", target_os = "linux"))]
    Matrix(commands::matrix::Arguments),
    #[cfg(target_os = "linux")]
    #[command(alias = "routers")]
    Verify(commands::verify::Arguments),
    #[cfg(target_os = "linux")]
    Run(commands::run::Arguments),
    #[cfg(target_os = "linux")]
    Shell(commands::shell::Arguments),
    Ladder(commands::ladder::Arguments),
    Udp(netsim::udp::Arguments),
}
