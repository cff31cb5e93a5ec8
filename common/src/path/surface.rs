//! What goes into an [`Agent`](super::Agent) and what comes out of it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::keepalive::Keepalive;
use super::report::{Report, Strategy};
use crate::candidate::Candidate;
use crate::introduction::{IntroductionId, StunEndpoints};
use crate::nat::NatProfile;
use crate::prediction::Prediction;

/// A local socket from which packets leave (RFC 8445, section 4). The number is the agent's own: two agents' bases of one
/// number, but for the main one, are different sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base(pub u16);

impl Base {
    /// The socket that everything else leaves from, too: the one that the rendezvous knows.
    pub const MAIN: Base = Base(0);
}

/// What an agent needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The introduction that it acts on.
    pub introduction: IntroductionId,
    /// Where the rendezvous sees us: a path to that very IP runs through our own router.
    pub own_reflexive: Option<IpAddr>,
    /// What earlier paths of this network have taught about the lifetime of mappings.
    pub keepalive: Keepalive,
    /// For the strategies beyond plain probing. Without it there are none.
    pub guessing: Option<Guessing>,
}

/// What the strategies beyond plain probing need to know. All of it comes from the rendezvous or from ourselves: whatever a
/// peer says, guessed ports are those of the one IP in `peer`.
#[derive(Debug, Clone, Copy)]
pub struct Guessing {
    /// The rendezvous' address that we dialled; STUN is answered there.
    pub server: SocketAddr,
    /// Where else it answers STUN.
    pub endpoints: StunEndpoints,
    /// Where it sees our main socket.
    pub observed: SocketAddr,
    /// Where it sees the peer.
    pub peer: SocketAddr,
    /// What we know of our NAT.
    pub profile: NatProfile,
    /// What the peer knows of its own.
    pub peer_profile: NatProfile,
    /// May hundreds of sockets and a thousand ports be tried, where nothing less will do?
    pub birthday: bool,
    /// What the rendezvous says has found a path for most such pairs. Only the first round heeds it.
    pub hint: Option<Strategy>,
    /// Random, and not used twice.
    pub seed: [u8; 32],
}

/// From the driver.
#[derive(Debug, Clone)]
pub enum Command {
    /// Addresses of the peer, at the start or trickled in. Those beyond the limits are left out.
    AddCandidates(Vec<Candidate>),
    /// What the peer says of its ports, trickled in.
    Predict(Prediction),
    /// A socket that was asked for is there, at this local port.
    Opened(Base, u16),
    /// A birthday run that was asked for may begin: nobody else on this machine has one under way.
    GrantBirthday,
    /// Something on this path should have been answered and was not: ask now.
    Verify,
}

/// What only the driver can do. Drained before the datagrams: those may leave from sockets that are asked for here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Open an unconnected UDP socket of the main one's family, on any port, and say [`Command::Opened`]. If there is none to
    /// be had, say nothing, and drop what should have left from it.
    Open(Base),
    /// Close it. Never the main one.
    Close(Base),
    /// Seal this to the peer and trickle it (see [`crate::candidate::pack`]).
    Trickle(Prediction),
    /// A birthday run is wanted: say [`Command::GrantBirthday`] when it is this agent's turn.
    BirthdayWanted,
    /// It is over, or not wanted any more: it is the next one's turn.
    BirthdayOver,
}

/// A datagram that arrived.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Where it arrived.
    pub base: Base,
    /// Who sent it.
    pub source: SocketAddr,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// From where.
    pub base: Base,
    /// Where to.
    pub destination: SocketAddr,
    /// A STUN message of at most 120 bytes.
    pub payload: Vec<u8>,
}

/// What the driver should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The first authentic probe of the peer arrived, from here, and not through our own router's hairpin: most likely the
    /// path, and certain as soon as [`Event::Punched`] follows. Comes at most once, and before that one.
    Heard {
        /// Where we are.
        base: Base,
        /// Where the peer is.
        remote: SocketAddr,
    },
    /// A path: a probe went there and its answer came back.
    Punched {
        /// Where we are.
        base: Base,
        /// Where the peer is.
        remote: Candidate,
        /// The probe's round-trip time.
        rtt: Duration,
        /// Since the agent was made.
        after: Duration,
    },
    /// The path is another one than before: the peer has moved, or has chosen among several.
    Moved {
        /// Where we are now.
        base: Base,
        /// Where the peer is now.
        remote: Candidate,
        /// Round-trip time.
        rtt: Duration,
    },
    /// No path was found in time. The agent does nothing any more.
    Failed(Report),
    /// The path fell silent and was not found again. The agent does nothing any more.
    Lost,
}

/// When to call [`Agent::handle_timeout`](super::Agent::handle_timeout).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wakeup {
    /// Not before.
    pub at: Instant,
    /// What will be done then.
    pub reason: WakeReason,
}

/// Why an agent wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WakeReason {
    /// The next probe of the schedule.
    Probe,
    /// The next step of a strategy beyond plain probing.
    Strategy,
    /// To stop waiting for a better path.
    Settle,
    /// To close the sockets that the peer did not choose.
    Linger,
    /// To keep the mapping alive.
    Keepalive,
    /// A keepalive was not answered.
    AnswerOverdue,
    /// To give up.
    GiveUp,
}
