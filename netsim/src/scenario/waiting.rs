//! Waiting for what others do, until a deadline, and no longer than the person in front of the screen wants to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Stops scenarios from another thread; clones stop the same ones.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    raised: AtomicBool,
    rings: Mutex<u64>,
    rung: Condvar,
}

/// Somebody does not want to wait any longer.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl Interrupt {
    /// Whatever is told with this ends soon.
    pub fn raise(&self) {
        self.0.raised.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// Was it raised?
    pub fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::SeqCst)
    }

    /// Something has happened: those who wait should look again.
    pub(super) fn ring(&self) {
        *self.0.rings.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.rung.notify_all();
    }

    /// Looks, after each ring again, until there is something to see; none at the deadline.
    pub(crate) fn wait_for<T>(
        &self,
        deadline: Instant,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<Option<T>, Interrupted> {
        loop {
            let before = *self.0.rings.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_raised() {
                return Err(Interrupted);
            }
            if let Some(seen) = look() {
                return Ok(Some(seen));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let rings = self.0.rings.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.0.rung.wait_timeout_while(rings, left, |rings| *rings == before));
        }
    }
}
