//! The punching machine: one [`Agent`] for each introduction, from the first probe to the day the path is lost.
//!
//! # The life of a path
//!
//! The rendezvous has introduced us to a peer. The driver makes an [`Agent`] with the keys of this introduction and
//! gives it the peer's candidates. At once, and then densely repeated, a **probe** leaves for each of them: a STUN
//! Binding request that only the two of us can make. It opens our NAT's filter for the peer's address; the peer's
//! probes open theirs. As soon as one probe of each side has crossed, the next one gets through.
//!
//! A probe that arrives is answered at its *source*, and probed back (a triggered check, RFC 8445, section 7.3.1.4):
//! when the peer's NAT has used another port than the one we were told, this is how we learn it, without a word from
//! the server. That is the peer-reflexive strategy, and it costs nothing.
//!
//! An authentic probe tells more than where the peer is: that it arrived shows that our filter is open for it, and it was
//! sent through the mapping at which our packets will arrive. So the driver may dial at once ([`Event::Heard`]), one way
//! before the answer to our own probe makes the path certain ([`Event::Punched`]). From now on the agent keeps the mapping
//! alive: it asks again after 15 s of rest, and as long as the answers come at once it lengthens the rest ([`keepalive`]). An
//! answer that stays out starts the dense probing once more, toward all the candidates that are known; either the path
//! recovers, or it has moved ([`Event::Moved`]), or it is [`Event::Lost`]. A rest that was too long can cost the path: both
//! NATs may have given it a new port meanwhile, and only another introduction helps. Hence what was learned is handed on,
//! and the same network costs one path at most.
//!
//! # Where that is not enough
//!
//! A NAT that takes another port for each destination (a symmetric one) and a filter that looks at ports keep each other out: the
//! port must be known before the first packet. If the [`Config`] has a [`Guessing`] part, the agent tries what fits what both sides
//! see of their NATs *now*; a profile from before decides who looks first, and nothing else. Each look, each word to the peer
//! and each shot is part of a round ([`rounds`]); there are four of them at most, each from fresh sockets, so that one that was
//! misread, missed or disturbed is followed by another.
//!
//! | our ports | the peer's | what is done | typically direct after |
//! |---|---|---|--:|
//! | stand | stand | nothing beyond plain probing, for 400 ms; then `fresh`: both start again from fresh sockets, at the same instant | 0.9 s |
//! | the next one | stand | [`sequential`]: a window of ports after the last one | 0.2 s |
//! | the next one | the next one | [`sweep`]: one lays rows of mappings, the other sweeps across them | 0.3 s |
//! | in a block | stand | [`scatter`]: 32 sockets, 128 probes | 0.4 s |
//! | any | stand | [`scatter`]: a birthday run, 256 sockets, 1,200 probes, one at a time on a machine | 0.7 s; 3 s for 99 % |
//! | kept by a fresh socket for the first it speaks to | stands, or the same | one probe to the known port | 0.2 s |
//! | any, or in a block | not standing | nothing: one of two ports must be known. [`Ending::BothUnforeseeable`] | never |
//!
//! The times are those of 20 ms to the rendezvous; shares, packets and sockets stand in `docs/decisions.md`, and come from
//! `netsim matrix --study`. A round costs a word of each to the other, sealed, through the rendezvous
//! ([`crate::prediction`]); the driver carries it ([`Request::Trickle`], [`Command::Predict`]), opens sockets
//! ([`Request::Open`]) and says whose turn a birthday run is.
//!
//! Where many sockets meet many ports there may be several paths, and the two may find different ones first. The one who leads,
//! with the lower id, nominates its own (USE-CANDIDATE, RFC 8445, section 8.1.1), with every probe over it until one is
//! answered; the other keeps its sockets open until it knows, five seconds at most, probes that pair alone, and follows
//! ([`Event::Moved`]). All the others are closed.
//!
//! Who speaks both versions of IP has a second after the first path in which the other version is probed on. If it proves clearly faster, the
//! one who leads moves there and says so by the same nomination: the measured time decides, not the version, and who has one only waits for
//! nothing.
//!
//! # Bounds
//!
//! A peer can make us send at most [`BUDGET`] probes per attempt, to at most [`MAX_CANDIDATES`] addresses, none of them
//! on our own machine or a group; and answers only to packets that are authenticated and no faster than
//! [`ANSWERS_PER_SECOND`]. Whoever cannot make a probe gets nothing back at all.
//!
//! What is guessed goes to ports of the one IP at which the *rendezvous* sees the peer, whatever the peer says: a prediction
//! names ports only. Each strategy has its own cap, in its own file; at most [`MAX_SOCKETS`] are open at a time; each word counts
//! once in a round. All of it is counted in a [`Report`], which also says why an attempt is over. What all attempts of a machine may send
//! together, and to one address, the driver asks [`purse`] about.
//!
//! # Surface
//!
//! Inputs: [`Agent::handle_command`], [`Agent::handle_datagram`], [`Agent::handle_timeout`], each with `now`. After each
//! of them the driver drains [`Agent::poll_request`], then [`Agent::poll_transmit`] and [`Agent::poll_event`], and sets its
//! timer to [`Agent::poll_wakeup`]. Whoever drops an agent closes the sockets that it asked for.
//!
//! # Limits
//!
//! A symmetric NAT that preserves ports opposite a sequential one is not tried. A mapping by address is told from one for all
//! only if the rendezvous has a second address, else a round later; two sequential NATs of which one maps by address are
//! swept as if both mapped by port, which may miss. A symmetric router that also accepts input is spoilt by the other
//! side's guesses. Two symmetric NATs of which one lets others in hear each other's strays, whose answers take ports: a sweep
//! between them may miss.

mod acts;
mod agent;
mod attempt;
mod checklist;
mod foretell;
mod fresh;
pub mod keepalive;
mod observation;
pub mod purse;
mod report;
pub mod rounds;
pub mod scatter;
mod seeded;
pub mod sequential;
mod shots;
mod sockets;
mod surface;
pub mod sweep;
mod throttle;
mod validated;

#[cfg(test)]
mod guessing_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy_net;

pub use agent::{Agent, LONGEST_ATTEMPT, PUNCHING_TIMEOUT, RECHECK_TIMEOUT};
pub use attempt::{Attempt, Checked, Found, Tried};
pub use checklist::{BUDGET, FOUND_BUDGET, MAX_CANDIDATES};
pub use report::{Effort, Ending, Report, Strategy};
pub use sockets::MAX_SOCKETS;
pub use surface::{Base, Command, Config, Event, Guessing, Received, Request, Transmit, WakeReason, Wakeup};
pub use throttle::{ANSWERS_PER_SECOND, BURST as ANSWER_BURST};
