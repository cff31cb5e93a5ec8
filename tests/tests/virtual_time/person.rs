//! A client: everything of `punchline chat` but its sockets, QUIC, clock and terminal.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use client::data::{Contacts, Status};
use client::node::{
    Begin, Bye, Config, ControlEvent, Machine, NodeCommand, NodeEvent, Output, Random as Bytes, SessionEvent,
    SessionId, SocketId,
};
use client::online::{End, Engine, FrontId, Happening, Line, Moment, Out, Room, Signal, Task};
use client::output::{Direction, Event as Shown};
use common::datagram::{self, Kind};
use common::discovery::{self, Discovery};
use common::identity::{Identity, PeerId};
use common::introduction::{MAX_CONTROL_FRAME, Register, ToServer};
use common::nat::NatProfile;
use common::relay::{self, RelayChannel};
use common::session::{Content as Words, MAX_PEER_FRAME, MessageId, PeerFrame, Route};
use common::wire::{self, FrameReader};
use jiff::Timestamp;
use netsim::model::{Addresses, Random};
use netsim::virtual_net::Datagram;

use crate::ATTEMPT;
use crate::disk::BEGINS_S;
use crate::pipe::{self, Content, Event, Id, Patience, Pipe};
use crate::post::Post;

/// Of the main socket; the others follow, each at a port that was not used before.
const PORT: u16 = 4000;
/// As `client::net` has them.
const CONTROL: Patience = Patience {
    keepalive: Some(Duration::from_secs(3)),
    idle: Some(Duration::from_secs(10)),
    handshake: Some(Duration::from_millis(2500)),
};
const SESSION: Patience = Patience { keepalive: None, idle: None, handshake: Some(GREETED_WITHIN) };
const GREETED_WITHIN: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(400);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The only front end.
const OWN: FrontId = FrontId(0);

/// Talks with one contact, and stays.
#[derive(Debug)]
struct Talk {
    peer: PeerId,
    begins: bool,
}

