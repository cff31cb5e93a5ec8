//! What is under way between us and one peer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::identity::PeerId;
use common::receipt::{Claim, Receipt};
use common::seal::MAX_CONTENT;
use common::session::{Content, MAX_EMOJI, MAX_TEXT, MessageId, PeerFrame, Post, PostDigest, Route, StreamId, Via};

use super::carrier::{Carrier, LONGEST_PATIENCE};
use super::gaps::Gaps;
use super::heard::Taken;
use super::mail::{ABSENT_AFTER, Mail, Outcome};
use super::outgoing::Outgoing;
use super::seen::Seen;
use super::session::{Change, Session};
use super::{Arrival, Effect, LETTER, MAX_QUEUED, Refusal, Resumed, WINDOW_BYTES};

/// The nonce of the question whose answer proves a direct connection that is new, or in doubt because our network has
/// changed. The pings of people are numbered from 1.
const PROOF: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Conversation {
    peer: PeerId,
    session: Session,
    /// Those that the session uses.
    carriers: Vec<Carrier>,
    /// The round trip last measured, by route.
    rtt: [Duration; Route::ALL.len()],
    /// Somebody was asked for a session since the last stood, at this time.
    wanted: Option<Instant>,
    mail: Mail,
    /// What the next introduction is to carry, and whether it is a void by now.
    letter: Vec<(MessageId, bool)>,
    /// They have gone in answer to a letter of the peer.
    letter_answered: bool,
    queue: VecDeque<Outgoing>,
    /// Where our own words go on: the stream, and the number of the next.
    next: (StreamId, u64),
    seen: Seen,
    gaps: Gaps,
    /// How far the person has read what the peer said, and how far the peer's has read us.
    read: Option<(StreamId, u64)>,
    read_by_peer: Option<(StreamId, u64)>,
}

impl Conversation {
    pub(super) fn new(peer: PeerId, keeps: Option<Duration>) -> Self {
        let mut mail = Mail::default();
        mail.offer(keeps);
        Conversation {
            peer,
            session: Session::default(),
            carriers: Vec::new(),
            rtt: [LONGEST_PATIENCE; Route::ALL.len()],
            wanted: None,
            mail,
            letter: Vec::new(),
            letter_answered: false,
            queue: VecDeque::new(),
            next: (StreamId(0), 1),
            seen: Seen::default(),
            gaps: Gaps::default(),
            read: None,
            read_by_peer: None,
        }
    }

    /// Where the next post of ours has its place.
    pub(super) fn next(&self) -> (StreamId, u64) {
        self.next
    }

    pub(super) fn say(&mut self, post: Post, expires: Option<Instant>, now: Instant, effects: &mut Vec<Effect>) {
        let (peer, id) = (self.peer, post.id);
        if let Some(why) = self.refusal(&post.content) {
            effects.push(Effect::Refused { peer, id, why });
            return;
        }
        self.next.1 += 1;
        effects.push(Effect::Said { peer, post: post.clone(), expires });
        self.queue.push_back(Outgoing::new(post, expires));
        self.go_on(now, effects);
    }

    fn refusal(&self, content: &Content) -> Option<Refusal> {
        match content {
            Content::Text { text, .. } | Content::Edit { text, .. } if text.len() > MAX_TEXT => {
                Some(Refusal::TooLong { length: text.len() })
            }
            Content::Reaction { emoji, .. } if emoji.len() > MAX_EMOJI => {
                Some(Refusal::LongReaction { length: emoji.len() })
            }
            _ if !self.has_room() => Some(Refusal::QueueFull),
            _ => None,
        }
    }

    pub(super) fn resume(&mut self, before: Resumed, now: Instant, effects: &mut Vec<Effect>) {
        let Resumed { next, queue, seen, heard, read } = before;
        (self.next, self.read) = (next, read);
        self.queue.extend(queue);
        seen.into_iter().for_each(|(id, digest)| self.seen.insert(id, digest));
        self.gaps.heard.resume(heard);
        self.go_on(now, effects);
    }

    pub(super) fn cancel(&mut self, id: MessageId, now: Instant, effects: &mut Vec<Effect>) {
        let ours = self.queue.iter_mut().find(|message| message.id() == id && !message.is_void());
        if let Some(message) = ours {
            message.take_back();
            self.go_on(now, effects);
        }
    }

