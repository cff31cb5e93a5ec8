//! Writing captures: pcapng, one section with one interface, raw IP packets, nanoseconds.
//!
//! The format is that of draft-ietf-opsawg-pcapng: blocks of a type, a length, a body, and the length again.

use std::io::{self, Write};
use std::time::Duration;

/// Block types.
const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// Options: of an interface its name and the resolution of its clock, of a packet its flags.
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
/// LINKTYPE_RAW: packets begin with the IP header.
const RAW_IP: u16 = 101;

/// Which way a packet went, as a capture says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    In = 1,
    Out = 2,
}

/// A capture that is being written.
pub(super) struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Begins the file.
    pub(super) fn new(mut out: W, host: &str, longest: u32) -> io::Result<Writer<W>> {
        let mut section = vec![];
        section.extend(0x1A2B_3C4D_u32.to_le_bytes());
        section.extend([1_u16, 0].iter().flat_map(|version| version.to_le_bytes()));
        section.extend(u64::MAX.to_le_bytes());
        out.write_all(&block(SECTION, &section))?;
        let mut interface = vec![];
        interface.extend([RAW_IP, 0].iter().flat_map(|field| field.to_le_bytes()));
        interface.extend(longest.to_le_bytes());
        interface.extend(option(IF_NAME, host.as_bytes()));
        interface.extend(option(IF_TSRESOL, &[9]));
        interface.extend(option(0, &[]));
        out.write_all(&block(INTERFACE, &interface))?;
        Ok(Writer { out })
    }

    /// One packet, or the beginning of a longer one; gives the number of bytes that it takes in the file.
    pub(super) fn packet(
        &mut self,
        at: Duration,
        direction: Direction,
        bytes: &[u8],
        length: usize,
    ) -> io::Result<u64> {
        let nanoseconds = at.as_nanos() as u64;
        let mut body = vec![];
        for field in [0, (nanoseconds >> 32) as u32, nanoseconds as u32, bytes.len() as u32, length as u32] {
            body.extend(field.to_le_bytes());
        }
        body.extend(padded(bytes));
        body.extend(option(EPB_FLAGS, &(direction as u32).to_le_bytes()));
        body.extend(option(0, &[]));
        let block = block(ENHANCED_PACKET, &body);
        self.out.write_all(&block)?;
        Ok(block.len() as u64)
    }

    /// Hands on what was held back.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &length].concat()
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let header = [code.to_le_bytes(), (value.len() as u16).to_le_bytes()].concat();
    [header, padded(value)].concat()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(4), 0);
    padded
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;
    use crate::ladder::{Capture, Ladder};

    #[test]
    fn what_is_written_is_read_again_with_its_direction_and_its_nanoseconds() {
        let mut packet = vec![];
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(1, 2).write(&mut packet, b"hello").unwrap();
        let at = Duration::new(1_790_000_000, 123_456_789);
        let file = |direction, later: u64| {
            let mut bytes = vec![];
            let mut writer = Writer::new(&mut bytes, "a", 2048).unwrap();
            writer.packet(at + Duration::from_nanos(later), direction, &packet, packet.len()).unwrap();
            bytes
        };
        let read = |bytes: Vec<u8>| Capture::read("a", &bytes).unwrap();
        let ladder = Ladder::of(&[read(file(Direction::Out, 0)), read(file(Direction::In, 1001))]);
        assert_eq!(ladder.summary(), "2 hosts, 1 packets sent, 0 of them seen nowhere else");
        assert!(ladder.svg().contains("0.001 ms on its way"));
    }
}
