//! Thousands of clients in one process, as like to the real one as counts here: its keepalive, its first guess of the
//! round trip, no probes of the MTU, ten contacts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::identity::Identity;
use common::introduction::{FromServer, MAX_CONTROL_FRAME, Register, ToServer};
use common::link::Rendezvous as Place;
use common::nat::NatProfile;
use common::pairing::Capability;
use common::tls::{ALPN_RENDEZVOUS, Certificate, SERVER_NAME, client_config};
use common::wire::{self, FrameReader};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, SendStream, TokioRuntime, TransportConfig, VarInt,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// From each of them come at most some hundred clients, fewer than the server lets one address begin at once.
const ADDRESSES: u32 = 256;
const CONTACTS: u64 = 10;
/// A client would have given up long before; what is done by then was slow, what is not has failed.
const GIVE_UP: Duration = Duration::from_secs(15);

/// Sockets, and a number for whoever comes next.
#[derive(Clone)]
pub(crate) struct Crowd {
    place: Arc<Place>,
    endpoints: Arc<[Endpoint]>,
    transport: Arc<TransportConfig>,
}

/// A client that has registered and stays.
pub(crate) struct Idle {
    pub(crate) connection: Connection,
    /// Its end would be the end of the registration.
    _streams: (SendStream, RecvStream),
}

/// How the registrations went.
#[derive(Default)]
pub(crate) struct Outcome {
    /// From the first packet to the answer, sorted.
    pub(crate) times: Vec<Duration>,
    /// Why the others have none.
    pub(crate) failures: Vec<String>,
    /// For all of them.
    pub(crate) wall: Duration,
}

impl Crowd {
    /// Opens the sockets. Needs a runtime.
    pub(crate) fn new(place: Place) -> Self {
        let endpoint = |n: u32| {
            // 127.1.0.0/16; the server is at 127.0.0.1.
            let address = Ipv4Addr::from(0x7f01_0001 + n);
            let socket = UdpSocket::bind((address, 0)).expect("a socket");
            let mut config = EndpointConfig::default();
            config.grease_quic_bit(false);
            Endpoint::new(config, None, socket, Arc::new(TokioRuntime)).expect("an endpoint")
        };
        let mut transport = TransportConfig::default();
        transport
            .keep_alive_interval(Some(Duration::from_secs(3)))
            .initial_rtt(Duration::from_millis(100))
            .mtu_discovery_config(None)
            .max_concurrent_bidi_streams(VarInt::from_u32(2))
            .max_concurrent_uni_streams(VarInt::from_u32(0));
        Crowd {
            place: Arc::new(place),
            endpoints: (0..ADDRESSES).map(endpoint).collect(),
            transport: Arc::new(transport),
        }
    }

    /// These clients come, so many of them at a time. Those who registered are given back if they are to stay, and else leave at
    /// once.
    pub(crate) async fn come(
        &self,
        numbers: std::ops::Range<u64>,
        at_once: usize,
        stay: bool,
        mut progress: impl FnMut(usize),
    ) -> (Vec<Idle>, Outcome) {
        let (mut idle, mut outcome, mut tasks) = (Vec::new(), Outcome::default(), JoinSet::new());
        let turns = Arc::new(Semaphore::new(at_once));
        let since = Instant::now();
        for number in numbers {
            let turn = turns.clone().acquire_owned().await.expect("never closed");
            let crowd = self.clone();
            tasks.spawn(async move {
                let result = crowd.register(number).await;
                drop(turn);
                result
            });
            while let Some(done) = tasks.try_join_next() {
                outcome.note(done.expect("no panic"), stay, &mut idle);
                progress(outcome.times.len());
            }
        }
        while let Some(done) = tasks.join_next().await {
            outcome.note(done.expect("no panic"), stay, &mut idle);
        }
        outcome.wall = since.elapsed();
        outcome.times.sort();
        (idle, outcome)
    }

    async fn register(&self, number: u64) -> Result<(Idle, Duration), String> {
        let endpoint = &self.endpoints[(number % u64::from(ADDRESSES)) as usize];
        let config = self.config(number);
        let server = SocketAddr::new(self.place.host.parse::<IpAddr>().expect("an address"), self.place.port);
        let since = Instant::now();
        let registering = async {
            let connection = endpoint
                .connect_with(config, server, SERVER_NAME)
                .map_err(|error| format!("connecting: {error}"))?
                .await
                .map_err(|error| format!("handshake: {error}"))?;
            let streams = say_hello(&connection, number).await?;
            Ok(Idle { connection, _streams: streams })
        };
        match tokio::time::timeout(GIVE_UP, registering).await {
            Ok(result) => result.map(|idle| (idle, since.elapsed())),
            Err(_) => Err(format!("no answer in {} s", GIVE_UP.as_secs())),
        }
    }

    fn config(&self, number: u64) -> ClientConfig {
        let mut seed = [0x5a; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let certificate = Certificate::new(&Identity::from_seed(&seed)).expect("a certificate");
        let (tls, _) = client_config(&certificate, self.place.key, ALPN_RENDEZVOUS).expect("a configuration");
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("a cipher suite")));
        config.transport_config(self.transport.clone());
        config
    }
}

impl Outcome {
    fn note(&mut self, result: Result<(Idle, Duration), String>, stay: bool, idle: &mut Vec<Idle>) {
        match result {
            Ok((client, time)) => {
                self.times.push(time);
                if stay {
                    idle.push(client);
                } else {
                    client.connection.close(VarInt::from_u32(0), b"");
                }
            }
            Err(why) => self.failures.push(why),
        }
    }

    /// Failures, and successes that took longer than this.
    pub(crate) fn beyond(&self, limit: Duration) -> usize {
        self.failures.len() + self.times.iter().filter(|time| **time > limit).count()
    }
}

async fn say_hello(connection: &Connection, number: u64) -> Result<(SendStream, RecvStream), String> {
    // The cause as well: "connection lost" alone says little.
    let words = |error: &dyn std::error::Error| {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("registering: {error}{cause}")
    };
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| words(&error))?;
    let capability = |n: u64| Capability(u128::from(number << 8 | n).to_be_bytes());
    let register = ToServer::Register(Register {
        epoch: 1,
        capabilities: (0..CONTACTS).map(capability).collect(),
        reflexive: vec![SocketAddr::from(([192, 0, 2, 1], 4000))],
        profile: NatProfile::default(),
        relay_only: false,
    });
    let frame = wire::encode(&register, MAX_CONTROL_FRAME).map_err(|error| words(&error))?;
    send.write_all(&frame).await.map_err(|error| words(&error))?;
    let mut frames = FrameReader::new(MAX_CONTROL_FRAME);
    loop {
        match frames.poll::<FromServer>() {
            Ok(Some(FromServer::Registered(_))) => return Ok((send, recv)),
            Ok(Some(other)) => return Err(format!("not registered but {other:?}")),
            Ok(None) => {}
            Err(error) => return Err(words(&error)),
        }
        match recv.read_chunk(4096, true).await {
            Ok(Some(chunk)) => frames.push(&chunk.bytes),
            Ok(None) => return Err("the server ended the stream".into()),
            Err(error) => return Err(words(&error)),
        }
    }
}
