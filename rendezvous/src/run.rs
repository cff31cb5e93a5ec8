//! The sockets: opens them, puts quinn on them, accepts, and sends everybody away at the end.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::identity::Identity;
use common::introduction::{CloseCode, StunEndpoints};
use common::link::{Link, Rendezvous as Place};
use common::tls::{ALPN_RENDEZVOUS, Certificate, TlsError, server_config};
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn::{
    AsyncUdpSocket, Endpoint, EndpointConfig, IdleTimeout, Runtime, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use ring::hmac;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::admission::{Admission, Verdict};
use crate::config::Config;
use crate::connection::serve;
use crate::connection_ids::ConnectionIds;
use crate::data_folder::{DataError, DataFolder};
use crate::forwarder::Forwarder;
use crate::hub::Hub;
use crate::lane::{Lane, Strays};
use crate::limits::{HANDSHAKES, Limits};
use crate::listen::{self, Family, ListenError, Port};
use crate::mailbox::Mailbox;
use crate::mailbox::schema::MailboxError;
use crate::mailbox::thread::{Thread, unix_now};
use crate::memory::Memory;
use crate::relay::SocketIndex;
use crate::relay::channels::Channels;
use crate::relay::quota::Quota;
use crate::relay::switch::Switch;
use crate::server::Server;
use crate::socket::{Counters, DemuxSocket, StunSockets};
use crate::stun_service::{Layout, Place as StunPlace, StunService};
use crate::tunnel::{Listeners, TunnelError, TunnelSocket, Tunnels};

/// Silence after which a connection is given up. Clients speak every four seconds, so two keepalives may be lost, and a
/// peer who has gone is not offered to others for longer than this.
const IDLE: Duration = Duration::from_secs(12);
/// How long a server that was told to stop takes at most.
const DRAIN: Duration = Duration::from_secs(1);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The sockets.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The ports of the tunnel.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// The mail for those who are away.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS, for QUIC.
    #[error("TLS lacks the cipher suite that QUIC starts with: {0}")]
    CipherSuite(#[from] NoInitialCipherSuite),
    /// No random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// The runtime.
    #[error("starting to listen: {0}")]
    Io(#[from] io::Error),
}

impl StartError {
    /// Did the operator ask for something that cannot be, whatever the machine?
    pub fn is_usage(&self) -> bool {
        use ListenError::{Addresses, LastPort, Nothing, Ports};
        match self {
            StartError::Listen(Addresses(_) | Ports(..) | Nothing | LastPort) => true,
            StartError::Tunnel(error) => error.is_usage(),
            _ => false,
        }
    }
}

/// A server whose sockets are open. It answers once [`Rendezvous::run`] runs.
#[derive(Debug)]
pub struct Rendezvous {
    link: Link,
    listeners: Vec<Listener>,
    lanes: Vec<Lane>,
    stun: Vec<Arc<StunSockets>>,
    hub: Arc<Hub>,
    counters: Arc<Counters>,
    forwarder: Arc<Forwarder>,
    tunnel: Option<Tunnel>,
    /// Ends, and closes its file, with this.
    _mailbox: Option<Thread>,
    /// Locked for as long as the server is there.
    _data: DataFolder,
}

/// A port with more than STUN.
struct Primary {
    place: StunPlace,
    layout: Layout,
    socket: Arc<dyn AsyncUdpSocket>,
    strangers: Option<Arc<dyn AsyncUdpSocket>>,
    relay: Option<Arc<dyn AsyncUdpSocket>>,
    family: Arc<StunSockets>,
}

/// Hands the sockets to the runtime.
fn primaries(families: Vec<Family>, counters: &Arc<Counters>) -> Result<Vec<Primary>, StartError> {
    let mut primaries = Vec::new();
    for Family { layout, ports } in families {
        let (mut sockets, mut opened) = (Vec::new(), Vec::new());
        let wrap = |socket| TokioRuntime.wrap_udp_socket(socket);
        for Port { place, socket, shared } in ports {
            let socket = wrap(socket)?;
            sockets.push((place, socket.clone()));
            if !place.second_port {
                let relay = shared.relay.map(wrap).transpose()?;
                opened.push((place, socket, shared.strangers.map(wrap).transpose()?, relay));
            }
        }
        let family = StunSockets::new(StunService::new(layout, getrandom::u64()?), sockets, counters.clone());
        primaries.extend(opened.into_iter().map(|(place, socket, strangers, relay)| {
            let family = family.clone();
            Primary { place, layout, socket, strangers, relay, family }
        }));
    }
    Ok(primaries)
}

/// An endpoint of QUIC.
#[derive(Debug, Clone)]
struct Listener {
    endpoint: Endpoint,
    address: SocketAddr,
    socket: SocketIndex,
    stun: StunEndpoints,
    /// If its addresses are those of tunnels, where they come from in truth.
    origins: Option<Arc<TunnelSocket>>,
}

/// The tunnel's ports, and what serves them.
#[derive(Debug)]
struct Tunnel {
    tunnels: Arc<Tunnels>,
    listeners: Listeners,
}

/// Opens a server and runs it until `shutdown` is done. To learn its link first, use [`Rendezvous::open`].
pub async fn run(config: &Config, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
    Ok(Rendezvous::open(config)?.run(shutdown).await?)
}

impl Rendezvous {
    /// Opens the data folder and the sockets. Must be called within a tokio runtime.
    pub fn open(config: &Config) -> Result<Self, StartError> {
        let data = DataFolder::open(&config.data)?;
        let identity = data.identity()?;
        let families = listen::open(&config.listen, config.ipv6_optional)?;
        let tunnel = Listeners::open(&config.tunnel)?;
        let mut place = join_place(config, &identity, &families);
        if let Some(tunnel) = &tunnel {
            place = place.with_tunnel(tunnel.port);
        }
        let link = Link::Join(place);
        let quic = quic_config(&identity)?;
        // Drawn from the system for each introduction: a few thousand a second cost nothing. If the system fails after
        // it had worked, ids merely repeat, which the server notices.
        let draw = Box::new(|| getrandom::u64().unwrap_or(0));
        let counters = Arc::new(Counters::default());
        let primaries = primaries(families, &counters)?;
        let address = |primary: &Primary| primary.socket.local_addr();
        let mut own = primaries.iter().map(address).collect::<io::Result<Vec<_>>>()?;
        let limits = &config.limits;
        let quota =
            Quota { bytes: limits.relay_bytes_per_second.get(), packets: limits.relay_packets_per_second.get() };
        // What is relayed leaves by the relay's socket, so that there, too, nothing else waits behind it.
        let outlet = |primary: &Primary| primary.relay.as_ref().unwrap_or(&primary.socket).clone();
        let mut sockets: Vec<_> = primaries.iter().map(outlet).collect();
        let tunnel = tunnel.map(|listeners| (listeners, TunnelSocket::new()));
        if let Some((_, socket)) = &tunnel {
            own.push(socket.local_addr()?);
            sockets.push(socket.clone());
        }
        let forwarder = Arc::new(Forwarder::new(Switch::new(quota, own), sockets));
        let mut server = Server::new(limits, draw)
            .with_calendar(Instant::now().into_std(), unix_now())
            .with_memory(Memory::new(getrandom::u64()?));
        if config.relay {
            server = server.with_relay(Channels::new(limits.relay_channels));
        }
        let mailbox = config.mailbox.as_deref().map(|folder| open_mailbox(folder, &identity, limits)).transpose()?;
        if mailbox.is_some() {
            server = server.with_mailbox(getrandom::u64()?);
        }
        let hub = Arc::new(Hub::new(server, Admission::new(*limits, getrandom::u64()?), forwarder.clone()));
        let mailbox = mailbox.map(|mailbox| start_mailbox(mailbox, &hub)).transpose()?;
        let (mut listeners, mut lanes, mut stun) = (Vec::new(), Vec::new(), Vec::<Arc<StunSockets>>::new());
        for Primary { place, layout, socket, strangers, relay, family } in primaries {
            let index = SocketIndex(listeners.len());
            let (stray, strays) = Strays::new();
            lanes.extend(relay.map(|relay| {
                Lane::new(place, index, relay, stray, family.clone(), forwarder.clone(), counters.clone())
            }));
            let socket = DemuxSocket::new(place, index, socket, strangers, family.clone(), forwarder.clone(), strays);
            let address = socket.local_addr()?;
            let other = if address.ip() == layout.ip { layout.second_ip } else { Some(layout.ip) };
            let endpoints = StunEndpoints {
                alternate_port: layout.second_port,
                alternate: other.map(|ip| SocketAddr::new(ip, layout.port)),
            };
            let (endpoint_config, server) = (endpoint_config(&identity)?, Some(quic.clone()));
            let socket = Arc::new(socket);
            let endpoint = Endpoint::new_with_abstract_socket(endpoint_config, server, socket, Arc::new(TokioRuntime))?;
            listeners.push(Listener { endpoint, address, socket: index, stun: endpoints, origins: None });
            if !stun.iter().any(|known| Arc::ptr_eq(known, &family)) {
                stun.push(family);
            }
        }
        let tunnel = match tunnel {
            Some((ports, socket)) => {
                let (index, admission) = (SocketIndex(listeners.len()), Admission::new(*limits, getrandom::u64()?));
                listeners.push(tunnelled(&identity, quic, socket.clone(), index)?);
                let (forwarder, counters) = (forwarder.clone(), counters.clone());
                let tunnels = Tunnels::new(&identity, socket, index, forwarder, counters, admission)?;
                Some(Tunnel { tunnels, listeners: ports })
            }
            None => None,
        };
        Ok(Rendezvous {
            link,
            listeners,
            lanes,
            stun,
            hub,
            counters,
            forwarder,
            tunnel,
            _mailbox: mailbox,
            _data: data,
        })
    }

    /// What people put into their clients to join.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Where QUIC and STUN are answered.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().filter(|listener| listener.origins.is_none()).map(|listener| listener.address)
    }

    /// Serves until `shutdown` is done; then tells everybody and takes leave, for a second at most. An error if it had to
    /// stop before: a server that no longer listens must not look as if it ran.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        // Whoever serves a connection holds a sender; when the last is dropped, all have gone.
        let (busy, mut idle) = mpsc::channel::<()>(1);
        let mut tasks = tokio::task::JoinSet::new();
        for listener in &self.listeners {
            tasks.spawn(accept(listener.clone(), self.hub.clone(), busy.clone()));
        }
        // Until the end: a client's last words to another go through the relay, too.
        let mut relaying = tokio::task::JoinSet::new();
        for lane in self.lanes.drain(..) {
            relaying.spawn(lane.serve());
        }
        for listener in &self.listeners {
            tasks.spawn(self.forwarder.clone().serve_queue(listener.socket));
        }
        if let Some(Tunnel { tunnels, listeners }) = &self.tunnel {
            for listener in &listeners.sockets {
                tasks.spawn(tunnels.clone().accept(listener.clone()));
            }
        }
        for stun in &self.stun {
            tasks.spawn(stun.clone().serve_alternate_ports());
        }
        let origins = self.listeners.iter().find_map(|listener| listener.origins.clone());
        tasks.spawn(tick(self.hub.clone(), self.counters.clone(), self.forwarder.clone(), origins));
        drop(busy);
        let result = tokio::select! {
            () = shutdown => Ok(()),
            _ = tasks.join_next() => Err(io::Error::other("a socket failed, so this server cannot go on; start it again")),
        };

        let deadline = Instant::now() + DRAIN;
        tracing::info!(registered = self.hub.registered(), "stopping");
        tasks.shutdown().await;
        self.hub.drain();
        let _ = timeout_at(deadline, idle.recv()).await;
        for listener in &self.listeners {
            let code = CloseCode::Draining;
            listener.endpoint.close(VarInt::from_u32(code.code()), format!("{code:?}").as_bytes());
        }
        for listener in &self.listeners {
            let _ = timeout_at(deadline, listener.endpoint.wait_idle()).await;
        }
        // They carried the last words.
        if let Some(Tunnel { tunnels, .. }) = &self.tunnel {
            tunnels.close();
        }
        result
    }
}

