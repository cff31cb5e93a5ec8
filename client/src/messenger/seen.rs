//! A bounded memory of what came under which name: by it a post is taken once, and each of its copies is acknowledged as
//! what was taken. A copy may say something else, if its sender took it back in between.

use std::collections::{BTreeMap, VecDeque};

use common::session::{MessageId, PostDigest};

use super::MAX_SEEN;

/// The last [`MAX_SEEN`] posts, the oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct Seen {
    digests: BTreeMap<MessageId, Option<PostDigest>>,
    order: VecDeque<MessageId>,
}

impl Seen {
    /// A post that was not known; an earlier version did not keep its digest.
    pub(super) fn insert(&mut self, id: MessageId, digest: Option<PostDigest>) {
        if self.digests.insert(id, digest).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.digests.remove(&oldest);
        }
    }

    /// What came under this name, if anything came, as far as that is known.
    pub(super) fn get(&self, id: MessageId) -> Option<Option<PostDigest>> {
        self.digests.get(&id).copied()
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
            seen.insert(id(n), Some(PostDigest([n as u8; 16])));
        }
        assert_eq!((seen.get(id(0)), seen.get(id(1))), (None, Some(Some(PostDigest([1; 16])))));
        assert_eq!((seen.digests.len(), seen.order.len()), (MAX_SEEN, MAX_SEEN));
    }
}
