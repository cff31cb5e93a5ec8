//! What the driver reads from the store, and when.

use common::identity::PeerId;
use common::prekey::{Due, PrekeySecret};
use common::session::Content;
use jiff::Timestamp;

use super::{Driver, PAGE, Stopped, now};
use crate::exit::Failure;
use crate::messenger::{MAX_FOUND, MAX_SEEN};
use crate::online::task::LookUp;
use crate::online::{End, FrontId, Happening, Out, Reading, To};
use crate::output::Event;
use crate::store::{Direction, Record};

impl Driver {
    /// Goes on where the last process stood.
    pub(super) fn resume(&mut self, contacts: &[PeerId]) -> Result<(), Stopped> {
        let keys = self.store.prekeys().and_then(|secrets| Ok((secrets, self.store.peer_prekeys()?)));
        let (secrets, peers) = keys.map_err(|error| Err(error.into()))?;
        let mut out = self.engine.handle(Happening::Keys(secrets, peers), now());
        if let Some(due) = self.prekeys()? {
            out.append(self.engine.handle(due, now()));
        }
        self.resumed.extend(contacts);
        self.resume_each(contacts, &mut out)?;
        self.act(out)?;
        self.write_status();
        Ok(())
    }

    /// What comes of it, and of contacts that were read again.
    pub(super) fn heed(&mut self, happening: Happening) -> Result<Out, Stopped> {
        let mut out = self.engine.handle(happening, now());
        if let Some(contacts) = self.contacts.take() {
            let new = contacts.ids().into_iter().filter(|peer| self.resumed.insert(*peer)).collect::<Vec<_>>();
            out.append(self.engine.handle(Happening::Contacts(contacts), now()));
            self.resume_each(&new, &mut out)?;
            // Another command may have shown what was said, too.
            for peer in self.engine.room().contacts().ids() {
                if let Some(read) = self.read_of(peer) {
                    out.append(self.engine.handle(read, now()));
                }
            }
        }
        Ok(out)
    }

    /// The prekeys that are due, new.
    pub(super) fn prekeys(&self) -> Result<Option<Happening>, Stopped> {
        let Due { signed, one_times } = self.engine.room().prekeys_due(now());
        let kinds = signed.then_some(false).into_iter().chain(std::iter::repeat_n(true, one_times));
        let now_s = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        let secret = |one_time| {
            let id = u64::from_be_bytes(crate::random::bytes()?);
            Ok(PrekeySecret::new(id, crate::random::bytes()?, one_time, now_s))
        };
        let secrets: Result<Vec<_>, Failure> = kinds.map(secret).collect();
        Ok(Some(secrets.map_err(Err)?).filter(|secrets| !secrets.is_empty()).map(Happening::Prekeys))
    }

    pub(super) fn look_up(&self, what: LookUp) -> Result<Option<Happening>, Stopped> {
        let found = match what {
            LookUp::Posts { peer, stream, ranges } => {
                self.store.posts(peer, stream, &ranges, MAX_FOUND).map(|posts| Some(Happening::Found(peer, posts)))
            }
            LookUp::Name { peer, via, id } => {
                let digest = self.store.digest_of(peer, id);
                digest.map(|digest| digest.map(|digest| Happening::Recalled(peer, via, id, digest)))
            }
        };
        found.map_err(|error| Err(error.into()))
    }

    /// Takes out what peers say that only our person may say: that words of ours were edited or deleted. The store keeps such a
    /// post and lets it change nothing; so nobody is shown it either.
    pub(super) fn take_out_lies(&self, records: &[Record], events: &mut Vec<(To, Event)>) -> Result<(), Stopped> {
        for record in records {
            let Record::Heard { peer, post } = record else { continue };
            let (Content::Edit { of, .. } | Content::Delete { of }) = &post.content else { continue };
            let ours = self.store.named(&of.to_string(), Some(*peer), Some(Direction::Sent));
            if ours.map_err(|error| Err(error.into()))?.is_empty() {
                continue;
            }
            tracing::warn!(peer = %peer.short(), "claims to have changed a message of ours");
            let lie = post.id.to_string();
            events.retain(
                |(_, event)| !matches!(event, Event::Edited { post, .. } | Event::Deleted { post, .. } if *post == lie),
            );
        }
        Ok(())
    }

    /// How far our person has read, after something was shown.
    pub(super) fn read_of(&self, peer: PeerId) -> Option<Happening> {
        let read = self.store.read_up_to(peer);
        let read = read.inspect_err(|error| tracing::warn!(%error, "how far was read is not known")).ok()?;
        Some(Happening::Read(peer, read?))
    }

    fn resume_each(&mut self, peers: &[PeerId], out: &mut Out) -> Result<(), End> {
        for peer in peers {
            let before = self.store.resume(*peer, MAX_SEEN).map_err(|error| Err(error.into()))?;
            out.append(self.engine.handle(Happening::Resumed(*peer, before), now()));
        }
        Ok(())
    }

    /// The next page of what a front end reads.
    pub(super) fn read(&mut self, front: FrontId) -> Result<Option<Happening>, Stopped> {
        let Some(Reading { after: Some(after), peer }) = self.fronts.drained(front) else { return Ok(None) };
        let entries = tokio::task::block_in_place(|| self.store.journal(after, peer, PAGE));
        let entries = entries.map_err(|error| Err(error.into()))?;
        let up_to = entries.last().map_or(after, |entry| entry.number);
        Ok(Some(Happening::Entries(front, entries, up_to)))
    }

    /// Has another command changed anything?
    pub(super) fn look(&mut self) -> Option<Happening> {
        match self.store.changed_by_others() {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                tracing::warn!(%error, "what other commands have changed is not known");
                return None;
            }
        }
        match self.store.contacts() {
            Ok(contacts) => self.contacts = Some(contacts),
            Err(error) => tracing::warn!(%error, "the contacts cannot be read; going on with those from before"),
        }
        self.outbox()
    }

    pub(super) fn outbox(&self) -> Option<Happening> {
        let waiting = self.store.waiting(None);
        let waiting =
            waiting.inspect_err(|error| tracing::warn!(%error, "whether a message was taken back is not known"));
        Some(Happening::Outbox(
            waiting
                .ok()?
                .into_iter()
                .filter(|(_, waiting)| waiting.state.is_open())
                .map(|(_, waiting)| waiting.post.id)
                .collect(),
        ))
    }
}
