//! What is under way between us and one peer.

use std::collections::{VecDeque, vec_deque};
use std::time::Instant;

use common::identity::PeerId;
use common::session::{MAX_TEXT, MessageId, PeerFrame};

use super::seen::Seen;
use super::{Effect, MAX_QUEUED, Refusal, VERIFY_AFTER, WINDOW};

#[derive(Debug)]
pub(super) struct Outgoing {
    id: MessageId,
    at_ms: u64,
    text: String,
}

/// Messages without a receipt, oldest first.
#[derive(Debug, Default)]
pub(super) struct Outstanding<'a>(vec_deque::Iter<'a, Outgoing>);

impl<'a> Iterator for Outstanding<'a> {
    type Item = (MessageId, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|message| (message.id, message.text.as_str()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Outstanding<'_> {}

/// The session, as far as the messenger knows.
#[derive(Debug)]
enum Link {
    /// None. `wanted`: somebody was asked for one since the last stood.
    Down { wanted: bool },
    /// The first `in_flight` messages of the queue were given to it; if there are any, a receipt is due.
    Up { in_flight: usize, receipt_due: Option<Instant> },
}

#[derive(Debug)]
pub(super) struct Conversation {
    peer: PeerId,
    link: Link,
    queue: VecDeque<Outgoing>,
    seen: Seen,
}

impl Conversation {
    pub(super) fn new(peer: PeerId) -> Self {
        Conversation { peer, link: Link::Down { wanted: false }, queue: VecDeque::new(), seen: Seen::default() }
    }

    pub(super) fn say(&mut self, id: MessageId, at_ms: u64, text: String, now: Instant, effects: &mut Vec<Effect>) {
        let refusal = if text.len() > MAX_TEXT {
            Some(Refusal::TooLong { length: text.len() })
        } else if !self.has_room() {
            Some(Refusal::QueueFull)
        } else {
            None
        };
        if let Some(why) = refusal {
            effects.push(Effect::Refused { peer: self.peer, id, why });
            return;
        }
        self.queue.push_back(Outgoing { id, at_ms, text });
        match &mut self.link {
            Link::Down { wanted: true } => {}
            Link::Down { wanted } => {
                *wanted = true;
                effects.push(Effect::Want { peer: self.peer });
            }
            Link::Up { .. } => self.fill_window(now, effects),
        }
    }

    pub(super) fn connected(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.link = Link::Up { in_flight: 0, receipt_due: None };
        self.fill_window(now, effects);
    }

    pub(super) fn disconnected(&mut self, effects: &mut Vec<Effect>) {
        // The session may have been the peer's wish alone; what waits makes it ours.
        let wanted = !self.queue.is_empty();
        self.link = Link::Down { wanted };
        if wanted {
            effects.push(Effect::Want { peer: self.peer });
        }
    }

    pub(super) fn frame(&mut self, frame: PeerFrame, now: Instant, effects: &mut Vec<Effect>) {
        let peer = self.peer;
        match frame {
            PeerFrame::Hello { name } => effects.push(Effect::PeerName { peer, name }),
            // Longer than the protocol allows: neither shown nor acknowledged.
            PeerFrame::Message { text, .. } if text.len() > MAX_TEXT => {}
            PeerFrame::Message { id, at_ms, text } => {
                if self.seen.insert(id) {
                    effects.push(Effect::ShowIncoming { peer, id, at_ms, text });
                }
                // After showing: a receipt never speaks of something that was not shown.
                effects.push(Effect::Send { peer, frame: PeerFrame::Receipt { id } });
            }
            PeerFrame::Receipt { id } => self.receipt(id, now, effects),
            PeerFrame::Ping { nonce } => effects.push(Effect::Send { peer, frame: PeerFrame::Pong { nonce } }),
            PeerFrame::Pong { nonce } => effects.push(Effect::Pong { peer, nonce }),
        }
    }

    fn receipt(&mut self, id: MessageId, now: Instant, effects: &mut Vec<Effect>) {
        let Some(position) = self.queue.iter().position(|message| message.id == id) else { return };
        self.queue.remove(position);
        effects.push(Effect::Delivered { peer: self.peer, id });
        if let Link::Up { in_flight, receipt_due } = &mut self.link {
            // A receipt may also speak of a message that an earlier session carried and this one has not yet.
            if position < *in_flight {
                *in_flight -= 1;
            }
            *receipt_due = (*in_flight > 0).then(|| now + VERIFY_AFTER);
        }
        self.fill_window(now, effects);
    }

    fn fill_window(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Link::Up { in_flight, receipt_due } = &mut self.link else { return };
        for message in self.queue.iter().take(WINDOW).skip(*in_flight) {
            let frame = PeerFrame::Message { id: message.id, at_ms: message.at_ms, text: message.text.clone() };
            effects.push(Effect::Send { peer: self.peer, frame });
            *in_flight += 1;
            receipt_due.get_or_insert(now + VERIFY_AFTER);
        }
    }

    pub(super) fn timeout(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if let Link::Up { receipt_due: Some(due), .. } = &mut self.link
            && *due <= now
        {
            *due = now + VERIFY_AFTER;
            effects.push(Effect::Verify { peer: self.peer });
        }
    }

    pub(super) fn overdue_at(&self) -> Option<Instant> {
        match self.link {
            Link::Up { receipt_due, .. } => receipt_due,
            Link::Down { .. } => None,
        }
    }

    pub(super) fn outstanding(&self) -> Outstanding<'_> {
        Outstanding(self.queue.iter())
    }

    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < MAX_QUEUED
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }
}
