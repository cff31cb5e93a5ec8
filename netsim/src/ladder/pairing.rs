//! From what each host has seen to arrows between them.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::read::{Capture, Direction, Identity, Seen};

/// A packet that takes longer is another one with the same content.
const LONGEST_WAY: Duration = Duration::from_secs(10);

/// How much earlier than it was sent a packet may seem to arrive. Linux turns its time stamps on a moment after they were
/// asked for; until then a packet gets its time when it is read, at each host when its reader has its turn.
const SLACK: Duration = Duration::from_millis(50);

/// One packet on its way.
#[derive(Debug, Clone)]
pub(super) struct Arrow {
    /// The column of the sender, and when; none if only its arrival was seen.
    pub(super) sent: Option<(usize, Duration)>,
    /// The column of the receiver, and when; none if it is lost.
    pub(super) arrived: Option<(usize, Duration)>,
    /// Where it was to go, if it is known whose address that is.
    pub(super) meant_for: Option<usize>,
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) label: String,
}

impl Arrow {
    /// When it is first seen.
    pub(super) fn begins(&self) -> Duration {
        self.sent.or(self.arrived).map(|(_, at)| at).unwrap_or_default()
    }
}

/// All packets between some hosts, in the order of their times.
#[derive(Debug)]
pub struct Ladder {
    pub(super) hosts: Vec<String>,
    pub(super) arrows: Vec<Arrow>,
}

impl Ladder {
    /// Finds for everything that was sent where it arrived.
    pub fn of(captures: &[Capture]) -> Ladder {
        let mut arrivals: BTreeMap<Identity, VecDeque<(usize, &Seen)>> = BTreeMap::new();
        for (column, packet) in seen(captures, Direction::In) {
            arrivals.entry(packet.identity).or_default().push_back((column, packet));
        }
        let mut arrows = vec![];
        let mut owners: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (column, packet) in seen(captures, Direction::Out) {
            owners.insert(packet.from, column);
            let queue = arrivals.entry(packet.identity).or_default();
            let fits = |(there, arrived): &(usize, &Seen)| {
                *there != column && (packet.at.saturating_sub(SLACK)..=packet.at + LONGEST_WAY).contains(&arrived.at)
            };
            let arrived = queue.iter().position(fits).and_then(|index| queue.remove(index));
            if let Some((_, arrived)) = arrived {
                // Where this host is seen from outside.
                owners.insert(arrived.from, column);
            }
            arrows.push(Arrow {
                sent: Some((column, packet.at)),
                arrived: arrived.map(|(there, arrived)| (there, arrived.at)),
                meant_for: None,
                from: packet.from,
                to: packet.to,
                label: packet.label.clone(),
            });
        }
        for (column, packet) in arrivals.into_values().flatten() {
            arrows.push(Arrow {
                sent: None,
                arrived: Some((column, packet.at)),
                meant_for: None,
                from: packet.from,
                to: packet.to,
                label: packet.label.clone(),
            });
        }
        for arrow in &mut arrows {
            arrow.meant_for =
                owners.get(&arrow.to).copied().filter(|owner| arrow.sent.is_some_and(|(own, _)| own != *owner));
        }
        arrows.sort_by_key(Arrow::begins);
        Ladder { hosts: captures.iter().map(|capture| capture.host.clone()).collect(), arrows }
    }

    /// Is there nothing to draw?
    pub fn is_empty(&self) -> bool {
        self.arrows.is_empty()
    }

    /// How many packets were sent, how many of them arrived nowhere.
    pub fn summary(&self) -> String {
        let (sent, lost) = (self.arrows.iter().filter(|arrow| arrow.sent.is_some()).count(), self.lost());
        let strangers = self.arrows.len() - sent;
        let from_elsewhere = if strangers > 0 { format!(", {strangers} came from elsewhere") } else { String::new() };
        format!("{} hosts, {sent} packets sent, {lost} of them seen nowhere else{from_elsewhere}", self.hosts.len())
    }

    /// How many packets were sent and are seen nowhere else.
    pub fn lost(&self) -> usize {
        self.arrows.iter().filter(|arrow| arrow.arrived.is_none()).count()
    }
}

/// All packets of that direction, with their columns, the earliest first.
fn seen(captures: &[Capture], direction: Direction) -> Vec<(usize, &Seen)> {
    let all =
        captures.iter().enumerate().flat_map(|(column, capture)| capture.packets.iter().map(move |p| (column, p)));
    let mut packets: Vec<(usize, &Seen)> = all.filter(|(_, packet)| packet.direction == Some(direction)).collect();
    packets.sort_by_key(|(_, packet)| packet.at);
    packets
}
