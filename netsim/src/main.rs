//! `netsim`: shows what the simulated networks of this crate really do.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "only the library has pure parts")]

#[cfg(target_os = "linux")]
mod routers;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use clap::Parser;

    run(Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("netsim: {error:#}");
        std::process::ExitCode::from(CANNOT)
    })
}

#[cfg(target_os = "linux")]
fn run(arguments: Arguments) -> anyhow::Result<std::process::ExitCode> {
    // First of all: with a second thread the kernel would refuse.
    netsim::netns::enter_user_namespace_if_needed()?;
    match arguments.command {
        Command::Routers(arguments) => routers::run(&arguments),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("netsim makes Linux network namespaces: run it on Linux, in a virtual machine if need be");
    std::process::ExitCode::FAILURE
}

/// The exit status when nothing could be measured; 1 says that something was, and is wrong. As clap's, for bad usage.
#[cfg(target_os = "linux")]
const CANNOT: u8 = 2;

/// Networks to test in: namespaces, links and NAT routers
#[cfg(target_os = "linux")]
#[derive(clap::Parser)]
#[command(version, arg_required_else_help = true)]
#[command(after_help = "\
netsim builds a small Internet (11.1.1.0/24) out of Linux network namespaces.
It never touches the machine's own network, sends nothing outside, and leaves
nothing behind, however it ends.

It needs the program nft, and root or a kernel that lets ordinary users make
user namespaces:
  apt-get install nftables
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0   (Ubuntu)

Start with:
  netsim routers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[cfg(target_os = "linux")]
#[derive(clap::Subcommand)]
enum Command {
    Routers(routers::Arguments),
}
