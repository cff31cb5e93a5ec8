//! The stream of a run's frames.

use common::speed::{MAX_SPEED_FRAME, NO_MORE, SPEED, SpeedFrame};
use common::wire::{self, FrameReader};
use quinn::{Connection, RecvStream, SendStream, VarInt};

/// Why nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The connection has ended, or the other side has given the stream up.
    Ended,
    /// The other side says what does not belong here.
    Protocol,
}

/// Both directions of it.
pub(super) struct Frames {
    send: SendStream,
    receive: RecvStream,
    reader: FrameReader,
}

impl Frames {
    /// Opens one.
    pub(super) async fn open(connection: &Connection) -> Result<Self, Broken> {
        let (mut send, receive) = connection.open_bi().await.map_err(|_| Broken::Ended)?;
        send.write_all(&[SPEED]).await.map_err(|_| Broken::Ended)?;
        Ok(Frames::new(send, receive))
    }

    /// One whose kind has been read or written.
    pub(super) fn new(send: SendStream, receive: RecvStream) -> Self {
        Frames { send, receive, reader: FrameReader::new(MAX_SPEED_FRAME) }
    }

    /// The next frame; `None` at the end. May be called again after it was dropped unfinished.
    pub(super) async fn next(&mut self) -> Result<Option<SpeedFrame>, Broken> {
        loop {
            if let Some(frame) = self.reader.poll().map_err(|_| Broken::Protocol)? {
                return Ok(Some(frame));
            }
            let mut buffer = [0; 256];
            match self.receive.read(&mut buffer).await.map_err(|_| Broken::Ended)? {
                Some(count) => self.reader.push(&buffer[..count]),
                None => return self.reader.finish().map(|()| None).map_err(|_| Broken::Protocol),
            }
        }
    }

    /// Says something. The frames are so few and short that this does not wait.
    pub(super) async fn say(&mut self, frame: &SpeedFrame) -> Result<(), Broken> {
        let bytes = wire::encode(frame, MAX_SPEED_FRAME).map_err(|_| Broken::Protocol)?;
        self.send.write_all(&bytes).await.map_err(|_| Broken::Ended)
    }

    /// Gives it up, both ways.
    pub(super) fn refuse(mut self) {
        // Each fails if the stream has ended already.
        let _ = self.send.reset(VarInt::from_u32(NO_MORE));
        let _ = self.receive.stop(VarInt::from_u32(NO_MORE));
    }
}
