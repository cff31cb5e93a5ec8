//! The Internet checksum (RFC 1071), and how it changes with what it covers (RFC 1624).

/// The one's complement sum of these bytes, read as 16-bit words; an odd last byte has a zero behind it.
pub(super) fn sum(bytes: &[u8]) -> u16 {
    fold(bytes.chunks(2).map(|word| u64::from(word_of(word))).sum())
}

/// The sum of two sums.
pub(super) fn add(one: u16, other: u16) -> u16 {
    fold(u64::from(one) + u64::from(other))
}

/// The checksum of data in which `old` has become `new`, both of even length and at an even offset: equation 3 of RFC 1624.
pub(super) fn adjust(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    !add(add(!checksum, !sum(old)), sum(new))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    // Cannot be cut: it is below 2^16.
    sum as u16
}

fn word_of(bytes: &[u8]) -> u16 {
    match bytes {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        [high] => u16::from_be_bytes([*high, 0]),
        [] => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624() {
        assert_eq!(adjust(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0x0000);
    }

    proptest! {
        #[test]
        fn an_adjusted_checksum_is_the_one_computed_anew(
            mut data in prop::collection::vec(any::<u8>(), 20..60), new in any::<[u8; 4]>(), at in 0_usize..8,
        ) {
            // A packet is never all zero, which is where 0 and 0xffff would be two names of one sum.
            data[18] = 1;
            let before = !sum(&data);
            let changed = 2 * at..2 * at + 4;
            let old = data[changed.clone()].to_vec();
            data[changed].copy_from_slice(&new);
            prop_assert_eq!(adjust(before, &old, &new), !sum(&data));
        }
    }
}
