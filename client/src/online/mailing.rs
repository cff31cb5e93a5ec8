//! Mail for the absent, the prekeys that it is sealed to, and who has read what: what the room does about them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use common::identity::PeerId;
use common::introduction::{MAX_COLLECTED, MailId, MailboxTerms, PublishPrekeys};
use common::prekey::{Due, Keyring, Prekey, PrekeyId, PrekeySecret};
use common::receipt::{Claim, Receipt, StoredReceipt};
use common::session::{Content, MessageId, PeerFrame, Post, Route, StreamId, Via};
use jiff::Timestamp;

use super::room::{Notice, Way};
use super::{Moment, Out, Room};
use crate::messenger::{Effect, Input, Outcome};
use crate::node::{Deposited, NodeCommand, NodeEvent, PrekeySet};
use crate::output::Event;
use crate::store::{Record, State};

/// Messages of ours whose reading is told by their names. What was said before that, the store knows.
const MAX_UNREAD: usize = 4096;
/// Receipts in one envelope: each may be for 128 posts, and takes 4.3 KiB then.
const RECEIPTS_IN_ENVELOPE: usize = 3;
/// Two clocks that differ by less say nothing about who is wrong.
const CLOCKS_DIFFER: Duration = Duration::from_secs(24 * 3600);

/// What concerns mail.
#[derive(Debug, Default)]
pub(super) struct Mailing {
    keyring: Keyring,
    /// So many one-time prekeys of ours the rendezvous has, once it has said so.
    at_server: Option<usize>,
    /// On disk with the records that go out now, and of whom.
    collected: Vec<(PeerId, MailId)>,
    /// Receipts on their way to mailboxes, by token. What they are for is collected after that: who is killed in between
    /// gets it once more, and acknowledges it once more.
    owed: BTreeMap<u64, Owed>,
    next_token: u64,
    unread: VecDeque<(PeerId, StreamId, u64, MessageId)>,
    clock_told: bool,
}

/// Receipts for somebody who is away, and the mails that they are for; or what is said in front of them.
#[derive(Debug)]
struct Owed {
    peer: PeerId,
    frames: Vec<PeerFrame>,
    mails: Vec<MailId>,
    /// The node has it. If that loses it, the next registration is another chance.
    under_way: bool,
}

impl Mailing {
    fn owe(&mut self, peer: PeerId, frames: Vec<PeerFrame>, mails: Vec<MailId>) {
        self.next_token += 1;
        self.owed.insert(RECEIPTS + self.next_token, Owed { peer, frames, mails, under_way: false });
    }

    fn to(&self, peer: PeerId) -> impl Iterator<Item = (&u64, &Owed)> {
        self.owed.iter().filter(move |(_, owed)| owed.peer == peer)
    }
}

/// Envelopes of receipts to one peer at a time: the node keeps a few more, for messages.
const AT_A_TIME: usize = 4;

/// Above this are the tokens of receipts; the messenger counts its own from 1.
const RECEIPTS: u64 = 1 << 63;

impl Room {
    /// The secrets that are on disk, and the keys of contacts. Before anything else.
    pub(super) fn set_keys(
        &mut self,
        secrets: Vec<PrekeySecret>,
        peers: Vec<(PeerId, Prekey)>,
        now: Moment,
        out: &mut Out,
    ) {
        self.mailing.keyring = Keyring::new(secrets);
        for (peer, prekey) in peers {
            out.command(NodeCommand::PeerPrekey { peer, prekey });
        }
        self.hand_out(Vec::new(), now, out);
    }

    /// The prekeys that are to be made now.
    pub fn prekeys_due(&self, now: Moment) -> Due {
        self.mailing.keyring.due(self.mailing.at_server.unwrap_or(usize::MAX), seconds(now))
    }

    /// New prekeys, which were due: kept, and then handed out. What nothing can come under any more is gone.
    pub(super) fn add_prekeys(&mut self, secrets: Vec<PrekeySecret>, now: Moment, out: &mut Out) {
        let over = self.mailing.keyring.over(seconds(now));
        over.iter().for_each(|id| _ = self.mailing.keyring.remove(*id));
        if !over.is_empty() {
            out.keep(Record::PrekeysGone(over));
        }
        let one_times = secrets.iter().filter(|secret| secret.one_time).map(|secret| secret.public(&self.identity));
        let one_times: Vec<Prekey> = one_times.collect();
        if let Some(at_server) = &mut self.mailing.at_server {
            *at_server += one_times.len();
        }
        secrets.iter().cloned().for_each(|secret| self.mailing.keyring.insert(secret));
        out.keep(Record::Prekeys(secrets));
        self.hand_out(one_times, now, out);
    }

    /// The signed one that there is, and new ones for one envelope each.
    fn hand_out(&self, one_time: Vec<Prekey>, now: Moment, out: &mut Out) {
        let keyring = self.mailing.keyring.clone();
        let signed = keyring.signed(seconds(now)).map(|secret| secret.public(&self.identity));
        let publish = signed.map(|signed| PublishPrekeys { signed, one_time });
        out.command(NodeCommand::Prekeys(Box::new(PrekeySet { keyring, publish })));
    }

