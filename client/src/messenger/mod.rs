//! What is said, to whom, and whether it has arrived: pure, without sockets, clock or randomness.
//!
//! The life of a message. `Say` puts it at the end of its peer's queue (or refuses it, with the reason). With a peer there
//! may be two connections, one through the relay and one direct; `session` decides which of them carry messages.
//! On each that does, the first messages of the queue are on their way, a window of them (`carrier`); a receipt takes its message
//! out and lets the next one go. A route that begins to be used begins from the front of the queue, so whatever a broken one
//! swallowed goes once more, in the order in which it was said. While there is no connection at all, the first messages
//! are offered as a letter to whoever asks for the next introduction. The receiver acknowledges every copy on the way it
//! came and shows the first: it remembers the last [`MAX_SEEN`] names of each peer and has older ones looked up. A receipt
//! that stays out for about four round trips makes the messenger ask for the path to be checked, and the second one sends
//! copies by the relay.
//!
//! Order rests on one thing outside: within one connection frames arrive in order or not at all, as on a QUIC stream.
//! Then whatever arrives by whichever route continues what has arrived, because every route starts at or before the
//! first message that has no receipt.
//!
//! A peer that is away ([`Input::Absent`], or no session within three seconds) has a mailbox at the rendezvous (`mail`): what
//! waits goes there in envelopes, and is *at the server* when that has signed it. It still goes over the next session; the
//! receiver knows it by its name. What is taken back, or has expired, is replaced by a void, which goes on until
//! it is acknowledged, so that no hole stays in the numbering; the receipt names what has arrived, so it is known which of the
//! two it was. A receiver knows by the numbers what is missing (`heard`), and asks for it (`gaps`).
//!
//! What it knows lives in memory; `Resume` gives a new one what an earlier one had queued and seen, from the store. Whoever
//! acts on the effects keeps what they say of messages first, then sends: a receipt must not be ahead of the disk.

mod carrier;
mod conversation;
mod gaps;
mod heard;
mod mail;
mod outgoing;
mod seen;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::identity::PeerId;
use common::receipt::Receipt;
use common::session::{Content, MAX_EMOJI, MAX_TEXT, MessageId, PeerFrame, Post, PostDigest, Route, StreamId, Via};

use conversation::Conversation;
pub use heard::{MAX_HOLES, MAX_STREAMS, Stream};
pub use mail::Outcome;
pub use outgoing::{Arrival, Outgoing};
pub use session::Reason;

/// Messages that may wait for one peer. At [`MAX_TEXT`] each that is 16 MiB, the most that a forgotten chat with somebody
/// offline may cost; as lines typed by a person it is a day's talk. Several windows, so that there is always something
/// to say when receipts come.
pub const MAX_QUEUED: usize = 1024;
/// Messages on their way to one peer without a receipt, on a route that has carried no more yet. A conversation whose tunnel was
/// forgotten stood still for 8 s with 512, for 4.4 with 128 and for 4.2 with 64: QUIC repeats all that was lost first.
pub const WINDOW: usize = 128;
/// As many once so many were asked for and acknowledged: between a message and its receipt are a round trip and a write to the disk
/// on either side, and a script may have thousands of lines a second to say.
pub const LARGEST_WINDOW: usize = 512;
/// Bytes of them: as many as 64 of the longest. It keeps a pasted book from filling every buffer down to the socket.
pub const WINDOW_BYTES: usize = 1 << 20;
/// Names remembered of one peer's posts; of what is older the store is asked ([`Effect::Recall`]). Few in tests, so that they forget.
pub const MAX_SEEN: usize = if cfg!(test) { 4 } else { 2048 };
/// Posts that are said again for one question.
pub const MAX_FOUND: usize = 256;
/// Messages that ride along with a request for an introduction. What follows them is two round trips behind.
pub const LETTER: usize = 4;

