//! Whether what is said of messages is true, by what is on both disks.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::Value;

use crate::talker::{Talker, is_there, text};

/// What was found of each direction the last time.
#[derive(Default)]
pub(crate) struct Ledger {
    ways: [Way; 2],
    looked: usize,
}

/// The messages of one to the other.
#[derive(Default)]
struct Way {
    kept: usize,
    received: usize,
    /// Those that the sender's disk says are on the other's device.
    there: BTreeSet<String>,
}

impl Ledger {
    /// Reads both disks, whoever runs at the moment. What one is told must be there when the other's disk is read *later*.
    pub(crate) fn compare(&mut self, talkers: &[Talker; 2]) -> Result<()> {
        let told = talkers.each_ref().map(|talker| talker.told.clone());
        let [alice, bob] = talkers;
        let (alices, bobs, alices_later) = (alice.history()?, bob.history()?, alice.history()?);
        self.ways[0].check(alice, &told[0], &alices, &bobs);
        self.ways[1].check(bob, &told[1], &bobs, &alices_later);
        self.looked += 1;
        Ok(())
    }

    /// Everything is everywhere.
    pub(crate) fn assert_complete(&self, talkers: &[Talker; 2]) {
        for (way, talker) in self.ways.iter().zip(talkers) {
            let (all, who) = (talker.lines.len(), talker.name());
            assert_eq!(
                [way.kept, way.received, way.there.len()],
                [all; 3],
                "kept, received and known of {who}'s words"
            );
        }
    }

    pub(crate) fn progress(&self) -> String {
        let of = |way: &Way| format!("{} said, {} received, {} known to be", way.kept, way.received, way.there.len());
        format!("alice: {}; bob: {}; looked {} times", of(&self.ways[0]), of(&self.ways[1]), self.looked)
    }
}

impl Way {
    fn check(&mut self, from: &Talker, told: &BTreeSet<String>, senders: &[Value], recipients: &[Value]) {
        let who = from.name();
        let sent: Vec<&Value> = senders.iter().filter(|message| message["dir"] == "out").collect();
        let words: Vec<String> = sent.iter().map(|message| text(message, "text")).collect();
        assert_eq!(words, from.lines[..words.len().min(from.lines.len())], "{who}'s words, each once, in order");

        let received: Vec<(String, String)> = recipients
            .iter()
            .filter(|message| message["dir"] == "in")
            .map(|message| (text(message, "id"), text(message, "text")))
            .collect();
        let places: BTreeMap<&String, usize> =
            from.lines.iter().enumerate().map(|(place, line)| (line, place)).collect();
        let order: Vec<usize> = received.iter().filter_map(|(_, words)| places.get(words).copied()).collect();
        assert_eq!(order.len(), received.len(), "something was received that {who} never said: {received:?}");
        assert!(order.is_sorted_by(|one, next| one < next), "{who}'s words, twice or in another order: {order:?}");

        let there: BTreeSet<String> = sent.iter().filter(|message| is_there(message)).map(|m| text(m, "id")).collect();
        let ids: BTreeSet<String> = received.into_iter().map(|(id, _)| id).collect();
        let lies: Vec<&String> = there.union(told).filter(|id| !ids.contains(*id)).collect();
        assert!(lies.is_empty(), "{who} was told that these are there, and they are not: {lies:?}");
        let forgotten: Vec<&String> = told.union(&self.there).filter(|id| !there.contains(*id)).collect();
        assert!(forgotten.is_empty(), "{who} was told of these, and the history does not know: {forgotten:?}");
        *self = Way { kept: words.len(), received: ids.len(), there };
    }
}
