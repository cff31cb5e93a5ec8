//! When what waits for a peer goes to the mailbox of the rendezvous.
//!
//! Pure, and it knows no messages but by their names: it says when the next envelope may go, and what one that went means.

use std::time::{Duration, Instant};

use common::session::MessageId;

/// How long a session is waited for before what is said goes to the server as well: an introduction and a handshake on a bad
/// line take two seconds.
pub(super) const ABSENT_AFTER: Duration = Duration::from_secs(3);
/// After a refusal: whoever is not known there may register at any time, and nothing but this asks again.
const AFTER_REFUSAL: Duration = Duration::from_secs(10 * 60);
/// After "full", doubled each time.
const AFTER_FULL: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What became of an envelope for the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it on disk, and has signed that.
    Stored,
    /// The server does not know that the peer wants anything of us.
    Refused,
    /// The server takes no more of us now.
    Full,
    /// It did not get there.
    Lost,
}

/// The mail to one peer.
#[derive(Debug, Default)]
pub(super) struct Mail {
    /// The server keeps what it gets for so long; `None` if there is no server that keeps anything.
    keeps: Option<Duration>,
    /// The peer is not to be reached otherwise.
    pub(super) absent: bool,
    /// An envelope on its way to the server. What is said meanwhile gathers for the next, which must not be there without it: it is
    /// refused because the peer is not known there yet, and a moment later the peer comes.
    under_way: Option<(u64, Vec<MessageId>)>,
    next: u64,
    /// No envelope before that.
    pause: Option<Instant>,
    failures: u32,
}

impl Mail {
    /// There is a server that keeps things, or there is none (any more). What was under way to the last one is not.
    pub(super) fn offer(&mut self, keeps: Option<Duration>) {
        (self.keeps, self.pause) = (keeps, None);
        self.under_way = None;
    }

    /// May an envelope go?
    pub(super) fn may_go(&self, now: Instant) -> bool {
        let paused = self.pause.is_some_and(|until| now < until);
        self.keeps.is_some() && self.absent && !paused && self.under_way.is_none()
    }

    pub(super) fn is_offered(&self) -> bool {
        self.keeps.is_some()
    }

    /// Is this message on its way there?
    pub(super) fn carries(&self, id: MessageId) -> bool {
        self.under_way.iter().any(|(_, ids)| ids.contains(&id))
    }

    /// An envelope with these goes. Its token.
    pub(super) fn send(&mut self, ids: Vec<MessageId>) -> u64 {
        self.next += 1;
        self.under_way = Some((self.next, ids));
        self.next
    }

    /// What became of an envelope. If the server has it: which messages were in it, and until when it keeps them.
    pub(super) fn ended(&mut self, token: u64, outcome: Outcome, now: Instant) -> Option<(Vec<MessageId>, Instant)> {
        let (_, ids) = self.under_way.take_if(|(ours, _)| *ours == token)?;
        let pause = match outcome {
            Outcome::Stored => {
                self.failures = 0;
                return self.keeps.map(|keeps| (ids, now + keeps));
            }
            // The next registration makes a new beginning.
            Outcome::Lost => LONGEST_PAUSE,
            Outcome::Refused => AFTER_REFUSAL,
            Outcome::Full => (AFTER_FULL * 2u32.saturating_pow(self.failures)).min(LONGEST_PAUSE),
        };
        self.failures = self.failures.saturating_add(1);
        self.pause = Some(now + spread(pause, &ids));
        None
    }

    /// When a pause ends that something waits for.
    pub(super) fn wakeup(&self) -> Option<Instant> {
        self.pause.filter(|_| self.keeps.is_some() && self.absent)
    }

    pub(super) fn timeout(&mut self, now: Instant) {
        self.pause.take_if(|until| *until <= now);
    }
}

/// Between one and one and a half times as long, so that not all who were turned away come back at once. The names of messages are random.
fn spread(pause: Duration, ids: &[MessageId]) -> Duration {
    let luck = ids.first().map_or(0, |id| id.0[0]);
    pause + pause * u32::from(luck) / 512
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn ids(n: u8) -> Vec<MessageId> {
        vec![MessageId([n; 16])]
    }

    fn absent() -> Mail {
        let mut mail = Mail::default();
        mail.offer(Some(DAY));
        mail.absent = true;
        mail
    }

    #[test]
    fn mail_goes_to_a_server_that_keeps_it_for_a_peer_that_is_away_and_one_at_a_time() {
        let now = Instant::now();
        let mut mail = Mail::default();
        assert!(!mail.may_go(now));
        mail.absent = true;
        assert!(!mail.may_go(now), "nobody keeps it");
        let mut mail = absent();
        assert!(mail.may_go(now));
        let first = mail.send(ids(1));
        assert!(!mail.may_go(now) && mail.carries(MessageId([1; 16])));
        assert_eq!(mail.ended(first, Outcome::Stored, now), Some((ids(1), now + DAY)));
        assert_eq!(mail.ended(first, Outcome::Stored, now), None, "once");
        assert!(mail.may_go(now));
    }

    #[test]
    fn a_full_server_is_asked_after_growing_pauses_that_differ_from_one_to_the_other() {
        let now = Instant::now();
        let pause = |mail: &mut Mail, n| {
            let token = mail.send(ids(n));
            assert_eq!(mail.ended(token, Outcome::Full, now), None);
            mail.wakeup().expect("a pause") - now
        };
        let mut mail = absent();
        assert_eq!(pause(&mut mail, 0), AFTER_FULL);
        assert!(!mail.may_go(now) && mail.may_go(now + AFTER_FULL));
        assert_eq!(pause(&mut mail, 0), AFTER_FULL * 2);
        assert!(pause(&mut mail, 255) > AFTER_FULL * 5, "the die of this one");
        for _ in 0..40 {
            assert!(pause(&mut mail, 9) < LONGEST_PAUSE * 3 / 2);
        }
        mail.offer(Some(DAY));
        assert!(mail.may_go(now), "a registration is a new beginning");
    }
}