    pub(super) fn connected(&mut self, route: Route, rtt: Duration, now: Instant, effects: &mut Vec<Effect>) {
        let first = self.session.relies_on().is_none();
        self.rtt[route as usize] = rtt;
        // A connection that takes the place of another one has carried nothing yet.
        self.carriers.retain(|carrier| carrier.route() != route);
        self.mail.absent = false;
        self.change(Change::Up(route), now, effects);
        if first {
            self.gaps.connected(now);
            self.tell_read(effects);
        }
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

    pub(super) fn mailbox(&mut self, keeps: Option<Duration>, now: Instant, effects: &mut Vec<Effect>) {
        self.mail.offer(keeps);
        self.go_on(now, effects);
    }

    pub(super) fn absent(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.session.relies_on().is_none() {
            self.mail.absent = true;
            self.post(now, effects);
        }
    }

    pub(super) fn deposited(&mut self, token: u64, outcome: Outcome, now: Instant, effects: &mut Vec<Effect>) {
        if let Some((ids, until)) = self.mail.ended(token, outcome, now) {
            let there = self.queue.iter_mut().filter(|message| ids.contains(&message.id()));
            there.for_each(|message| message.at_server = Some(until));
            effects.push(Effect::AtServer { peer: self.peer, ids });
        }
        self.post(now, effects);
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
            PeerFrame::Post(post) => self.heard(via, post, now, effects),
            PeerFrame::Receipt(receipt) => self.receipt(via, receipt, now, effects),
            PeerFrame::Missing { ranges, .. } if ranges.is_empty() => self.say_again(now, effects),
            PeerFrame::Missing { stream, ranges } => {
                if let Some(ranges) = self.gaps.asked(ranges, now) {
                    effects.push(Effect::LookUp { peer, stream, ranges });
                }
            }
            PeerFrame::Ping { nonce } => {
                if let Via::Session(route) = via {
                    // A connection is new to the peer: what it said over the one before may be lost.
                    self.answered_over(route, nonce);
                    effects.push(Effect::Send { peer, route, frame: PeerFrame::Pong { nonce } });
                }
            }
            PeerFrame::Pong { nonce: PROOF } => {
                if let Via::Session(route) = via {
                    self.answered_over(route, PROOF);
                }
            }
            PeerFrame::Pong { nonce } => effects.push(Effect::Pong { peer, via, nonce }),
        }
    }

    /// What is not as the protocol allows, or has a number that another post had, is neither shown nor acknowledged.
    fn heard(&mut self, via: Via, post: Post, now: Instant, effects: &mut Vec<Effect>) {
        if !post.is_valid() {
            return;
        }
        let (peer, id) = (self.peer, post.id);
        let known = self.seen.get(id);
        let digest = known.flatten().unwrap_or_else(|| post.digest());
        if known.is_none() {
            match self.gaps.take(post.stream, post.seq, self.session.relies_on().is_some(), now) {
                Taken::New => {}
                // Whether it is that post, and what of it is here, only the store knows.
                Taken::Known => return effects.push(Effect::Recall { peer, via, id }),
                Taken::TooMany => return,
            }
            self.seen.insert(id, Some(digest));
            effects.push(Effect::Incoming { peer, post });
        }
        // After showing: a receipt never speaks of something that was not shown. Of a copy it says what was shown.
        self.acknowledge(via, id, digest, effects);
    }

    /// What had come under the name of this copy.
    pub(super) fn recalled(&mut self, via: Via, id: MessageId, digest: PostDigest, effects: &mut Vec<Effect>) {
        self.seen.insert(id, Some(digest));
        self.acknowledge(via, id, digest, effects);
    }

    /// Answers the way that the post came, so that the peer learns which ways there are.
    fn acknowledge(&mut self, via: Via, id: MessageId, digest: PostDigest, effects: &mut Vec<Effect>) {
        let peer = self.peer;
        // What we have to say ourselves goes in front: somebody who has come to say one thing leaves when it is
        // acknowledged.
        let alone = !matches!(via, Via::Session(_));
        if alone && !std::mem::replace(&mut self.letter_answered, true) {
            // What is in the mailbox stands in front of what goes there now; a letter would overtake it.
            let there = |message: &&Outgoing| via == Via::Mail && message.at_server.is_some();
            let first = self.queue.iter().take(self.letter.len()).skip_while(there);
            let frames: Vec<_> = first.map(Outgoing::frame).collect();
            effects.extend((!frames.is_empty()).then_some(Effect::Reply { peer, via, frames }));
        }
        effects.push(Effect::Acknowledge { peer, via, id, digest });
    }

    fn answered_over(&mut self, route: Route, nonce: u64) {
        let carrier = self.carriers.iter_mut().find(|carrier| nonce == PROOF && carrier.route() == route);
        carrier.into_iter().for_each(Carrier::answered);
    }

