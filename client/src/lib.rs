//! Punchline's messenger: the program `punchline`.
//!
//! From a keystroke to the other screen. A line on standard input goes over [`control`] to the node, in this process or in the one that
//! is online already; there it becomes a `Happening` of the [`online`] engine, which asks its task (`chat`) what it means; the
//! [`messenger`] queues it and says what to send; the driver hands that to the [`net::Node`], which owns the sockets and the QUIC
//! sessions. On the other side the node's event goes the same way back: engine, messenger (shown once, acknowledged each time), an
//! [`output::Event`], a line of text or of JSON for each front end that listens. What lasts stands in the data folder ([`data`]).
//!
//! What the network side decides (whom to ask for, where to punch, which connection counts) is the machine of [`node`];
//! [`net`] is its driver. Only that, [`control`] and `online::drive` know the clock, randomness and sockets; engine, tasks, messenger,
//! node and output are plain functions of what is put in, and are tested that way. So is [`why`], which makes an explanation
//! out of the record of an attempt.
//!
//! Contacts on the same LAN need no rendezvous: they find each other there, and meet in the same way.
//!
//! Nothing is sent, shown or acknowledged before it is in the [`store`]: what an input leads to is one transaction first.
//!
//! What goes to somebody who is away is sealed to a prekey and waits at the rendezvous; the room of [`online`] has the receipts, the
//! messenger the decisions, the node the envelopes.
//!
//! Limits: one process is online with one data folder at a
//! time; the others use it where there are Unix sockets, and cannot elsewhere.

pub mod cli;
pub mod commands;
pub mod control;
pub mod data;
pub mod exit;
pub mod messenger;
pub mod net;
pub mod node;
pub mod online;
pub mod output;
mod random;
pub mod store;
mod system;
pub mod why;
