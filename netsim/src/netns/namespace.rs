//! One anonymous network namespace: made by a thread that dies at once, held by a file descriptor, gone with it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use super::error::{Error, Result};
use super::netlink::Netlink;

/// Whether a namespace passes packets on that are not for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forwarding {
    Off,
    On,
}

/// `lo`'s index in every namespace.
const LOOPBACK: u32 = 1;

/// An anonymous network namespace. It has no name in `/run/netns`; when this descriptor, the sockets opened in it and
/// the processes started in it are gone, the kernel takes down its devices and its nftables.
pub(crate) struct Namespace {
    name: String,
    descriptor: File,
    links: Netlink,
}

impl Namespace {
    pub(super) fn new(name: &str, forwarding: Forwarding) -> Result<Namespace> {
        Namespace::with_settings(name, || write_sysctls(name, forwarding))
    }

    /// For a host that speaks both versions of IP as far as it is given addresses, and nothing unasked: no link-local
    /// addresses, no neighbour or router discovery.
    pub(crate) fn of_both_families(name: &str) -> Result<Namespace> {
        Namespace::with_settings(name, || {
            write_sysctls(name, Forwarding::Off)?;
            let there = fs::exists(sysctl_path("ipv6")).unwrap_or(false);
            if there { write_ipv6_sysctls(name) } else { Ok(()) }
        })
    }

    /// For a router, between whatever it is plugged into.
    pub(crate) fn of_a_router(name: &str) -> Result<Namespace> {
        Namespace::new(name, Forwarding::On)
    }

    fn with_settings(name: &str, settings: impl FnOnce() -> Result<()> + Send) -> Result<Namespace> {
        let (descriptor, links) = in_scratch_thread(name, || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Error::NotPermitted(errno.into()))?;
            settings()?;
            let step = || -> io::Result<(File, Netlink)> { Ok((File::open(THREAD_NAMESPACE)?, Netlink::route()?)) };
            step().map_err(Error::kernel(name, "hold the new namespace"))
        })??;
        let namespace = Namespace { name: name.to_owned(), descriptor, links };
        namespace.link("bring up the loopback", |links| links.set_link_up(LOOPBACK, true))?;
        tracing::debug!(namespace = name, "made a network namespace");
        Ok(namespace)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Where other programs find this namespace: `nsenter --net=PATH`.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.descriptor.as_raw_fd()).into()
    }

    /// Runs the closure in this namespace; sockets it makes stay in the namespace wherever they go.
    pub(crate) fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        in_scratch_thread(&self.name, || {
            setns(self.descriptor(), CloneFlags::CLONE_NEWNET)
                .map_err(|errno| Error::kernel(&self.name, "let us in")(errno.into()))?;
            Ok(closure())
        })?
    }

    pub(crate) fn link<T>(&self, step: &str, request: impl FnOnce(&Netlink) -> io::Result<T>) -> Result<T> {
        request(&self.links).map_err(Error::kernel(&self.name, step))
    }

    pub(super) fn set_sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.enter(|| write_sysctl(&self.name, key, value))?
    }

    /// Forgets every tracked connection, and with them every NAT mapping.
    pub(super) fn flush_conntrack(&self) -> Result<()> {
        self.enter(|| Netlink::netfilter().and_then(|netfilter| netfilter.flush_conntrack()))?
            .map_err(Error::kernel(&self.name, "flush connection tracking"))
    }
}

const THREAD_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// A thread that changes its namespace must not come back to a pool: it does one thing and ends.
fn in_scratch_thread<T: Send>(name: &str, closure: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let scratch = thread::Builder::new().name(format!("in {name}"));
        let running = scratch.spawn_scoped(scope, closure).map_err(Error::kernel(name, "start a thread"))?;
        running.join().or_else(|panic| resume_unwind(panic))
    })
}

/// What every namespace of ours wants, whatever the machine's own defaults are. `/proc/sys/net` shows the opener's
/// namespace, so this runs in the thread that made it.
fn write_sysctls(name: &str, forwarding: Forwarding) -> Result<()> {
    // First, since it resets the per-interface settings to the RFC's defaults for a host or a router.
    let forward = if forwarding == Forwarding::On { "1" } else { "0" };
    write_sysctl(name, "ipv4/ip_forward", forward)?;
    // A router checks the reverse path strictly (RFC 3704); a host loosely, since it may have two links.
    let reverse_path = if forwarding == Forwarding::On { "1" } else { "2" };
    write_sysctl(name, "ipv4/conf/all/rp_filter", "0")?;
    write_sysctl(name, "ipv4/conf/default/rp_filter", reverse_path)?;
    // Say who we are when a link comes up, so that neighbours forget who had the address before.
    write_sysctl(name, "ipv4/conf/all/arp_notify", "1")?;
    // When the first address goes, its secondaries stay.
    write_sysctl(name, "ipv4/conf/all/promote_secondaries", "1")?;
    // Zero is "no limit": a test that counts ICMP errors must not meet the default of one a second and peer.
    write_sysctl(name, "ipv4/icmp_ratelimit", "0")?;
    for (key, value) in [
        // Not in a namespace of its own before Linux 6.12.
        ("ipv4/icmp_msgs_per_sec", "1000000"),
        // IPv6 is for later; without it no neighbour discovery disturbs the captures.
        ("ipv6/conf/all/disable_ipv6", "1"),
        ("ipv6/conf/default/disable_ipv6", "1"),
        // Else bridged frames pass through the IP rules as well, and NAT happens to packets between LAN hosts.
        ("bridge/bridge-nf-call-iptables", "0"),
        ("bridge/bridge-nf-call-arptables", "0"),
    ] {
        let there = fs::exists(sysctl_path(key)).unwrap_or(false);
        if there && let Err(refused) = write_sysctl(name, key, value) {
            tracing::debug!(namespace = name, key, %refused, "an optional setting was refused");
        }
    }
    Ok(())
}

fn write_ipv6_sysctls(name: &str) -> Result<()> {
    for interfaces in ["all", "default"] {
        for (key, value) in [
            ("disable_ipv6", "0"),
            // Duplicate address detection holds an address back for two seconds.
            ("accept_dad", "0"),
            ("accept_ra", "0"),
            ("autoconf", "0"),
            // As IPv4's addresses do, stay while the link is down.
            ("keep_addr_on_down", "1"),
        ] {
            write_sysctl(name, &format!("ipv6/conf/{interfaces}/{key}"), value)?;
        }
    }
    // 1: no link-local address.
    write_sysctl(name, "ipv6/conf/default/addr_gen_mode", "1")
}

fn write_sysctl(name: &str, key: &str, value: &str) -> Result<()> {
    fs::write(sysctl_path(key), value).map_err(|refused| match refused.kind() {
        // A container whose /proc/sys is read-only, or a security module that took our capabilities.
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Error::NotPermitted(refused),
        _ => Error::kernel(name, format!("set net/{key} to {value}"))(refused),
    })
}

fn sysctl_path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(key)
}
