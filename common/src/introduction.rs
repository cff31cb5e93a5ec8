//! What a client and its rendezvous say to each other, on one bidirectional stream that the client opens.
//!
//! The life of an introduction: Alice sends [`ToServer::Introduce`] with the capability that she and Bob share, and her
//! host candidates sealed to him. The server finds the capability among those that Bob registered and, *at the same
//! instant*, sends both a [`FromServer::Introduction`] with the other's addresses. Bob's sealed host candidates follow
//! as a [`ToServer::Trickle`]. Nothing else is needed: both now know where to probe and with which keys.
//!
//! Alice's first words ride along, in an [envelope](crate::seal) that only Bob can open: they are with him one way from
//! her to the server and on, before any packet has gone between the two. With the introduction both get a
//! [relay channel](crate::relay), over which they talk until their own path stands, or for good if none does.
//!
//! Who is away has a [mailbox](crate::seal) at the server: Alice [asks for a prekey](ToServer::FetchPrekeys) of Bob's, seals to it and
//! [deposits](ToServer::Deposit) the envelope, again with the capability. The server answers with its signature when it is on
//! disk. When Bob registers it is [pushed](FromServer::Mail) to him, and deleted when he has [signed](ToServer::Collected) that he has it.
//!
//! Who registers as [`relay_only`](Register::relay_only) has no addresses for anybody: neither is told where the other is, and
//! both talk over the channel. That a peer is one says its own sealed box ([`crate::candidate::Contents`]), not the server.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::identity::{Identity, PeerId};
use crate::nat::NatProfile;
use crate::pairing::Capability;
use crate::path::Strategy;
use crate::prekey::{Bundle, Prekey};
use crate::receipt::StoredReceipt;
use crate::relay::RelayChannel;
use crate::signature::{BadSignature, Signature};

/// The longest frame either side may send: 1,024 capabilities of 16 bytes and what stands around them fit.
pub const MAX_CONTROL_FRAME: usize = 24 * 1024;
/// The most capabilities, hence contacts, of one registration.
pub const MAX_CAPABILITIES: usize = 1024;
/// The most addresses of one list.
pub const MAX_ADDRESSES: usize = 8;
/// The longest sealed box: eight addresses, padded, with nonce and tag.
pub const MAX_SEALED: usize = 320;

/// The most envelopes that one [`Collected`] is for.
pub const MAX_COLLECTED: usize = 64;

/// Names one introduction. Drawn at random by the server, used by the peers as the user name of their probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IntroductionId(pub u64);

impl IntroductionId {
    /// Big-endian bytes, for key derivation.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// From a client to its rendezvous.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToServer {
    /// The first frame: here I am. Replaces an older registration of the same key.
    Register(Register),
    /// My profile or my contacts have changed.
    Update(Register),
    /// I want to meet a contact.
    Introduce(Introduce),
    /// More addresses for an introduction under way.
    Trickle(Trickle),
    /// Words for the other party of an introduction under way.
    Letter(Letter),
    /// What came of punching, for the [`hint`](Introduction::hint) of others.
    Outcome(Outcome),
    /// To these keys others may seal while I am away.
    Prekeys(PublishPrekeys),
    /// I want a key of a contact to seal to.
    FetchPrekeys(FetchPrekeys),
    /// Keep this for a contact.
    Deposit(Deposit),
    /// I have these envelopes.
    Collected(Collected),
}

/// What a client tells about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Grows with each start of the client (seconds since 1970 will do): of two registrations of one key the larger
    /// epoch wins, so that an old process cannot take the place of a new one by reconnecting.
    pub epoch: u64,
    /// The capabilities of my contacts, at most [`MAX_CAPABILITIES`].
    pub capabilities: Vec<Capability>,
    /// Server-reflexive addresses seen by other servers' eyes (STUN), and a port that the router has mapped. The server
    /// keeps those whose IP is the one that it observes itself: nobody may have a stranger's address probed.
    pub reflexive: Vec<SocketAddr>,
    /// What is known of my NAT.
    pub profile: NatProfile,
    /// I talk through the relay alone: give my addresses and my profile to nobody, and nobody's to me.
    pub relay_only: bool,
}

/// A request for an introduction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduce {
    /// The client's own number of this request; it comes back in the answer.
    pub request: u32,
    /// Whom to meet.
    pub peer: PeerId,
    /// The proof that the peer wants it.
    pub capability: Capability,
    /// My host candidates, sealed to the peer (see [`crate::candidate`]).
    pub sealed: Vec<u8>,
    /// My first words, in an [envelope](crate::seal) of at most [`MAX_ENVELOPE`](crate::seal::MAX_ENVELOPE) bytes; empty
    /// if I have nothing to say.
    pub envelope: Vec<u8>,
}

/// Sealed candidates for an introduction under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trickle {
    /// Which one.
    pub introduction: IntroductionId,
    /// Candidates, sealed to the peer.
    pub sealed: Vec<u8>,
}

