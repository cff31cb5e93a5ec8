//! A client of a few lines, and a server to talk to, all on loopback.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part of this")]

pub mod tunnel;

use std::io::{self, BufRead, BufReader, IoSliceMut, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use common::datagram::sift;
use common::identity::{Identity, PeerId};
use common::introduction::{
    Deposit, DepositOutcome, FromServer, Introduce, Introduction, MAX_CONTROL_FRAME, Mail, MailboxTerms, Register,
    Registered, ToServer,
};
use common::link::{Link, Rendezvous as Place};
use common::nat::NatProfile;
use common::pairing::{Capability, Pairing};
use common::relay::RelayChannel;
use common::tls::{ALPN_RENDEZVOUS, Certificate, SERVER_NAME, client_config};
use common::wire::{self, FrameReader};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncUdpSocket, ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, RecvStream, Runtime,
    SendStream, TokioRuntime, TransportConfig, UdpPoller, VarInt,
};
use rendezvous::{Config, Rendezvous};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Longer than anything on loopback takes, short enough for a failing test.
pub const SOON: Duration = Duration::from_secs(10);

/// Waits for something that must happen soon.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("it happens soon")
}

/// A server in this process.
pub struct Server {
    pub place: Place,
    pub addresses: Vec<SocketAddr>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<std::io::Result<()>>,
    _folder: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::new((Ipv4Addr::LOCALHOST, 0).into(), folder.path());
        change(&mut config);
        let server = Rendezvous::open(&config).expect("a server");
        let Link::Join(place) = server.link().clone() else { panic!("a join link") };
        let addresses = server.addresses().collect();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Server { place, addresses, stop, running, _folder: folder }
    }

    pub async fn stop(self) {
        let _ = self.stop.send(());
        soon(self.running).await.expect("no panic").expect("no failure");
    }
}

/// Somebody with a key.
pub struct Person {
    pub identity: Identity,
    pub epoch: u64,
    pub contacts: Vec<PeerId>,
    /// How much the server may send before we read.
    pub window: u32,
    pub protocol: &'static [u8],
    /// A datagram that goes ahead of each QUIC packet, in one buffer with it, and is no shorter than any.
    pub ahead: Option<Vec<u8>>,
}

impl Person {
    pub fn new(seed: u8) -> Self {
        Person {
            identity: Identity::from_seed(&[seed; 32]),
            epoch: 1,
            contacts: Vec::new(),
            window: 64 * 1024,
            protocol: ALPN_RENDEZVOUS,
            ahead: None,
        }
    }

    pub fn knows(mut self, other: &Person) -> Self {
        self.contacts.push(other.id());
        self
    }

    pub fn id(&self) -> PeerId {
        self.identity.peer_id()
    }

    pub fn capability(&self, with: PeerId, place: &Place) -> Capability {
        Pairing::new(&self.identity, with).expect("a secret").capability(place.key)
    }

    pub fn register(&self, place: &Place) -> Register {
        Register {
            epoch: self.epoch,
            capabilities: self.contacts.iter().map(|peer| self.capability(*peer, place)).collect(),
            reflexive: Vec::new(),
            profile: NatProfile::default(),
            relay_only: false,
        }
    }

    pub fn introduce(&self, request: u32, peer: PeerId, place: &Place) -> ToServer {
        let capability = self.capability(peer, place);
        ToServer::Introduce(Introduce { request, peer, capability, sealed: vec![7; 40], envelope: vec![] })
    }

    pub async fn connect(&self, place: &Place) -> Client {
        soon(self.try_connect(place)).await.expect("connected")
    }