    /// Takes note of what the node says about mail. Was it about that?
    pub(super) fn note_mail(&mut self, event: &NodeEvent, now: Moment, out: &mut Out) -> bool {
        match event {
            NodeEvent::Mailbox(MailboxTerms { keeps_s, one_time_prekeys, .. }) => {
                self.mailing.at_server = Some(usize::from(*one_time_prekeys));
                let keeps = Some(Duration::from_secs(u64::from(*keeps_s)));
                self.feed(Input::Mailbox { keeps }, now, out);
                let peers: BTreeSet<PeerId> = self.mailing.owed.values().map(|owed| owed.peer).collect();
                peers.into_iter().for_each(|peer| self.pay(peer, out));
            }
            NodeEvent::Deposited { peer, token, outcome } => self.deposited(*peer, *token, outcome, now, out),
            NodeEvent::Mail { id, peer, frames, one_time } => self.mail(*id, *peer, frames, *one_time, now, out),
            NodeEvent::MailUnreadable { id, peer } => {
                tracing::warn!(peer = %peer.short(), "mail that does not open; it is asked for again");
                self.mailing.collected.push((*peer, *id));
                self.feed(Input::Unreadable { peer: *peer }, now, out);
            }
            NodeEvent::Clock { server_s } => self.compare_clocks(*server_s, now, out),
            _ => return false,
        }
        true
    }

    fn mail(
        &mut self,
        id: MailId,
        peer: PeerId,
        frames: &[PeerFrame],
        one_time: Option<PrekeyId>,
        now: Moment,
        out: &mut Out,
    ) {
        for frame in frames {
            self.frame(peer, Via::Mail, frame, Duration::ZERO, now, out);
        }
        if let Some(one_time) = one_time {
            self.mailing.keyring.remove(one_time);
            out.keep(Record::PrekeysGone(vec![one_time]));
        }
        self.mailing.collected.push((peer, id));
    }

    fn deposited(&mut self, peer: PeerId, token: u64, outcome: &Deposited, now: Moment, out: &mut Out) {
        if token >= RECEIPTS {
            return self.receipts_deposited(peer, token, outcome, out);
        }
        let (outcome, receipt) = match outcome {
            Deposited::Stored(receipt) => (Outcome::Stored, Some(receipt)),
            Deposited::Refused => (Outcome::Refused, None),
            Deposited::Full => (Outcome::Full, None),
            Deposited::Lost => (Outcome::Lost, None),
        };
        if outcome == Outcome::Full {
            out.show(Event::MailboxFull { who: self.who(peer) });
        }
        let effects = self.messenger.handle(Input::Deposited { peer, token, outcome }, now.at);
        for effect in effects {
            match (effect, receipt) {
                (Effect::AtServer { peer, ids }, Some(receipt)) => self.at_server(peer, ids, receipt, now, out),
                (effect, _) => self.apply(vec![effect], now, out),
            }
        }
    }

    fn receipts_deposited(&mut self, peer: PeerId, token: u64, outcome: &Deposited, out: &mut Out) {
        if *outcome == Deposited::Lost {
            self.mailing.owed.get_mut(&token).into_iter().for_each(|owed| owed.under_way = false);
            return;
        }
        if let Some(owed) = self.mailing.owed.remove(&token) {
            collect(&owed.mails, out);
        }
        self.pay(peer, out);
    }

    /// Brings the receipts that wait to the server, a few at a time.
    fn pay(&mut self, peer: PeerId, out: &mut Out) {
        let mut room = AT_A_TIME.saturating_sub(self.mailing.to(peer).filter(|(_, owed)| owed.under_way).count());
        for (token, owed) in self.mailing.owed.iter_mut().filter(|(_, owed)| owed.peer == peer && !owed.under_way) {
            if room == 0 {
                return;
            }
            room -= 1;
            owed.under_way = true;
            out.command(NodeCommand::Deposit { peer, token: *token, frames: owed.frames.clone() });
        }
    }

    /// Is a receipt on its way to a mailbox?
    pub fn owes_receipts(&self) -> bool {
        self.mailing.owed.values().any(|owed| owed.under_way)
    }

    fn at_server(&mut self, peer: PeerId, posts: Vec<MessageId>, receipt: &StoredReceipt, now: Moment, out: &mut Out) {
        let proof = postcard::to_stdvec(receipt).unwrap_or_default();
        out.keep(Record::Stored { peer, posts: posts.clone(), at_ms: now.wall_ms(), until_s: receipt.until_s, proof });
        let waits: Vec<MessageId> = posts.into_iter().filter(|id| self.messenger.is_outstanding(peer, *id)).collect();
        waits.into_iter().for_each(|id| self.came(peer, id, State::AtServer, out));
    }

    /// A message of ours has come so far: everybody is told.
    pub(super) fn came(&mut self, peer: PeerId, id: MessageId, state: State, out: &mut Out) {
        out.show(Event::Receipt { who: self.who(peer), id: id.to_string(), state: state.word() });
        self.notices.push(Notice::State { peer, id, state });
    }

