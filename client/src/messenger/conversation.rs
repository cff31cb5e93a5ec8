//! What is under way between us and one peer.

use std::collections::{VecDeque, vec_deque};
use std::time::{Duration, Instant};

use common::identity::PeerId;
use common::receipt::Claim;
use common::seal::MAX_CONTENT;
use common::session::{Content, MAX_TEXT, MessageId, PeerFrame, Post, PostDigest, Route, StreamId, Via};

use super::seen::Seen;
use super::session::{Change, Session};
use super::{Effect, LETTER, MAX_QUEUED, Refusal, WINDOW};

/// The nonce of the question whose answer proves a direct connection that is new, or in doubt because our network has
/// changed. The pings of people are numbered from 1.
const PROOF: u64 = u64::MAX;
/// How long a receipt may take at least: a busy machine, or a phone that wakes its radio, answers no sooner.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(200);
/// How long it may take at most: longer than a round trip through a full queue (2 s on a bad mobile link), and shorter
/// than a person's patience.
const LONGEST_PATIENCE: Duration = Duration::from_secs(3);
/// So many round trips: QUIC repeats a lost packet after about one and a half.
const PATIENCE_IN_RTTS: u32 = 4;

/// A message of ours that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What is said.
    pub post: Post,
}

impl Outgoing {
    fn frame(&self) -> PeerFrame {
        PeerFrame::Post(self.post.clone())
    }

    fn id(&self) -> MessageId {
        self.post.id
    }

    fn text(&self) -> &str {
        match &self.post.content {
            Content::Text { text, .. } | Content::Edit { text, .. } => text,
            Content::Delete { .. } | Content::Reaction { .. } | Content::Void => "",
        }
    }
}

/// Messages without a receipt, oldest first.
#[derive(Debug, Default)]
pub(super) struct Outstanding<'a>(vec_deque::Iter<'a, Outgoing>);

