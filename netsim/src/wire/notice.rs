//! What routers say, as bytes: ICMP errors (RFC 792, RFC 1191, RFC 4443), at most a thousand a second.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::frame::Frame;
use super::header::{self, ICMP, ICMP_HEADER, ICMP_V6};
use crate::model::{DEFAULT_TTL, NetworkId, Notice, Packet, Saying};

/// As many as Linux says (`icmp_msgs_per_sec`), here for all routers together: what floods the network must not double it.
const MOST: u32 = 1000;
const SECOND: Duration = Duration::from_secs(1);

/// Bytes that an error may have: the least that every link takes (RFC 1812, section 4.3.2.3; RFC 4443, section 2.4).
const LONGEST: usize = 576;
const LONGEST_V6: usize = 1280;

/// How much has been said in this second.
#[derive(Debug, Default)]
pub(super) struct Breath {
    since: Option<Instant>,
    said: u32,
}

impl Breath {
    /// May one more be said?
    pub(super) fn is_left(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= SECOND) {
            *self = Breath { since: Some(now), said: 0 };
        }
        self.said += 1;
        self.said <= MOST
    }
}

/// The error that says it, and where it sets out; `None` if a real router would be silent.
pub(super) fn error(notice: Notice<Frame>) -> Option<(NetworkId, Packet, Frame)> {
    let Notice { network, speaker, saying, about, payload: mut frame } = notice;
    header::rewrite(&mut frame, &about);
    let quoted = frame.packet();
    // Without DF it would be sent on in pieces, and nobody would be told.
    let in_pieces = speaker.is_ipv4() && quoted.get(6)? & 0x40 == 0;
    if matches!(saying, Saying::TooBig { .. }) && in_pieces {
        return None;
    }
    let bytes = match (speaker, about.source.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let message = [&head(saying)[..], begin(quoted, LONGEST - 20)].concat();
            let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, DEFAULT_TTL, ICMP, 0, 0];
            bytes[2..4].copy_from_slice(&u16::try_from(20 + message.len()).ok()?.to_be_bytes());
            bytes.extend([from.octets(), to.octets()].concat());
            header::sum_ipv4(&mut bytes);
            [bytes, message].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let message = [&head_v6(saying)[..], begin(quoted, LONGEST_V6 - 40)].concat();
            let mut bytes = vec![0x60, 0, 0, 0, 0, 0, ICMP_V6, DEFAULT_TTL];
            bytes[4..6].copy_from_slice(&u16::try_from(message.len()).ok()?.to_be_bytes());
            bytes.extend([from.octets(), to.octets()].concat());
            [bytes, message].concat()
        }
        _ => return None,
    };
    let mut said = Frame::of(&bytes, frame.from);
    header::sum_icmp(said.packet_mut());
    let packet = header::parse(&said)?;
    Some((network, packet, said))
}

fn begin(quoted: &[u8], room: usize) -> &[u8] {
    &quoted[..quoted.len().min(room - ICMP_HEADER)]
}

/// Type, code, a checksum to come, and what a type has besides.
fn head(saying: Saying) -> [u8; ICMP_HEADER] {
    let (kind, code, mtu) = match saying {
        Saying::TimeExceeded => (11, 0, 0),
        Saying::TooBig { mtu } => (3, 4, u16::try_from(mtu).unwrap_or(u16::MAX)),
        Saying::HostUnreachable => (3, 1, 0),
        Saying::PortUnreachable => (3, 3, 0),
    };
    let [high, low] = mtu.to_be_bytes();
    [kind, code, 0, 0, 0, 0, high, low]
}

fn head_v6(saying: Saying) -> [u8; ICMP_HEADER] {
    let (kind, code, mtu) = match saying {
        Saying::TimeExceeded => (3, 0, 0),
        Saying::TooBig { mtu } => (2, 0, u32::try_from(mtu).unwrap_or(u32::MAX)),
        Saying::HostUnreachable => (1, 3, 0),
        Saying::PortUnreachable => (1, 4, 0),
    };
    let [a, b, c, d] = mtu.to_be_bytes();
    [kind, code, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_a_second_are_said_and_no_more() {
        let (mut breath, now) = (Breath::default(), Instant::now());
        let mut said = |at: Instant| (0..1500).filter(|_| breath.is_left(at)).count();
        assert_eq!(said(now), 1000);
        assert_eq!(said(now + Duration::from_millis(999)), 0);
        assert_eq!(said(now + SECOND), 1000);
    }
}
