//! Who measures with us now.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use common::identity::PeerId;

/// Runs at a time: the second shows that somebody else measures too, a third would only share what is left.
const AT_A_TIME: usize = 2;

/// The runs under way, asked for by us or by others: one with each peer, and few in all.
#[derive(Debug, Clone, Default)]
pub(in crate::net) struct Desk(Arc<Mutex<BTreeSet<PeerId>>>);

/// The place of one run; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    desk: Desk,
    peer: PeerId,
}

impl Desk {
    /// A place for a run with this peer, if there is one.
    pub(super) fn take(&self, peer: PeerId) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = taken.len() < AT_A_TIME && taken.insert(peer);
        free.then(|| Place { desk: self.clone(), peer })
    }

    /// Is a run with this peer under way? Looking takes no place.
    #[cfg(test)]
    pub(super) fn measures_with(&self, peer: PeerId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&peer)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.desk.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::identity::Identity;

    #[test]
    fn a_peer_has_one_run_and_all_have_two() {
        let [alice, bob, carol] = [1, 2, 3].map(|seed| Identity::from_seed(&[seed; 32]).peer_id());
        let desk = Desk::default();
        let first = desk.take(alice).expect("the first");
        assert!(desk.take(alice).is_none(), "one with Alice is under way");
        let second = desk.take(bob).expect("the second");
        assert!(desk.take(carol).is_none(), "two are under way");
        drop(first);
        let third = desk.take(carol).expect("Alice's place");
        assert!(desk.take(bob).is_none(), "Bob's run goes on");
        drop((second, third));
        assert!(desk.take(bob).is_some());
    }
}