impl<'a> Iterator for Outstanding<'a> {
    type Item = (MessageId, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|message| (message.id(), message.text()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Outstanding<'_> {}

/// A route that carries messages: the first `in_flight` of the queue were given to it, and if there are any, a receipt is
/// due.
#[derive(Debug)]
struct Carrier {
    route: Route,
    in_flight: usize,
    receipt_due: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Conversation {
    peer: PeerId,
    session: Session,
    /// Those that the session uses.
    carriers: Vec<Carrier>,
    /// The round trip last measured, by route.
    rtt: [Duration; Route::ALL.len()],
    /// Somebody was asked for a session since the last stood.
    wanted: bool,
    /// The messages that the next introduction is to carry.
    letter: Vec<MessageId>,
    /// They have gone in answer to a letter of the peer.
    letter_answered: bool,
    queue: VecDeque<Outgoing>,
    /// Where our own words go on: the stream, and the number of the next.
    next: (StreamId, u64),
    /// What was taken back and may be on its way all the same.
    cancelled: Seen,
    seen: Seen,
}

impl Conversation {
    pub(super) fn new(peer: PeerId) -> Self {
        Conversation {
            peer,
            session: Session::default(),
            carriers: Vec::new(),
            rtt: [LONGEST_PATIENCE; Route::ALL.len()],
            wanted: false,
            letter: Vec::new(),
            letter_answered: false,
            queue: VecDeque::new(),
            next: (StreamId(0), 1),
            cancelled: Seen::default(),
            seen: Seen::default(),
        }
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
        let (stream, seq) = self.next;
        self.next.1 += 1;
        let content = Content::Text { text, reply_to: None };
        self.queue.push_back(Outgoing { post: Post { id, stream, seq, at_ms, content } });
        self.ask_for_session(effects);
        self.fill(now, effects);
    }

    pub(super) fn resume(
        &mut self,
        queue: Vec<Outgoing>,
        seen: Vec<MessageId>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        self.queue.extend(queue);
        seen.into_iter().for_each(|id| _ = self.seen.insert(id));
        self.ask_for_session(effects);
        self.fill(now, effects);
    }

    pub(super) fn cancel(&mut self, id: MessageId, now: Instant, effects: &mut Vec<Effect>) {
        if self.take_out(id, now) {
            self.cancelled.insert(id);
            self.fill(now, effects);
        }
    }

    pub(super) fn connected(&mut self, route: Route, rtt: Duration, now: Instant, effects: &mut Vec<Effect>) {
        self.rtt[route as usize] = rtt;
        // A connection that takes the place of another one has carried nothing yet.
        self.carriers.retain(|carrier| carrier.route != route);
        self.change(Change::Up(route), now, effects);
        if route == Route::Direct {
            self.ask_for_proof(effects);
        }
    }

    fn ask_for_proof(&self, effects: &mut Vec<Effect>) {
        let (route, frame) = (Route::Direct, PeerFrame::Ping { nonce: PROOF });
        effects.push(Effect::Send { peer: self.peer, route, frame });
    }

    pub(super) fn disconnected(&mut self, route: Route, now: Instant, effects: &mut Vec<Effect>) {
        self.change(Change::Down(route), now, effects);
    }

    pub(super) fn network_changed(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.change(Change::NetworkChanged, now, effects);
        if self.session.uses(Route::Direct) {
            self.ask_for_proof(effects);
        }
    }

    pub(super) fn frame(&mut self, via: Via, frame: PeerFrame, rtt: Duration, now: Instant, effects: &mut Vec<Effect>) {
        let peer = self.peer;
        if let Via::Session(route) = via {
            self.rtt[route as usize] = rtt;
            if matches!(frame, PeerFrame::Receipt { .. } | PeerFrame::Pong { .. }) {
                self.change(Change::Answered(route), now, effects);
            }
        }
        match frame {
            PeerFrame::Hello { name, .. } => effects.push(Effect::PeerName { peer, name }),
            // Not what the protocol allows: neither shown nor acknowledged.
            PeerFrame::Post(post) if !post.is_valid() => {}
            PeerFrame::Post(post) => {
                let (id, digest) = (post.id, post.digest());
                if self.seen.insert(id) {
                    effects.push(Effect::ShowIncoming { peer, post });
                }
                // After showing: a receipt never speaks of something that was not shown.
                self.acknowledge(via, id, digest, effects);
            }
            PeerFrame::Receipt(receipt) => {
                if let Claim::Device { posts } = receipt.claim {
                    posts.into_iter().for_each(|(id, _)| self.receipt(id, now, effects));
                }
            }
            PeerFrame::Missing { .. } => {}
            PeerFrame::Ping { nonce } => {
                if let Via::Session(route) = via {
                    effects.push(Effect::Send { peer, route, frame: PeerFrame::Pong { nonce } });
                }
            }
            PeerFrame::Pong { nonce: PROOF } => {}
            PeerFrame::Pong { nonce } => effects.push(Effect::Pong { peer, via, nonce }),
        }
    }

    /// Answers the way that the post came, so that the peer learns which ways there are.
    fn acknowledge(&mut self, via: Via, id: MessageId, digest: PostDigest, effects: &mut Vec<Effect>) {
        let peer = self.peer;
        // What we have to say ourselves goes in front: somebody who has come to say one thing leaves when it is
        // acknowledged.
        if via == Via::Letter && !std::mem::replace(&mut self.letter_answered, true) && !self.letter.is_empty() {
            let frames = self.queue.iter().take(self.letter.len()).map(Outgoing::frame).collect();
            effects.push(Effect::Reply { peer, frames });
        }
        effects.push(Effect::Acknowledge { peer, via, id, digest });
    }

    fn receipt(&mut self, id: MessageId, now: Instant, effects: &mut Vec<Effect>) {
        // What was taken back too late has arrived; it is said, and said once.
        if self.take_out(id, now) || self.cancelled.remove(id) {
            effects.push(Effect::Delivered { peer: self.peer, id });
            self.fill(now, effects);
        }
    }

    /// Takes a message out of the queue, if it is there.
    fn take_out(&mut self, id: MessageId, now: Instant) -> bool {
        let Some(position) = self.queue.iter().position(|message| message.id() == id) else { return false };
        self.queue.remove(position);
        for carrier in &mut self.carriers {
            // A receipt may also speak of a message that an earlier connection carried and this one has not yet.
            if position < carrier.in_flight {
                carrier.in_flight -= 1;
            }
            let patience = patience(self.rtt[carrier.route as usize]);
            carrier.receipt_due = (carrier.in_flight > 0).then(|| now + patience);
        }
        true
    }

    fn change(&mut self, change: Change, now: Instant, effects: &mut Vec<Effect>) {
        let why = self.session.handle(change);
        let session = self.session;
        self.carriers.retain(|carrier| session.uses(carrier.route));
        for route in Route::ALL {
            if session.uses(route) && !self.carriers.iter().any(|carrier| carrier.route == route) {
                self.carriers.push(Carrier { route, in_flight: 0, receipt_due: None });
            }
        }
        if let Some(why) = why {
            self.wanted = false;
            effects.extend(session.relies_on().map(|route| Effect::Switched { peer: self.peer, route, why }));
        }
        self.ask_for_session(effects);
        self.fill(now, effects);
    }

    /// Without a session, what waits makes it ours to get one, whoever wanted the last.
    fn ask_for_session(&mut self, effects: &mut Vec<Effect>) {
        if self.session.relies_on().is_none() && !self.queue.is_empty() && !self.wanted {
            self.wanted = true;
            effects.push(Effect::Want { peer: self.peer });
        }
    }

    /// Gives each route the messages that it has not had, up to a window; without a route, the first ones to the next
    /// introduction.
    fn fill(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let peer = self.peer;
        for carrier in &mut self.carriers {
            for message in self.queue.iter().take(WINDOW).skip(carrier.in_flight) {
                effects.push(Effect::Send { peer, route: carrier.route, frame: message.frame() });
                carrier.in_flight += 1;
                let patience = patience(self.rtt[carrier.route as usize]);
                carrier.receipt_due.get_or_insert(now + patience);
            }
        }
        let letter = if self.session.relies_on().is_none() { self.letter_length() } else { 0 };
        if !self.letter.iter().eq(self.queue.iter().take(letter).map(|message| &message.post.id)) {
            self.letter_answered = false;
            self.letter = self.queue.iter().take(letter).map(Outgoing::id).collect();
            let frames = self.queue.iter().take(letter).map(Outgoing::frame).collect();
            effects.push(Effect::Letter { peer, frames });
        }
    }

    /// How many of the first messages fit into an envelope.
    fn letter_length(&self) -> usize {
        let mut room = MAX_CONTENT - AROUND_TEXT;
        let fits = |message: &&Outgoing| {
            room = room.saturating_sub(message.text().len() + AROUND_TEXT);
            room > 0
        };
        self.queue.iter().take(LETTER).take_while(fits).count()
    }

    pub(super) fn timeout(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let mut overdue = Vec::new();
        for carrier in &mut self.carriers {
            if let Some(due) = &mut carrier.receipt_due
                && *due <= now
            {
                *due = now + patience(self.rtt[carrier.route as usize]);
                overdue.push(carrier.route);
            }
        }
        for route in overdue {
            effects.push(Effect::Verify { peer: self.peer, route });
            self.change(Change::Overdue(route), now, effects);
        }
    }

    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.carriers.iter().filter_map(|carrier| carrier.receipt_due).min()
    }

    pub(super) fn outstanding(&self) -> Outstanding<'_> {
        Outstanding(self.queue.iter())
    }

    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < MAX_QUEUED
    }

    pub(super) fn relies_on(&self) -> Option<Route> {
        self.session.relies_on()
    }
}

/// What a message takes beside its text (id, time, lengths), and more than a receipt takes.
const AROUND_TEXT: usize = 40;

fn patience(rtt: Duration) -> Duration {
    (rtt * PATIENCE_IN_RTTS).clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE)
}