impl Task for Talk {
    fn handle(&mut self, signal: Signal<'_>, room: &mut Room, now: Moment, out: &mut Out) {
        match signal {
            Signal::Started if self.begins => out.command(NodeCommand::Want(self.peer)),
            Signal::Line { line: Line::Text(text), id } => {
                let content = Words::Text { text: text.clone(), reply_to: None };
                room.say(self.peer, id, content, None, now, out);
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Room, _: &mut Out) -> End {
        Ok(client::exit::Exit::Done)
    }
}

/// The connection to the rendezvous.
#[derive(Debug)]
enum Control {
    Pausing { until: Instant },
    Connected(Id),
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    peer: PeerId,
    dialled: bool,
    greeted: bool,
    /// Until when the other side must have greeted.
    until: Instant,
}

/// What a person has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Lines of the other, in the order in which they were shown.
    pub(crate) heard: Vec<String>,
    /// Own lines with a receipt.
    pub(crate) delivered: usize,
    /// Every path, with the reason.
    pub(crate) paths: Vec<(Instant, Route, String)>,
    pub(crate) lost: usize,
}

#[derive(Debug)]
pub(crate) struct Person {
    own: PeerId,
    identity: Identity,
    peer: PeerId,
    /// Letters, for whoever writes some.
    post: Option<Post>,
    server: SocketAddr,
    addresses: Addresses,
    random: Random,
    engine: Engine,
    machine: Machine,
    register: Register,
    pipes: BTreeMap<Id, Pipe>,
    sessions: BTreeMap<Id, Session>,
    control: Control,
    pause: Duration,
    relay: Option<SocketAddr>,
    /// The ports of the sockets beside the main one.
    sockets: BTreeMap<SocketId, u16>,
    next_port: u16,
    /// Packets of connections to these addresses leave from these sockets.
    leave: BTreeMap<SocketAddr, SocketId>,
    discovering: Option<(Discovery, u16)>,
    start: Instant,
    said: u64,
    /// Nothing is done before.
    asleep: Option<Instant>,
    /// The most sockets that were open at a time.
    pub(crate) most_sockets: usize,
    /// Datagrams sent.
    pub(crate) packets: u64,
    /// Hears nothing but the rendezvous.
    pub(crate) cut_off: bool,
    /// What this person believes of the NAT, whatever the look at it says.
    pub(crate) believes: Option<NatProfile>,
    /// Is there anything to probe for? An introduction that is acted on, until then at the latest, or a direct connection.
    attempting_until: Option<Instant>,
    direct: bool,
    /// Datagrams of agents that had nothing to do any more.
    pub(crate) probes_after_the_end: u64,
    pub(crate) seen: Seen,
    pub(crate) log: Option<Vec<String>>,
    outbox: VecDeque<Datagram>,
}

impl Person {
    pub(crate) fn new(
        seed: u8,
        peer: u8,
        server: SocketAddr,
        addresses: Addresses,
        mut random: Random,
        now: Instant,
    ) -> Self {
        let identity = Identity::from_seed(&[seed; 32]);
        let peer = Identity::from_seed(&[peer; 32]).peer_id();
        let mut contacts = Contacts::default();
        contacts.add(peer, "Friend").expect("a contact");
        let room = Room::new(identity.clone(), contacts, Status::new(1, Timestamp::UNIX_EPOCH));
        let mut luck = random.fork(1);
        let fill = move |bytes: &mut [u8]| {
            bytes.fill_with(|| luck.bits() as u8);
            true
        };
        let machine = Machine::new(Config {
            identity: identity.clone(),
            rendezvous: Identity::from_seed(&[3; 32]).peer_id(),
            epoch: 1,
            contacts: vec![peer],
            birthday: true,
            relay_only: false,
            random: Bytes::new(fill),
        });
        let until = now + Duration::from_millis(random.below(300));
        let mut person = Person {
            own: identity.peer_id(),
            identity,
            peer,
            post: None,
            server,
            addresses,
            random,
            engine: Engine::new(room),
            register: machine.registration().clone(),
            machine,
            pipes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            control: Control::Pausing { until },
            pause: FIRST_PAUSE,
            relay: None,
            sockets: BTreeMap::new(),
            next_port: PORT + 1,
            leave: BTreeMap::new(),
            discovering: None,
            start: now,
            said: 0,
            asleep: None,
            most_sockets: 0,
            packets: 0,
            cut_off: false,
            believes: None,
            attempting_until: None,
            direct: false,
            probes_after_the_end: 0,
            seen: Seen::default(),
            log: None,
            outbox: VecDeque::new(),
        };
        person.moved_to(addresses);
        person.machine.handle_clock(BEGINS_S, now);
        person.happens(Happening::Attached(OWN, Box::new(Talk { peer, begins: seed == 1 })), now);
        person
    }

    /// The route that messages rely on.
    pub(crate) fn route(&self) -> Option<Route> {
        self.seen.paths.last().map(|(_, route, _)| *route).filter(|_| self.seen.lost == 0)
    }

    /// Sessions that are open or opening.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    fn is_server(&self, source: SocketAddr) -> bool {
        source.ip() == self.server.ip()
    }

    /// Sockets that are open beside the main one.
    pub(crate) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    fn note(&mut self, what: impl FnOnce() -> String, now: Instant) {
        if let Some(log) = &mut self.log {
            log.push(format!("{:9.3} {}", (now - self.start).as_secs_f64(), what()));
        }
    }

    /// Writes letters from now on.
    pub(crate) fn with_post(&mut self) {
        let random = self.random.fork(5);
        self.post = Some(Post::new(self.identity.clone(), self.peer, random));
    }

    pub(crate) fn letters(&self) -> &Post {
        self.post.as_ref().expect("somebody who writes letters")
    }

    /// Writes a letter.
    pub(crate) fn write(&mut self, text: &str, now: Instant) {
        let commands = self.post.as_mut().expect("somebody who writes letters").write(text);
        commands.into_iter().for_each(|command| self.machine.handle_command(command, now));
        self.pump(now);
    }

    /// Types a line.
    pub(crate) fn say(&mut self, text: &str, now: Instant) {
        self.said += 1;
        let id = MessageId((u128::from(self.random.bits()) << 64 | u128::from(self.said)).to_be_bytes());
        self.happens(Happening::Line(OWN, Line::Text(text.to_owned()), id), now);
    }

    /// Has other addresses, and does not know it yet.
    pub(crate) fn moved_to(&mut self, addresses: Addresses) {
        self.addresses = addresses;
        self.machine.handle_hosts(addresses.iter().map(|ip| SocketAddr::new(ip, PORT)).collect());
    }

