//! Drives [`common::lifetime`]: gives it its sockets, which live as long as the run.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::candidate::canonical;
use common::lifetime::{Config, Measurement, SILENCES, Socket};
use common::link::Rendezvous;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::node::LifetimeReport;

/// Answers that wait for the run.
const QUEUE: usize = 64;
/// How often the picture moves.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Measures, and says how it goes and what came of it. Whoever drops the receiver ends it.
pub(crate) async fn measure(rendezvous: Rendezvous, reports: mpsc::Sender<LifetimeReport>) {
    let last = match run(&rendezvous, &reports).await {
        Ok(report) => report,
        Err(error) => LifetimeReport::Failed(error.to_string()),
    };
    let _ = reports.send(last).await;
}

async fn run(rendezvous: &Rendezvous, reports: &mpsc::Sender<LifetimeReport>) -> io::Result<LifetimeReport> {
    let found: Vec<SocketAddr> =
        tokio::net::lookup_host((rendezvous.host.as_str(), rendezvous.port)).await?.map(canonical).collect();
    // IPv4 first: there the NATs are.
    let server = found.iter().find(|server| server.is_ipv4()).or(found.first());
    let server = *server.ok_or_else(|| io::Error::other(format!("{} has no address", rendezvous.host)))?;
    let seed = crate::random::bytes().map_err(|failure| io::Error::other(failure.to_string()))?;
    let silences = SILENCES.into_iter().map(Duration::from_secs).collect();
    let mut run = Measurement::new(Config { server, silences, seed }, Instant::now());
    let (heard, mut datagrams) = mpsc::channel(QUEUE);
    let (mut sockets, mut readers) = (Vec::new(), JoinSet::new());
    for number in 0..run.sockets() {
        let socket = open(server).await?;
        readers.spawn(read(Socket(number), socket.clone(), heard.clone()));
        sockets.push(socket);
    }
    let mut told = Instant::now();
    loop {
        while let Some(transmit) = run.poll_transmit() {
            if let Some(socket) = sockets.get(usize::from(transmit.socket.0)) {
                // Best effort, like the network: what matters is repeated.
                let _ = socket.try_send_to(&transmit.payload, server);
            }
        }
        if let Some(outcome) = run.outcome() {
            return Ok(outcome.map_or_else(|trouble| LifetimeReport::Failed(trouble.to_string()), LifetimeReport::Done));
        }
        let picture = told + PROGRESS_EVERY;
        let at = run.poll_wakeup().map_or(picture, |at| at.min(picture));
        tokio::select! {
            Some((socket, source, payload)) = datagrams.recv() => run.handle_datagram(socket, source, &payload, Instant::now()),
            () = sleep_until(at.into()) => run.handle_timeout(Instant::now()),
            () = reports.closed() => return Err(io::ErrorKind::Interrupted.into()),
        }
        let now = Instant::now();
        if now >= picture {
            told = now;
            // A picture that nobody has taken yet is new enough.
            let _ = reports.try_send(LifetimeReport::Progress { share: run.share(now), span: run.span() });
        }
    }
}

async fn open(server: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // tokio knows only after this that it may send at once.
    socket.writable().await?;
    Ok(Arc::new(socket))
}

async fn read(number: Socket, socket: Arc<UdpSocket>, heard: mpsc::Sender<(Socket, SocketAddr, Vec<u8>)>) {
    let mut buffer = [0; 1500];
    loop {
        let (count, source) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // Windows reports ICMP errors of earlier sends here; they concern one destination, not the socket.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => continue,
            Err(error) => return tracing::debug!(%error, "a socket is of no more use"),
        };
        if heard.send((number, source, buffer[..count].to_vec())).await.is_err() {
            return;
        }
    }
}
