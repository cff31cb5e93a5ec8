//! How much mail may wait, as a pure decision over how much does.
//!
//! Nothing that waits ever makes room for something new: what is over a quota is refused, and whoever sent it keeps it. So all that
//! somebody who means ill can take is room, and of that a part which does not grow with the number of keys that he makes.

use crate::limits::{Limits, MAIL_OF_ONE, MAIL_OVERHEAD, MAIL_SHARE_OF_SOURCE, MAIL_TO_ONE};

/// Mail that waits, or may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// How many envelopes.
    pub mails: u64,
    /// What they [cost].
    pub bytes: u64,
}

impl Usage {
    fn has_room(self, most: Usage, cost: u64) -> bool {
        self.mails < most.mails && self.bytes.saturating_add(cost) <= most.bytes
    }
}

/// What an envelope of this length counts for.
pub fn cost(length: usize) -> u64 {
    length as u64 + MAIL_OVERHEAD
}

/// What waits at this moment, seen from one deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// From this sender to this recipient.
    pub pair: Usage,
    /// From this sender.
    pub sender: Usage,
    /// Bytes from this sender's address or home.
    pub source: u64,
    /// Bytes of everybody.
    pub all: u64,
}

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    pair: Usage,
    sender: Usage,
    source: u64,
    all: u64,
}

impl Quotas {
    /// Of a server with these limits.
    pub fn new(limits: &Limits) -> Self {
        let all = limits.mailbox_bytes;
        Quotas { pair: MAIL_TO_ONE, sender: MAIL_OF_ONE, source: all / MAIL_SHARE_OF_SOURCE, all }
    }

    /// Is there room for one more envelope of this length?
    pub fn admits(&self, standing: &Standing, length: usize) -> bool {
        let cost = cost(length);
        standing.pair.has_room(self.pair, cost)
            && standing.sender.has_room(self.sender, cost)
            && standing.source.saturating_add(cost) <= self.source
            && standing.all.saturating_add(cost) <= self.all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn small() -> Quotas {
        let pair = Usage { mails: 4, bytes: 4000 };
        Quotas { pair, sender: Usage { mails: 10, bytes: 10_000 }, source: 20_000, all: 100_000 }
    }

    #[test]
    fn each_quota_refuses_by_itself() {
        let quotas = small();
        let empty = Standing::default();
        assert!(quotas.admits(&empty, 3000));
        assert!(!quotas.admits(&empty, 3800), "4,056 with what it costs to keep it");
        for full in [
            Standing { pair: Usage { mails: 4, bytes: 0 }, ..empty },
            Standing { sender: Usage { mails: 10, bytes: 0 }, ..empty },
            Standing { sender: Usage { mails: 0, bytes: 9_900 }, ..empty },
            Standing { source: 19_900, ..empty },
            Standing { all: 99_900, ..empty },
            Standing { all: u64::MAX, ..empty },
        ] {
            assert!(!quotas.admits(&full, 100), "{full:?}");
        }
    }

    /// Counts as the store does.
    #[derive(Default)]
    struct Ledger {
        pairs: BTreeMap<(u8, u8), Usage>,
        senders: BTreeMap<u8, Usage>,
        sources: BTreeMap<u8, u64>,
        all: u64,
    }

    impl Ledger {
        fn deposit(&mut self, quotas: &Quotas, [source, sender, recipient]: [u8; 3], length: usize) -> bool {
            let pair = self.pairs.entry((sender, recipient)).or_default();
            let of_sender = self.senders.entry(sender).or_default();
            let of_source = self.sources.entry(source).or_default();
            let standing = Standing { pair: *pair, sender: *of_sender, source: *of_source, all: self.all };
            let admitted = quotas.admits(&standing, length);
            if admitted {
                for usage in [pair, of_sender] {
                    usage.mails += 1;
                    usage.bytes += cost(length);
                }
                *of_source += cost(length);
                self.all += cost(length);
            }
            admitted
        }
    }

    proptest! {
        /// Whatever comes from one home, under however many keys and to whomever: what an honest sender elsewhere may
        /// leave is the same as if nobody else were there.
        #[test]
        fn one_home_takes_no_room_of_a_sender_elsewhere(
            hostile in proptest::collection::vec((2u8..200, any::<u8>(), 0usize..3000), 0..400),
            honest in proptest::collection::vec((0u8..4, 0usize..3000), 1..40),
        ) {
            let quotas = small();
            let (mut ledger, mut alone) = (Ledger::default(), Ledger::default());
            for (sender, recipient, length) in hostile {
                ledger.deposit(&quotas, [1, sender, recipient], length);
            }
            prop_assert!(ledger.all <= quotas.source);
            for (recipient, length) in honest {
                let undisturbed = alone.deposit(&quotas, [0, 0, recipient], length);
                prop_assert_eq!(ledger.deposit(&quotas, [0, 0, recipient], length), undisturbed);
            }
        }

        /// However many homes conspire, no quota is ever passed.
        #[test]
        fn no_sequence_of_deposits_passes_a_quota(
            deposits in proptest::collection::vec((any::<[u8; 3]>(), 0usize..9000), 0..600),
        ) {
            let quotas = small();
            let mut ledger = Ledger::default();
            for ([source, sender, recipient], length) in deposits {
                ledger.deposit(&quotas, [source % 8, sender % 32, recipient % 8], length);
            }
            prop_assert!(ledger.pairs.values().all(|u| u.mails <= quotas.pair.mails && u.bytes <= quotas.pair.bytes));
            prop_assert!(ledger.senders.values().all(|u| u.mails <= quotas.sender.mails && u.bytes <= quotas.sender.bytes));
            prop_assert!(ledger.sources.values().all(|bytes| *bytes <= quotas.source) && ledger.all <= quotas.all);
        }
    }
}
