//! The real world around an [`Engine`]: the node, the clock, randomness, front ends and files.

mod shelf;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::identity::PeerId;
use common::session::MessageId;
use jiff::Timestamp;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::fronts::{Fronts, Typed};
use super::{End, Engine, FrontId, Happening, Moment, Out, Reading, Room, Task, To};
use crate::control::{self, Command, ConnectionId, Greeting, Request, ToHost, Wires};
use crate::data::{Contacts, DataDir, Lock, StatusFile};
use crate::exit::{Exit, Failure};
use crate::net::{Node, NodeConfig};
use crate::node::NodeEvent;
use crate::output::{Event, Who};
use crate::store::{Record, Store};

/// How often it is looked whether the contacts have changed, and how often a mere round-trip time reaches
/// `status.json`. A second is what a person waits for after `punchline add` without wondering.
const TICK: Duration = Duration::from_secs(1);

/// Happenings that share a transaction at most. Each may be a message of 16 KiB, and its receipt waits for all of them.
const SHARED: usize = 256;

/// Entries of the store that are read at a time.
pub const PAGE: usize = 256;

/// What front ends may have ahead of the node: what they say while it waits for the disk.
const ASKED_AHEAD: usize = 512;
/// Between the node and the front end in the same process.
const OWN_PIPE: usize = 64 << 10;
/// The front end in our own process.
const OWN: ConnectionId = ConnectionId(0);
/// How long front ends may take to read the last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a task is made from.
#[derive(Debug)]
pub struct Making<'a> {
    /// Whose it will be.
    pub front: FrontId,
    /// What its front end wants.
    pub request: &'a Request,
    /// An id for a message, drawn at random.
    pub id: MessageId,
    /// Who we are.
    pub own: PeerId,
    /// May anything be sent to the LAN?
    pub lan: bool,
    /// What all tasks share.
    pub room: &'a Room,
    /// What was said.
    pub store: &'a mut Store,
}