    pub async fn try_connect(&self, place: &Place) -> Result<Client, ConnectionError> {
        let ip: IpAddr = place.host.parse().expect("an address");
        let local = if ip.is_ipv4() { IpAddr::from([127, 0, 0, 1]) } else { IpAddr::from([0u16, 0, 0, 0, 0, 0, 0, 1]) };
        let socket = std::net::UdpSocket::bind((local, 0)).expect("a socket");
        let plain = socket.try_clone().expect("a second descriptor");
        let (frames, relayed) = mpsc::unbounded_channel();
        let inner = TokioRuntime.wrap_udp_socket(socket).expect("a socket");
        let socket = Arc::new(Tee { inner, frames, ahead: self.ahead.clone() });
        let mut config = EndpointConfig::default();
        config.grease_quic_bit(false);
        let endpoint = Endpoint::new_with_abstract_socket(config, None, socket.clone(), Arc::new(TokioRuntime))
            .expect("an endpoint");
        let certificate = Certificate::new(&self.identity).expect("a certificate");
        let (tls, _) = client_config(&certificate, place.key, self.protocol).expect("a configuration");
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("a cipher suite")));
        let mut transport = TransportConfig::default();
        transport.stream_receive_window(VarInt::from_u32(self.window));
        transport.keep_alive_interval(Some(Duration::from_millis(200)));
        config.transport_config(Arc::new(transport));
        let connecting = endpoint.connect_with(config, (ip, place.port).into(), SERVER_NAME).expect("an address");
        let connection = connecting.await?;
        let (send, recv) = connection.open_bi().await?;
        let frames = FrameReader::new(MAX_CONTROL_FRAME);
        let server = (ip, place.port).into();
        Ok(Client {
            endpoint,
            connection,
            send,
            recv,
            frames,
            raw: Vec::new(),
            terms: None,
            socket,
            plain,
            server,
            relayed,
        })
    }

    pub async fn register_at(&self, place: &Place) -> (Client, Registered) {
        let mut client = self.connect(place).await;
        client.send(&ToServer::Register(self.register(place))).await;
        match client.next().await {
            FromServer::Registered(registered) => (client, registered),
            other => panic!("registered, not {other:?}"),
        }
    }
}

/// A connection to a server.
pub struct Client {
    pub endpoint: Endpoint,
    pub connection: Connection,
    pub send: SendStream,
    pub recv: RecvStream,
    frames: FrameReader,
    /// All bytes received so far.
    pub raw: Vec<u8>,
    /// What the mailbox said.
    pub terms: Option<MailboxTerms>,
    socket: Arc<Tee>,
    /// The same socket, for whoever does without quinn.
    pub plain: std::net::UdpSocket,
    pub server: SocketAddr,
    /// Relay frames that arrived.
    pub relayed: mpsc::UnboundedReceiver<Vec<u8>>,
}

/// A socket that keeps relay frames from quinn.
#[derive(Debug)]
struct Tee {
    inner: Arc<dyn AsyncUdpSocket>,
    frames: mpsc::UnboundedSender<Vec<u8>>,
    ahead: Option<Vec<u8>>,
}

impl AsyncUdpSocket for Tee {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(ahead) = &self.ahead else { return self.inner.try_send(transmit) };
        let contents = [ahead.as_slice(), transmit.contents].concat();
        let segment_size = Some(ahead.len());
        let Transmit { destination, ecn, src_ip, .. } = *transmit;
        self.inner.try_send(&Transmit { destination, ecn, contents: &contents, segment_size, src_ip })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.inner.poll_recv(cx, buffers, metas))?;
        for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()).take(received) {
            meta.len = sift(&mut buffer[..meta.len], meta.stride, |_, datagram| {
                let _ = self.frames.send(datagram.to_vec());
            });
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }
}