    /// Notices that something has changed.
    pub(crate) fn network_changed(&mut self, now: Instant) {
        self.machine.handle_network_change("another network".to_owned(), now);
        self.pump(now);
    }

    /// The lid is closed for so long.
    pub(crate) fn sleep(&mut self, time: Duration, now: Instant) {
        self.asleep = Some(now + time);
    }

    /// The lid is opened, if it was closed.
    pub(crate) fn wake(&mut self, now: Instant) {
        if self.asleep.take().is_some() {
            self.note(|| "wakes".to_owned(), now);
            self.machine.handle_network_change("the clock has jumped".to_owned(), now);
            self.handle_timeout(now);
        }
    }

    fn happens(&mut self, happening: Happening, now: Instant) {
        let moment = Moment { at: now, wall: Timestamp::UNIX_EPOCH + (now - self.start) };
        let mut out = self.engine.handle(happening, moment);
        self.engine.flush(moment, &mut out);
        for (_, event) in out.events {
            self.note(|| format!("{event:?}"), now);
            match event {
                Shown::Message { dir: Direction::In, text, .. } => self.seen.heard.push(text),
                Shown::Receipt { state: "device", .. } => self.seen.delivered += 1,
                Shown::Path { kind, reason, .. } => {
                    self.seen.lost = 0;
                    self.seen.paths.push((now, kind, reason));
                }
                Shown::Lost { .. } => self.seen.lost += 1,
                _ => {}
            }
        }
        assert!(out.stop.is_none() && out.ends.is_empty(), "a talk does not end: {:?} {:?}", out.stop, out.ends);
        for command in out.commands {
            self.machine.handle_command(command, now);
        }
        self.pump(now);
    }

    /// Does what the machine wants done, and what the connections report.
    fn pump(&mut self, now: Instant) {
        loop {
            self.discover(now);
            if let Some(output) = self.machine.poll_output() {
                self.act(output, now);
            } else if !self.hear(now) {
                break;
            }
        }
        let packets: Vec<_> =
            self.pipes.values_mut().flat_map(|pipe| std::iter::from_fn(|| pipe.poll_packet())).collect();
        for (destination, payload) in packets {
            self.post(destination, payload);
        }
        self.pipes.retain(|_, pipe| !pipe.is_over());
    }

    fn act(&mut self, output: Output, now: Instant) {
        match output {
            Output::Open(id) => {
                let port = self.fresh_port();
                self.sockets.insert(id, port);
                self.most_sockets = self.most_sockets.max(self.sockets.len());
                self.machine.handle_opened(id, port, now);
            }
            Output::CloseSocket(id) => {
                assert!(self.sockets.remove(&id).is_some(), "it was open");
                self.leave.retain(|_, from| *from != id);
            }
            Output::Leave(remote, SocketId::MAIN) => drop(self.leave.remove(&remote)),
            Output::Leave(remote, id) => drop(self.leave.insert(remote, id)),
            Output::Transmit { socket, destination, payload } => {
                let attempting = self.attempting_until.is_some_and(|until| now < until);
                self.probes_after_the_end += u64::from(!attempting && !self.direct);
                if let Some(port) = self.port(socket) {
                    self.post_from(port, destination, payload);
                }
            }
            Output::Ask(message) => {
                self.note(|| format!("asks {}", word(&message)), now);
                self.tell(&message, now);
            }
            Output::Register(register) => {
                self.register.clone_from(&register);
                self.tell(&ToServer::Update(register), now);
            }
            Output::MoveOn => {
                if let Control::Connected(id) = self.control {
                    self.pipes.get_mut(&id).into_iter().for_each(|pipe| pipe.close(0));
                }
                self.pause = FIRST_PAUSE;
                self.control = Control::Pausing { until: now };
            }
            Output::RelayVia(server) => self.relay = Some(server),
            Output::Dial(begin, remote) => {
                let id = self.random.bits();
                self.pipes.insert(id, Pipe::dial(id, self.own, remote, begin.rtt, SESSION, now));
                self.begin(id, begin, true, now);
            }
            Output::Write(session, frame) => {
                if let Some(pipe) = self.session_pipe(session) {
                    pipe.send(wire::encode(&frame, MAX_PEER_FRAME).expect("it fits"), now);
                }
            }
            Output::Finish(session, bye) => {
                if let Some(pipe) = self.session_pipe(session) {
                    pipe.finish(bye as u32, now);
                }
            }
            Output::Close(session, bye) => {
                self.session_pipe(session).into_iter().for_each(|pipe| pipe.close(bye as u32));
            }
            Output::Discover(config) => {
                let fresh_port = self.fresh_port();
                self.discovering = Some((Discovery::new(discovery::Config { fresh_port, ..config }, now), fresh_port));
                self.discover(now);
            }
            Output::StopDiscovery => self.discovering = None,
            Output::Nudge(session) => {
                if let Some(pipe) = self.session_pipe(session) {
                    pipe.nudge();
                }
            }
            Output::MeasureSpeed { .. } | Output::LookAround { .. } | Output::MeasureLifetime => {}
            Output::Announce(..) | Output::LanTransmit { .. } => unreachable!("nobody is on a LAN here"),
            Output::Tell(event) => {
                match &event {
                    NodeEvent::Introduced { .. } => self.attempting_until = Some(now + ATTEMPT),
                    NodeEvent::NoPath { .. } => self.attempting_until = None,
                    // One more may be over the path of before, which was found again: the attempt goes on.
                    NodeEvent::Up { route: Route::Direct, .. } if self.direct => {}
                    NodeEvent::Up { route: Route::Direct, .. } => (self.attempting_until, self.direct) = (None, true),
                    NodeEvent::Down { route: Route::Direct, .. } => self.direct = false,
                    _ => {}
                }
                self.note(|| format!("    {event:?}"), now);
                let now_s = BEGINS_S + (now - self.start).as_secs();
                match self.post.as_mut().and_then(|post| post.handle(&event, now_s, now)) {
                    Some(commands) => {
                        commands.into_iter().for_each(|command| self.machine.handle_command(command, now));
                    }
                    None => self.happens(Happening::Node(event), now),
                }
            }
        }
    }