    fn receipt(&mut self, via: Via, receipt: Receipt, now: Instant, effects: &mut Vec<Effect>) {
        let peer = self.peer;
        match &receipt.claim {
            Claim::Device { posts } => {
                let posts: Vec<(MessageId, Arrival)> = posts
                    .iter()
                    .filter_map(|(id, digest)| Some((*id, self.take_out(via, *id, *digest, now)?)))
                    .collect();
                if !posts.is_empty() {
                    effects.push(Effect::Acknowledged { peer, receipt, posts });
                    self.go_on(now, effects);
                }
            }
            // Of what was never said nobody has read anything.
            Claim::Read { stream, up_to } if *stream == self.next.0 && *up_to >= self.next.1 => {}
            Claim::Read { stream, up_to } => {
                if self.read_by_peer.replace((*stream, *up_to)) != Some((*stream, *up_to)) {
                    effects.push(Effect::ReadBy { peer, receipt });
                }
            }
        }
    }

    /// Takes a message out of the queue, if it is there and this is what is with the peer.
    fn take_out(&mut self, via: Via, id: MessageId, digest: PostDigest, now: Instant) -> Option<Arrival> {
        let position = self.queue.iter().position(|message| message.id() == id)?;
        let arrival = self.queue[position].arrival(digest)?;
        self.queue.remove(position);
        for carrier in &mut self.carriers {
            let here = via == Via::Session(carrier.route());
            carrier.taken_out(position, here, self.rtt[carrier.route() as usize], now);
        }
        Some(arrival)
    }

    /// The person has read so far.
    pub(super) fn read(&mut self, stream: StreamId, up_to: u64, effects: &mut Vec<Effect>) {
        if self.read.is_none_or(|(before, seq)| before != stream || seq < up_to) {
            self.read = Some((stream, up_to));
            self.tell_read(effects);
        }
    }

    fn tell_read(&self, effects: &mut Vec<Effect>) {
        let Some((stream, up_to)) = self.read else { return };
        let via = match self.session.relies_on() {
            Some(route) => Via::Session(route),
            None if self.mail.is_offered() => Via::Mail,
            // Said when the next session begins.
            None => return,
        };
        effects.push(Effect::TellRead { peer: self.peer, via, stream, up_to });
    }

    /// The peer could not open something of ours: whatever it has not acknowledged goes once more.
    fn say_again(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.gaps.may_repeat(now) {
            self.queue.iter_mut().for_each(|message| message.at_server = None);
            self.post(now, effects);
        }
    }

    /// Something of the peer's does not open.
    pub(super) fn unreadable(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if !self.gaps.may_complain(now) {
            return;
        }
        let (peer, frame) = (self.peer, PeerFrame::Missing { stream: StreamId(0), ranges: Vec::new() });
        match self.session.relies_on() {
            Some(route) => effects.push(Effect::Send { peer, route, frame }),
            None => effects.push(Effect::Deposit { peer, token: 0, frames: vec![frame] }),
        }
    }

    /// What the peer has asked for again.
    pub(super) fn found(&mut self, posts: Vec<Post>, effects: &mut Vec<Effect>) {
        let (peer, Some(route)) = (self.peer, self.session.relies_on()) else { return };
        let frames = posts.into_iter().map(PeerFrame::Post);
        effects.extend(frames.map(|frame| Effect::Send { peer, route, frame }));
    }

    fn change(&mut self, change: Change, now: Instant, effects: &mut Vec<Effect>) {
        let why = self.session.handle(change);
        let session = self.session;
        self.carriers.retain(|carrier| session.uses(carrier.route()));
        for route in Route::ALL {
            if session.uses(route) && !self.carriers.iter().any(|carrier| carrier.route() == route) {
                self.carriers.push(Carrier::new(route));
            }
        }
        if let Some(why) = why {
            self.wanted = None;
            effects.extend(session.relies_on().map(|route| Effect::Switched { peer: self.peer, route, why }));
        }
        self.go_on(now, effects);
    }

    fn go_on(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.ask_for_session(now, effects);
        self.fill(now, effects);
        self.post(now, effects);
    }

    /// Without a session, what waits makes it ours to get one, whoever wanted the last.
    fn ask_for_session(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.session.relies_on().is_none() && !self.queue.is_empty() && self.wanted.is_none() {
            self.wanted = Some(now);
            effects.push(Effect::Want { peer: self.peer });
        }
    }

    /// Gives each route the messages that it has not had, up to a window; without a route, the first ones to the next
    /// introduction.
    fn fill(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let peer = self.peer;
        for carrier in &mut self.carriers {
            let mut room = WINDOW_BYTES;
            let window = self.queue.iter().take(carrier.window()).take_while(|message| fits(message, &mut room));
            for message in window.skip(carrier.in_flight()) {
                effects.push(Effect::Send { peer, route: carrier.route(), frame: message.frame() });
                carrier.given(self.rtt[carrier.route() as usize], now);
            }
        }
        let count = if self.session.relies_on().is_none() { self.letter_length() } else { 0 };
        let letter = || self.queue.iter().take(count).map(|message| (message.id(), message.is_void()));
        if !self.letter.iter().copied().eq(letter()) {
            self.letter_answered = false;
            self.letter = letter().collect();
            let frames = self.queue.iter().take(count).map(Outgoing::frame).collect();
            effects.push(Effect::Letter { peer, frames });
        }
    }

