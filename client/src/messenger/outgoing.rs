//! A post of ours that waits for its receipt.

use std::time::Instant;

use common::session::{Content, MessageId, PeerFrame, Post, PostDigest};

/// A post of ours that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What is said.
    pub post: Post,
    /// It was taken back, or has expired: the post is a void now, and this is what it was. It may be on its way.
    pub before: Option<PostDigest>,
    /// The rendezvous has it, and keeps it until then.
    pub at_server: Option<Instant>,
    /// When nobody wants it any more.
    pub expires: Option<Instant>,
}

/// What a receipt for a post of ours says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arrival {
    /// What we said is there.
    Said,
    /// Nothing is there in its place, as we wanted when we took it back or when its time was over.
    Void,
}

impl Outgoing {
    /// Not said to anybody yet.
    pub fn new(post: Post, expires: Option<Instant>) -> Self {
        Outgoing { post, before: None, at_server: None, expires }
    }

    /// Nothing shall be there in its place.
    pub(super) fn take_back(&mut self) {
        self.before = Some(self.post.digest());
        self.post.content = Content::Void;
        (self.at_server, self.expires) = (None, None);
    }

    /// What it means that this is with the peer under its name.
    pub(super) fn arrival(&self, digest: PostDigest) -> Option<Arrival> {
        if self.before == Some(digest) {
            return Some(Arrival::Said);
        }
        let said = if self.is_void() { Arrival::Void } else { Arrival::Said };
        (self.post.digest() == digest).then_some(said)
    }

    pub(super) fn frame(&self) -> PeerFrame {
        PeerFrame::Post(self.post.clone())
    }

    /// Its name.
    pub fn id(&self) -> MessageId {
        self.post.id
    }

    /// Its words, if it has any.
    pub fn text(&self) -> &str {
        match &self.post.content {
            Content::Text { text, .. } | Content::Edit { text, .. } => text,
            Content::Reaction { emoji, .. } => emoji,
            Content::Delete { .. } | Content::Void => "",
        }
    }

    /// Does it only fill a place?
    pub fn is_void(&self) -> bool {
        self.post.content == Content::Void
    }

    /// About how many bytes it takes in an envelope, and never less than it does.
    pub(super) fn length(&self) -> usize {
        self.text().len() + AROUND_TEXT
    }
}

/// What a post takes beside its text: its name and that of the one that it is about, its stream and number, the time, lengths.
const AROUND_TEXT: usize = 80;
