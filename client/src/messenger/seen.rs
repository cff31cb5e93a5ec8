//! A bounded memory of ids: by it a message is shown once.

use std::collections::{BTreeSet, VecDeque};

use common::session::MessageId;

use super::MAX_SEEN;

/// The last [`MAX_SEEN`] ids, the oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct Seen {
    ids: BTreeSet<MessageId>,
    order: VecDeque<MessageId>,
}

impl Seen {
    /// Is this id new?
    pub(super) fn insert(&mut self, id: MessageId) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    /// Forgets an id. Was it known?
    pub(super) fn remove(&mut self, id: MessageId) -> bool {
        let known = self.ids.remove(&id);
        if known {
            self.order.retain(|other| *other != id);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> MessageId {
        MessageId((n as u128).to_be_bytes())
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let mut seen = Seen::default();
        for n in 0..=MAX_SEEN {
            assert!(seen.insert(id(n)));
        }
        assert!(!seen.insert(id(1)));
        assert!(seen.insert(id(0)), "the oldest was forgotten");
        assert_eq!((seen.ids.len(), seen.order.len()), (MAX_SEEN, MAX_SEEN));
    }
}