impl Client {
    pub fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().expect("bound")
    }

    pub async fn send(&mut self, message: &ToServer) {
        self.send_bytes(&wire::encode(message, MAX_CONTROL_FRAME).expect("short")).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        soon(self.send.write_all(bytes)).await.expect("written");
    }

    /// What the server says next, but for its terms: they come when the disk is ready.
    pub async fn next(&mut self) -> FromServer {
        loop {
            match self.next_of_all().await {
                FromServer::Mailbox(terms) => self.terms = Some(terms),
                other => return other,
            }
        }
    }

    async fn next_of_all(&mut self) -> FromServer {
        soon(self.next_or_end()).await.expect("one more frame")
    }

    /// The terms of the mailbox, which come before anything of it.
    pub async fn terms(&mut self) -> MailboxTerms {
        match self.terms {
            Some(terms) => terms,
            None => match self.next_of_all().await {
                FromServer::Mailbox(terms) => *self.terms.insert(terms),
                other => panic!("the terms of the mailbox, not {other:?}"),
            },
        }
    }

    pub async fn next_mail(&mut self) -> Mail {
        match self.next().await {
            FromServer::Mail(mail) => mail,
            other => panic!("mail, not {other:?}"),
        }
    }

    /// Leaves an envelope, and says what became of it.
    pub async fn deposit(
        &mut self,
        request: u32,
        peer: PeerId,
        capability: Capability,
        envelope: &[u8],
    ) -> DepositOutcome {
        let envelope = envelope.to_vec();
        self.send(&ToServer::Deposit(Deposit { request, peer, capability, envelope })).await;
        match self.next().await {
            FromServer::Deposited { request: answered, outcome } if answered == request => outcome,
            other => panic!("what became of the deposit, not {other:?}"),
        }
    }

    pub async fn next_introduction(&mut self) -> Introduction {
        match self.next().await {
            FromServer::Introduction(introduction) => introduction,
            other => panic!("an introduction, not {other:?}"),
        }
    }

    async fn next_or_end(&mut self) -> Option<FromServer> {
        loop {
            if let Some(message) = self.frames.poll().expect("frames") {
                return Some(message);
            }
            let chunk = self.recv.read_chunk(64 * 1024, true).await.ok()??;
            self.raw.extend_from_slice(&chunk.bytes);
            self.frames.push(&chunk.bytes);
        }
    }

    /// Sends these datagrams, all of the length of the first but the last, which may be shorter, in one call.
    pub fn send_datagrams(&self, contents: &[u8], size: usize) {
        let segment_size = Some(size).filter(|size| *size < contents.len());
        let transmit = Transmit { destination: self.server, ecn: None, contents, segment_size, src_ip: None };
        self.socket.try_send(&transmit).expect("room to send");
    }

    /// A relay frame with this payload.
    pub fn send_frame(&self, channel: RelayChannel, payload: &[u8]) {
        let frame = frame(channel, payload);
        self.send_datagrams(&frame, frame.len());
    }

    pub async fn next_frame(&mut self) -> Vec<u8> {
        soon(self.relayed.recv()).await.expect("one more relay frame")
    }

    /// What the server closed this connection with.
    pub async fn closed(&self) -> u64 {
        close_code(&self.connection).await
    }

    pub async fn leave(self) {
        self.connection.close(VarInt::from_u32(0), b"");
        soon(self.endpoint.wait_idle()).await;
    }
}

/// As it crosses the wire.
pub fn frame(channel: RelayChannel, payload: &[u8]) -> Vec<u8> {
    [channel.header().as_slice(), payload].concat()
}

/// What the server closed a connection with.
pub async fn close_code(connection: &Connection) -> u64 {
    match soon(connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("closed by the server, not {other}"),
    }
}

/// The real program.
pub struct Process {
    child: Child,
    pub join: String,
}

pub fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rendezvous"));
    command.env_clear().args(["run", "--data"]).arg(data).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Process {
    /// Starts it on a free port and waits for its link.
    pub fn start(data: &Path, args: &[&str]) -> Self {
        Self::start_in(data, args, &[])
    }

    pub fn start_in(data: &Path, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = command(data);
        command.args(args).envs(environment.iter().copied());
        Self::spawn(command)
    }

    /// The same with any program that prints a link.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("started");
        let mut join = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut join).expect("a line");
        Process { child, join }
    }

    pub fn place(&self) -> Place {
        let link = self.join.strip_prefix("join ").expect("`join LINK`").parse().expect("a link");
        let Link::Join(place) = link else { panic!("a join link") };
        place
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    #[cfg(unix)]
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("sent");
    }

    /// Waits for the end: how it ended, what else it said on standard output, and what on standard error.
    pub fn wait(mut self) -> (ExitStatus, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.child.stdout.take().expect("piped").read_to_string(&mut out).expect("text");
        self.child.stderr.take().expect("piped").read_to_string(&mut err).expect("text");
        (self.child.wait().expect("its status"), out, err)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only after a failed test, or where the test killed it itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
