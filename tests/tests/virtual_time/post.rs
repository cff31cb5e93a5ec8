//! What somebody does about mail: the part of a client that decides what is deposited, and keeps what comes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use client::node::{Deposited, MAX_DEPOSITS, NodeCommand, NodeEvent, PrekeySet};
use common::identity::{Identity, PeerId};
use common::introduction::PublishPrekeys;
use common::prekey::{Keyring, PrekeySecret};
use common::session::{Content, MessageId, PeerFrame, Post as Said, StreamId};
use netsim::model::Random;

/// Between two attempts at what was not stored.
const PAUSE: Duration = Duration::from_secs(5);

/// A line that was written.
#[derive(Debug)]
struct Letter {
    frames: Vec<PeerFrame>,
    /// Has the node got it now?
    given: bool,
}

#[derive(Debug)]
pub(crate) struct Post {
    own: Identity,
    peer: PeerId,
    random: Random,
    keyring: Keyring,
    /// Not stored yet, by its number.
    waiting: BTreeMap<u64, Letter>,
    next: u64,
    next_try: Option<Instant>,
    open: bool,
    seen: BTreeSet<MessageId>,
    /// When the rendezvous last knew us.
    pub(crate) registered: Option<Instant>,
    /// Lines of the other, in the order in which they came, each once, and when.
    pub(crate) read: Vec<(String, Instant)>,
    /// What the rendezvous has signed for.
    pub(crate) stored: Vec<u64>,
    /// Mail that did not open.
    pub(crate) unreadable: usize,
    /// One-time prekeys that were used up.
    pub(crate) used: usize,
}

impl Post {
    pub(crate) fn new(own: Identity, peer: PeerId, random: Random) -> Self {
        Post {
            own,
            peer,
            random,
            keyring: Keyring::default(),
            waiting: BTreeMap::new(),
            next: 0,
            next_try: None,
            open: false,
            seen: BTreeSet::new(),
            registered: None,
            read: Vec::new(),
            stored: Vec::new(),
            unreadable: 0,
            used: 0,
        }
    }

    /// Writes a line, for the mailbox alone.
    pub(crate) fn write(&mut self, text: &str) -> Vec<NodeCommand> {
        self.next += 1;
        let content = Content::Text { text: text.to_owned(), reply_to: None };
        let id = MessageId((u128::from(self.random.bits()) << 64 | u128::from(self.next)).to_be_bytes());
        let said = Said { id, stream: StreamId(1), seq: self.next, at_ms: 0, content };
        self.waiting.insert(self.next, Letter { frames: vec![PeerFrame::Post(said)], given: false });
        self.give()
    }

    fn give(&mut self) -> Vec<NodeCommand> {
        let given = self.waiting.values().filter(|letter| letter.given).count();
        if !self.open || self.next_try.is_some() {
            return Vec::new();
        }
        let next = self.waiting.iter_mut().filter(|(_, letter)| !letter.given).take(MAX_DEPOSITS - given);
        let given = next.map(|(token, letter)| {
            letter.given = true;
            NodeCommand::Deposit { peer: self.peer, token: *token, frames: letter.frames.clone() }
        });
        given.collect()
    }

    pub(crate) fn poll_wakeup(&self) -> Option<Instant> {
        self.next_try
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<NodeCommand> {
        if self.next_try.take_if(|at| *at <= now).is_none() {
            return Vec::new();
        }
        self.give()
    }

    /// What follows from an event; `None` if it has nothing to do with mail.
    pub(crate) fn handle(&mut self, event: &NodeEvent, now_s: u64, now: Instant) -> Option<Vec<NodeCommand>> {
        Some(match event {
            NodeEvent::Registered { .. } => {
                self.registered = Some(now);
                return None;
            }
            NodeEvent::RendezvousLost { .. } => {
                self.open = false;
                return None;
            }
            NodeEvent::Mailbox(terms) => {
                (self.open, self.next_try) = (true, None);
                let publish = self.prekeys(usize::from(terms.one_time_prekeys), now_s);
                publish.into_iter().chain(self.give()).collect()
            }
            NodeEvent::Deposited { token, outcome, .. } => {
                match outcome {
                    Deposited::Stored(_) => {
                        self.waiting.remove(token).expect("it waits until it is stored");
                        self.stored.push(*token);
                    }
                    Deposited::Refused | Deposited::Full | Deposited::Lost => {
                        self.waiting.get_mut(token).expect("it waits").given = false;
                        self.next_try = Some(now + PAUSE);
                    }
                }
                self.give()
            }
            NodeEvent::Mail { id, peer, frames, one_time } => {
                assert_eq!(*peer, self.peer, "nobody else writes");
                for frame in frames {
                    if let PeerFrame::Post(said) = frame
                        && let Content::Text { text, .. } = &said.content
                        && self.seen.insert(said.id)
                    {
                        self.read.push((text.clone(), now));
                    }
                }
                self.used += usize::from(one_time.and_then(|id| self.keyring.remove(id)).is_some());
                vec![NodeCommand::Collected(vec![*id])]
            }
            NodeEvent::MailUnreadable { id, .. } => {
                self.unreadable += 1;
                vec![NodeCommand::Collected(vec![*id])]
            }
            NodeEvent::Clock { .. } => Vec::new(),
            _ => return None,
        })
    }

    /// Those that are due, kept and to be handed out.
    fn prekeys(&mut self, at_server: usize, now_s: u64) -> Option<NodeCommand> {
        let due = self.keyring.due(at_server, now_s);
        let mut bytes = || {
            let parts = [0; 4].map(|_: u8| self.random.bits().to_be_bytes());
            <[u8; 32]>::try_from(parts.concat()).expect("four times eight")
        };
        let mut make = |one_time| {
            PrekeySecret::new(u64::from_be_bytes(bytes()[..8].try_into().expect("8")), bytes(), one_time, now_s)
        };
        let signed = due.signed.then(|| make(false));
        let one_times: Vec<_> = (0..due.one_times).map(|_| make(true)).collect();
        let one_time = one_times.iter().map(|secret| secret.public(&self.own)).collect();
        one_times.into_iter().chain(signed).for_each(|secret| self.keyring.insert(secret));
        let signed = self.keyring.signed(now_s)?.public(&self.own);
        let publish = Some(PublishPrekeys { signed, one_time });
        Some(NodeCommand::Prekeys(Box::new(PrekeySet { keyring: self.keyring.clone(), publish })))
    }

    /// Is all that was written stored?
    pub(crate) fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }
}