    /// What we say is unread until the peer says otherwise.
    pub(super) fn note_said(&mut self, peer: PeerId, post: &Post) {
        if matches!(post.content, Content::Text { .. }) {
            self.mailing.unread.push_back((peer, post.stream, post.seq, post.id));
            if self.mailing.unread.len() > MAX_UNREAD {
                self.mailing.unread.pop_front();
            }
        }
    }

    /// The peer's person has read us up to there.
    pub(super) fn read_by(&mut self, peer: PeerId, stream: StreamId, up_to: u64, out: &mut Out) {
        let waits = std::mem::take(&mut self.mailing.unread);
        let is_read = |(of, within, seq, _): &(PeerId, StreamId, u64, MessageId)| {
            *of == peer && *within == stream && *seq <= up_to && !self.messenger.is_waiting(*of, *within, *seq)
        };
        let (read, unread) = waits.into_iter().partition(is_read);
        self.mailing.unread = unread;
        let read: VecDeque<_> = read;
        read.into_iter().for_each(|(_, _, _, id)| self.came(peer, id, State::Read, out));
    }

    /// What the peer has said in this stream was read up to this number, and the store knows it.
    pub fn read(&mut self, peer: PeerId, (stream, up_to): (StreamId, u64), now: Moment, out: &mut Out) {
        self.feed(Input::Read { peer, stream, up_to }, now, out);
    }

    /// How far our person has read.
    pub(super) fn tell_read(&mut self, peer: PeerId, via: Via, (stream, up_to): (StreamId, u64), now: Moment) {
        let receipt = Receipt::sign(&self.identity, peer, Claim::Read { stream, up_to }, now.wall_ms());
        let way = self.way(peer, via);
        self.answer(peer, way).receipts.push(receipt);
    }

    /// What came by mail is answered over a connection, if one stands by now.
    pub(super) fn way(&self, peer: PeerId, via: Via) -> Way {
        let by = |route: Option<Route>| route.map_or(Way::Mail, Way::Session);
        match via {
            Via::Session(route) => Way::Session(route),
            Via::Letter => Way::Letter,
            Via::Mail => by(self.messenger.relies_on(peer)),
        }
    }

    /// Words and then receipts for somebody who is away. With the last of the receipts what they are for is collected.
    pub(super) fn mail_receipts(&mut self, peer: PeerId, words: Vec<PeerFrame>, receipts: Vec<Receipt>, out: &mut Out) {
        let (theirs, others) = std::mem::take(&mut self.mailing.collected).into_iter().partition(|(of, _)| *of == peer);
        self.mailing.collected = others;
        let theirs: Vec<(PeerId, MailId)> = theirs;
        let mut mails: Vec<MailId> = theirs.into_iter().map(|(_, mail)| mail).collect();
        if !words.is_empty() {
            self.mailing.owe(peer, words, Vec::new());
        }
        let mut left = receipts.chunks(RECEIPTS_IN_ENVELOPE).peekable();
        while let Some(some) = left.next() {
            let frames = some.iter().cloned().map(PeerFrame::Receipt).collect();
            let mails = if left.peek().is_none() { std::mem::take(&mut mails) } else { Vec::new() };
            self.mailing.owe(peer, frames, mails);
        }
        self.pay(peer, out);
    }

    /// What is on disk, and needs no receipt or has one on its way over a connection, may go from the server.
    pub(super) fn collect(&mut self, out: &mut Out) {
        let mails: Vec<MailId> =
            std::mem::take(&mut self.mailing.collected).into_iter().map(|(_, mail)| mail).collect();
        collect(&mails, out);
    }

    /// A contact has told us where to seal to.
    pub(super) fn peer_prekey(&mut self, peer: PeerId, prekey: Prekey, now: Moment, out: &mut Out) {
        if prekey.one_time || !prekey.is_fresh(seconds(now)) || prekey.verify(peer).is_err() {
            tracing::debug!(peer = %peer.short(), "a prekey that is not used");
            return;
        }
        out.keep(Record::PeerPrekey { peer, prekey });
        out.command(NodeCommand::PeerPrekey { peer, prekey });
    }

    fn compare_clocks(&mut self, server_s: u64, now: Moment, out: &mut Out) {
        let server = i64::try_from(server_s).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let Some(server) = server.filter(|_| server_s > 0) else { return };
        let differs = now.wall.duration_since(server).unsigned_abs() > CLOCKS_DIFFER;
        if differs && !std::mem::replace(&mut self.mailing.clock_told, true) {
            out.show(Event::Clock { ours: now.wall, server });
        }
    }
}

fn collect(mails: &[MailId], out: &mut Out) {
    for mails in mails.chunks(MAX_COLLECTED) {
        out.command(NodeCommand::Collected(mails.to_vec()));
    }
}

fn seconds(now: Moment) -> u64 {
    now.wall_ms() / 1000
}
