//! Which protocol a datagram belongs to. Everything a client or a server sends shares one UDP port, so the first bytes
//! decide (RFC 7983, extended to QUIC by RFC 9443):
//!
//! | first byte | protocol |
//! |---|---|
//! | 0-3, with the magic cookie at 4..8 | STUN (RFC 8489) |
//! | 8 | relay frame |
//! | 64-127, 192-255: the QUIC bit is set | QUIC, as long as nobody greases that bit (RFC 9287) |
//! | anything else | junk: dropped |
//!
//! TURN channels (64-79) and QUIC short headers overlap; nothing here speaks TURN.

/// The first byte of a relay frame: unassigned between STUN and ZRTP.
pub const RELAY_FIRST_BYTE: u8 = 8;

const QUIC_BIT: u8 = 0x40;
const STUN_HEADER: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// What a datagram is, by its first bytes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A STUN message or a probe, which is one.
    Stun,
    /// A relay frame.
    Relay,
    /// A QUIC packet.
    Quic,
    /// Nothing of ours.
    Junk,
}

/// Looks at the first bytes.
pub fn classify(datagram: &[u8]) -> Kind {
    match datagram.first() {
        Some(0..=3) if datagram.len() >= STUN_HEADER && datagram[4..8] == MAGIC_COOKIE => Kind::Stun,
        Some(&RELAY_FIRST_BYTE) => Kind::Relay,
        Some(first) if first & QUIC_BIT != 0 => Kind::Quic,
        _ => Kind::Junk,
    }
}

/// Takes everything but QUIC out of a receive buffer in which the kernel has put several datagrams of `stride` bytes
/// behind each other (GRO; only the last may be shorter). What is not QUIC goes to `other`; what is stays, moved
/// together. Returns the bytes that stay; their stride is unchanged.
pub fn sift(buffer: &mut [u8], stride: usize, mut other: impl FnMut(Kind, &[u8])) -> usize {
    let stride = stride.max(1);
    let mut kept = 0;
    for start in (0..buffer.len()).step_by(stride) {
        let end = (start + stride).min(buffer.len());
        match classify(&buffer[start..end]) {
            Kind::Quic => {
                buffer.copy_within(start..end, kept);
                kept += end - start;
            }
            kind => other(kind, &buffer[start..end]),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stun() -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 0];
        bytes.extend(MAGIC_COOKIE);
        bytes.extend([9; 12]);
        bytes
    }

    #[test]
    fn the_first_bytes_decide() {
        assert_eq!(classify(&stun()), Kind::Stun);
        assert_eq!(classify(&stun()[..19]), Kind::Junk, "a truncated STUN header is no STUN");
        assert_eq!(classify(&[1; 30]), Kind::Junk, "no magic cookie");
        assert_eq!(classify(&[0xc0, 0, 0, 0, 1]), Kind::Quic);
        assert_eq!(classify(&[0x40]), Kind::Quic);
        assert_eq!(classify(&[RELAY_FIRST_BYTE, 1]), Kind::Relay);
        assert_eq!(classify(&[0x80; 40]), Kind::Junk, "no QUIC bit: RTP's range");
        assert_eq!(classify(&[]), Kind::Junk);
    }

    proptest! {
        #[test]
        fn sifting_keeps_each_quic_packet_and_hands_out_each_other_one(kinds in proptest::collection::vec(0u8..4, 0..12), last in 20usize..=40) {
            let datagrams: Vec<Vec<u8>> = kinds.iter().enumerate().map(|(i, kind)| {
                let mut d = match kind { 0 => stun(), 1 => vec![0x45], 2 => vec![RELAY_FIRST_BYTE], _ => vec![0x90] };
                d.resize(if i + 1 == kinds.len() { last } else { 40 }, i as u8);
                d
            }).collect();
            let mut buffer = datagrams.concat();
            let mut others = Vec::new();
            let kept = sift(&mut buffer, 40, |_, d| others.push(d.to_vec()));
            let (quic, rest): (Vec<_>, Vec<_>) = datagrams.into_iter().partition(|d| classify(d) == Kind::Quic);
            prop_assert_eq!(buffer[..kept].to_vec(), quic.concat());
            prop_assert_eq!(others, rest);
        }
    }
}