async fn accept(listener: Listener, hub: Arc<Hub>, busy: mpsc::Sender<()>) {
    let Listener { endpoint, socket, stun, .. } = listener;
    while let Some(incoming) = endpoint.accept().await {
        let remote = incoming.remote_address();
        let (source, proven) = match &listener.origins {
            None => (remote.ip(), incoming.remote_address_validated()),
            // TCP has proved it.
            Some(tunnels) => match tunnels.source_of(remote) {
                Some(source) => (source, true),
                None => {
                    incoming.ignore();
                    continue;
                }
            },
        };
        let verdict = hub.judge(source, proven);
        match verdict {
            Verdict::Accept => match incoming.accept() {
                Ok(connecting) => {
                    let (hub, busy) = (hub.clone(), busy.clone());
                    tokio::spawn(async move {
                        serve(hub, connecting, source, socket, stun).await;
                        drop(busy);
                    });
                }
                Err(error) => {
                    hub.handshake_ended();
                    tracing::debug!(%error, "a first packet that is none");
                }
            },
            Verdict::Retry => {
                if let Err(refused) = incoming.retry() {
                    refused.into_incoming().refuse();
                }
            }
            Verdict::Refuse => incoming.refuse(),
            Verdict::Ignore => incoming.ignore(),
        }
    }
}

