//! What this machine is called.

use std::{env, fs};

/// The name of this machine, as its owner knows it; empty where it is not to be found out without asking the network.
pub(crate) fn host_name() -> String {
    let linux = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let named = linux.or_else(|| env::var("COMPUTERNAME").ok()).or_else(|| env::var("HOSTNAME").ok());
    named.map(|name| name.trim().to_owned()).unwrap_or_default()
}
