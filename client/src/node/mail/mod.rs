//! The mailbox of the rendezvous: what it is to keep for contacts who are away, what it has kept for us, and the prekeys that both
//! need.
//!
//! The walk of a deposit (`outgoing.rs`): a prekey of the contact's is fetched, the frames are sealed to it, the envelope is
//! deposited, and the rendezvous signs that it is on disk. The walk of a mail (`incoming.rs`): it is opened and told; when the
//! application has it on disk it says so, and that is signed.
//!
//! A rendezvous that does not say that it has a mailbox is asked for nothing. One that withholds, repeats, reorders or forges gains nothing
//! but delay: what it signs must be about the very envelope that it was given, a key that it hands out must be signed by the
//! contact, an envelope opens only if it comes from the contact that it is said to come from, and one that comes again is
//! told once.
//!
//! # Limits
//!
//! What was deposited and not answered when the connection ends is [`Deposited::Lost`], though it may have been stored: it is deposited
//! again, and the recipient knows the messages in it by their ids.

mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::identity::PeerId;
use common::introduction::{MailboxTerms, PublishPrekeys, ToServer};
use common::path::purse::{Bucket, Rate};
use common::prekey::{Keyring, Prekey};
use common::receipt::StoredReceipt;

use self::incoming::Incoming;
use self::outgoing::Outgoing;
use super::api::NodeEvent;
use super::machine::Machine;

/// Deposits for one contact that wait here, the one under way included. More than that the messenger keeps.
pub const MAX_DEPOSITS: usize = 8;

/// Frames about mail. A rendezvous takes 4,096 of all kinds at once and then 67 a second, and sends away who says more; introductions
/// need their share. What is over waits.
const FRAMES: Rate = Rate { burst: 1024, interval: Duration::from_millis(25) };

/// The prekeys as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrekeySet {
    /// The secrets, which are on disk.
    pub keyring: Keyring,
    /// What is to be handed out. The signed one also stands in each greeting from now on, and is published again at each registration;
    /// the one-time ones are published once, now or at the next registration with a rendezvous that has a mailbox.
    pub publish: Option<PublishPrekeys>,
}

/// What became of something that was to be kept for a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deposited {
    /// It is on disk at the rendezvous, which has signed that: of us, for this contact, and the very envelope.
    Stored(StoredReceipt),
    /// The contact is unknown there, does not have us as a contact, or wants no mail; or it is more than an envelope holds.
    Refused,
    /// The rendezvous takes no more now: try again later.
    Full,
    /// There is no mailbox to be reached, or no answer came that counts: try again when there is one.
    Lost,
}

/// All that concerns mail.
#[derive(Debug, Default)]
pub(super) struct Mail {
    /// Has the rendezvous said on this connection that it has a mailbox?
    open: bool,
    /// What is published at the next registration.
    publish: Option<PublishPrekeys>,
    outgoing: BTreeMap<PeerId, Outgoing>,
    /// Whose turn it was last.
    served: Option<PeerId>,
    incoming: Incoming,
    paid: Bucket,
    /// When more may be said, if something waits for that.
    resumes: Option<Instant>,
}

impl Machine {
    /// Our newest signed prekey, for greetings.
    pub fn prekey(&self) -> Option<Prekey> {
        self.mail.publish.as_ref().map(|publish| publish.signed)
    }

    pub(super) fn set_prekeys(&mut self, set: PrekeySet) {
        self.home.keyring = set.keyring;
        if set.publish.is_some() {
            self.mail.publish = set.publish;
            self.publish();
        }
    }

    fn publish(&mut self) {
        if self.mail.open
            && let Some(publish) = &mut self.mail.publish
        {
            let now = PublishPrekeys { signed: publish.signed, one_time: std::mem::take(&mut publish.one_time) };
            self.home.ask(ToServer::Prekeys(now));
        }
    }

    pub(super) fn mailbox(&mut self, terms: MailboxTerms) {
        if std::mem::replace(&mut self.mail.open, true) {
            return tracing::debug!("the rendezvous says again that it has a mailbox");
        }
        self.publish();
        self.home.tell(NodeEvent::Mailbox(terms));
    }

    /// The rendezvous has answered our registration, and said what time it is.
    pub(super) fn registered_at(&mut self, server_s: u64, now: Instant) {
        if server_s > 0 {
            self.home.clock.set_server(server_s, now);
            self.home.tell(NodeEvent::Clock { server_s });
        }
    }

    /// There is no connection (any more), or another one: nothing is answered that was asked before.
    pub(super) fn mail_outage(&mut self) {
        (self.mail.open, self.mail.resumes) = (false, None);
        self.mail.incoming.forget_unsigned();
        for (peer, outgoing) in &mut self.mail.outgoing {
            outgoing.lose(*peer, &mut self.home);
        }
    }

    pub(super) fn mail_wakeup(&self) -> Option<Instant> {
        self.mail.outgoing.values().filter_map(Outgoing::wakeup).chain(self.mail.resumes).min()
    }

    pub(super) fn mail_timeout(&mut self, now: Instant) {
        if self.mail_wakeup().is_none_or(|at| now < at) {
            return;
        }
        self.mail.resumes = None;
        self.sign(now);
        self.give_up_waiting(now);
        self.serve(now);
    }

    pub(super) fn mail_contacts_changed(&mut self) {
        let gone = self.mail.outgoing.extract_if(.., |peer, _| !self.peers.contains_key(peer));
        for (peer, mut outgoing) in gone {
            outgoing.lose(peer, &mut self.home);
        }
    }
}
