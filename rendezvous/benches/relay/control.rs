//! Somebody who goes on using the server while others flood it, and notes how long each answer takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::introduction::FromServer;
use common::link::Rendezvous as Place;

use crate::support::Person;

/// The times of requests and of whole registrations, handshake included; sorted.
#[derive(Default)]
pub(crate) struct Times {
    pub(crate) requests: Vec<Duration>,
    pub(crate) registrations: Vec<Duration>,
}

/// Runs until it is stopped.
pub(crate) struct Control {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Times>,
}

impl Control {
    pub(crate) fn start(place: &Place) -> Self {
        let (stop, place) = (Arc::new(AtomicBool::new(false)), place.clone());
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(measure(&place, &stopped))
        });
        Control { stop, thread }
    }

    pub(crate) fn stop(self) -> Times {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

async fn measure(place: &Place, stopped: &AtomicBool) -> Times {
    let mut times = Times::default();
    let carol = Person::new(250);
    let (mut at_carol, _) = carol.register_at(place).await;
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for n in 0u32.. {
        pace.tick().await;
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let since = Instant::now();
        // Nobody of whom she knows: the shortest way through the server and back.
        at_carol.send(&carol.introduce(n, Person::new(251).id(), place)).await;
        let answer = at_carol.next().await;
        assert!(matches!(answer, FromServer::Refused { .. }), "{answer:?}");
        times.requests.push(since.elapsed());
        if n % 5 == 0 {
            let since = Instant::now();
            let (dave, _) = Person::new(252).register_at(place).await;
            times.registrations.push(since.elapsed());
            dave.leave().await;
        }
    }
    times.requests.sort();
    times.registrations.sort();
    times
}