/// An envelope for an introduction under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Which one.
    pub introduction: IntroductionId,
    /// Sealed to the peer (see [`crate::seal`]).
    pub envelope: Vec<u8>,
}

/// Prekeys for the server to hand out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishPrekeys {
    /// Takes the place of the one before.
    pub signed: Prekey,
    /// These come to those that the server holds, up to [`ONE_TIMES`](crate::prekey::ONE_TIMES) in all.
    pub one_time: Vec<Prekey>,
}

/// A request for a contact's prekeys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchPrekeys {
    /// The client's own number of this request; it comes back in the answer.
    pub request: u32,
    /// Whose.
    pub peer: PeerId,
    /// The proof that the peer wants it.
    pub capability: Capability,
}

/// An envelope for a contact who is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deposit {
    /// The client's own number of this request; it comes back in the answer.
    pub request: u32,
    /// For whom.
    pub peer: PeerId,
    /// The proof that the peer wants it.
    pub capability: Capability,
    /// Sealed to the peer, at most [`MAX_ENVELOPE`](crate::seal::MAX_ENVELOPE) bytes.
    pub envelope: Vec<u8>,
}

/// Names an envelope in a mailbox. Drawn by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MailId(pub u64);

/// The recipient has these envelopes, and signs that they may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Which, at most [`MAX_COLLECTED`].
    pub mails: Vec<MailId>,
    signature: Signature,
}

impl Collected {
    const KIND: &'static str = "collected mail";

    /// `own` has these from this server.
    pub fn sign(own: &Identity, server: PeerId, mails: Vec<MailId>) -> Self {
        let signature = Signature::sign(own, Self::KIND, &Self::fact(server, &mails));
        Collected { mails, signature }
    }

    /// Does `by` say so, to this server?
    pub fn verify(&self, by: PeerId, server: PeerId) -> Result<(), BadSignature> {
        self.signature.verify(by, Self::KIND, &Self::fact(server, &self.mails))
    }

    fn fact(server: PeerId, mails: &[MailId]) -> Vec<u8> {
        let mails = mails.iter().flat_map(|mail| mail.0.to_be_bytes());
        server.as_bytes().iter().copied().chain(mails).collect()
    }
}

/// A [`Strategy`] by its number. One that is not known is from a later version, and no broken frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrategyCode(pub u8);

impl StrategyCode {
    /// The strategy, if it is known here.
    pub fn known(self) -> Option<Strategy> {
        Strategy::ALL.get(usize::from(self.0)).copied()
    }
}

impl From<Strategy> for StrategyCode {
    fn from(strategy: Strategy) -> Self {
        StrategyCode(strategy as u8)
    }
}

/// How an introduction ended, as one party sees it: said once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which one.
    pub introduction: IntroductionId,
    /// What found the path; `None` if nothing did.
    pub won: Option<StrategyCode>,
}

/// From a rendezvous to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromServer {
    /// Registered; also sent again when the observed address has changed.
    Registered(Registered),
    /// Meet this peer now.
    Introduction(Introduction),
    /// More of the peer's candidates.
    Trickle(Trickle),
    /// Words of the peer.
    Letter(Letter),
    /// The channel carries nothing any more: the other one has left, or the grant has run out.
    ChannelClosed(RelayChannel),
    /// No introduction: unknown, offline or not a contact, which must look the same to a stranger.
    Refused {
        /// The request that this answers.
        request: u32,
    },
    /// What this server keeps for the absent; once after each registration, if it keeps anything.
    Mailbox(MailboxTerms),
    /// The answer to [`ToServer::FetchPrekeys`].
    Prekeys {
        /// The request that this answers.
        request: u32,
        /// `None`: unknown, not a contact, or none there, which look the same to a stranger.
        bundle: Option<Box<Bundle>>,
    },
    /// The answer to [`ToServer::Deposit`].
    Deposited {
        /// The request that this answers.
        request: u32,
        /// What became of it.
        outcome: DepositOutcome,
    },
    /// An envelope that was kept for you. It comes again at each registration until you say that you have it.
    Mail(Mail),
    /// A newer registration of your key has taken your place; do not come back by yourself.
    Replaced,
    /// The server is about to stop; it will be back, or it won't.
    Draining,
    /// The server refuses what you do, and closes.
    Error {
        /// What was wrong.
        code: ErrorCode,
        /// For a person.
        message: String,
    },
}

/// The server's answer to a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Where the server sees you: your server-reflexive address.
    pub observed: SocketAddr,
    /// The server's STUN endpoints, for NAT discovery (RFC 5780).
    pub stun: StunEndpoints,
    /// The server's clock, in seconds since 1970: a client whose clock is wrong can say so.
    pub now_s: u64,
}

/// What a server keeps for the absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxTerms {
    /// For how long it keeps an envelope that nobody collects, in seconds.
    pub keeps_s: u32,
    /// So many one-time prekeys of yours are there.
    pub one_time_prekeys: u16,
    /// So many envelopes wait for you, and come now.
    pub waiting: u32,
}

