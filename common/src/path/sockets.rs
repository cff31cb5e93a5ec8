//! The sockets beyond the main one: which are open, and for how long.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::surface::{Base, Request};

/// Open at a time, whatever is tried: the 256 of a birthday run, and those of a look.
pub const MAX_SOCKETS: usize = 288;

#[derive(Debug, Default)]
pub(super) struct Sockets {
    last: u16,
    /// With the local port, once the driver has said it.
    open: BTreeMap<Base, Option<u16>>,
    /// Those at which the peer was heard; one of them may be the path.
    touched: BTreeSet<Base>,
}

impl Sockets {
    /// Asks for another one. `None`: there are too many.
    pub(super) fn open(&mut self, requests: &mut VecDeque<Request>) -> Option<Base> {
        if self.open.len() >= MAX_SOCKETS {
            return None;
        }
        self.last = self.last.checked_add(1)?;
        let base = Base(self.last);
        self.open.insert(base, None);
        requests.push_back(Request::Open(base));
        Some(base)
    }

    pub(super) fn opened(&mut self, base: Base, port: u16) {
        if let Some(known) = self.open.get_mut(&base) {
            *known = Some(port);
        }
    }

    pub(super) fn port(&self, base: Base) -> Option<u16> {
        self.open.get(&base).copied().flatten()
    }

    /// The peer was heard there.
    pub(super) fn touch(&mut self, base: Base) {
        if self.open.contains_key(&base) {
            self.touched.insert(base);
        }
    }

    /// Closes those that fail the test; returns them.
    pub(super) fn retain(&mut self, requests: &mut VecDeque<Request>, keep: impl Fn(Base, bool) -> bool) -> Vec<Base> {
        let touched = |base: &Base| self.touched.contains(base);
        let gone: Vec<Base> = self.open.keys().copied().filter(|base| !keep(*base, touched(base))).collect();
        for base in &gone {
            self.open.remove(base);
            self.touched.remove(base);
            requests.push_back(Request::Close(*base));
        }
        gone
    }

    pub(super) fn ever_opened(&self) -> bool {
        self.last > 0
    }
}
