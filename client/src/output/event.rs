//! Everything that the program can say. `docs/json.md` describes each event and a test holds the two together.

use std::net::SocketAddr;

use common::candidate::CandidateKind;
use common::identity::PeerId;
use common::nat::NatProfile;
use common::session::Route;
use jiff::Timestamp;
use serde::Serialize;

pub use super::parts::{ContactChange, Direction, JoinChange, Mbps, Millis, NodeChange, SessionLine, Tried, Who};
use super::{BackedUp, Kept, Netcheck, Replacing, Restored, Why};
use crate::data::State;
use crate::node::{Entrance, Introducer, PortMapping};

/// One thing said. The field names and their order are the JSON form.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// `join` is done.
    Joined {
        /// Our id.
        id: PeerId,
        /// `HOST:PORT`.
        rendezvous: String,
        /// Its pinned key.
        key: PeerId,
        /// Against before.
        change: JoinChange,
        /// `HOST:PORT` before.
        #[serde(skip_serializing_if = "Option::is_none")]
        was: Option<String>,
        /// A node that runs still uses what was joined before.
        restart_needed: bool,
    },
    /// Who we are.
    Id {
        /// Our id.
        id: PeerId,
        /// What to hand to others.
        link: Option<String>,
    },
    /// A contact.
    Contact {
        /// What became of it.
        change: ContactChange,
        /// Who.
        #[serde(flatten)]
        who: Who,
        /// The name before.
        #[serde(skip_serializing_if = "Option::is_none")]
        was: Option<String>,
        /// How many of their messages our person was not shown yet; only in a list, and only if there are any.
        #[serde(skip_serializing_if = "Option::is_none")]
        unread: Option<u64>,
    },
    /// A node starts.
    Started {
        /// Our id.
        id: PeerId,
        /// Where it will register: `HOST:PORT`.
        rendezvous: String,
        /// This process.
        pid: u32,
        /// The number of contacts.
        contacts: usize,
        /// With whom `chat` and `ping` want to speak.
        #[serde(flatten)]
        who: Option<Who>,
        /// The node was online before this command.
        attached: bool,
    },
    /// The rendezvous knows us.
    Registered {
        /// How we come to it, and our address as it sees it.
        #[serde(flatten)]
        entrance: Entrance,
        /// Our own addresses.
        local: Vec<SocketAddr>,
    },
    /// The rendezvous does not answer; the node keeps trying.
    RendezvousLost {
        /// What was tried.
        reason: String,
    },
    /// The rendezvous is about to stop.
    Draining,
    /// What the NAT does, as far as is known.
    Profile {
        /// RFC 4787's words.
        profile: NatProfile,
    },
    /// The router gave us a port, or there is none (any more).
    PortMapping {
        /// It.
        port_mapping: Option<PortMapping>,
        /// Why there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// `netcheck` is done.
    Netcheck(Box<Netcheck>),
    /// `why` is done.
    Why(Box<Why>),
    /// We were introduced; punching starts.
    Introduced {
        /// To whom.
        #[serde(flatten)]
        who: Who,
        /// By whom.
        by: Introducer,
        /// We asked, rather than they.
        requested: bool,
        /// Where the peer may be.
        addresses: Vec<SocketAddr>,
    },
    /// The rendezvous did not introduce us.
    Refused {
        /// To whom.
        #[serde(flatten)]
        who: Who,
    },
    /// The first probe came through.
    Punched {
        /// To whom.
        #[serde(flatten)]
        who: Who,
        /// What kind of address answered.
        kind: CandidateKind,
        /// Which.
        remote: SocketAddr,
        /// The probe's round trip.
        rtt_ms: Millis,
        /// Since the introduction.
        after_ms: Millis,
    },
    /// Messages go this way from now on.
    Path {
        /// With whom.
        #[serde(flatten)]
        who: Who,
        /// How packets go.
        kind: Route,
        /// Where to: the peer's address, or the relay's.
        remote: SocketAddr,
        /// Round-trip time.
        rtt_ms: Millis,
        /// Why now.
        reason: String,
    },
    /// Our addresses have changed, or the machine has slept.
    NetworkChanged {
        /// What was noticed.
        what: String,
    },
    /// The last connection is gone.
    Lost {
        /// With whom.
        #[serde(flatten)]
        who: Who,
        /// Why.
        reason: String,
        /// The peer said goodbye, rather than vanished.
        by_peer: bool,
    },
    /// Punching ended without a path; the node tries again later.
    NoPath {
        /// To whom.
        #[serde(flatten)]
        who: Who,
        /// What was probed.
        tried: Vec<SocketAddr>,
        /// How, and what that took.
        strategies: Vec<Tried>,
        /// Why nothing more was tried, for a person.
        because: String,
    },
    /// A peer suggests a name for itself.
    Hello {
        /// Who.
        #[serde(flatten)]
        who: Who,
        /// Its suggestion.
        suggests: String,
    },
    /// A message.
    Message {
        /// Which way.
        dir: Direction,
        /// From or to whom.
        #[serde(flatten)]
        who: Who,
        /// Its name, in hexadecimal.
        id: String,
        /// What.
        text: String,
        /// When it was written, by its writer's clock.
        at: Timestamp,
        /// The name of the message that it answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        reply_to: Option<String>,
        /// Only on the way out: no session stands, it waits for one.
        #[serde(skip_serializing_if = "Option::is_none")]
        waiting: Option<bool>,
    },
    /// A message says something else now.
    Edited {
        /// Whose message it is, and who has edited it.
        dir: Direction,
        /// From or to whom.
        #[serde(flatten)]
        who: Who,
        /// The message.
        id: String,
        /// The name of the edit itself: receipts speak of it.
        post: String,
        /// What it says.
        text: String,
        /// When that was written, by its writer's clock.
        at: Timestamp,
        /// As in a message.
        #[serde(skip_serializing_if = "Option::is_none")]
        waiting: Option<bool>,
    },
    /// A message is gone.
    Deleted {
        /// Whose message it was, and who has deleted it.
        dir: Direction,
        /// From or to whom.
        #[serde(flatten)]
        who: Who,
        /// The message.
        id: String,
        /// The name of the deletion itself.
        post: String,
        /// When, by its writer's clock.
        at: Timestamp,
        /// As in a message.
        #[serde(skip_serializing_if = "Option::is_none")]
        waiting: Option<bool>,
    },
    /// Somebody reacts to a message.
    Reaction {
        /// Whose reaction it is.
        dir: Direction,
        /// From or to whom.
        #[serde(flatten)]
        who: Who,
        /// The message, of either.
        id: String,
        /// The name of the reaction itself.
        post: String,
        /// What; empty if it was taken back.
        emoji: String,
        /// When, by its writer's clock.
        at: Timestamp,
        /// As in a message.
        #[serde(skip_serializing_if = "Option::is_none")]
        waiting: Option<bool>,
    },
    /// `read` is done.
    MarkedRead {
        /// Whose messages.
        #[serde(flatten)]
        who: Who,
        /// How many were unread.
        messages: usize,
    },
    /// A message out of the store.
    Kept(Box<Kept>),
    /// A line of the store's journal.
    Entry {
        /// Its number, for `--since`.
        entry: i64,
        /// What has happened: `message`, `state` or `text`.
        what: &'static str,
        /// The message, as it is now, but in the state that it had then.
        #[serde(flatten)]
        kept: Box<Kept>,
    },
    /// `msg` is done.
    Sent {
        /// To whom.
        #[serde(flatten)]
        who: Who,
        /// Which.
        id: String,
        /// How far it has come.
        state: &'static str,
    },
    /// `on message` has run the command for a message.
    Ran {
        /// The number of the entry in the journal.
        entry: i64,
        /// From whom the message is.
        #[serde(flatten)]
        who: Who,
        /// Which.
        id: String,
        /// From 1.
        attempt: u32,
        /// The command's exit code; `null` if it did not start, or was killed.
        status: Option<i32>,
        /// Will it be run again for this message?
        again: bool,
    },
    /// What became of the node: `up` and `down`.
    Node {
        /// What.
        change: NodeChange,
        /// Its process.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
    },
    /// How far something is that takes a while.
    Progress {
        /// What, for people.
        what: String,
        /// From 0 to 1.
        share: f64,
        /// How fast.
        #[serde(skip_serializing_if = "Option::is_none")]
        mbps: Option<Mbps>,
    },
    /// The rendezvous takes no more mail for this contact from us now.
    MailboxFull {
        /// For whom.
        #[serde(flatten)]
        who: Who,
    },
    /// Our clock or the rendezvous' is wrong.
    Clock {
        /// What ours says.
        ours: Timestamp,
        /// What the rendezvous says.
        server: Timestamp,
    },
    /// A message was taken back before anybody acknowledged it.
    Cancelled {
        /// For whom it was.
        #[serde(flatten)]
        who: Who,
        /// Which.
        id: String,
        /// What.
        text: String,
    },
    /// `backup` is done.
    BackedUp(BackedUp),
    /// `restore` is about to replace something.
    Replacing(Replacing),
    /// `restore` is done.
    Restored(Restored),
    /// A message has arrived.
    Receipt {
        /// Where.
        #[serde(flatten)]
        who: Who,
        /// Which.
        id: String,
        /// `device`: the receiving client has it.
        state: &'static str,
    },
    /// The end of input was read; receipts are still out.
    Waiting {
        /// Whose.
        #[serde(flatten)]
        who: Who,
        /// How many.
        receipts: usize,
        /// For how long at most.
        up_to_ms: Millis,
    },
    /// A message that did not reach anybody, as far as we know.
    Undelivered {
        /// To whom it should have gone.
        #[serde(flatten)]
        who: Who,
        /// Which.
        id: String,
        /// What; not kept of one that was too long.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// Why.
        reason: String,
    },
    /// A ping was answered.
    Ping {
        /// By whom.
        #[serde(flatten)]
        who: Who,
        /// From 1.
        seq: u32,
        /// How it went.
        route: Route,
        /// Where to.
        remote: SocketAddr,
        /// There and back.
        rtt_ms: Millis,
        /// From the start of the process to the answer.
        since_start_ms: Millis,
    },
    /// How pinging went.
    Summary {
        /// Whom.
        #[serde(flatten)]
        who: Who,
        /// Pings sent.
        sent: u32,
        /// Answers.
        received: u32,
        /// From the start of the process to the first answer.
        first_reply_ms: Option<Millis>,
        /// From the start of the process to a direct path.
        direct_ms: Option<Millis>,
        /// The best one seen.
        route: Option<Route>,
    },
    /// A line was measured.
    Speed {
        /// To whom.
        #[serde(flatten)]
        who: Who,
        /// How it goes.
        route: Route,
        /// What arrived of what we sent.
        up_mbps: Mbps,
        /// What arrived of what they sent.
        down_mbps: Mbps,
        /// There and back, in the median, while nothing else was sent.
        idle_rtt_ms: Millis,
        /// The same while the line was full.
        loaded_rtt_ms: Millis,
    },
    /// What `status` found.
    Status {
        /// A node is online with this folder.
        running: bool,
        /// Our id.
        id: PeerId,
        /// The rendezvous joined: `HOST:PORT`.
        rendezvous: Option<String>,
        /// The number of contacts.
        contacts: usize,
        /// How many messages our person was not shown yet.
        unread: u64,
        /// The node's process.
        pid: Option<u32>,
        /// How it stands with the rendezvous.
        state: Option<State>,
        /// Since when it runs.
        since: Option<Timestamp>,
        /// How the rendezvous is reached: `udp` or `tunnel`.
        via: Option<&'static str>,
        /// Our address as the rendezvous sees it.
        observed: Option<SocketAddr>,
        /// What the NAT does.
        profile: Option<NatProfile>,
        /// The port that the router gave us.
        port_mapping: Option<PortMapping>,
        /// The node shows its address to the rendezvous alone.
        relay_only: bool,
        /// Sessions that stand.
        sessions: Vec<SessionLine>,
    },
    /// Somebody showed the wrong key. Ends `chat` and `ping` of that peer, and everything if it is the rendezvous.
    Untrusted {
        /// `rendezvous` or `peer`.
        who: &'static str,
        /// The key that it should have been.
        expected: PeerId,
        /// The key shown.
        seen: PeerId,
    },
    /// The command failed. The last line.
    Error {
        /// The exit code.
        code: u8,
        /// The word for it.
        kind: &'static str,
        /// What to do.
        message: String,
    },
}
