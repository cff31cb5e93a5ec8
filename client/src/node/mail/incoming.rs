//! What the rendezvous has kept for us: opened once, told once, and signed for when it is on disk.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use common::identity::PeerId;
use common::introduction::{Collected, MAX_COLLECTED, Mail, MailId, ToServer};
use common::prekey::PrekeyId;
use common::receipt::EnvelopeDigest;
use common::seal::{self, MAIL};

use super::FRAMES;
use crate::node::api::NodeEvent;
use crate::node::machine::Machine;

/// Mail that was told and is not on disk yet. A rendezvous keeps fewer under way; what it sends beyond that comes again.
const MAX_TOLD: usize = MAX_COLLECTED;
/// Envelopes that are known again.
const REMEMBERED: usize = 1024;

/// An envelope, whatever the server calls it.
type Name = (PeerId, EnvelopeDigest);

#[derive(Debug)]
struct Told {
    name: Name,
    one_time: Option<PrekeyId>,
}

#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// Not on disk yet. One envelope may have several ids.
    told: BTreeMap<MailId, Told>,
    /// On disk.
    collected: VecDeque<Name>,
    /// To be signed for.
    unsigned: Vec<MailId>,
}

impl Incoming {
    /// If there is no rendezvous now, they come again at the next registration, and are known.
    pub(super) fn forget_unsigned(&mut self) {
        self.unsigned.clear();
    }

    /// It is on disk: all ids of the same envelope, and the one-time prekey that it used up.
    fn collect(&mut self, id: MailId) -> (Vec<MailId>, Option<PrekeyId>) {
        let Some(told) = self.told.remove(&id) else { return (vec![id], None) };
        let others: Vec<_> = self.told.extract_if(.., |_, other| other.name == told.name).collect();
        if !self.collected.contains(&told.name) {
            if self.collected.len() == REMEMBERED {
                self.collected.pop_front();
            }
            self.collected.push_back(told.name);
        }
        let one_time = others.iter().find_map(|(_, other)| other.one_time).or(told.one_time);
        ([id].into_iter().chain(others.into_iter().map(|(id, _)| id)).collect(), one_time)
    }
}

impl Machine {
    pub(in crate::node) fn mail(&mut self, Mail { id, sender, envelope }: Mail, now: Instant) {
        if !self.mail.open {
            return tracing::debug!("mail out of a mailbox of which the rendezvous has not spoken");
        }
        if !self.peers.contains_key(&sender) {
            tracing::debug!("mail of somebody who is no contact is not read");
            return self.sign_for(&[id], now);
        }
        let name = (sender, seal::digest(&envelope));
        let incoming = &mut self.mail.incoming;
        if incoming.collected.contains(&name) {
            return self.sign_for(&[id], now);
        }
        if incoming.told.contains_key(&id) {
            return tracing::debug!(?id, "mail that was told, and is not on disk yet");
        }
        if incoming.told.len() >= MAX_TOLD {
            return tracing::debug!(?id, "more mail at a time than anybody may send");
        }
        let repeated = incoming.told.values().any(|told| told.name == name);
        let opened = match repeated {
            true => None,
            false => Some(seal::open(&self.home.identity, &self.home.keyring, sender, MAIL, &envelope)),
        };
        let one_time = opened.as_ref().and_then(|opened| opened.as_ref().ok()?.one_time);
        incoming.told.insert(id, Told { name, one_time });
        match opened {
            None => tracing::debug!(?id, "the same envelope under another name"),
            Some(Ok(opened)) => {
                self.home.tell(NodeEvent::Mail { id, peer: sender, frames: opened.frames, one_time });
            }
            Some(Err(error)) => {
                tracing::debug!(%error, ?id, "mail that does not open");
                self.home.tell(NodeEvent::MailUnreadable { id, peer: sender });
            }
        }
    }

    /// These are on disk.
    pub(in crate::node) fn collected(&mut self, mails: &[MailId], now: Instant) {
        let mut all = Vec::with_capacity(mails.len());
        for id in mails {
            let (ids, one_time) = self.mail.incoming.collect(*id);
            one_time.and_then(|one_time| self.home.keyring.remove(one_time));
            all.extend(ids);
        }
        self.sign_for(&all, now);
    }

    /// The rendezvous may delete these.
    fn sign_for(&mut self, mails: &[MailId], now: Instant) {
        let unsigned = &mut self.mail.incoming.unsigned;
        // Whoever sends again and again what is signed for has to wait until it comes again.
        let room = REMEMBERED.saturating_sub(unsigned.len());
        unsigned.extend(mails.iter().take(room).filter(|_| self.mail.open));
        self.sign(now);
    }

    pub(super) fn sign(&mut self, now: Instant) {
        while !self.mail.incoming.unsigned.is_empty() {
            if !self.mail.paid.take(FRAMES, now) {
                self.mail.resumes = Some(now + FRAMES.interval);
                return;
            }
            let unsigned = &mut self.mail.incoming.unsigned;
            let mails = unsigned.drain(..unsigned.len().min(MAX_COLLECTED)).collect();
            let collected = Collected::sign(&self.home.identity, self.home.rendezvous, mails);
            self.home.ask(ToServer::Collected(collected));
        }
    }
}
