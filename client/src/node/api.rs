//! What the rest of the client sees of the network: commands in, events out.

use std::net::SocketAddr;
use std::time::Duration;

use common::candidate::CandidateKind;
use common::identity::PeerId;
use common::introduction::{MailId, MailboxTerms};
use common::nat::NatProfile;
use common::path::Report;
use common::prekey::{Prekey, PrekeyId};
use common::session::{PeerFrame, Route, Via};
use serde::{Deserialize, Serialize};

use super::around::{Around, LifetimeReport};
use super::attempt::PathAttempt;
use super::mail::{Deposited, PrekeySet};
use super::port_mapping::PortMapping;
use super::speed::SpeedReport;

/// Tells the sessions of one node apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// One of the UDP sockets of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId(pub u32);

impl SocketId {
    /// The one that the rendezvous knows, of either version of IP.
    pub const MAIN: SocketId = SocketId(0);
}

/// What a node may be told to do. All of it returns at once; what comes of it is an event.
#[derive(Debug, Clone)]
pub enum NodeCommand {
    /// Keep a session with this contact: introduce, punch, dial, and again with growing pauses after each failure.
    Want(PeerId),
    /// Stop wanting one; a session that stands is closed.
    Unwant(PeerId),
    /// The contacts have changed.
    Contacts(Vec<PeerId>),
    /// Give a frame to this session. If it is not the current one any more the frame is dropped: given to the next one
    /// it would overtake what that one must repeat first.
    Send {
        /// To whom.
        peer: PeerId,
        /// Over which session.
        session: SessionId,
        /// What.
        frame: PeerFrame,
    },
    /// Send these frames in an envelope into the latest introduction; there is room for few envelopes.
    Reply {
        /// To whom.
        peer: PeerId,
        /// What, in order.
        frames: Vec<PeerFrame>,
    },
    /// What each request for an introduction is to carry from now on.
    Letter {
        /// To whom.
        peer: PeerId,
        /// What, in order.
        frames: Vec<PeerFrame>,
    },
    /// The secrets of our prekeys, in place of those before, and what is to be handed out of them.
    Prekeys(Box<PrekeySet>),
    /// The newest signed prekey of a contact, which was verified. Letters are sealed to it while it is fresh, and mail for
    /// which the rendezvous has nothing better.
    PeerPrekey {
        /// Whose.
        peer: PeerId,
        /// The key.
        prekey: Prekey,
    },
    /// Have the rendezvous keep this for a contact. Each is answered by a [`NodeEvent::Deposited`]. Of one contact they are
    /// deposited one after the other; so many wait ([`MAX_DEPOSITS`](super::MAX_DEPOSITS)), and one more is [`Deposited::Lost`].
    Deposit {
        /// For whom.
        peer: PeerId,
        /// Comes back in the answer.
        token: u64,
        /// What, in order: at most what an envelope holds ([`common::seal::MAX_CONTENT`]).
        frames: Vec<PeerFrame>,
    },
    /// These are on disk here, and what they used up of the prekeys is gone from there: the rendezvous may delete them.
    Collected(Vec<MailId>),
    /// Something that should have been acknowledged was not: find out now whether the path is alive.
    Verify(PeerId, Route),
    /// Look at this machine's network beyond what the rendezvous sees of it; on the LAN itself only if that is allowed.
    LookAround {
        /// May anything be sent to the LAN?
        lan: bool,
    },
    /// Find out how long the NAT remembers a silent socket. It takes minutes.
    MeasureLifetime,
    /// Measure the line of this session: see [`NodeEvent::Speed`].
    MeasureSpeed {
        /// To whom.
        peer: PeerId,
        /// Over which session.
        session: SessionId,
        /// How long bytes shall flow each way.
        each_way: Duration,
    },
}

/// Who introduced two peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Introducer {
    /// The server.
    Rendezvous,
    /// Nobody: they found each other on their LAN.
    Lan,
}

/// How we come to the rendezvous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "via", rename_all = "snake_case")]
pub enum Entrance {
    /// Over UDP, like to everybody.
    Udp {
        /// Our server-reflexive address.
        observed: SocketAddr,
    },
    /// Over TCP, because UDP gets no answer. So we have no address that peers could probe.
    Tunnel,
}

impl Entrance {
    /// As it is called in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Entrance::Udp { .. } => "udp",
            Entrance::Tunnel => "tunnel",
        }
    }

    /// Our server-reflexive address.
    pub fn observed(self) -> Option<SocketAddr> {
        match self {
            Entrance::Udp { observed } => Some(observed),
            Entrance::Tunnel => None,
        }
    }
}

