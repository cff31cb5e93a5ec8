//! The real world around an [`Engine`]: the node, the clock, randomness, standard input, signals and files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use common::identity::PeerId;
use common::session::MessageId;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{End, Engine, Happening, Line, Moment, Out, Room, Task, input};
use crate::data::{DataDir, StatusFile};
use crate::exit::{Exit, Failure};
use crate::messenger::MAX_SEEN;
use crate::net::{Node, NodeConfig};
use crate::node::NodeEvent;
use crate::output::{Event, Gone, Printer};
use crate::store::Store;

/// How often it is looked whether the contacts have changed, and how often a mere round-trip time reaches
/// `status.json`. A second is what a person waits for after `punchline add` without wondering.
const TICK: Duration = Duration::from_secs(1);

/// Events that share a transaction at most. Each may be a message of 16 KiB, and its receipt waits for all of them.
const SHARED: usize = 256;

/// What [`drive`] needs.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Where the contacts are watched.
    pub data: &'a DataDir,
    /// Where messages are kept.
    pub store: Store,
    /// Where the status goes.
    pub status_file: StatusFile,
    /// For the node.
    pub config: NodeConfig,
    /// When the process started.
    pub started: Instant,
    /// What is shown first.
    pub greeting: Event,
    /// Does the task read standard input?
    pub reads_input: bool,
}

/// Goes online and stays there until the task ends.
pub async fn drive(setup: Setup<'_>, room: Room, task: impl Task, printer: &mut Printer) -> End {
    let stop = crate::system::stop_requested()
        .map_err(|error| Failure::other(format!("cannot listen for signals: {error}")))?;
    let contacts = setup.config.contacts.clone();
    let (node, events) = Node::start(setup.config).await.map_err(|error| Failure::other(error.to_string()))?;
    let input = match setup.reads_input {
        true => Some(input::lines().map_err(|error| Failure::other(format!("cannot read the input: {error}")))?),
        false => None,
    };
    let mut driver = Driver {
        engine: Engine::new(room, task),
        store: setup.store,
        printer,
        started: setup.started,
        status_file: setup.status_file,
        contacts: Watch::new(setup.data.contacts_file()),
    };
    let end = match driver.show(&setup.greeting) {
        Ok(()) => driver.run(setup.data, &contacts, &node, events, input, stop).await,
        Err(gone) => Err(gone),
    };
    node.shutdown().await;
    // Nobody reads what we print any more: `punchline run | head` ends like every other program.
    end.unwrap_or(Ok(Exit::Done))
}

struct Driver<'a, T> {
    engine: Engine<T>,
    store: Store,
    printer: &'a mut Printer,
    started: Instant,
    status_file: StatusFile,
    contacts: Watch,
}

