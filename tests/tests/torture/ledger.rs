//! Whether what is said of messages is true, by what is on both disks.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use crate::talker::{Part, Talker, is_there, text};

/// What was found until now.
#[derive(Default)]
pub(crate) struct Ledger {
    ways: [Way; 2],
    looked: usize,
}

/// The messages of one to the other.
#[derive(Default)]
struct Way {
    /// How many of the words are on the sender's disk.
    kept: usize,
    /// The ids that were found on the recipient's.
    received: BTreeSet<String>,
    /// Those that the sender's disk says are there.
    there: BTreeSet<String>,
}

impl Ledger {
    /// Reads both disks, whoever runs at the moment. What one is told must be there when the other's disk is read *later*.
    pub(crate) fn compare(&mut self, talkers: &[Talker; 2], part: Part) -> Result<()> {
        if part == Part::All {
            // That something was there once is not taken on trust.
            self.ways.iter_mut().for_each(|way| way.received.clear());
        }
        let [alice, bob] = talkers;
        let (alices_told, bobs_told) = (alice.told.clone(), bob.told.clone());
        let (alices, bobs, alices_later) = (alice.history(part)?, bob.history(part)?, alice.history(part)?);
        self.ways[0].check(alice, part, &alices_told, &alices, &bobs);
        self.ways[1].check(bob, part, &bobs_told, &bobs, &alices_later);
        self.looked += 1;
        Ok(())
    }

    /// How often that was.
    pub(crate) fn looked(&self) -> usize {
        self.looked
    }

    /// Everything is everywhere.
    pub(crate) fn assert_complete(&self, talkers: &[Talker; 2]) {
        for (way, talker) in self.ways.iter().zip(talkers) {
            let (all, found) = (talker.lines.len(), [way.kept, way.received.len(), way.there.len()]);
            assert_eq!(found, [all; 3], "kept, received and known of {}'s words", talker.name());
        }
    }

    pub(crate) fn progress(&self) -> String {
        let of =
            |way: &Way| format!("{} said, {} received, {} known to be", way.kept, way.received.len(), way.there.len());
        format!("alice: {}; bob: {}; looked {} times", of(&self.ways[0]), of(&self.ways[1]), self.looked)
    }
}

impl Way {
    fn check(&mut self, from: &Talker, part: Part, told: &BTreeSet<String>, senders: &[Value], recipients: &[Value]) {
        let who = from.name();
        let sent: Vec<&Value> = senders.iter().filter(|message| message["dir"] == "out").collect();
        let words: Vec<Option<usize>> = sent.iter().map(|message| from.number_of(Some(message))).collect();
        let first = words.first().copied().flatten().unwrap_or(0);
        assert!(words.iter().copied().eq((first..first + words.len()).map(Some)), "{who} has not kept this: {words:?}");
        self.kept = self.kept.max(first + words.len());

        let received: Vec<&Value> = recipients.iter().filter(|message| message["dir"] == "in").collect();
        let order: Vec<Option<usize>> = received.iter().map(|message| from.number_of(Some(message))).collect();
        assert!(order.iter().all(Option::is_some), "something was received that {who} never said: {received:?}");
        assert!(order.is_sorted_by(|one, next| one < next), "{who}'s words, twice or in another order: {order:?}");
        self.received.extend(received.into_iter().map(|message| text(message, "id")));

        let there: BTreeSet<String> = sent.iter().filter(|message| is_there(message)).map(|m| text(m, "id")).collect();
        let seen: BTreeSet<String> = sent.iter().map(|message| text(message, "id")).collect();
        let lies: Vec<&String> = there.union(told).filter(|id| !self.received.contains(*id)).collect();
        assert!(lies.is_empty(), "{who} was told that these are there, and they are not: {lies:?}");
        let takes_back: Vec<&String> = self.there.intersection(&seen).filter(|id| !there.contains(*id)).collect();
        assert!(takes_back.is_empty(), "{who}'s history had said that these are there: {takes_back:?}");
        self.there.extend(there);
        // What stands farther back may have been acknowledged lately.
        let looked_at = |id: &&String| part == Part::All || seen.contains(*id);
        let forgotten: Vec<&String> = told.iter().filter(looked_at).filter(|id| !self.there.contains(*id)).collect();
        assert!(forgotten.is_empty(), "{who} was told of these, and the history does not know: {forgotten:?}");
    }
}
