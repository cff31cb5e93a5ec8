//! Everything that can go wrong while a network is built, each with what to do about it.

use std::io;
use std::net::Ipv4Addr;

use super::prefix::Prefix;
use super::router::NotByKernel;

/// The result of every operation on a simulated network.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a network could not be built or changed.
///
/// The operating system's own words, where there are any, are the error's source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither root, nor may this user make a user namespace; or a container holds back what root may do.
    #[error(
        "network namespaces are refused here: run as root, or let ordinary users make user namespaces \
         (sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=10000 \
         user.max_net_namespaces=10000; in a container, start it with --privileged)"
    )]
    NotPermitted(#[source] io::Error),
    /// The program that loads a router's rules is not there.
    #[error("the program `nft` was not found in {looked_in}: apt-get install nftables")]
    NftMissing {
        /// Where it was looked for.
        looked_in: String,
    },
    /// `nft` is there and the kernel did not take the rules.
    #[error(
        "nft refused the rules of router {router}: {said} (the kernel needs nf_tables with NAT: modprobe nft_masq nft_ct)"
    )]
    NftRefused {
        /// The router's name.
        router: String,
        /// What `nft` wrote to its standard error.
        said: String,
    },
    /// The program that maps ports for whoever asks is not there.
    #[error("the program `miniupnpd` was not found in {looked_in}: apt-get install miniupnpd-nftables")]
    MiniupnpdMissing {
        /// Where it was looked for.
        looked_in: String,
    },
    /// `miniupnpd` is there and does not listen.
    #[error(
        "router {router}: miniupnpd, which is to map ports, said: {said} (it must be 2.3 or later, the one that was built \
         for nftables: apt-get install miniupnpd-nftables)"
    )]
    MiniupnpdRefused {
        /// The router's name.
        router: String,
        /// What it wrote to its standard error.
        said: String,
    },
    /// The router asked for is not among those that kernel rules can make.
    #[error("router {router} cannot be made of kernel rules: choose a combination that the source allows")]
    NotByKernel {
        /// The router's name.
        router: String,
        /// What is missing.
        #[source]
        source: NotByKernel,
    },
    /// The kernel refused a step; the source says why.
    #[error("{namespace}: the kernel refused to {step}")]
    Kernel {
        /// The host, router or Internet it happened in.
        namespace: String,
        /// What was being done.
        step: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A host of the wire driver hangs on a TUN device, and there is none to be had.
    #[error(
        "{host}: cannot open /dev/net/tun: it must be there and open to this user \
         (modprobe tun; chmod 0666 /dev/net/tun; in a container, start it with --device /dev/net/tun)"
    )]
    NoTun {
        /// The host's name.
        host: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A program could not be started in a host.
    #[error("{host}: cannot start {program}: is it installed and executable?")]
    Spawn {
        /// The host's name.
        host: String,
        /// The program as the caller named it.
        program: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Two interfaces of one network cannot have the same address.
    #[error("{0} is already taken in this network: choose another address or let the network choose")]
    AddressTaken(Ipv4Addr),
    /// The chosen address cannot be reached in this network.
    #[error("{address} is no host address of {prefix}: choose one inside it")]
    NotInPrefix {
        /// The address asked for.
        address: Ipv4Addr,
        /// The network it was asked for in.
        prefix: Prefix,
    },
    /// On the wire, networks give out their addresses themselves.
    #[error("router {0} cannot choose its WAN address on the wire: leave `wan_address` to the network")]
    AddressNotChosen(String),
    /// Every address of the network is in use.
    #[error("{0} has no free address left: choose a wider prefix")]
    PrefixFull(Prefix),
    /// A router with the same network on both sides could not tell where to send.
    #[error(
        "router {router} would have {lan} on its LAN and {wan} on its WAN: choose a LAN prefix that does not overlap"
    )]
    PrefixesOverlap {
        /// The router's name.
        router: String,
        /// The LAN prefix asked for.
        lan: Prefix,
        /// The prefix of the network it hangs on.
        wan: Prefix,
    },
    /// The text is no IPv4 prefix.
    #[error("`{0}` is no IPv4 prefix of 8 to 30 bits with the host bits zero: write one like 192.168.1.0/24")]
    BadPrefix(String),
}

impl Error {
    pub(crate) fn kernel(namespace: &str, step: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let (namespace, step) = (namespace.to_owned(), step.into());
        move |source| Error::Kernel { namespace, step, source }
    }
}
