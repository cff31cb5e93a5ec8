//! What every handle of one simulated network shares: all of its namespaces, and the next free LAN.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::Result;
use super::firmware::Firmware;
use super::namespace::{Forwarding, Namespace};
use super::prefix::Prefix;

/// The owner of a network's namespaces. While one handle to any part of the network lives, all of it does: a story may
/// keep a host and let go of the router before it, or keep the network and let go of both.
#[derive(Default)]
pub(super) struct World {
    // First, so that what runs in a namespace ends before it.
    firmwares: Mutex<Vec<Arc<Firmware>>>,
    namespaces: Mutex<Vec<Arc<Namespace>>>,
    homes: AtomicU8,
}

impl World {
    pub(super) fn namespace(&self, name: &str, forwarding: Forwarding) -> Result<Arc<Namespace>> {
        let namespace = Arc::new(Namespace::new(name, forwarding)?);
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).push(namespace.clone());
        Ok(namespace)
    }

    /// What runs in a router runs as long as the network.
    pub(super) fn keep(&self, firmware: &Arc<Firmware>) {
        self.firmwares.lock().unwrap_or_else(PoisonError::into_inner).push(firmware.clone());
    }

    /// `192.168.1.0/24`, `192.168.2.0/24` and so on. After 256 homes they share prefixes, as homes do.
    pub(super) fn next_lan(&self) -> Prefix {
        Prefix::literal(192, 168, self.homes.fetch_add(1, Ordering::Relaxed).wrapping_add(1), 0, 24)
    }
}
