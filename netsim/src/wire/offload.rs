//! Taking apart what a kernel put together: one frame that stands for many packets becomes those packets.
//!
//! Devices offer to do this (TSO, USO), because a kernel that hands out 64 KB at a time is an order of magnitude faster.
//! Where all lines treat packets alike, such a frame travels as it is, and the receiver's kernel takes it as it is. On a
//! line that loses, reorders or paces packets each must have its own fate, so there the frame is taken apart first.

use super::frame::Frame;
use super::header::{Ip, TCP, UDP, headers_of_segments, pseudo_header_sum, sum_ipv4};

/// Flags that only the last segment has: FIN, PSH.
const TCP_LAST: u8 = 0x09;
/// A flag that only the first segment has: CWR (RFC 3168, section 6.1.2).
const TCP_FIRST: u8 = 0x80;

/// The packets that a frame stands for, in order; the frame itself if that is one, or if it makes no sense.
pub(super) fn take_apart(frame: Frame) -> Vec<Frame> {
    segments(&frame).unwrap_or_else(|| vec![frame])
}

fn segments(frame: &Frame) -> Option<Vec<Frame>> {
    let (bytes, size) = (frame.packet(), frame.segment()?);
    let ip = Ip::read(bytes)?;
    let headers = headers_of_segments(&ip, &bytes[ip.transport..])?;
    let (headers, payload) = bytes.split_at_checked(headers)?;
    let last = payload.len().div_ceil(size).checked_sub(1)?;
    let parts = payload.chunks(size).enumerate();
    parts.map(|(number, part)| segment(frame, &ip, headers, part, number * size, (number, last))).collect()
}

fn segment(
    frame: &Frame,
    ip: &Ip,
    headers: &[u8],
    payload: &[u8],
    offset: usize,
    (number, last): (usize, usize),
) -> Option<Frame> {
    let mut packet = [headers, payload].concat();
    let transport = ip.transport;
    let length = packet.len() - transport;
    if ip.source.is_ipv4() {
        let id = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(u16::try_from(number).ok()?);
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        let total = u16::try_from(packet.len()).ok()?;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        sum_ipv4(&mut packet[..transport]);
    } else {
        let behind_header = u16::try_from(packet.len() - 40).ok()?;
        packet[4..6].copy_from_slice(&behind_header.to_be_bytes());
    }
    let checksum_at = match ip.protocol {
        TCP => {
            let sequence = u32::from_be_bytes(packet.get(transport + 4..transport + 8)?.try_into().ok()?);
            let sequence = sequence.wrapping_add(u32::try_from(offset).ok()?);
            packet[transport + 4..transport + 8].copy_from_slice(&sequence.to_be_bytes());
            let flags = &mut packet[transport + 13];
            *flags &= if number < last { !TCP_LAST } else { 0xff };
            *flags &= if number > 0 { !TCP_FIRST } else { 0xff };
            16
        }
        UDP => {
            packet[transport + 4..transport + 6].copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
            6
        }
        _ => return None,
    };
    let sum = pseudo_header_sum(ip, length);
    packet[transport + checksum_at..transport + checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
    Some(Frame::half_summed(&packet, u16::try_from(transport).ok()?, checksum_at as u16, frame.from))
}
