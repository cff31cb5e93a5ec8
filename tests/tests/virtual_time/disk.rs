//! The mailbox of the rendezvous: its thread and its disk, which survives when the server is killed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::identity::Identity;
use rendezvous::limits::Limits;
use rendezvous::mailbox::{Command, Mailbox};
use rendezvous::server::Server;

/// A sync, with what has come until then.
const SYNC: Duration = Duration::from_millis(5);
/// What time it is when a story begins, in seconds since 1970.
pub(crate) const BEGINS_S: u64 = 1_700_000_000;

#[derive(Debug)]
pub(crate) struct Disk {
    mailbox: Mailbox,
    /// Not on the disk yet.
    waiting: VecDeque<Command>,
    synced: Option<Instant>,
    begins: Instant,
}

impl Disk {
    pub(crate) fn new(server: Identity, begins: Instant) -> Self {
        let mailbox = Mailbox::in_memory(server, &Limits::default(), 1).expect("a database in memory");
        Disk { mailbox, waiting: VecDeque::new(), synced: None, begins }
    }

    pub(crate) fn now_s(&self, now: Instant) -> u64 {
        BEGINS_S + (now - self.begins).as_secs()
    }

    /// What was not on the disk is lost.
    pub(crate) fn killed(&mut self) {
        self.waiting.clear();
        self.synced = None;
    }

    pub(crate) fn take(&mut self, command: Command, now: Instant) {
        self.waiting.push_back(command);
        self.synced.get_or_insert(now + SYNC);
    }

    pub(crate) fn poll_wakeup(&self) -> Option<Instant> {
        self.synced
    }

    /// Tells what has become of what was written.
    pub(crate) fn handle_timeout(&mut self, server: &mut Server, now: Instant) {
        if self.synced.take_if(|at| *at <= now).is_some() {
            let now_s = self.now_s(now);
            let commands: Vec<_> = self.waiting.drain(..).collect();
            let events = self.mailbox.run(&commands, now_s, now);
            events.into_iter().for_each(|event| server.handle_mailbox(event, now));
        }
    }

    /// The mail that is there.
    pub(crate) fn mails(&mut self) -> u64 {
        self.mailbox.store().total().expect("a database in memory").mails
    }
}
