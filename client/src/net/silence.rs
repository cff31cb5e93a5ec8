//! Notices when a relay that was in use falls silent, which may mean that the rendezvous was restarted.
//!
//! A restarted server knows no channels and drops their frames. Whoever sends hears of it soon, because receipts stay out; whoever
//! only listens would hear with the next keepalive. So while a relay has been in use lately, its silence is a reason to
//! ask the rendezvous for a sign of life: one small packet, which a restarted server answers with a stateless reset.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep_until;

/// A conversation that flows has acknowledgements at least this often; one in which people take turns does not, and each
/// line then costs a packet more.
const SILENCE: Duration = Duration::from_millis(250);
/// While it stays silent.
const BETWEEN: Duration = Duration::from_secs(1);
/// For so long after the last frame a relay counts as in use. After that the keepalive has to do: nobody waits at the screen any more.
const LATELY: Duration = Duration::from_secs(60);

/// When relay frames last came. Written by the socket, for each batch that it receives.
#[derive(Debug, Default)]
pub(super) struct RelayTraffic {
    last: Mutex<Option<Instant>>,
    /// Somebody waits for frames to come again.
    idle: AtomicBool,
    resumed: Notify,
}

impl RelayTraffic {
    /// Frames have come.
    pub(super) fn heard(&self, now: Instant) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        if self.idle.swap(false, Ordering::SeqCst) {
            self.resumed.notify_one();
        }
    }

    fn last(&self) -> Option<Instant> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who listens for silence, for as long as a connection to the rendezvous stands.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// When the last sign of life was asked for.
    asked: Option<Instant>,
}

impl Listener {
    /// Waits until a sign of life should be asked for. May be dropped and called again.
    pub(super) async fn silence(&mut self, relay: &RelayTraffic) {
        loop {
            // Before the look, so that nothing comes between it and the wait.
            relay.idle.store(true, Ordering::SeqCst);
            match due(relay.last(), self.asked) {
                Some(at) if at <= Instant::now() => {
                    self.asked = Some(Instant::now());
                    return;
                }
                Some(at) => sleep_until(at.into()).await,
                None => relay.resumed.notified().await,
            }
        }
    }
}

/// When to ask, if frames came last at `heard`, and we asked last at `asked`.
fn due(heard: Option<Instant>, asked: Option<Instant>) -> Option<Instant> {
    let heard = heard?;
    let at = match asked {
        Some(asked) if asked > heard => asked + BETWEEN,
        _ => heard + SILENCE,
    };
    (at <= heard + LATELY).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_falls_silent_is_asked_for_soon_then_every_second_then_no_more() {
        let heard = Instant::now();
        assert_eq!(due(None, None), None, "never used");
        assert_eq!(due(None, Some(heard)), None);
        let mut asked = Vec::new();
        while let Some(at) = due(Some(heard), asked.last().copied()) {
            asked.push(at);
        }
        assert_eq!(asked[..2], [heard + SILENCE, heard + SILENCE + BETWEEN]);
        assert_eq!(asked.len(), 60, "for a minute");
        let again = heard + LATELY * 2;
        assert_eq!(due(Some(again), asked.last().copied()), Some(again + SILENCE), "it is in use again");
    }

    #[tokio::test]
    async fn nothing_is_due_while_frames_come_or_when_none_ever_came() {
        let (relay, mut listener) = (RelayTraffic::default(), Listener::default());
        let long = SILENCE * 2;
        assert!(tokio::time::timeout(long, listener.silence(&relay)).await.is_err(), "never used");
        let frames = async {
            let until = Instant::now() + long;
            while Instant::now() < until {
                relay.heard(Instant::now());
                tokio::task::yield_now().await;
            }
            Instant::now()
        };
        let silent = async {
            listener.silence(&relay).await;
            Instant::now()
        };
        let (ended, silent) = tokio::join!(frames, silent);
        assert!(silent >= ended, "it was busy until then");
    }
}