/// What happens to the messenger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The person says something.
    Say {
        /// To whom.
        peer: PeerId,
        /// Drawn at random by the caller.
        id: MessageId,
        /// Now, in milliseconds since 1970.
        at_ms: u64,
        /// What.
        content: Content,
        /// When it shall not go any more.
        expires: Option<Instant>,
    },
    /// An earlier messenger had this under way. Before anything else of this peer.
    Resume {
        /// With whom.
        peer: PeerId,
        /// What.
        before: Resumed,
    },
    /// The person takes back what has not been acknowledged. It may be on its way already.
    Cancel {
        /// From whom.
        peer: PeerId,
        /// Which.
        id: MessageId,
    },
    /// A connection stands. One that replaces another on its route needs no `Disconnected` in between.
    Connected {
        /// With whom.
        peer: PeerId,
        /// Which way.
        route: Route,
        /// Its round-trip time.
        rtt: Duration,
    },
    /// A connection is gone.
    Disconnected {
        /// With whom.
        peer: PeerId,
        /// Which.
        route: Route,
    },
    /// A frame came. The caller has verified a receipt's signature.
    Frame {
        /// From whom.
        peer: PeerId,
        /// How.
        via: Via,
        /// What.
        frame: PeerFrame,
        /// The connection's round-trip time now.
        rtt: Duration,
    },
    /// Our addresses have changed: no direct path is what it was.
    NetworkChanged,
    /// We are registered with a rendezvous that keeps envelopes for so long, or with none that does.
    Mailbox {
        /// For how long.
        keeps: Option<Duration>,
    },
    /// The rendezvous does not introduce us: the peer is not there.
    Absent {
        /// Who.
        peer: PeerId,
    },
    /// What became of an [`Effect::Deposit`].
    Deposited {
        /// For whom.
        peer: PeerId,
        /// Which.
        token: u64,
        /// The caller has verified the server's signature.
        outcome: Outcome,
    },
    /// The person has seen what the peer said, up to here.
    Read {
        /// Whose.
        peer: PeerId,
        /// In which stream.
        stream: StreamId,
        /// The number of the last.
        up_to: u64,
    },
    /// The answer to [`Effect::LookUp`].
    Found {
        /// For whom.
        peer: PeerId,
        /// At most [`MAX_FOUND`].
        posts: Vec<Post>,
    },
    /// The answer to [`Effect::Recall`], if the store knows that name.
    Recalled {
        /// Whose post.
        peer: PeerId,
        /// Which way the copy came.
        via: Via,
        /// Its name.
        id: MessageId,
        /// What had come under it.
        digest: PostDigest,
    },
    /// An envelope of this peer's does not open.
    Unreadable {
        /// Whose.
        peer: PeerId,
    },
}

/// What an earlier messenger knew of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// The stream of what we say, and the number of the next.
    pub next: (StreamId, u64),
    /// What it had said that nobody has acknowledged, oldest first.
    pub queue: Vec<Outgoing>,
    /// The last posts from the peer, oldest first, and what came under their names, if that is known.
    pub seen: Vec<(MessageId, Option<PostDigest>)>,
    /// How far the peer's posts have come, the latest stream last.
    pub heard: Vec<Stream>,
    /// How far the person has read them.
    pub read: Option<(StreamId, u64)>,
}

