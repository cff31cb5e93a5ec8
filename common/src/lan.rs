//! How contacts on one LAN find each other without a server: what is announced there, and the call by which two are introduced.
//!
//! An [`Announcement`] tells strangers that some client of Punchline is there, and nothing of whose it is: a nonce, the port of
//! its LAN socket, and for each contact a tag that only that contact can recompute. Whoever recognises one knows where to
//! send a [`Call`]: its own host candidates in a sealed box, under both nonces. From the two nonces follows the id of the
//! introduction, so that two who call each other at the same time mean the same one, a repetition changes nothing, and what
//! was recorded earlier means nothing once a nonce has changed.
//!
//! Both travel in datagrams of their own; an announcement also in the TXT record of an mDNS service.

use crate::identity::PeerId;
use crate::introduction::IntroductionId;
use crate::pairing::Pairing;

/// Where announcements are sent by broadcast, and heard. Below the ports that systems give to whoever asks for any (on Linux they
/// begin at 32768), so that no other program has it by chance.
pub const PORT: u16 = 24_788;
/// The type of the mDNS service (RFC 6763, section 7).
pub const SERVICE: &str = "_punchline._udp.local";
/// Tags of one announcement: with them it fits into one string of a TXT record (255 bytes).
pub const MAX_TAGS: usize = 24;
/// The numbers of tags that there are, so that one cannot count somebody's contacts exactly.
pub const STEPS: [usize; 4] = [4, 8, 16, MAX_TAGS];
/// The longest box: what [`crate::candidate::pack`] makes, sealed, with room for a later version's.
pub const MAX_SEALED: usize = 1024;

const MAGIC: [u8; 5] = *b"PNCH\x01";
const ANNOUNCEMENT: u8 = 1;
const CALL: u8 = 2;
const ANSWER: u8 = 3;

/// Drawn by a client at its start, and anew now and then: two announcements with different nonces cannot be seen to be of one
/// client by whoever is no contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LanNonce(pub [u8; 16]);

/// Tells one contact, and nobody else, that something is meant for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LanTag(pub [u8; 8]);

/// "I am here", to contacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The sender's.
    pub nonce: LanNonce,
    /// Where the sender hears calls, at the address from which this comes.
    pub port: u16,
    /// One for each contact, as many as fit, and random ones, in order of their bytes: at most [`MAX_TAGS`].
    pub tags: Vec<LanTag>,
}

/// "Meet me", to one contact; or the answer to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// It needs no answer: it is one.
    pub answers: bool,
    /// The sender's.
    pub from: LanNonce,
    /// The receiver's, from its announcement.
    pub to: LanNonce,
    /// For the receiver to know from whom it is ([`Pairing::own_call_tag`]).
    pub tag: LanTag,
    /// The sender's host candidates (see [`crate::candidate`]), sealed in the [context] of the introduction.
    pub sealed: Vec<u8>,
}

/// What a datagram of this kind says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LanMessage {
    /// To contacts.
    Announcement(Announcement),
    /// To one contact.
    Call(Call),
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message that version 1 of Punchline sends on a LAN")]
pub struct NotOurs;

impl Announcement {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[ANNOUNCEMENT], &self.nonce.0, &self.port.to_be_bytes()].concat();
        self.tags.iter().take(MAX_TAGS).for_each(|tag| bytes.extend(tag.0));
        bytes
    }
}

impl Call {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let kind = if self.answers { ANSWER } else { CALL };
        [&MAGIC[..], &[kind], &self.from.0, &self.to.0, &self.tag.0, &self.sealed].concat()
    }
}

impl LanMessage {
    /// The reverse of both `encode`s.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotOurs> {
        let (kind, rest) = bytes.strip_prefix(&MAGIC).and_then(<[u8]>::split_first).ok_or(NotOurs)?;
        match *kind {
            ANNOUNCEMENT => announcement(rest),
            CALL | ANSWER => call(*kind == ANSWER, rest),
            _ => None,
        }
        .ok_or(NotOurs)
    }
}

