//! Networks of real namespaces, real kernel routers and real sockets; Linux only.
//!
//! ```no_run
//! use netsim::netns::{Network, Router, WanInput, in_namespaces};
//!
//! in_namespaces(|| {
//!     let net = Network::new()?;
//!     let server = net.public_host("server")?;
//!     let home = net.router("alice-home", Router { wan_input: WanInput::Accept, ..Router::home() })?;
//!     let alice = home.host("alice")?;
//!
//!     let (theirs, hers) = (server.udp(3478)?, alice.udp(4000)?);
//!     hers.send_to(b"who am I?", (server.address(), 3478))?;
//!     let (_, from) = theirs.recv_from(&mut [0; 64])?;
//!     assert_eq!(from, (home.wan_address(), 4000).into());
//!     Ok(())
//! });
//! ```

mod cable;
mod error;
mod firmware;
mod host;
mod kernel_router;
mod namespace;
mod netlink;
mod network;
mod nft;
mod port_mapper;
mod prefix;
mod privilege;
mod process;
mod programs;
mod recorded;
mod router;
mod ruleset;
mod segment;
mod spawner;
mod survey;
mod world;

pub use nix::sys::signal::Signal;

pub use error::{Error, Result};
pub use host::Host;
pub use kernel_router::KernelRouter;
pub use network::Network;
pub use port_mapper::PortMapping;
pub use prefix::Prefix;
pub use privilege::{Story, enter_user_namespace_if_needed, in_namespaces};
pub use process::Process;
pub use router::{NotByKernel, Router, UdpTimeouts, WanInput};
pub use survey::{
    Patient, Vantage, kernel_routers, kernel_site, lifetimes, survey, survey_between, survey_over, survey_series,
};

pub(crate) use firmware::Firmware;
pub(crate) use namespace::Namespace;
pub(crate) use netlink::Netlink;
pub(crate) use ruleset::Place;
