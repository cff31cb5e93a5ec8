//! Frames on a QUIC stream: `version (1 byte), length (2 bytes, big endian), postcard`. The version stands in front of
//! each frame, so that a peer from the future is told apart from a broken one; lengths are checked before a byte of the
//! body is waited for.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version that this build speaks. A change of any message is a new version.
pub const VERSION: u8 = 4;
const HEADER: usize = 3;

/// Why a frame was refused. The connection it came on is of no further use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The other side speaks another version.
    #[error(
        "the other side speaks version {theirs} of the protocol, this program speaks {VERSION}; update the older one"
    )]
    Version {
        /// What it put in front of its frame.
        theirs: u8,
    },
    /// The length is beyond what this stream allows.
    #[error("a frame of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// The length announced, or of the message to send.
        length: usize,
        /// The limit of this stream.
        limit: usize,
    },
    /// The bytes are no message of this protocol.
    #[error("a frame does not hold the message that it should")]
    Malformed,
    /// The stream ended within a frame.
    #[error("the stream ended in the middle of a frame")]
    Truncated,
}

/// One message as a frame of at most `limit` bytes of body.
pub fn encode<T: Serialize>(message: &T, limit: usize) -> Result<Vec<u8>, WireError> {
    let mut frame = vec![VERSION, 0, 0];
    frame = postcard::to_extend(message, frame).map_err(|_| WireError::Malformed)?;
    let length = frame.len() - HEADER;
    match u16::try_from(length) {
        Ok(short) if length <= limit => frame[1..HEADER].copy_from_slice(&short.to_be_bytes()),
        _ => return Err(WireError::TooLong { length, limit }),
    }
    Ok(frame)
}

/// Cuts a stream of bytes into messages. Holds at most one frame and what arrived behind it.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Vec<u8>,
    limit: usize,
}

impl FrameReader {
    /// A reader that refuses bodies over `limit` bytes.
    pub fn new(limit: usize) -> Self {
        FrameReader { buffer: Vec::new(), limit }
    }

    /// Adds what arrived. Read [`FrameReader::poll`] until it is empty before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if it is there.
    pub fn poll<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        if let Some(&theirs) = self.buffer.first()
            && theirs != VERSION
        {
            return Err(WireError::Version { theirs });
        }
        let Some((&[_, high, low], body)) = self.buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > self.limit {
            return Err(WireError::TooLong { length, limit: self.limit });
        }
        let Some(body) = body.get(..length) else { return Ok(None) };
        let (message, rest) = postcard::take_from_bytes(body).map_err(|_| WireError::Malformed)?;
        if !rest.is_empty() {
            return Err(WireError::Malformed);
        }
        self.buffer.drain(..HEADER + length);
        Ok(Some(message))
    }

    /// Call at the end of the stream: an unfinished frame is an error.
    pub fn finish(&self) -> Result<(), WireError> {
        if self.buffer.is_empty() { Ok(()) } else { Err(WireError::Truncated) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_from_the_future_is_refused_by_its_first_byte() {
        let mut reader = FrameReader::new(100);
        reader.push(&[9]);
        let error = reader.poll::<u32>().expect_err("version 9");
        insta::assert_snapshot!(error, @"the other side speaks version 9 of the protocol, this program speaks 4; update the older one");
    }

    #[test]
    fn an_oversized_frame_is_refused_before_its_body_arrives() {
        let mut reader = FrameReader::new(100);
        reader.push(&[VERSION, 0xff, 0xff]);
        assert_eq!(reader.poll::<u32>(), Err(WireError::TooLong { length: 65535, limit: 100 }));
        assert_eq!(encode(&vec![0u8; 101], 100), Err(WireError::TooLong { length: 102, limit: 100 }));
    }

    #[test]
    fn bytes_behind_the_message_are_an_error() {
        let mut reader = FrameReader::new(100);
        reader.push(&[VERSION, 0, 2, 7, 7]);
        assert_eq!(reader.poll::<u8>(), Err(WireError::Malformed));
    }

    #[test]
    fn a_stream_that_ends_within_a_frame_says_so() {
        let mut reader = FrameReader::new(100);
        assert_eq!(reader.finish(), Ok(()));
        reader.push(&[VERSION, 0, 4, 1]);
        assert_eq!(reader.poll::<u32>(), Ok(None));
        assert_eq!(reader.finish(), Err(WireError::Truncated));
    }

    proptest! {
        #[test]
        fn messages_survive_any_cutting(messages: Vec<(u32, String)>, cut in 1usize..20) {
            let bytes: Vec<u8> = messages.iter().flat_map(|m| encode(m, 60_000).expect("short")).collect();
            let mut reader = FrameReader::new(60_000);
            let mut got = Vec::new();
            for piece in bytes.chunks(cut) {
                reader.push(piece);
                while let Some(message) = reader.poll::<(u32, String)>().expect("our own frames") {
                    got.push(message);
                }
            }
            prop_assert_eq!(got, messages);
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn junk_is_an_error_or_nothing_never_a_panic(junk: Vec<u8>) {
            let mut reader = FrameReader::new(1000);
            reader.push(&junk);
            while let Ok(Some(_)) = reader.poll::<crate::introduction::ToServer>() {}
        }
    }
}
