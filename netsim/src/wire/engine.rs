//! The one thread that is the Internet: it reads what hosts send, lets the topology decide, and writes what arrives.
//!
//! It sleeps in `epoll` on the hosts' devices, a timer for what is under way, and an event by which others wake it. All
//! that it works on stands behind one lock ([`Core`]), which it holds for a burst of packets at a time.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::frame::{Frame, LARGEST};
use super::header;
use super::notice::{self, Breath};
use super::offload::take_apart;
use super::tap::Mouth;
use super::tun::Tun;
use crate::model::{HostId, Line, Place, RouterId, Topology};

/// Packets read from one host before the others have their turn.
const BURST: usize = 64;
/// Sources of events looked at together.
const EVENTS: usize = 64;
/// In the place of a host's number.
const WAKE: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// What the engine works on.
pub(super) struct Core {
    pub(super) topology: Topology<Frame>,
    pub(super) tuns: BTreeMap<HostId, Tun>,
    breath: Breath,
    taps: BTreeMap<RouterId, Mouth>,
    /// Does some line treat one packet differently from the next?
    tells_packets_apart: bool,
    stopped: bool,
}

impl Core {
    /// One packet from a host, and all that follows from it.
    fn handle(&mut self, bytes: &[u8], from: HostId) {
        let Some(frame) = Frame::read(bytes, from) else { return };
        let now = Instant::now();
        if self.tells_packets_apart && frame.segment().is_some() {
            take_apart(frame).into_iter().for_each(|frame| self.send(frame, now));
        } else {
            self.send(frame, now);
        }
    }

    fn send(&mut self, frame: Frame, now: Instant) {
        let Some(packet) = header::parse(&frame) else { return };
        self.topology.handle_packet(frame.from, packet, frame, now);
        self.deliver(now);
    }

    fn look_at_lines(&mut self) {
        let hosts = (0..).map(|number| Place::Host(HostId(number)));
        let routers = (0..).map(|number| Place::Router(RouterId(number)));
        let mut tells = |place| {
            let links = self.topology.links(place)?;
            Some(links.iter().any(|link| !treats_all_alike(&link.line())))
        };
        self.tells_packets_apart = hosts.map_while(&mut tells).any(|tells| tells);
        self.tells_packets_apart |= routers.map_while(&mut tells).any(|tells| tells);
    }

    /// Hands over what has arrived, and lets routers say what they have to.
    fn deliver(&mut self, now: Instant) {
        self.hand_over();
        while let Some(notice) = self.topology.poll_notice() {
            if let Some((network, packet, frame)) =
                Some(notice).filter(|_| self.breath.is_left(now)).and_then(notice::error)
            {
                self.topology.handle_notice(network, packet, frame, now);
                self.hand_over();
            }
        }
        while let Some(mut crossing) = self.topology.poll_crossing() {
            if let Some(mouth) = self.taps.get(&crossing.router) {
                header::rewrite(&mut crossing.payload, &crossing.packet);
                mouth.say(crossing.outwards, crossing.payload.packet());
            }
        }
    }

    /// From now on, what this router's outer interface sends and receives is told.
    pub(super) fn tap(&mut self, router: RouterId, mouth: Mouth) {
        self.topology.tap(router, true);
        self.taps.insert(router, mouth);
    }

    /// No more.
    pub(super) fn untap(&mut self, router: RouterId) {
        self.topology.tap(router, false);
        self.taps.remove(&router);
    }

    fn hand_over(&mut self) {
        while let Some(mut delivery) = self.topology.poll_delivery() {
            let Some(tun) = self.tuns.get(&delivery.host) else { continue };
            header::rewrite(&mut delivery.payload, &delivery.packet);
            tun.write(&delivery.payload);
        }
    }
}

/// Does it do to one packet what it does to the next?
fn treats_all_alike(line: &Line) -> bool {
    *line == Line { delay: line.delay, mtu: line.mtu, ..Line::default() }
}

