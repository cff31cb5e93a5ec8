//! What happened, as text that can be compared byte for byte.

use std::fmt::Write;
use std::time::Instant;

use crate::model::{Event, Happening, Place};

/// Lines such as
///
/// ```text
/// 0.010000 router0 let-out udp 11.1.1.1:4000 > 11.1.1.2:7 29 (was 192.168.1.2:4000 > 11.1.1.2:7)
/// ```
#[derive(Debug, Default)]
pub(super) struct Trace(String);

impl Trace {
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    pub(super) fn note(&mut self, event: &Event, start: Instant) {
        let at = event.at.saturating_duration_since(start);
        let (place, number) = match event.place {
            Place::Host(id) => ("host", id.0),
            Place::Router(id) => ("router", id.0),
            Place::Network(id) => ("network", id.0),
        };
        let (what, before) = match event.what {
            Happening::Sent => ("sent", None),
            Happening::LetOut(before) => ("let-out", Some(before)),
            Happening::LetIn(before) => ("let-in", Some(before)),
            Happening::Arrived => ("arrived", None),
            Happening::Dropped(_) => ("dropped", None),
        };
        let packet = event.packet;
        // Writing to a string does not fail.
        let _ = write!(self.0, "{}.{:06} {place}{number} {what} {packet}", at.as_secs(), at.subsec_micros());
        if let Some(before) = before {
            let _ = write!(self.0, " (was {} > {})", before.source, before.destination);
        }
        if let Happening::Dropped(reason) = event.what {
            let _ = write!(self.0, ": {reason}");
        }
        self.0.push('\n');
    }
}