    fn fresh_port(&mut self) -> u16 {
        // Far beyond what one story opens.
        self.next_port = self.next_port.checked_add(1).unwrap_or(PORT + 1);
        self.next_port
    }

    fn port(&self, socket: SocketId) -> Option<u16> {
        if socket == SocketId::MAIN { Some(PORT) } else { self.sockets.get(&socket).copied() }
    }

    /// Sends what the look at the NAT wants sent, and passes on what it has found.
    fn discover(&mut self, now: Instant) {
        while let Some((run, fresh_port)) = &mut self.discovering {
            let fresh_port = *fresh_port;
            if let Some(discovery::Transmit { socket, destination, payload, .. }) = run.poll_transmit() {
                let port = if socket == discovery::Socket::Main { PORT } else { fresh_port };
                self.post_from(port, destination, payload);
            } else if let Some(event) = run.poll_event() {
                let event = match event {
                    discovery::Event::Finished(seen) => {
                        self.discovering = None;
                        discovery::Event::Finished(self.believes.unwrap_or(seen))
                    }
                    other => other,
                };
                self.note(|| format!("    {event:?}"), now);
                self.machine.handle_discovery(event);
            } else {
                break;
            }
        }
    }

    fn begin(&mut self, id: Id, begin: Begin, dialled: bool, now: Instant) {
        let (Begin { id: name, peer, .. }, until) = (begin, now + GREETED_WITHIN);
        self.sessions.insert(id, Session { id: name, peer, dialled, greeted: false, until });
    }

    fn session_pipe(&mut self, session: SessionId) -> Option<&mut Pipe> {
        let id = self.sessions.iter().find(|(_, own)| own.id == session).map(|(id, _)| *id)?;
        self.pipes.get_mut(&id)
    }

    fn tell(&mut self, message: &ToServer, now: Instant) {
        if let Control::Connected(id) = self.control
            && let Some(pipe) = self.pipes.get_mut(&id)
        {
            pipe.send(wire::encode(message, MAX_CONTROL_FRAME).expect("it fits"), now);
        }
    }