/// Makes the task for a command, and says with whom it has to do.
pub type Make = fn(Making<'_>) -> Result<(Option<Who>, Box<dyn Task>), Failure>;

/// What a [`Host`] needs.
#[derive(Debug)]
pub struct Setup {
    /// Where the contacts are watched.
    pub data: DataDir,
    /// Of that folder.
    pub lock: Lock,
    /// Where messages are kept.
    pub store: Store,
    /// Where the status goes.
    pub status_file: StatusFile,
    /// For the node.
    pub config: NodeConfig,
    /// The node stays until it is asked to stop.
    pub stays: bool,
    /// What commands become.
    pub make: Make,
}

/// A node that is online, with its front ends, in a task of its own.
#[derive(Debug)]
pub struct Host {
    asked: mpsc::Sender<ToHost>,
    running: JoinHandle<End>,
}

impl Host {
    /// Goes online. The stream is for the front end in this process; nothing happens before it has asked for something.
    pub async fn start(setup: Setup, room: Room) -> Result<(Host, DuplexStream), Failure> {
        let (asked, asks) = mpsc::channel(ASKED_AHEAD);
        let (drained, drains) = mpsc::unbounded_channel();
        let (alive, ended) = mpsc::channel(1);
        let wires = Wires { host: asked.clone(), drained, alive };
        let contacts = setup.config.contacts.clone();
        let greeting = Greeting::new(setup.stays, setup.config.relay_only);
        let Setup { data, lock, store, status_file, config, make, .. } = setup;
        let (rendezvous, own, lan) = (config.rendezvous.authority(), config.identity.peer_id(), config.lan);
        let (node, events) = Node::start(config).await.map_err(|error| Failure::other(error.to_string()))?;
        let listener = match control::listen(data.path(), greeting.clone(), wires.clone()) {
            Ok(listener) => Some(listener),
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => None,
            Err(error) => {
                tracing::warn!(%error, "there is no control socket: other commands cannot use this node");
                None
            }
        };
        let (ours, theirs) = tokio::io::duplex(OWN_PIPE);
        let driver = Driver {
            engine: Engine::new(room),
            contacts: None,
            resumed: BTreeSet::new(),
            data,
            store,
            status_file,
            node,
            fronts: Fronts::default(),
            make,
            rendezvous,
            own,
            lan,
            attended: false,
        };
        let running = tokio::spawn(async move {
            // Before the connections are served, or the first word of one could wait for a reader that waits for it.
            let serving = tokio::spawn(control::serve(OWN, theirs, greeting, wires, None));
            let end = driver.run(&contacts, events, asks, drains, listener, ended).await;
            serving.abort();
            // The folder is another's from here on.
            drop(lock);
            end
        });
        Ok((Host { asked, running }, ours))
    }

    /// Ends it, and with it the commands of all front ends.
    pub async fn stop(self) -> End {
        let _ = self.asked.send(ToHost::Stop).await;
        drop(self.asked);
        self.running.await.unwrap_or_else(|error| Err(Failure::other(format!("the node has failed: {error}"))))
    }
}

struct Driver {
    engine: Engine,
    data: DataDir,
    store: Store,
    status_file: StatusFile,
    /// Those that were read again, for the next turn.
    contacts: Option<Contacts>,
    /// With whom an earlier process was gone on from.
    resumed: BTreeSet<PeerId>,
    node: Node,
    fronts: Fronts,
    make: Make,
    rendezvous: String,
    own: PeerId,
    lan: bool,
    /// The front end of our own process has asked for what it wants. Before, nothing happens: it shall miss nothing.
    attended: bool,
}

/// Why nothing more is done.
type Stopped = End;

impl Driver {
    async fn run(
        mut self,
        contacts: &[PeerId],
        mut events: mpsc::Receiver<NodeEvent>,
        asks: mpsc::Receiver<ToHost>,
        drains: mpsc::UnboundedReceiver<FrontId>,
        listener: Option<JoinHandle<()>>,
        mut ended: mpsc::Receiver<()>,
    ) -> End {
        let end = match self.resume(contacts) {
            Ok(()) => self.turn(&mut events, asks, drains).await,
            Err(end) => end,
        };
        if let Some(listener) = listener {
            listener.abort();
            control::remove(self.data.path());
        }
        self.farewell(&end);
        // Who is away learns now that we have what they wrote, if that takes no longer than a goodbye.
        let _ = tokio::time::timeout(LAST_WORDS, self.pay_receipts(&mut events)).await;
        let Driver { fronts, node, status_file, .. } = self;
        // Whoever reads has the last words before the goodbyes on the network are done.
        drop(fronts);
        node.shutdown().await;
        let _ = tokio::time::timeout(LAST_WORDS, ended.recv()).await;
        drop(status_file);
        end
    }

    async fn pay_receipts(&mut self, events: &mut mpsc::Receiver<NodeEvent>) {
        while self.engine.room().owes_receipts() {
            let Some(event) = events.recv().await else { return };
            let out = self.engine.handle(Happening::Node(event), now());
            if self.act(out).is_err() {
                return;
            }
        }
    }

    async fn turn(
        &mut self,
        events: &mut mpsc::Receiver<NodeEvent>,
        mut asks: mpsc::Receiver<ToHost>,
        mut drains: mpsc::UnboundedReceiver<FrontId>,
    ) -> Stopped {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Some(full) = self.fronts.full() {
                full.has_room().await;
            }
            let wakeup = self.engine.poll_wakeup();
            let typed = self.fronts.ready(|front| self.engine.takes_input(front));
            // What we hear goes before what is typed, so that a message is never given to a session whose end is known:
            // it would be dropped, and those behind it overtake it on the next session.
            let happening = tokio::select! {
                biased;
                event = events.recv(), if self.attended => event.map_or(Happening::NodeStopped, Happening::Node),
                () = sleep_until(wakeup), if wakeup.is_some() => Happening::Wakeup,
                _ = tick.tick() => match self.tick() {
                    Some(happening) => happening,
                    None => continue,
                },
                Some(front) = drains.recv() => match self.read(front) {
                    Ok(Some(happening)) => happening,
                    Ok(None) => continue,
                    Err(end) => return end,
                },
                Some(ask) = asks.recv() => match self.asked(ask) {
                    Ok(()) => continue,
                    Err(end) => return end,
                },
                () = std::future::ready(()), if typed.is_some() => match self.typed(typed) {
                    Ok(Some(happening)) => happening,
                    Ok(None) => continue,
                    Err(failure) => return Err(failure),
                },
            };
            // Round-trip times change with every frame; they can wait for the tick.
            let flows = |what: &_| matches!(what, Happening::Node(NodeEvent::Frame { .. }) | Happening::Line(..));
            let mut only_flows = flows(&happening);
            let mut out = match self.heed(happening) {
                Ok(out) => out,
                Err(end) => return end,
            };
            // What has come meanwhile shares the transaction: a disk syncs some hundred times a second, and frames and lines
            // come by the thousand. Not with the end of a command: what comes after that is not for its front end any more, and a
            // chat would show a message that counts as unread and is shown again by the next.
            for _ in 0..SHARED {
                if out.stop.is_some() || !out.ends.is_empty() || !self.attended {
                    break;
                }
                let next = match events.try_recv() {
                    Ok(event) => Some(Happening::Node(event)),
                    Err(_) => match self.typed(self.fronts.ready(|front| self.engine.takes_input(front))) {
                        Ok(line) => line,
                        Err(failure) => return Err(failure),
                    },
                };
                let Some(next) = next else { break };
                only_flows &= flows(&next);
                out.append(self.engine.handle(next, now()));
            }
            if let Err(end) = self.act(out) {
                return end;
            }
            if !only_flows {
                self.write_status();
            }
        }
    }

    /// Keeps first: what cannot be kept is neither shown nor acknowledged nor sent.
    fn act(&mut self, out: Out) -> Result<(), Stopped> {
        let mut next = Some(out);
        while let Some(mut out) = next.take() {
            self.engine.flush(now(), &mut out);
            let Out { records, mut events, commands, reads, lookups, finds, ends, stop, .. } = out;
            if !records.is_empty() {
                tokio::task::block_in_place(|| self.store.keep(&records)).map_err(|error| Err(error.into()))?;
                self.take_out_lies(&records, &mut events)?;
            }
            for (to, event) in &events {
                self.fronts.show(*to, event, Timestamp::now());
            }
            commands.into_iter().for_each(|command| self.node.command(command));
            ends.into_iter().for_each(|(front, end)| self.fronts.end(front, end));
            let mut after = Out::default();
            let shown = records.iter().filter_map(|record| match record {
                Record::Shown { peer, .. } => Some(*peer),
                _ => None,
            });
            for peer in shown.collect::<BTreeSet<_>>() {
                if let Some(read) = self.read_of(peer) {
                    after.append(self.engine.handle(read, now()));
                }
            }
            for what in lookups {
                if let Some(found) = self.look_up(what)? {
                    after.append(self.engine.handle(found, now()));
                }
            }
            for (front, reading) in reads {
                match reading {
                    // From now on: nothing that happens after this may be missed.
                    Reading { after: None, .. } => {
                        let newest = self.store.newest().map_err(|error| Err(error.into()))?;
                        after.append(self.engine.handle(Happening::Entries(front, Vec::new(), newest), now()));
                    }
                    reading => self.fronts.reads(front, reading),
                }
            }
            for (front, peer, about) in finds {
                let found = about.find(&self.store, Some(peer)).map(|(_, content)| content);
                after.append(self.engine.handle(Happening::Named(front, found), now()));
            }
            for orphan in self.fronts.orphans() {
                after.append(self.engine.handle(Happening::Interrupted(orphan), now()));
            }
            if let Some(failure) = stop {
                return Err(Err(failure));
            }
            if !records.is_empty() {
                after.append(self.engine.handle(Happening::Kept, now()));
            }
            next = Some(after).filter(|after| !after.is_empty());
        }
        Ok(())
    }

    /// What a front end wants, or that one has come or gone.
    fn asked(&mut self, ask: ToHost) -> Result<(), Stopped> {
        let interrupted = match ask {
            ToHost::Connected(id, outbox) => {
                self.fronts.connected(id, outbox);
                Vec::new()
            }
            ToHost::Asked(connection, request) => return self.begin(connection, &request),
            ToHost::Input(connection, request, input) => {
                self.fronts.input(connection, request, input).into_iter().collect()
            }
            ToHost::Misspoken { connection, request, failure, over } => {
                let interrupted = if over { self.fronts.over(connection) } else { Vec::new() };
                self.fronts.finish(connection, request, Err(failure));
                interrupted
            }
            ToHost::Gone(connection) => self.fronts.gone(connection),
            ToHost::Stop => return Err(Ok(Exit::Done)),
        };
        for front in interrupted {
            let out = self.engine.handle(Happening::Interrupted(front), now());
            self.act(out)?;
        }
        Ok(())
    }

    fn begin(&mut self, connection: ConnectionId, request: &Request) -> Result<(), Stopped> {
        // Whom it names may have been added a moment ago.
        if let Some(happening) = self.look() {
            let out = self.heed(happening)?;
            self.act(out)?;
        }
        if matches!(request.command, Command::Down) {
            self.fronts.finish(connection, Some(request.id), Ok(Exit::Done));
            return Err(Ok(Exit::Done));
        }
        let made = self.fronts.admit(connection, request).and_then(|front| {
            let id = MessageId(crate::random::bytes()?);
            let (own, lan, room, store) = (self.own, self.lan, self.engine.room(), &mut self.store);
            let (who, task) = (self.make)(Making { front, request, id, own, lan, room, store })?;
            Ok((front, who, task))
        });
        let (front, who, task) = match made {
            Ok(made) => made,
            Err(failure) => {
                self.fronts.finish(connection, Some(request.id), Err(failure));
                return Ok(());
            }
        };
        self.attended |= connection == OWN;
        let listens = task.listens();
        self.fronts.begin(front, connection, request, listens);
        if listens || !Fronts::is_text(request) {
            let started = Event::Started {
                id: self.own,
                rendezvous: self.rendezvous.clone(),
                pid: std::process::id(),
                contacts: self.engine.room().contact_count(),
                who,
                attached: connection != OWN,
            };
            self.fronts.show(To::Only(front), &started, Timestamp::now());
        }
        let out = self.engine.handle(Happening::Attached(front, task), now());
        self.act(out)?;
        self.write_status();
        if connection == OWN && matches!(request.command, Command::Watch) {
            crate::system::notify_ready();
        }
        Ok(())
    }

    fn typed(&mut self, front: Option<FrontId>) -> Result<Option<Happening>, Failure> {
        let Some(front) = front else { return Ok(None) };
        Ok(match self.fronts.take(front) {
            Some(Typed::Line(line)) => Some(Happening::Line(front, line, MessageId(crate::random::bytes()?))),
            Some(Typed::Eof) => Some(Happening::EndOfInput(front)),
            None => None,
        })
    }

    fn tick(&mut self) -> Option<Happening> {
        self.write_status();
        match self.prekeys() {
            Ok(Some(new)) => return Some(new),
            Ok(None) => {}
            Err(error) => tracing::warn!(?error, "no new prekeys"),
        }
        self.look()
    }

    fn write_status(&mut self) {
        let Some(status) = self.engine.take_status() else { return };
        if let Err(error) = self.status_file.write(status) {
            tracing::warn!(%error, "`punchline status` will not see what happens");
        }
    }

    /// Every command that goes on is told how it ends: as it says itself, but none of them is done.
    fn farewell(&mut self, end: &End) {
        let why = match end {
            Ok(_) => Failure::other("the punchline that was online has been stopped"),
            Err(failure) => failure.clone(),
        };
        for (front, watches) in self.fronts.all() {
            let out = self.engine.handle(Happening::Interrupted(front), now());
            for (to, event) in &out.events {
                self.fronts.show(*to, event, Timestamp::now());
            }
            let own = out.ends.into_iter().find(|(ended, _)| *ended == front).map(|(_, own)| own);
            let last = match (own, end) {
                (Some(Ok(exit)), Ok(_)) if watches => Ok(exit),
                (Some(Err(own)), Ok(_)) => Err(own),
                _ => Err(why.clone()),
            };
            self.fronts.end(front, last);
        }
    }
}

fn now() -> Moment {
    Moment { at: Instant::now(), wall: Timestamp::now() }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