fn announcement(bytes: &[u8]) -> Option<LanMessage> {
    let (nonce, rest) = bytes.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let (tags, rest) = rest.as_chunks();
    let port = u16::from_be_bytes(*port);
    let fits = port != 0 && rest.is_empty() && tags.len() <= MAX_TAGS;
    let tags = tags.iter().map(|tag| LanTag(*tag)).collect();
    fits.then_some(LanMessage::Announcement(Announcement { nonce: LanNonce(*nonce), port, tags }))
}

fn call(answers: bool, bytes: &[u8]) -> Option<LanMessage> {
    let (from, rest) = bytes.split_first_chunk()?;
    let (to, rest) = rest.split_first_chunk()?;
    let (tag, sealed) = rest.split_first_chunk()?;
    let call = Call { answers, from: LanNonce(*from), to: LanNonce(*to), tag: LanTag(*tag), sealed: sealed.to_vec() };
    (sealed.len() <= MAX_SEALED).then_some(LanMessage::Call(call))
}

/// What the boxes of an introduction on the LAN are bound to.
pub fn context(introduction: IntroductionId) -> Vec<u8> {
    [b"lan introduction ".as_slice(), &introduction.to_bytes()].concat()
}

impl Pairing {
    /// What our announcement with this nonce and port holds for the peer.
    pub fn own_lan_tag(&self, nonce: LanNonce, port: u16) -> LanTag {
        self.lan_tag(nonce, port, self.own())
    }

    /// What the peer's announcement with this nonce and port holds for us.
    pub fn peer_lan_tag(&self, nonce: LanNonce, port: u16) -> LanTag {
        self.lan_tag(nonce, port, self.peer())
    }

    fn lan_tag(&self, nonce: LanNonce, port: u16, sender: PeerId) -> LanTag {
        LanTag(self.derive(b"lan tag", &[&nonce.0[..], &port.to_be_bytes()].concat(), Some(sender)))
    }

    /// The tag of our call with these nonces.
    pub fn own_call_tag(&self, own: LanNonce, theirs: LanNonce, answers: bool) -> LanTag {
        self.call_tag(own, theirs, answers, self.own())
    }

    /// The tag of the peer's call with these nonces.
    pub fn peer_call_tag(&self, theirs: LanNonce, own: LanNonce, answers: bool) -> LanTag {
        self.call_tag(theirs, own, answers, self.peer())
    }

    fn call_tag(&self, from: LanNonce, to: LanNonce, answers: bool, sender: PeerId) -> LanTag {
        LanTag(self.derive(b"lan call", &[&from.0[..], &to.0, &[u8::from(answers)]].concat(), Some(sender)))
    }