/// What happens on the network.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeEvent {
    /// The rendezvous knows us; comes again after a reconnection and when the observed address changes.
    Registered {
        /// How we come to it.
        entrance: Entrance,
        /// Our host candidates.
        local: Vec<SocketAddr>,
    },
    /// The rendezvous is not reachable (any more); the node keeps trying. Comes once per outage and then at most every
    /// ten seconds.
    RendezvousLost {
        /// What was tried and what went wrong, for a person.
        reason: String,
    },
    /// Somebody else registered with our key later than we: another client with the same data. The node stays away.
    Replaced,
    /// The rendezvous is about to stop.
    Draining,
    /// The NAT profile is known (better).
    Profile(NatProfile),
    /// The router gave us a port, or there is none (any more), for this reason.
    PortMapping(Result<PortMapping, String>),
    /// We were introduced to a peer; punching starts.
    Introduced {
        /// Whom.
        peer: PeerId,
        /// By whom.
        by: Introducer,
        /// Did we ask?
        requested: bool,
        /// Where the peer may be.
        addresses: Vec<SocketAddr>,
    },
    /// The rendezvous would not introduce us: the peer is unknown there, offline, or does not have us as a contact.
    Refused {
        /// Whom we asked for.
        peer: PeerId,
    },
    /// The first probe came back: the hole is punched.
    Punched {
        /// With whom.
        peer: PeerId,
        /// The address that answered.
        remote: SocketAddr,
        /// What kind of address that is.
        kind: CandidateKind,
        /// Round-trip time of the probe.
        rtt: Duration,
        /// From introduction to now.
        after: Duration,
    },
    /// A session stands; frames flow. It takes the place of an earlier one of the same route.
    Up {
        /// With whom.
        peer: PeerId,
        /// Which one.
        session: SessionId,
        /// Which way it goes.
        route: Route,
        /// Over which address: the peer's, or the relay's.
        remote: SocketAddr,
        /// Round-trip time.
        rtt: Duration,
        /// Who introduced us, if the path is a direct one.
        by: Option<Introducer>,
    },
    /// The session of this route is gone.
    Down {
        /// With whom.
        peer: PeerId,
        /// Which way it went.
        route: Route,
        /// Why, for a person.
        reason: String,
        /// The peer itself closed it: it stopped, rather than vanished.
        by_peer: bool,
    },
    /// Our addresses have changed, or the machine has slept. The node does all that follows from it by itself.
    NetworkChanged {
        /// What was noticed, for a person.
        what: String,
    },
    /// Punching ended without a path.
    NoPath {
        /// To whom.
        peer: PeerId,
        /// The addresses probed, for a person to look at.
        tried: Vec<SocketAddr>,
        /// What was tried, and why it is over.
        report: Report,
    },
    /// An attempt at a direct path has ended, one way or the other; follows what else is told of that.
    Attempted {
        /// To whom.
        peer: PeerId,
        /// What it was.
        attempt: Box<PathAttempt>,
    },
    /// What was found out about this machine's network: see [`NodeCommand::LookAround`].
    Around(Around),
    /// How the measurement that was asked for goes: see [`NodeCommand::MeasureLifetime`].
    Lifetime(LifetimeReport),
    /// A frame from a peer, over an authenticated session or in an envelope that only the peer can have sealed.
    Frame {
        /// From whom.
        peer: PeerId,
        /// How it came.
        via: Via,
        /// What.
        frame: PeerFrame,
        /// The session's round-trip time now; nothing for an envelope.
        rtt: Duration,
    },
    /// The rendezvous keeps mail; once after each registration. Before that, and if it never comes, nothing can be deposited.
    Mailbox(MailboxTerms),
    /// What became of a [`NodeCommand::Deposit`].
    Deposited {
        /// For whom it is.
        peer: PeerId,
        /// From the command.
        token: u64,
        /// What.
        outcome: Deposited,
    },
    /// An envelope out of the mailbox, which only the peer can have sealed. It comes again at the next start, unless it is
    /// [collected](NodeCommand::Collected).
    Mail {
        /// The rendezvous' name for it.
        id: MailId,
        /// From whom.
        peer: PeerId,
        /// What is in it, in order.
        frames: Vec<PeerFrame>,
        /// It was sealed to this one-time prekey, whose secret is to be deleted together with keeping the frames.
        one_time: Option<PrekeyId>,
    },
    /// An envelope that is said to be this contact's, and that does not open: it was sealed to a key that is gone, or is forged. It
    /// is to be collected, too; what the peer has to say it must say again.
    MailUnreadable {
        /// The rendezvous' name for it.
        id: MailId,
        /// From whom, as the rendezvous says.
        peer: PeerId,
    },
    /// The rendezvous' clock at our registration, if it says: whoever keeps another time may have a wrong clock.
    Clock {
        /// In seconds since 1970.
        server_s: u64,
    },
    /// How the measurement that was asked for goes.
    Speed {
        /// Of the line to whom.
        peer: PeerId,
        /// Over which session.
        session: SessionId,
        /// What there is to say.
        report: SpeedReport,
    },
    /// Somebody answered with the wrong key. Nothing was sent to it.
    Untrusted {
        /// Who it should have been.
        expected: Party,
        /// The key that was shown.
        seen: PeerId,
    },
}

/// Whose key was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The rendezvous, with the key pinned in the link.
    Rendezvous(PeerId),
    /// A contact.
    Peer(PeerId),
}
