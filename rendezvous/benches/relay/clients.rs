//! Clients that have met, and then send frames as fast as they are told, past quinn.

use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::link::Rendezvous as Place;
use common::relay::{HEADER, RelayChannel};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, recv, sendmsg};

use crate::support::{Client, Person};

/// The bytes of a frame.
pub(crate) const SIZE: usize = 1100;

/// What one client sends.
pub(crate) struct Flow {
    socket: UdpSocket,
    server: SocketAddr,
    /// To each of two others.
    frames: [Vec<u8>; 2],
}

/// Clients in a ring; each may send to its two neighbours.
pub(crate) struct Clients {
    pub(crate) flows: Vec<Flow>,
    /// They live as long as quinn's side of them.
    _clients: Vec<Client>,
}

/// How many frames a client hands to the system at once.
#[derive(Clone, Copy)]
pub(crate) enum Train {
    /// So many of one channel, which the server can send on as they are; or a single one.
    ToOne(usize),
    /// So many of two channels in turn, each of which the server has to send alone.
    ToTwo(usize),
}

impl Train {
    fn count(self) -> u64 {
        let (Train::ToOne(count) | Train::ToTwo(count)) = self;
        count as u64
    }
}

/// How much was sent, and how much arrived.
pub(crate) struct Load {
    pub(crate) sent: Vec<u64>,
    pub(crate) received: Vec<u64>,
    pub(crate) time: Duration,
}

impl Clients {
    /// Registers and introduces them. While the runtime does not run, quinn does not touch their sockets.
    pub(crate) async fn meet(place: &Place, pairs: u8) -> Self {
        let count = 2 * pairs;
        let person = |n: u8| Person::new(n % count + 1);
        let (mut clients, mut channels) = (Vec::new(), Vec::new());
        for n in 0..count {
            // Everybody knows both neighbours of a ring.
            let (before, after) = (person(n + count - 1), person(n + 1));
            let (client, _) = person(n).knows(&before).knows(&after).register_at(place).await;
            clients.push(client);
        }
        for n in 0..count {
            let (here, next) = (usize::from(n), usize::from((n + 1) % count));
            clients[here].send(&person(n).introduce(1, person(n + 1).id(), place)).await;
            channels.push(clients[here].next_introduction().await.relay.expect("a channel"));
            clients[next].next_introduction().await;
        }
        let flow = |(n, client): (usize, &Client)| {
            let neighbours = [channels[n], channels[(n + channels.len() - 1) % channels.len()]];
            Flow::new(client, neighbours, n)
        };
        let flows = clients.iter().enumerate().map(flow).collect();
        Clients { flows, _clients: clients }
    }

    /// All flows send these rates, in frames a second, for so long.
    pub(crate) fn run(&self, rates: &[f64], train: Train, time: Duration) -> Load {
        let done = AtomicBool::new(false);
        let received: Vec<AtomicU64> = self.flows.iter().map(|_| AtomicU64::new(0)).collect();
        let (sent, time) = thread::scope(|scope| {
            scope.spawn(|| self.receive(&received, &done));
            let since = Instant::now();
            let sent = self.send(rates, train, time);
            let time = since.elapsed();
            // What is still on its way.
            thread::sleep(Duration::from_millis(200));
            done.store(true, Ordering::Relaxed);
            (sent, time)
        });
        Load { sent, received: received.into_iter().map(AtomicU64::into_inner).collect(), time }
    }

    fn send(&self, rates: &[f64], train: Train, time: Duration) -> Vec<u64> {
        let mut sent = vec![0u64; self.flows.len()];
        let since = Instant::now();
        loop {
            let elapsed = since.elapsed();
            if elapsed >= time {
                return sent;
            }
            let mut idle = true;
            for ((flow, sent), rate) in self.flows.iter().zip(&mut sent).zip(rates) {
                // At most a few at a time, so that one flow's burst does not hold the others up.
                let due = ((rate * elapsed.as_secs_f64()) as u64).saturating_sub(*sent).min(8);
                if train.count() > 1 {
                    let due = (rate * elapsed.as_secs_f64()) as u64 >= *sent + train.count();
                    if due {
                        flow.send_train(train);
                        *sent += train.count();
                    }
                    idle &= !due;
                    continue;
                }
                for _ in 0..due {
                    *sent += 1;
                    let _ = flow.socket.send_to(&flow.frames[0], flow.server);
                }
                idle &= due < 8;
            }
            if idle {
                thread::sleep(Duration::from_micros(500));
            }
        }
    }

    fn receive(&self, received: &[AtomicU64], done: &AtomicBool) {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
        for (n, flow) in self.flows.iter().enumerate() {
            epoll.add(&flow.socket, EpollEvent::new(EpollFlags::EPOLLIN, n as u64)).expect("added");
        }
        let mut events = vec![EpollEvent::empty(); self.flows.len()];
        while !done.load(Ordering::Relaxed) {
            let ready = epoll.wait(&mut events, EpollTimeout::from(50u8)).unwrap_or(0);
            for event in &events[..ready] {
                drain(&self.flows[event.data() as usize].socket, received);
            }
        }
    }
}

impl Flow {
    fn new(client: &Client, channels: [RelayChannel; 2], number: usize) -> Self {
        let frames = channels.map(|channel| {
            let mut frame = vec![0x40; SIZE];
            frame[..HEADER].copy_from_slice(&channel.header());
            frame[HEADER..HEADER + 2].copy_from_slice(&(number as u16).to_be_bytes());
            frame
        });
        Flow { socket: client.plain.try_clone().expect("a descriptor"), server: client.server, frames }
    }

    /// Several in one call (GSO).
    fn send_train(&self, train: Train) {
        let frames = match train {
            Train::ToOne(count) => self.frames[0].repeat(count),
            Train::ToTwo(count) => self.frames.concat().repeat(count / 2),
        };
        let size = SIZE as u16;
        let segments = [ControlMessage::UdpGsoSegments(&size)];
        let to = SockaddrStorage::from(self.server);
        let _ = sendmsg(self.socket.as_raw_fd(), &[IoSlice::new(&frames)], &segments, MsgFlags::empty(), Some(&to));
    }
}

/// Takes what is there, the beginnings only: the numbers of the flows.
fn drain(socket: &UdpSocket, received: &[AtomicU64]) {
    let mut start = [0; HEADER + 2];
    for _ in 0..256 {
        // The descriptor lives as long as the socket; `recv` of nix wants the number.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let Ok(length) = recv(socket.as_raw_fd(), &mut start, flags) else { return };
        let number = usize::from(u16::from_be_bytes([start[HEADER], start[HEADER + 1]]));
        if let Some(count) = received.get(number).filter(|_| start[0] == 8) {
            // The kernel may have put several behind each other.
            count.fetch_add(length.div_ceil(SIZE) as u64, Ordering::Relaxed);
        }
    }
}
