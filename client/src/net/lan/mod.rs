//! The sockets by which contacts on our LAN are found: what [`crate::node`] wants said goes out by multicast DNS and by
//! broadcast, because some routers and phones swallow the one and some the other; and what is heard goes in.
//!
//! Three sockets. That of *calls* has a port of its own: what is meant for us alone comes there, and announcements by broadcast leave
//! from it. Those that hear broadcasts and multicast DNS share their ports with whoever else listens on this machine. Nothing is
//! opened if nothing is to be said (`--no-lan`).
//!
//! # Limits
//!
//! IPv4. Nothing is taken from an address that is not on one of our own networks, so reflectors of multicast DNS between networks do
//! not help. Records are not withdrawn at the end; they run out after two minutes.

mod intake;
mod places;
pub(super) mod records;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket as StdSocket};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use common::lan::{Announcement, PORT};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::node::Audience;
use intake::Intake;
use places::{Place, places};
use records::Said;

/// Of multicast DNS (RFC 6762, section 3).
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const MDNS_PORT: u16 = 5353;
/// So that whoever receives it can see that it was sent on his link (RFC 6762, section 11).
const MDNS_TTL: u32 = 255;
/// A packet of multicast DNS is no longer (RFC 6762, section 17).
const LONGEST: usize = 9000;
/// What waits for the driver; more is a flood.
const QUEUE: usize = 64;
/// After an error of a socket, in case it is one that comes again and again.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// What was heard.
#[derive(Debug)]
pub(super) enum Overheard {
    /// A datagram.
    Datagram {
        source: SocketAddr,
        /// To everybody, not to us alone.
        to_all: bool,
        payload: Vec<u8>,
    },
    /// Somebody asks by multicast DNS who is there.
    Question,
}

type Places = Arc<RwLock<Vec<Place>>>;

/// All that is needed to be found.
pub(super) struct LanSockets {
    calls: Arc<UdpSocket>,
    multicast: Option<Arc<UdpSocket>>,
    places: Places,
}

impl LanSockets {
    /// Opens them and begins to listen. A shared port that cannot be had is done without: the other one may do.
    pub(super) async fn open() -> io::Result<(LanSockets, mpsc::Receiver<Overheard>)> {
        let (heard, inbox) = mpsc::channel(QUEUE);
        let places = Places::default();
        let calls = Arc::new(alone()?);
        let shared = |port| {
            let opened = shared(port).inspect_err(|error| tracing::debug!(%error, port, "is not listened to"));
            opened.ok().map(Arc::new)
        };
        let (multicast, broadcast) = (shared(MDNS_PORT), shared(PORT));
        // tokio refuses to send on a socket until it has once heard that it may.
        calls.writable().await?;
        if let Some(multicast) = &multicast {
            SockRef::from(&**multicast).set_multicast_ttl_v4(MDNS_TTL)?;
            multicast.writable().await?;
        }
        let listen = |socket: &Arc<UdpSocket>, kind| {
            tokio::spawn(listen(socket.clone(), kind, places.clone(), heard.clone()));
        };
        listen(&calls, Kind::Calls);
        multicast.iter().for_each(|socket| listen(socket, Kind::Multicast));
        broadcast.iter().for_each(|socket| listen(socket, Kind::Broadcast));
        let lan = LanSockets { calls, multicast, places };
        lan.look_around();
        Ok((lan, inbox))
    }

    /// Where calls are heard.
    pub(super) fn port(&self) -> u16 {
        self.calls.local_addr().map_or(0, |own| own.port())
    }

    /// The network may have changed.
    pub(super) fn look_around(&self) {
        let now = places();
        if let Some(multicast) = &self.multicast {
            for place in &now {
                // Most often it is a member already.
                let _ = SockRef::from(&**multicast).join_multicast_v4(&GROUP, &place.own);
            }
        }
        *self.places.write().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Tells everybody on every LAN. Best effort, like the network.
    pub(super) fn announce(&self, announcement: &Announcement, audience: Audience) {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner).clone();
        if audience != Audience::Broadcast {
            places.iter().for_each(|place| self.multicast(announcement, place));
        }
        if audience != Audience::Multicast && !places.is_empty() {
            let bytes = announcement.encode();
            let all = places.iter().map(|place| place.broadcast).chain([Ipv4Addr::BROADCAST]);
            all.for_each(|all| drop(self.calls.try_send_to(&bytes, (all, PORT).into())));
        }
    }

    fn multicast(&self, announcement: &Announcement, place: &Place) {
        let Some(socket) = &self.multicast else { return };
        if let Some(packet) = records::response(announcement, place.own)
            && SockRef::from(&**socket).set_multicast_if_v4(&place.own).is_ok()
        {
            let _ = socket.try_send_to(&packet, (GROUP, MDNS_PORT).into());
        }
    }

    /// Says something to one.
    pub(super) fn send(&self, destination: SocketAddr, payload: &[u8]) {
        let _ = self.calls.try_send_to(payload, destination);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Calls,
    Broadcast,
    Multicast,
}

/// Until nobody wants to hear any more.
async fn listen(socket: Arc<UdpSocket>, kind: Kind, places: Places, heard: mpsc::Sender<Overheard>) {
    let (mut buffer, mut intake) = (vec![0; LONGEST], Intake::new(Instant::now()));
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = heard.closed() => return,
        };
        // What a datagram of ours met on its way (ICMP) is told by such errors.
        let Ok((length, source)) = received else {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        let near = places.read().unwrap_or_else(PoisonError::into_inner).iter().any(|place| place.has(source.ip()));
        if !near {
            continue;
        }
        let datagram =
            |payload: &[u8]| Overheard::Datagram { source, to_all: kind != Kind::Calls, payload: payload.to_vec() };
        let all = match kind {
            Kind::Calls | Kind::Broadcast => vec![datagram(&buffer[..length])],
            Kind::Multicast => match records::read(&buffer[..length]) {
                Said::Question => vec![Overheard::Question],
                Said::Announcements(announcements) => announcements.iter().map(|payload| datagram(payload)).collect(),
                Said::Nothing => vec![],
            },
        };
        if all.is_empty() || !intake.take(source.ip(), Instant::now()) {
            continue;
        }
        // A full queue is a flood, and is dropped as a full socket buffer would.
        all.into_iter().for_each(|one| drop(heard.try_send(one)));
    }
}

fn alone() -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    bind(socket, 0)
}

/// Others on this machine have this port, too: other clients, or the system's own multicast DNS.
fn shared(port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    crate::system::share_port(&socket)?;
    bind(socket, port)
}

fn bind(socket: Socket, port: u16) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    UdpSocket::from_std(StdSocket::from(socket))
}