async fn tick(hub: Arc<Hub>, counters: Arc<Counters>, forwarder: Arc<Forwarder>, tunnels: Option<Arc<TunnelSocket>>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for n in 0u64.. {
        second.tick().await;
        hub.tick();
        if n % 60 == 0 {
            let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            let relayed = forwarder.counts();
            let (outcomes, hints) = hub.remembered();
            tracing::debug!(
                registered = hub.registered(),
                stun_answered = of(&counters.stun_answered),
                stun_dropped = of(&counters.stun_dropped),
                junk = of(&counters.junk),
                strays_dropped = of(&counters.strays_dropped),
                channels = hub.channels(),
                outcomes,
                hints,
                relayed_frames = relayed.frames,
                relayed_bytes = relayed.bytes,
                relay_dropped = %relayed,
                tunnels = tunnels.as_ref().map(|tunnels| tunnels.len()),
                tunnels_dropped = tunnels.as_ref().map(|tunnels| tunnels.dropped()),
                "so far"
            );
        }
    }
}

fn open_mailbox(folder: &Path, identity: &Identity, limits: &Limits) -> Result<Mailbox, MailboxError> {
    let [a, b, c, d, e, f, g, h, ..] = derive(identity, "punchline rendezvous mailbox sources v1");
    Mailbox::open(folder, identity.clone(), limits, u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}

fn start_mailbox(mailbox: Mailbox, hub: &Arc<Hub>) -> Result<Thread, MailboxError> {
    let telling = Arc::downgrade(hub);
    let tell = move |events| {
        if let Some(hub) = telling.upgrade() {
            hub.mailbox(events);
        }
    };
    let thread = Thread::start(mailbox, tell).map_err(MailboxError::Thread)?;
    hub.set_mailbox(thread.commands());
    Ok(thread)
}

/// Where the link leads: what `--host` says, or the first address that is listened on, or, if that is the wildcard, the
/// address with which this machine goes out.
fn join_place(config: &Config, identity: &Identity, families: &[Family]) -> Place {
    let key = identity.peer_id();
    let layout = families.first().map(|family| family.layout);
    let port = layout.map_or(common::link::DEFAULT_PORT, |layout| layout.port);
    if let Some(host) = &config.host {
        return Place { host: host.name.clone(), port: host.port.unwrap_or(port), key, tunnel: None };
    }
    let listening = layout.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |layout| layout.ip);
    let host = if listening.is_unspecified() {
        tracing::info!(
            "the link names this machine's own address; if clients reach it by another or by a name, set --host"
        );
        listen::outgoing_ip(listening.is_ipv6()).unwrap_or_else(|| {
            tracing::warn!("this machine has no route to anywhere, so the link leads to itself alone; set --host");
            Ipv4Addr::LOCALHOST.into()
        })
    } else {
        listening
    };
    Place { host: host.to_string(), port, key, tunnel: None }
}