    /// How many of the first messages fit into an envelope.
    fn letter_length(&self) -> usize {
        let mut room = MAX_CONTENT;
        self.queue.iter().take(LETTER).take_while(|message| fits(message, &mut room)).count()
    }

    /// Brings to the server what the peer cannot be given otherwise.
    fn post(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        while self.session.relies_on().is_none() && self.mail.may_go(now) {
            let mut room = MAX_CONTENT;
            let waits = |message: &&Outgoing| message.at_server.is_none() && !self.mail.carries(message.id());
            let envelope: Vec<&Outgoing> =
                self.queue.iter().filter(waits).take_while(|message| fits(message, &mut room)).collect();
            if envelope.is_empty() {
                return;
            }
            let frames = envelope.iter().map(|message| message.frame()).collect();
            let ids = envelope.iter().map(|message| message.id()).collect();
            let token = self.mail.send(ids);
            effects.push(Effect::Deposit { peer: self.peer, token, frames });
        }
    }

    pub(super) fn timeout(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let mut overdue = Vec::new();
        for carrier in &mut self.carriers {
            if carrier.is_overdue(self.rtt[carrier.route() as usize], now) {
                overdue.push(carrier.route());
            }
        }
        for route in overdue {
            effects.push(Effect::Verify { peer: self.peer, route });
            self.change(Change::Overdue(route), now, effects);
        }
        for message in &mut self.queue {
            message.at_server.take_if(|until| *until <= now);
            if message.expires.is_some_and(|at| at <= now) {
                message.take_back();
                effects.push(Effect::Expired { peer: self.peer, id: message.id() });
            }
        }
        self.mail.timeout(now);
        if self.absent_at().is_some_and(|at| at <= now) {
            self.mail.absent = true;
        }
        if let Some((stream, ranges)) = self.gaps.timeout(now)
            && let Some(route) = self.session.relies_on()
        {
            let frame = PeerFrame::Missing { stream, ranges };
            effects.push(Effect::Send { peer: self.peer, route, frame });
        }
        self.go_on(now, effects);
    }

    /// When a peer with whom there is no session counts as absent.
    fn absent_at(&self) -> Option<Instant> {
        let would_write = self.mail.is_offered() && !self.mail.absent && self.waits_for_mail();
        self.wanted.filter(|_| would_write).map(|since| since + ABSENT_AFTER)
    }

    /// Is there anything that only the mailbox could bring on?
    fn waits_for_mail(&self) -> bool {
        let waits = |message: &Outgoing| message.at_server.is_none() && !self.mail.carries(message.id());
        self.session.relies_on().is_none() && self.queue.iter().any(waits)
    }

    pub(super) fn wakeup(&self) -> Option<Instant> {
        let receipts = self.carriers.iter().filter_map(Carrier::receipt_due);
        let mail = self.mail.wakeup().filter(|_| self.waits_for_mail());
        let messages = self.queue.iter().flat_map(|message| [message.at_server, message.expires]).flatten();
        let asks = self.gaps.wakeup().filter(|_| self.session.relies_on().is_some());
        receipts.chain(messages).chain([mail, self.absent_at(), asks].into_iter().flatten()).min()
    }

    /// Is there no receipt for this, which the person said?
    pub(super) fn is_outstanding(&self, id: MessageId) -> bool {
        self.queue.iter().any(|message| message.id() == id && !message.is_void())
    }

    /// Is there no receipt for what the person said there?
    pub(super) fn is_waiting(&self, stream: StreamId, seq: u64) -> bool {
        self.queue.iter().any(|message| (message.post.stream, message.post.seq) == (stream, seq))
    }

    /// What the person said that is nowhere but here, oldest first.
    pub(super) fn unsecured(&self) -> Vec<(MessageId, &str)> {
        let only_here = self.queue.iter().filter(|message| !message.is_void() && message.at_server.is_none());
        only_here.map(|message| (message.id(), message.text())).collect()
    }

    /// What the person said that has no receipt, oldest first.
    pub(super) fn outstanding(&self) -> Vec<(MessageId, &str)> {
        let said = self.queue.iter().filter(|message| !message.is_void());
        said.map(|message| (message.id(), message.text())).collect()
    }

    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < MAX_QUEUED
    }

    pub(super) fn relies_on(&self) -> Option<Route> {
        self.session.relies_on()
    }
}

/// Is there room for one more in an envelope? If so it is taken.
fn fits(message: &Outgoing, room: &mut usize) -> bool {
    let rest = room.checked_sub(message.length());
    *room = rest.unwrap_or(*room);
    rest.is_some()
}
