//! The mailbox in a thread of its own, so that nobody but those who wrote waits for the disk.
//!
//! What has come while the disk was busy shares the next transaction. The more there is to do, the more is done with one sync.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::limits::{MAILBOX_DEPOSITS, MAILBOX_GROUP, MAILBOX_QUEUE};
use crate::mailbox::{Command, Event, Mailbox};

/// How often what is over is looked for. Nobody is in a hurry for that.
const SWEEP: Duration = Duration::from_secs(60);

/// Where the hub puts its commands. It never waits.
#[derive(Debug, Clone)]
pub struct Commands {
    queue: SyncSender<Message>,
    deposits: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Message {
    /// Boxed, because there is room for thousands.
    Run(Box<Command>),
    Stop,
}

/// The thread, which ends with this.
#[derive(Debug)]
pub struct Thread {
    commands: Commands,
    running: Option<JoinHandle<()>>,
}

/// The calendar, as seconds since 1970; a machine that is not set yet may say anything.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Commands {
    /// And where they come out.
    fn new() -> (Self, Receiver<Message>) {
        let (queue, incoming) = sync_channel(MAILBOX_QUEUE);
        (Commands { queue, deposits: Arc::default() }, incoming)
    }

    /// Gives it back if there is no room.
    pub fn push(&self, command: Command) -> Result<(), Box<Command>> {
        let deposits = usize::from(matches!(command, Command::Deposit { .. }));
        let command = Box::new(command);
        // Counted before it can be taken out.
        let before = self.deposits.fetch_add(deposits, Ordering::Relaxed);
        let refused = if before + deposits > MAILBOX_DEPOSITS && deposits > 0 {
            Some(Message::Run(command))
        } else {
            let tried = self.queue.try_send(Message::Run(command));
            tried.err().map(|error| match error {
                TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
            })
        };
        match refused {
            Some(Message::Run(command)) => {
                self.deposits.fetch_sub(deposits, Ordering::Relaxed);
                Err(command)
            }
            _ => Ok(()),
        }
    }
}

impl Thread {
    /// Starts it. `tell` is called in it, with what came of the commands.
    pub fn start(mailbox: Mailbox, tell: impl Fn(Vec<Event>) + Send + 'static) -> io::Result<Self> {
        let (commands, incoming) = Commands::new();
        let deposits = commands.deposits.clone();
        let run = move || run(mailbox, &incoming, &deposits, tell);
        let running = Builder::new().name("mailbox".into()).spawn(run)?;
        Ok(Thread { commands, running: Some(running) })
    }

    /// Where to put commands.
    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }
}

impl Drop for Thread {
    /// Whoever opens the file next finds it closed.
    fn drop(&mut self) {
        // It takes from the queue as long as it lives, so there will be room.
        let _ = self.commands.queue.send(Message::Stop);
        if let Some(running) = self.running.take()
            && running.join().is_err()
        {
            tracing::error!("the mailbox has failed");
        }
    }
}

fn run(mut mailbox: Mailbox, incoming: &Receiver<Message>, deposits: &AtomicUsize, tell: impl Fn(Vec<Event>)) {
    let mut sweep_at = Instant::now();
    let mut group = Vec::new();
    loop {
        let mut stop = false;
        match incoming.recv_timeout(sweep_at.saturating_duration_since(Instant::now())) {
            Ok(Message::Run(command)) => group.push(*command),
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => stop = true,
            Err(RecvTimeoutError::Timeout) => {}
        }
        while !stop && group.len() < MAILBOX_GROUP {
            match incoming.try_recv() {
                Ok(Message::Run(command)) => group.push(*command),
                Ok(Message::Stop) => stop = true,
                Err(_) => break,
            }
        }
        if !group.is_empty() {
            let taken = group.iter().filter(|command| matches!(command, Command::Deposit { .. })).count();
            deposits.fetch_sub(taken, Ordering::Relaxed);
            let events = mailbox.run(&group, unix_now(), Instant::now());
            group.clear();
            tell(events);
        }
        if stop {
            return;
        }
        if Instant::now() >= sweep_at {
            sweep_at = Instant::now() + if sweep(&mut mailbox) { Duration::ZERO } else { SWEEP };
        }
    }
}

/// Is there more of it?
fn sweep(mailbox: &mut Mailbox) -> bool {
    let swept = mailbox.sweep(Instant::now());
    let tidied = swept.and_then(|more| if more { Ok(true) } else { mailbox.tidy().map(|()| false) });
    tidied.unwrap_or_else(|error| {
        tracing::warn!(%error, "mail whose time is over cannot be removed; look at the disk of the mailbox");
        false
    })
}
