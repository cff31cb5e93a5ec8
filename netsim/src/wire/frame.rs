//! What a TUN device gives and takes: `struct virtio_net_hdr`, then an IP packet.
//!
//! The header (virtio 1.2, section 5.1.6) says what the kernel has left undone because the device offered to do it: a
//! checksum that so far covers the pseudo header only, and a payload of many packets that share one header.

use crate::model::HostId;

/// Bytes of the `virtio_net_hdr` in front: flags, kind of segmentation, header length, segment size, where the checksum's
/// cover starts, where in that it stands. The last four are 16 bits each, in the machine's own order.
pub(super) const PREFIX: usize = 10;
/// What an IP packet may have at most, and the prefix.
pub(super) const LARGEST: usize = PREFIX + 65_535;

const NEEDS_CHECKSUM: u8 = 1;
const ECN: u8 = 0x80;

/// A packet under way, as its sender's kernel handed it out; headers are rewritten when it arrives.
#[derive(Debug, Clone)]
pub struct Frame {
    bytes: Vec<u8>,
    pub(super) from: HostId,
}

impl Frame {
    /// What was read from a host's device; `None` if that is too short to be anything.
    pub(super) fn read(bytes: &[u8], from: HostId) -> Option<Frame> {
        (bytes.len() > PREFIX).then(|| Frame { bytes: bytes.to_vec(), from })
    }

    /// A whole packet with all its checksums.
    pub(super) fn of(packet: &[u8], from: HostId) -> Frame {
        Frame { bytes: [&[0; PREFIX], packet].concat(), from }
    }

    /// A packet whose transport checksum has its pseudo header's sum in it, and is completed by whoever needs it. It
    /// covers what stands from `start` on, and stands at `offset` from there.
    pub(super) fn half_summed(packet: &[u8], start: u16, offset: u16, from: HostId) -> Frame {
        let mut bytes = Vec::with_capacity(PREFIX + packet.len());
        bytes.extend_from_slice(&[NEEDS_CHECKSUM, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&start.to_ne_bytes());
        bytes.extend_from_slice(&offset.to_ne_bytes());
        bytes.extend_from_slice(packet);
        Frame { bytes, from }
    }

    /// As a device takes it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The IP packet.
    pub(super) fn packet(&self) -> &[u8] {
        &self.bytes[PREFIX..]
    }

    pub(super) fn packet_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[PREFIX..]
    }

    /// Does the transport checksum cover the pseudo header only, so far?
    pub(super) fn is_half_summed(&self) -> bool {
        self.bytes[0] & NEEDS_CHECKSUM != 0
    }

    /// The payload that each of the packets has, if this stands for several.
    pub(super) fn segment(&self) -> Option<usize> {
        let size = u16::from_ne_bytes([self.bytes[4], self.bytes[5]]);
        (self.bytes[1] & !ECN != 0 && size > 0).then_some(usize::from(size))
    }

    /// The checksums are complete.
    pub(super) fn set_summed(&mut self) {
        self.bytes[..PREFIX].fill(0);
    }
}