/// A secret of this server for one purpose. The same after a restart.
fn derive(identity: &Identity, purpose: &str) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, identity.seed()), purpose.as_bytes());
    let mut secret = [0; 32];
    secret.copy_from_slice(tag.as_ref());
    secret
}

/// After a restart clients go on sending to connections that are gone. They are told so at once by a stateless reset
/// (RFC 9000, section 10.3), for which the key and the check in the connection ids must be those of before.
fn endpoint_config(identity: &Identity) -> Result<EndpointConfig, getrandom::Error> {
    let reset_key = derive(identity, "punchline rendezvous stateless reset v1");
    let ids = ConnectionIds::new(&derive(identity, "punchline rendezvous connection ids v2"), getrandom::u64()?);
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset_key)));
    config.cid_generator(move || Box::new(ids.clone()));
    // Only ids that this server gave out get this far, so quinn's 50 a second would merely delay a thousand clients.
    config.min_reset_interval(Duration::from_millis(1));
    // The QUIC bit tells QUIC from STUN (RFC 9443).
    config.grease_quic_bit(false);
    Ok(config)
}

/// The endpoint of those who come through tunnels. Each stays in its own.
fn tunnelled(
    identity: &Identity,
    mut quic: ServerConfig,
    socket: Arc<TunnelSocket>,
    index: SocketIndex,
) -> Result<Listener, StartError> {
    quic.migration(false);
    let (config, runtime) = (endpoint_config(identity)?, Arc::new(TokioRuntime));
    let address = socket.local_addr()?;
    let endpoint = Endpoint::new_with_abstract_socket(config, Some(quic), socket.clone(), runtime)?;
    // Over TCP there is no NAT to look at.
    let stun = StunEndpoints { alternate_port: 0, alternate: None };
    Ok(Listener { endpoint, address, socket: index, stun, origins: Some(socket) })
}

fn quic_config(identity: &Identity) -> Result<ServerConfig, StartError> {
    let certificate = Certificate::new(identity)?;
    let (mut tls, _) = server_config(&certificate, None, ALPN_RENDEZVOUS)?;
    tls.max_early_data_size = 0;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let mut transport = TransportConfig::default();
    transport
        // One for frames, one for what later versions need.
        .max_concurrent_bidi_streams(VarInt::from_u32(2))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        // A frame has at most 24 KiB, and is taken from the stream as it arrives.
        .stream_receive_window(VarInt::from_u32(16 * 1024))
        .receive_window(VarInt::from_u32(32 * 1024))
        .send_window(32 * 1024)
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE.as_millis() as u32))))
        // Frames are small; probing each path for a larger MTU costs more than it gives.
        .mtu_discovery_config(None)
        .allow_spin(false);
    config.transport_config(Arc::new(transport));
    // First packets wait only for the accept loop; a client's Initial flight is two datagrams at most.
    config.max_incoming(HANDSHAKES).incoming_buffer_size(8 * 1024).incoming_buffer_size_total(4 << 20);
    Ok(config)
}