impl<T: Task> Driver<'_, T> {
    async fn run(
        &mut self,
        data: &DataDir,
        contacts: &[PeerId],
        node: &Node,
        mut events: mpsc::Receiver<NodeEvent>,
        mut input: Option<mpsc::Receiver<Line>>,
        stop: impl Future<Output = ()>,
    ) -> Result<End, Gone> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::pin!(stop);
        if let Some(end) = self.resume(node, contacts)? {
            return Ok(end);
        }
        loop {
            let wakeup = self.engine.poll_wakeup();
            let takes_input = self.engine.takes_input();
            // What we hear goes before what is typed, so that a message is never given to a session whose end is known:
            // it would be dropped, and those behind it overtake it on the next session.
            let happening = tokio::select! {
                biased;
                () = &mut stop => Happening::Interrupted,
                event = events.recv() => event.map_or(Happening::NodeStopped, Happening::Node),
                () = sleep_until(wakeup), if wakeup.is_some() => Happening::Wakeup,
                _ = tick.tick() => match self.tick(data) {
                    Some(happening) => happening,
                    None => continue,
                },
                line = next_line(&mut input), if takes_input && input.is_some() => match line {
                    Some(line) => match crate::random::bytes() {
                        Ok(id) => Happening::Line(line, MessageId(id)),
                        Err(failure) => return Ok(Err(failure)),
                    },
                    None => {
                        input = None;
                        Happening::EndOfInput
                    }
                },
            };
            // Round-trip times change with every frame; they can wait for the tick.
            let frame = matches!(happening, Happening::Node(NodeEvent::Frame { .. }));
            let mut out = self.engine.handle(happening, self.now());
            // What has come meanwhile shares the transaction: a disk syncs some hundred times a second, and frames come by
            // the thousand.
            for _ in 0..SHARED {
                if out.end.is_some() {
                    break;
                }
                let Ok(event) = events.try_recv() else { break };
                out.append(self.engine.handle(Happening::Node(event), self.now()));
            }
            self.engine.flush(self.now(), &mut out);
            if let Some(end) = self.act(node, out)? {
                return Ok(end);
            }
            if !frame {
                self.write_status();
            }
        }
    }

    /// Goes on where the last process stood, and starts.
    fn resume(&mut self, node: &Node, contacts: &[PeerId]) -> Result<Option<End>, Gone> {
        let mut out = Out::default();
        for peer in contacts {
            match self.store.resume(*peer, MAX_SEEN) {
                Ok(before) => out.append(self.engine.handle(Happening::Resumed(*peer, before), self.now())),
                Err(error) => return Ok(Some(Err(error.into()))),
            }
        }
        out.append(self.engine.handle(Happening::Started, self.now()));
        let end = self.act(node, out)?;
        self.write_status();
        Ok(end)
    }

    /// Keeps first: what cannot be kept is neither shown nor acknowledged nor sent.
    fn act(&mut self, node: &Node, out: Out) -> Result<Option<End>, Gone> {
        let Out { records, events, commands, end } = out;
        if !records.is_empty()
            && let Err(error) = tokio::task::block_in_place(|| self.store.keep(&records))
        {
            return Ok(Some(Err(error.into())));
        }
        for event in &events {
            self.show(event)?;
        }
        commands.into_iter().for_each(|command| node.command(command));
        Ok(end)
    }

    fn tick(&mut self, data: &DataDir) -> Option<Happening> {
        self.write_status();
        match self.store.changed_by_others() {
            Ok(true) => return self.outbox(),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "whether a message was taken back is not known"),
        }
        if !self.contacts.changed() {
            return None;
        }
        match data.contacts() {
            Ok(contacts) => Some(Happening::Contacts(contacts)),
            Err(error) => {
                tracing::warn!(%error, "the contacts changed and cannot be read; going on with those from before");
                None
            }
        }
    }

    fn outbox(&self) -> Option<Happening> {
        let waiting = self.store.outbox(None);
        let waiting =
            waiting.inspect_err(|error| tracing::warn!(%error, "whether a message was taken back is not known"));
        Some(Happening::Outbox(waiting.ok()?.into_iter().map(|message| message.id).collect()))
    }

    fn write_status(&mut self) {
        let Some(status) = self.engine.take_status() else { return };
        if let Err(error) = self.status_file.write(status) {
            tracing::warn!(%error, "`punchline status` will not see what happens");
        }
    }

    fn show(&mut self, event: &Event) -> Result<(), Gone> {
        self.printer.print(event, Timestamp::now())
    }

    fn now(&self) -> Moment {
        let at = Instant::now();
        Moment { at, wall: Timestamp::now(), since_start: at.saturating_duration_since(self.started) }
    }
}

async fn next_line(input: &mut Option<mpsc::Receiver<Line>>) -> Option<Line> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Whether a file was replaced since it was last looked at.
struct Watch {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
}

impl Watch {
    /// The first look counts as a change: the file may have been replaced since it was read.
    fn new(path: PathBuf) -> Self {
        Watch { path, seen: None }
    }

    fn changed(&mut self) -> bool {
        let stamp = stamp(&self.path);
        std::mem::replace(&mut self.seen, stamp) != stamp
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
