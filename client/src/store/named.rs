//! Finding a message by the first digits of its name.

use common::identity::PeerId;
use rusqlite::params;

use super::message::COLUMNS;
use super::read::of;
use super::{Direction, Message, Store, StoreError};

impl Store {
    /// Messages whose names begin with these hexadecimal digits, two at most: one is found, two are too many. With this
    /// peer or anybody, of this direction or either. Digits that are none begin no name.
    pub fn named(
        &self,
        digits: &str,
        peer: Option<PeerId>,
        direction: Option<Direction>,
    ) -> Result<Vec<Message>, StoreError> {
        let Some((first, last)) = range(digits) else { return Ok(Vec::new()) };
        // By the index over peers and names: there are few peers.
        let select = format!(
            "SELECT {COLUMNS} FROM peer CROSS JOIN message ON message.peer = peer.peer AND message.sent IN (0, 1) \
             AND message.id BETWEEN ?2 AND ?3 WHERE message.kind = 0 AND {} AND message.sent IS NOT ?4 LIMIT 2",
            of(peer)
        );
        let other = direction.map(|direction| direction == Direction::Received);
        self.messages(&select, params![peer.as_ref().map(PeerId::as_bytes), first, last, other])
    }
}

/// The first and the last name that these digits begin.
fn range(digits: &str) -> Option<([u8; 16], [u8; 16])> {
    let bound = |fill: u8| {
        let mut nibbles = digits.bytes().map(|digit| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok()));
        let mut name = [0; 16];
        for byte in &mut name {
            let mut next = || nibbles.next().unwrap_or(Some(fill));
            *byte = (next()? << 4) | next()?;
        }
        nibbles.next().is_none().then_some(name)
    };
    Some((bound(0)?, bound(0xf)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_for_all_names_that_they_begin() {
        let whole = "00112233445566778899aabbccddeeff";
        let (first, last) = range(whole).expect("digits");
        assert_eq!((first, first[15]), (last, 0xff));
        let (first, last) = range("aBc").expect("digits");
        assert_eq!((&first[..3], &last[..3]), (&[0xab, 0xc0, 0][..], &[0xab, 0xcf, 0xff][..]));
        assert_eq!(range(""), Some(([0; 16], [0xff; 16])));
        for wrong in ["xyz", "12 4", "-1", &format!("{whole}0"), "\u{663}"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }
}