/// What the engine's thread shares with the rest.
pub(super) struct Shared {
    core: Mutex<Core>,
    /// Others who want the lock. A busy engine lets them go first: the lock itself knows no queue.
    waiting: AtomicUsize,
    epoll: Epoll,
    wake: EventFd,
    timer: TimerFd,
}

impl Shared {
    pub(super) fn new(mut topology: Topology<Frame>) -> io::Result<Shared> {
        topology.speak(true);
        let (tuns, breath, taps) = (BTreeMap::new(), Breath::default(), BTreeMap::new());
        let shared = Shared {
            core: Mutex::new(Core { topology, tuns, breath, taps, tells_packets_apart: false, stopped: false }),
            waiting: AtomicUsize::new(0),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?,
        };
        shared.epoll.add(&shared.wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        shared.epoll.add(&shared.timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        Ok(shared)
    }

    /// Works on the network, between two of its packets; the engine then looks at what has changed.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut core = self.lock();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let result = work(&mut core);
        core.look_at_lines();
        drop(core);
        // It fails only if the engine has slept through 2^64 of these.
        let _ = self.wake.write(1);
        result
    }

    /// From now on, what this host sends is carried.
    pub(super) fn plug(&self, host: HostId, tun: Tun) -> io::Result<()> {
        self.epoll.add(&tun, EpollEvent::new(EpollFlags::EPOLLIN, host.0 as u64))?;
        self.with(|core| core.tuns.insert(host, tun));
        Ok(())
    }

    /// Ends the engine.
    pub(super) fn stop(&self) {
        self.with(|core| core.stopped = true);
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the timer should ring; it rings once.
    fn arm(&self, at: Option<Instant>) -> nix::Result<()> {
        match at {
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                // Zero would switch it off.
                let left = TimeSpec::from_duration(left.max(std::time::Duration::from_nanos(1)));
                self.timer.set(Expiration::OneShot(left), TimerSetTimeFlags::empty())
            }
            None => self.timer.unset(),
        }
    }
}

/// Runs until [`Shared::stop`].
pub(super) fn run(shared: &Arc<Shared>) {
    hurry();
    let mut events = [EpollEvent::empty(); EVENTS];
    let mut buffer = vec![0; LARGEST];
    let mut armed = None;
    loop {
        let ready = match shared.epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(ready) => ready,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(errno) => {
                tracing::error!(%errno, "the network stands still: epoll failed");
                return;
            }
        };
        while shared.waiting.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        let mut core = shared.lock();
        for event in &events[..ready] {
            match event.data() {
                WAKE => drop(shared.wake.read()),
                TIMER => {
                    // It has rung; setting it anew clears that.
                    armed = None;
                    let _ = shared.timer.unset();
                }
                host => read_burst(&mut core, HostId(host as usize), &mut buffer),
            }
        }
        if core.stopped {
            return;
        }
        let now = Instant::now();
        core.topology.handle_timeout(now);
        core.deliver(now);
        let next = core.topology.poll_wakeup();
        drop(core);
        if next != armed {
            if let Err(errno) = shared.arm(next) {
                tracing::error!(%errno, "what is under way may be late: the timer failed");
            }
            armed = next;
        }
    }
}

/// On a busy machine, asks for our turn before others have theirs: a network is not slow because its hosts work. Only root
/// is heard.
fn hurry() {
    let (who, niceness) = (0, -10);
    // SAFETY: it takes three integers; 0 is the calling thread.
    #[allow(unsafe_code, reason = "nix has no setpriority")]
    let answer = unsafe { libc::setpriority(libc::PRIO_PROCESS, who, niceness) };
    if answer < 0 {
        tracing::debug!("packets wait their turn with everybody else: no leave to be preferred");
    }
}

fn read_burst(core: &mut Core, host: HostId, buffer: &mut [u8]) {
    for _ in 0..BURST {
        let Some(tun) = core.tuns.get(&host) else { return };
        match tun.read(buffer) {
            Some(bytes) => core.handle(bytes, host),
            None => return,
        }
    }
}
