//! Words that travel with introductions, and to which key they are sealed.

use std::time::{Duration, Instant};

use common::introduction::{Letter, ToServer};
use common::prekey::Prekey;
use common::session::{PeerFrame, Via};

use super::Peer;
use crate::node::api::NodeEvent;
use crate::node::home::{Home, letter_context};

/// Messages of one letter that are read: nobody's program puts more into one.
const LETTER_FRAMES: usize = 8;

impl Peer {
    /// What the next request for an introduction is to carry.
    pub(in crate::node) fn set_letter(&mut self, frames: Vec<PeerFrame>) {
        self.letter = frames;
    }

    /// This is the peer's newest signed prekey.
    pub(in crate::node) fn set_prekey(&mut self, prekey: Prekey) {
        self.prekey = Some(prekey);
    }

    /// The peer's signed prekey, if it is to be used still.
    pub(in crate::node) fn fresh_prekey(&self, now: Instant, home: &Home) -> Option<Prekey> {
        self.prekey.filter(|prekey| prekey.is_fresh(home.clock.now_s(now)))
    }

    /// Takes note of a signed prekey that the rendezvous hands out as this peer's: it may be forged, or an old one.
    pub(in crate::node) fn learn_prekey(&mut self, prekey: Prekey) {
        let newer = self.prekey.is_none_or(|known| known.expires_s < prekey.expires_s);
        if newer && !prekey.one_time && prekey.verify(self.id).is_ok() {
            self.prekey = Some(prekey);
        }
    }

    pub(super) fn sealed_letter(&self, context: &[u8], now: Instant, home: &mut Home) -> Vec<u8> {
        home.envelope(self.id, self.fresh_prekey(now, home).as_ref(), context, &self.letter)
    }

    /// Sends frames into the latest introduction.
    pub(in crate::node) fn reply(&mut self, frames: &[PeerFrame], now: Instant, home: &mut Home) {
        let Some(introduction) = self.introduction else { return };
        let to = self.fresh_prekey(now, home);
        let envelope = home.envelope(self.id, to.as_ref(), &letter_context(introduction), frames);
        if !envelope.is_empty() {
            home.ask(ToServer::Letter(Letter { introduction, envelope }));
        }
    }

    /// Words of the peer that came by the rendezvous.
    pub(in crate::node) fn letter(&mut self, letter: &Letter, home: &mut Home) {
        self.open_letter(&letter_context(letter.introduction), &letter.envelope, home);
    }

    pub(super) fn open_letter(&self, context: &[u8], envelope: &[u8], home: &mut Home) {
        if envelope.is_empty() {
            return;
        }
        match common::seal::open(&home.identity, &home.keyring, self.id, context, envelope) {
            Ok(opened) => {
                for frame in opened.frames.into_iter().take(LETTER_FRAMES) {
                    home.tell(NodeEvent::Frame { peer: self.id, via: Via::Letter, frame, rtt: Duration::ZERO });
                }
            }
            Err(error) => tracing::debug!(%error, "a letter that does not open"),
        }
    }
}