/// What became of a deposit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DepositOutcome {
    /// It is on disk.
    Stored(StoredReceipt),
    /// The peer is unknown, not a contact, or wants no mail here, which look the same to a stranger.
    Refused,
    /// Nothing more is taken of this sender now, or at all: come back later.
    Full,
}

/// An envelope out of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// The server's name for it.
    pub id: MailId,
    /// Who deposited it, as the server says. The envelope opens only if that is true.
    pub sender: PeerId,
    /// Sealed to you.
    pub envelope: Vec<u8>,
}

/// Where a server answers STUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StunEndpoints {
    /// The alternate port, on the address that the client dialled.
    pub alternate_port: u16,
    /// The second address, if the server has one: STUN there shows address-dependent behaviour. Its own alternate port
    /// is the next one up.
    pub alternate: Option<SocketAddr>,
}

/// What one peer is told about the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// Names this introduction.
    pub id: IntroductionId,
    /// The other one.
    pub peer: PeerId,
    /// Who asked.
    pub role: Role,
    /// The peer's server-observed addresses, the registration's own first; none if either talks through the relay alone.
    pub addresses: Vec<SocketAddr>,
    /// What the peer's client found out about its NAT.
    pub profile: NatProfile,
    /// The requester's host candidates, sealed to the responder; empty toward the requester, whom they reach as a
    /// [`FromServer::Trickle`].
    pub sealed: Vec<u8>,
    /// The requester's first words for the responder; empty toward the requester.
    pub envelope: Vec<u8>,
    /// The channel over which these two may talk through the server; the same again while it lives. `None` if this
    /// server does not relay.
    pub relay: Option<RelayChannel>,
    /// What found a path for most pairs with such NATs lately, if plain probing does not. It orders what is tried, and rules
    /// nothing out.
    pub hint: Option<StrategyCode>,
}

/// Which side of an introduction one is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// We asked.
    Requester {
        /// With this number.
        request: u32,
    },
    /// The other one asked.
    Responder,
}

/// Why a server closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    /// A frame that is no message, comes out of order or is beyond a limit.
    Protocol,
    /// Too many requests.
    RateLimited,
    /// The server has no room.
    Full,
}

/// The application error code with which a rendezvous closes a connection. It says what the client had better do next;
/// a code that it does not know means the same as [`CloseCode::Done`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum CloseCode {
    /// Nothing is wrong. Also what a client closes with.
    Done = 0,
    /// The server stops: come back soon, after a random moment, so that not all come at once.
    Draining = 1,
    /// A newer registration of the same key has taken the place: do not come back by yourself.
    Replaced = 2,
    /// A frame that is no message, too long, out of order or of another version: coming back will not help.
    Protocol = 3,
    /// Too many requests: come back after half a minute.
    RateLimited = 4,
    /// No room: come back after half a minute.
    Full = 5,
    /// The client did not read what was sent to it: come back at once.
    Slow = 6,
    /// The connection was never registered: come back at once.
    Silent = 7,
}

impl CloseCode {
    /// As it stands in the CONNECTION_CLOSE frame.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The reverse; `None` if it is from a later version.
    pub fn from_code(code: u64) -> Option<Self> {
        use CloseCode::*;
        [Done, Draining, Replaced, Protocol, RateLimited, Full, Slow, Silent]
            .into_iter()
            .find(|known| u64::from(known.code()) == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_says_that_mail_was_collected_and_not_elsewhere() {
        let [bob, mallory, server] = [2, 3, 9].map(|n| Identity::from_seed(&[n; 32]));
        let collected = Collected::sign(&bob, server.peer_id(), vec![MailId(1), MailId(2)]);
        assert_eq!(collected.verify(bob.peer_id(), server.peer_id()), Ok(()));
        assert!(collected.verify(mallory.peer_id(), server.peer_id()).is_err());
        assert!(collected.verify(bob.peer_id(), mallory.peer_id()).is_err(), "another server");
        let more = Collected { mails: vec![MailId(1), MailId(3)], ..collected };
        assert!(more.verify(bob.peer_id(), server.peer_id()).is_err());
    }

    #[test]
    fn the_longest_of_each_fits_into_a_frame() {
        let own = Identity::from_seed(&[1; 32]);
        let envelope = vec![255; crate::seal::MAX_ENVELOPE];
        let mail = FromServer::Mail(Mail { id: MailId(u64::MAX), sender: own.peer_id(), envelope });
        crate::wire::encode(&mail, MAX_CONTROL_FRAME).expect("it fits");
        let secret = crate::prekey::PrekeySecret::new(u64::MAX, [1; 32], true, u64::MAX);
        let one_time = vec![secret.public(&own); crate::prekey::ONE_TIMES];
        let prekeys = ToServer::Prekeys(PublishPrekeys { signed: secret.public(&own), one_time });
        crate::wire::encode(&prekeys, MAX_CONTROL_FRAME).expect("it fits");
    }
}
