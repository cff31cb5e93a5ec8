//! The person has read something: the peer is to hear of it.

use common::identity::PeerId;
use common::session::StreamId;

use super::room::Room;
use super::{Moment, Out};
use crate::messenger::Input;

impl Room {
    /// What the peer has said in this stream was read up to this number, and the store knows it.
    pub fn read(&mut self, peer: PeerId, stream: StreamId, up_to: u64, now: Moment, out: &mut Out) {
        self.feed(Input::Read { peer, stream, up_to }, now, out);
    }
}