    /// Takes one event of one connection.
    fn hear(&mut self, now: Instant) -> bool {
        let event =
            self.pipes.iter_mut().find_map(|(id, pipe)| Some((*id, pipe.poll_event()?, pipe.rtt, pipe.remote())));
        let Some((id, event, rtt, remote)) = event else { return false };
        if matches!(self.control, Control::Connected(control) if control == id) {
            self.control_event(id, event, rtt, now);
        } else if let Some(session) = self.sessions.get_mut(&id) {
            let hello = PeerFrame::Hello { name: "A friend".to_owned(), prekey: self.machine.prekey() };
            let hello = wire::encode(&hello, MAX_PEER_FRAME).expect("it fits");
            let (name, peer) = (session.id, session.peer);
            let told = match event {
                Event::Opened => {
                    self.pipes.get_mut(&id).into_iter().for_each(|pipe| pipe.send(hello.clone(), now));
                    return true;
                }
                Event::Frame(bytes) if !session.greeted => {
                    session.greeted = true;
                    if !session.dialled {
                        self.pipes.get_mut(&id).into_iter().for_each(|pipe| pipe.send(hello.clone(), now));
                    }
                    SessionEvent::Up { remote, rtt, hello: frame(&bytes) }
                }
                Event::Frame(bytes) => SessionEvent::Frame { rtt, frame: frame(&bytes) },
                Event::Ended { code, reason } => {
                    self.sessions.remove(&id);
                    SessionEvent::Down { reason: reason.to_owned(), by_peer: code == Some(Bye::Stopping as u32) }
                }
            };
            self.machine.handle_session(peer, name, told, now);
        }
        true
    }

    fn control_event(&mut self, id: Id, event: Event, rtt: Duration, now: Instant) {
        match event {
            Event::Opened => {
                self.note(|| "connected to the rendezvous".to_owned(), now);
                let register = wire::encode(&ToServer::Register(self.register.clone()), MAX_CONTROL_FRAME);
                self.pipes.get_mut(&id).into_iter().for_each(|pipe| pipe.send(register.clone().expect("it fits"), now));
                let (server, remote) = (self.server, self.server);
                self.machine.handle_control(ControlEvent::Connected { server, remote, rtt }, now);
            }
            Event::Frame(bytes) => {
                self.pause = FIRST_PAUSE;
                let mut reader = FrameReader::new(MAX_CONTROL_FRAME);
                reader.push(&bytes);
                let message = reader.poll().expect("a message").expect("a whole one");
                self.machine.handle_control(ControlEvent::Message(message), now);
            }
            Event::Ended { reason, .. } => {
                self.note(|| format!("rendezvous lost: {reason}"), now);
                let pause = self.pause.as_millis() as u64;
                self.control = Control::Pausing { until: now + Duration::from_millis(self.random.below(pause + 1)) };
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                self.machine.handle_control(ControlEvent::Lost { reason: reason.to_owned() }, now);
            }
        }
    }

    /// By the way that the destination's address means.
    fn post(&mut self, destination: SocketAddr, payload: Vec<u8>) {
        let (destination, payload) = match (RelayChannel::from_address(destination), self.relay) {
            (Some(channel), Some(relay)) => (relay, [channel.header().as_slice(), &payload].concat()),
            (Some(_), None) => return,
            (None, _) => (destination, payload),
        };
        let from = self.leave.get(&destination).and_then(|id| self.sockets.get(id)).copied().unwrap_or(PORT);
        self.post_from(from, destination, payload);
    }

    fn post_from(&mut self, port: u16, destination: SocketAddr, payload: Vec<u8>) {
        if let Some(own) = self.addresses.of_family(destination.ip()) {
            self.packets += 1;
            self.outbox.push_back(Datagram { source: SocketAddr::new(own, port), destination, payload });
        }
    }

    pub(crate) fn handle_datagram(&mut self, datagram: Datagram, now: Instant) {
        if self.asleep.is_some() || (self.cut_off && !self.is_server(datagram.source)) {
            return;
        }
        let Datagram { source, destination, payload } = datagram;
        let at = destination.port();
        let socket = match at {
            PORT => Some(SocketId::MAIN),
            port => self.sockets.iter().find(|(_, own)| **own == port).map(|(id, _)| *id),
        };
        match (datagram::classify(&payload), socket) {
            (Kind::Stun, _) if self.is_of_discovery(at, source, &payload, now) => {}
            (Kind::Stun, Some(socket)) => drop(self.machine.handle_stun(socket, source, &payload, now)),
            (Kind::Relay, Some(SocketId::MAIN)) if self.relay == Some(source) => {
                if let Some((channel, payload)) = relay::parse(&payload) {
                    self.packet(SocketId::MAIN, channel.address(), payload, now);
                }
            }
            (Kind::Quic, Some(socket)) => self.packet(socket, source, &payload, now),
            _ => {}
        }
        self.pump(now);
    }