/// What the messenger wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// What the person said has its place: keep it. The answer to [`Input::Say`], unless that is refused.
    Said {
        /// To whom.
        peer: PeerId,
        /// What.
        post: Post,
        /// When it shall not go any more.
        expires: Option<Instant>,
    },
    /// Give this frame to the connection of this route.
    Send {
        /// To whom.
        peer: PeerId,
        /// Which way.
        route: Route,
        /// What.
        frame: PeerFrame,
    },
    /// This post is here: sign that, and say it the way that it came.
    Acknowledge {
        /// To whom.
        peer: PeerId,
        /// Which way.
        via: Via,
        /// Its name.
        id: MessageId,
        /// What has arrived under it.
        digest: PostDigest,
    },
    /// Say this, too, in front of the receipts, to somebody who may leave when those are there.
    Reply {
        /// To whom.
        peer: PeerId,
        /// Which way: as a letter or by mail.
        via: Via,
        /// What, in order, in one envelope.
        frames: Vec<PeerFrame>,
    },
    /// Get a session with this peer: something waits for it.
    Want {
        /// With whom.
        peer: PeerId,
    },
    /// The next request for an introduction is to carry these, in place of those before.
    Letter {
        /// To whom.
        peer: PeerId,
        /// Messages, in order.
        frames: Vec<PeerFrame>,
    },
    /// A receipt is overdue: is the path alive?
    Verify {
        /// To whom.
        peer: PeerId,
        /// Which path.
        route: Route,
    },
    /// Messages go another way than before.
    Switched {
        /// To whom.
        peer: PeerId,
        /// This way.
        route: Route,
        /// Why.
        why: Reason,
    },
    /// Keep this and show it: it comes for the first time. A void fills a place and shows nothing.
    Incoming {
        /// From whom.
        peer: PeerId,
        /// What.
        post: Post,
    },
    /// The peer's client has these.
    Acknowledged {
        /// Whose.
        peer: PeerId,
        /// Says so.
        receipt: Receipt,
        /// Those that we had waited for, and what of each is there.
        posts: Vec<(MessageId, Arrival)>,
    },
    /// The peer's person has read us up to somewhere.
    ReadBy {
        /// Whose.
        peer: PeerId,
        /// Says so, and how far.
        receipt: Receipt,
    },
    /// The rendezvous keeps these for the peer.
    AtServer {
        /// For whom.
        peer: PeerId,
        /// Which.
        ids: Vec<MessageId>,
    },
    /// The time of this one is over; a void takes its place.
    Expired {
        /// For whom it was.
        peer: PeerId,
        /// Which.
        id: MessageId,
    },
    /// Bring this to the mailbox, in one envelope, and say what became of it by [`Input::Deposited`].
    Deposit {
        /// For whom.
        peer: PeerId,
        /// Comes back. 0: nobody waits for it.
        token: u64,
        /// What, in order.
        frames: Vec<PeerFrame>,
    },
    /// Sign how far the person has read, and say it.
    TellRead {
        /// To whom.
        peer: PeerId,
        /// Which way.
        via: Via,
        /// In which stream of the peer's.
        stream: StreamId,
        /// The number of the last.
        up_to: u64,
    },
    /// The peer has lost these: find them, and hand them in as [`Input::Found`].
    LookUp {
        /// Who asks.
        peer: PeerId,
        /// In which stream of ours.
        stream: StreamId,
        /// The first and the last of each range.
        ranges: Vec<(u64, u64)>,
    },
    /// A copy came of something that is here for so long that it is not remembered: find what came under that name, and hand it in
    /// as [`Input::Recalled`].
    Recall {
        /// From whom.
        peer: PeerId,
        /// Which way.
        via: Via,
        /// Its name.
        id: MessageId,
    },
    /// The peer suggests a name for itself.
    PeerName {
        /// Who.
        peer: PeerId,
        /// As it came: not fit for a terminal.
        name: String,
    },
    /// The answer to a ping.
    Pong {
        /// From whom.
        peer: PeerId,
        /// How it came.
        via: Via,
        /// From the ping.
        nonce: u64,
    },
    /// `Say` was refused; nothing of it is kept.
    Refused {
        /// To whom it should have gone.
        peer: PeerId,
        /// Which.
        id: MessageId,
        /// Why.
        why: Refusal,
    },
}

/// Why a message is not even queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Over [`MAX_TEXT`].
    #[error("a message has at most {MAX_TEXT} bytes, this one has {length}; send it in parts")]
    TooLong {
        /// In bytes of UTF-8.
        length: usize,
    },
    /// Over [`MAX_EMOJI`].
    #[error("a reaction has at most {MAX_EMOJI} bytes, this one has {length}; an emoji or two will do")]
    LongReaction {
        /// In bytes of UTF-8.
        length: usize,
    },
    /// [`MAX_QUEUED`] messages wait already.
    #[error("{MAX_QUEUED} messages wait for this contact already; this one was not added")]
    QueueFull,
}

/// All conversations. There is one entry for each peer that was spoken to or that has a session, and sessions are only
/// for contacts, so the list of contacts bounds it.
#[derive(Debug, Default)]
pub struct Messenger {
    conversations: BTreeMap<PeerId, Conversation>,
    /// For how long the rendezvous keeps envelopes, if it does.
    keeps: Option<Duration>,
}