    /// The introduction of two with these nonces: the same for both, whoever calls.
    pub fn lan_introduction(&self, own: LanNonce, theirs: LanNonce) -> IntroductionId {
        let (low, high) = if self.leads() { (own, theirs) } else { (theirs, own) };
        let id = self.derive(b"lan introduction", &[low.0, high.0].concat(), None);
        IntroductionId(u64::from_be_bytes(id))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::Identity;

    const ONE: LanNonce = LanNonce([0x11; 16]);
    const OTHER: LanNonce = LanNonce([0x22; 16]);

    fn pairing(own: u8, peer: u8) -> Pairing {
        Pairing::new(&Identity::from_seed(&[own; 32]), Identity::from_seed(&[peer; 32]).peer_id()).expect("two")
    }

    #[test]
    fn a_tag_is_recognised_by_the_one_whom_it_is_for_and_by_nobody_else() {
        let (alice, bob) = (pairing(1, 2), pairing(2, 1));
        let tag = alice.own_lan_tag(ONE, 4000);
        assert_eq!(bob.peer_lan_tag(ONE, 4000), tag);
        assert_ne!(alice.peer_lan_tag(ONE, 4000), tag, "her own announcement is not his");
        assert_ne!(bob.own_lan_tag(ONE, 4000), tag, "nor does he announce with the same");
        assert_ne!(bob.peer_lan_tag(OTHER, 4000), tag, "another nonce");
        assert_ne!(bob.peer_lan_tag(ONE, 4001), tag, "nobody can lead him to another port");
        assert_ne!(pairing(3, 1).peer_lan_tag(ONE, 4000), tag, "another contact of hers");
        assert_ne!(pairing(2, 3).peer_lan_tag(ONE, 4000), tag, "another contact of his");
    }

    #[test]
    fn a_call_is_recognised_in_its_direction_and_under_its_nonces() {
        let (alice, bob) = (pairing(1, 2), pairing(2, 1));
        let tag = alice.own_call_tag(ONE, OTHER, false);
        assert_eq!(bob.peer_call_tag(ONE, OTHER, false), tag);
        assert_ne!(bob.peer_call_tag(ONE, OTHER, true), tag, "an answer is not a call");
        assert_ne!(bob.peer_call_tag(OTHER, ONE, false), tag);
        assert_ne!(alice.peer_call_tag(ONE, OTHER, false), tag, "a call that comes back to its sender");
    }

    #[test]
    fn both_mean_the_same_introduction_whoever_calls() {
        let (alice, bob) = (pairing(1, 2), pairing(2, 1));
        let id = alice.lan_introduction(ONE, OTHER);
        assert_eq!(bob.lan_introduction(OTHER, ONE), id);
        assert_ne!(alice.lan_introduction(OTHER, ONE), id);
        assert_ne!(pairing(1, 3).lan_introduction(ONE, OTHER), id);
    }

    /// As docs/protocol.md has them.
    #[test]
    fn the_messages_have_these_bytes() {
        let (alice, bob) = (pairing(1, 2), pairing(2, 1));
        let tag = alice.own_lan_tag(ONE, 4000);
        let announced = Announcement { nonce: ONE, port: 4000, tags: vec![tag] }.encode();
        let id = bob.lan_introduction(OTHER, ONE);
        let sealed = bob.seal(&context(id), b"box", [3; 24]);
        let tag = bob.own_call_tag(OTHER, ONE, false);
        let call = Call { answers: false, from: OTHER, to: ONE, tag, sealed };
        let lines = [hex(&announced), hex(&id.to_bytes()), hex(&call.encode())];
        insta::assert_snapshot!(lines.join("\n"), @"
        504e43480101111111111111111111111111111111110fa061c67236e4918c11
        bf05fa8ae9d8b3f1
        504e4348010222222222222222222222222222222222111111111111111111111111111111116b84a38792d68e3703030303030303030303030303030303030303030303030388e898c74ca91266c3ab92270a30d7c7812e62
        ");
    }

    fn hex(bytes: &[u8]) -> String {
        data_encoding::HEXLOWER.encode(bytes)
    }

    proptest! {
        #[test]
        fn messages_survive_the_wire(nonce: [u8; 16], to: [u8; 16], port in 1u16.., tags in proptest::collection::vec(any::<[u8; 8]>(), 0..=MAX_TAGS), sealed in proptest::collection::vec(any::<u8>(), 0..400), answers: bool) {
            let tags: Vec<_> = tags.into_iter().map(LanTag).collect();
            let tag = tags.first().copied().unwrap_or(LanTag([0; 8]));
            let announcement = Announcement { nonce: LanNonce(nonce), port, tags };
            prop_assert_eq!(LanMessage::decode(&announcement.encode()), Ok(LanMessage::Announcement(announcement)));
            let call = Call { answers, from: LanNonce(nonce), to: LanNonce(to), tag, sealed };
            prop_assert_eq!(LanMessage::decode(&call.encode()), Ok(LanMessage::Call(call)));
        }

        #[test]
        fn junk_is_refused_or_read_and_never_a_panic(junk: Vec<u8>, kind: u8) {
            prop_assert!(junk.starts_with(&MAGIC) || LanMessage::decode(&junk).is_err());
            let ours = [&MAGIC[..], &[kind], &junk].concat();
            if let Ok(LanMessage::Announcement(read)) = LanMessage::decode(&ours) {
                prop_assert!(read.tags.len() <= MAX_TAGS && read.port != 0);
                prop_assert_eq!(read.encode(), ours);
            }
        }
    }
}