    fn is_of_discovery(&mut self, at: u16, source: SocketAddr, payload: &[u8], now: Instant) -> bool {
        let Some((run, fresh_port)) = &mut self.discovering else { return false };
        let socket = match at {
            PORT => discovery::Socket::Main,
            port if port == *fresh_port => discovery::Socket::Fresh,
            _ => return false,
        };
        run.handle_datagram(discovery::Received { socket, source, payload }, now)
    }

    fn packet(&mut self, socket: SocketId, source: SocketAddr, payload: &[u8], now: Instant) {
        let Some((id, content)) = pipe::decode(payload) else { return };
        if let Some(pipe) = self.pipes.get_mut(&id) {
            return pipe.handle(content, source, now);
        }
        match content {
            Content::Open { from } => {
                if let Some(begin) = self.machine.handle_incoming(socket, source) {
                    assert_eq!(begin.peer, from, "nobody else dials");
                    self.pipes.insert(id, Pipe::accept(id, source, begin.rtt, SESSION, now));
                    self.begin(id, begin, false, now);
                }
            }
            Content::Close { .. } | Content::Forgotten => {}
            _ => self.post(source, pipe::encode(id, &Content::Forgotten)),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(until) = self.asleep {
            if now < until {
                return;
            }
            return self.wake(now);
        }
        if matches!(self.control, Control::Pausing { until } if until <= now) {
            let id = self.random.bits();
            let rtt = Duration::from_millis(100);
            self.pipes.insert(id, Pipe::dial(id, self.own, self.server, rtt, CONTROL, now));
            self.control = Control::Connected(id);
        }
        if let Some((run, _)) = &mut self.discovering {
            run.handle_timeout(now);
        }
        for pipe in self.pipes.values_mut().filter(|pipe| pipe.poll_wakeup().is_some_and(|at| at <= now)) {
            pipe.handle_timeout(now);
        }
        for (id, _) in self.sessions.iter().filter(|(_, session)| !session.greeted && session.until <= now) {
            self.pipes.get_mut(id).into_iter().for_each(|pipe| pipe.close(Bye::PathLost as u32));
        }
        self.pump(now);
        let commands = self.post.as_mut().map(|post| post.handle_timeout(now)).unwrap_or_default();
        commands.into_iter().for_each(|command| self.machine.handle_command(command, now));
        self.machine.handle_timeout(now);
        if self.engine.poll_wakeup().is_some_and(|at| at <= now) {
            self.happens(Happening::Wakeup, now);
        }
        self.pump(now);
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Datagram> {
        self.outbox.pop_front()
    }

    pub(crate) fn poll_wakeup(&self) -> Option<Instant> {
        if self.asleep.is_some() {
            return self.asleep;
        }
        let pausing = match self.control {
            Control::Pausing { until } => Some(until),
            Control::Connected(_) => None,
        };
        let greetings = self.sessions.values().filter(|session| !session.greeted).map(|session| session.until).min();
        let run = self.discovering.as_ref().and_then(|(run, _)| run.poll_wakeup()).map(|wakeup| wakeup.at);
        let post = self.post.as_ref().and_then(Post::poll_wakeup);
        let others = [run, greetings, pausing, post, self.machine.poll_wakeup(), self.engine.poll_wakeup()];
        self.pipes.values().filter_map(Pipe::poll_wakeup).chain(others.into_iter().flatten()).min()
    }
}

fn frame(bytes: &[u8]) -> PeerFrame {
    let mut reader = FrameReader::new(MAX_PEER_FRAME);
    reader.push(bytes);
    reader.poll().expect("a frame").expect("a whole one")
}

fn word(message: &ToServer) -> &'static str {
    match message {
        ToServer::Register(_) => "to register",
        ToServer::Update(_) => "for an update",
        ToServer::Introduce(_) => "for an introduction",
        ToServer::Trickle(_) => "to trickle",
        ToServer::Letter(_) => "to pass on a letter",
        ToServer::Outcome(_) => "to remember an outcome",
        ToServer::Prekeys(_) => "to hand out prekeys",
        ToServer::FetchPrekeys(_) => "for prekeys",
        ToServer::Deposit(_) => "to keep an envelope",
        ToServer::Collected(_) => "to delete what was collected",
    }
}