impl Messenger {
    /// Nobody has said anything yet.
    pub fn new() -> Self {
        Messenger::default()
    }

    /// Takes one input; what should be done about it, in order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Say { peer, id, at_ms, content, expires } => {
                let conversation = self.of(peer);
                let (stream, seq) = conversation.next();
                let post = Post { id, stream, seq, at_ms, content };
                conversation.say(post, expires, now, &mut effects);
            }
            Input::Resume { peer, before } => self.of(peer).resume(before, now, &mut effects),
            Input::Cancel { peer, id } => self.of(peer).cancel(id, now, &mut effects),
            Input::Connected { peer, route, rtt } => self.of(peer).connected(route, rtt, now, &mut effects),
            Input::Disconnected { peer, route } => self.of(peer).disconnected(route, now, &mut effects),
            Input::Frame { peer, via, frame, rtt } => self.of(peer).frame(via, frame, rtt, now, &mut effects),
            Input::NetworkChanged => {
                self.conversations
                    .values_mut()
                    .for_each(|conversation| conversation.network_changed(now, &mut effects));
            }
            Input::Mailbox { keeps } => {
                self.keeps = keeps;
                self.conversations.values_mut().for_each(|conversation| conversation.mailbox(keeps, now, &mut effects));
            }
            Input::Absent { peer } => self.of(peer).absent(now, &mut effects),
            Input::Deposited { peer, token, outcome } => self.of(peer).deposited(token, outcome, now, &mut effects),
            Input::Read { peer, stream, up_to } => self.of(peer).read(stream, up_to, &mut effects),
            Input::Found { peer, posts } => self.of(peer).found(posts, &mut effects),
            Input::Recalled { peer, via, id, digest } => self.of(peer).recalled(via, id, digest, &mut effects),
            Input::Unreadable { peer } => self.of(peer).unreadable(now, &mut effects),
        }
        effects
    }

    /// Call when [`Messenger::poll_wakeup`] has come.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        for conversation in self.conversations.values_mut() {
            conversation.timeout(now, &mut effects);
        }
        effects
    }

    /// When [`Messenger::handle_timeout`] is due.
    pub fn poll_wakeup(&self) -> Option<Instant> {
        self.conversations.values().filter_map(Conversation::wakeup).min()
    }

    /// What the person said to this peer that has no receipt, oldest first.
    pub fn outstanding(&self, peer: PeerId) -> Vec<(MessageId, &str)> {
        self.conversations.get(&peer).map(Conversation::outstanding).unwrap_or_default()
    }

    /// Does this message of ours wait for its receipt?
    pub fn is_outstanding(&self, peer: PeerId, id: MessageId) -> bool {
        self.conversations.get(&peer).is_some_and(|conversation| conversation.is_outstanding(id))
    }

    /// Does what we said there wait for its receipt, or the void in its place?
    pub fn is_waiting(&self, peer: PeerId, stream: StreamId, seq: u64) -> bool {
        self.conversations.get(&peer).is_some_and(|conversation| conversation.is_waiting(stream, seq))
    }

    /// The messages to this peer that are nowhere but here, oldest first.
    pub fn unsecured(&self, peer: PeerId) -> Vec<(MessageId, &str)> {
        self.conversations.get(&peer).map(Conversation::unsecured).unwrap_or_default()
    }

    /// Would one more message to this peer be taken?
    pub fn has_room(&self, peer: PeerId) -> bool {
        self.conversations.get(&peer).is_none_or(Conversation::has_room)
    }

    /// The route that messages to this peer rely on; `None` without a connection.
    pub fn relies_on(&self, peer: PeerId) -> Option<Route> {
        self.conversations.get(&peer).and_then(Conversation::relies_on)
    }

    fn of(&mut self, peer: PeerId) -> &mut Conversation {
        let keeps = self.keeps;
        self.conversations.entry(peer).or_insert_with(|| Conversation::new(peer, keeps))
    }
}
