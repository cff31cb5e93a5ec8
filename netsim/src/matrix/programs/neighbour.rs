//! Somebody else behind the same routers, who opens flows and so takes ports while two others meet.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::model::Random;

/// So many sockets take turns, and each time the destination is another port: a flow is never one that was there before.
pub(super) const SOCKETS: usize = 64;
/// The first port that flows go to; nobody listens there.
const FIRST_PORT: u16 = 10_000;

/// At work until it is dropped.
pub(super) struct Neighbour {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    /// Opens so many flows a second on average, at random times, from these sockets of its host to that one.
    pub(super) fn new(sockets: Vec<UdpSocket>, sink: IpAddr, flows: u32, mut luck: Random) -> Neighbour {
        let (stop, stopped) = mpsc::channel();
        // Twice the mean: a pause is anything from nothing to this.
        let longest = 2_000_000 / u64::from(flows.max(1));
        let mut ports = (FIRST_PORT..).cycle();
        let thread = thread::spawn(move || {
            for socket in sockets.iter().cycle() {
                match stopped.recv_timeout(Duration::from_micros(luck.below(longest))) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
                let port = ports.next().unwrap_or(FIRST_PORT);
                // What is refused or lost is one flow less.
                let _ = socket.send_to(&[0xff], SocketAddr::new(sink, port));
            }
        });
        Neighbour { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, and its panic was printed.
            drop(thread.join());
        }
    }
}
