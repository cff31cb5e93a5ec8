//! Two who speak both versions of IP, each behind a stateful firewall for both: the faster round trip is the path.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::candidate::{Candidate, CandidateKind};
use crate::identity::Identity;

/// By person and version of IP.
const ADDRESSES: [[&str; 2]; 2] =
    [["11.1.1.1:4000", "[2001:db8:1::1]:4000"], ["11.1.1.2:4000", "[2001:db8:2::1]:4000"]];

/// A datagram under way: to whom, from where, and its bytes.
type Flight = (usize, SocketAddr, Vec<u8>);

struct Two {
    agents: [Agent; 2],
    now: Instant,
    start: Instant,
    /// One way, by version of IP; `None`: nothing gets through.
    delays: [Option<Duration>; 2],
    flights: BTreeMap<(Instant, u32), Flight>,
    serial: u32,
    /// To whom each has sent.
    open: [BTreeSet<SocketAddr>; 2],
    sent: [usize; 2],
    events: [Vec<Event>; 2],
}

fn address(who: usize, family: usize) -> SocketAddr {
    ADDRESSES[who][family].parse().expect("an address")
}

impl Two {
    /// Both are introduced now. The rendezvous sees both over IPv4, or over IPv6; what else they have is with the one who was asked at
    /// once, and with the one who asked after `trickle`.
    fn meet(delays: [Option<Duration>; 2], seen_over: usize, asks: usize, trickle: Duration) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "virtual time has to start somewhere, and only the clock makes an Instant"
        )]
        let now = Instant::now() + Duration::from_secs(1000);
        let identities = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]));
        let agents = [0, 1].map(|who| {
            let pairing = Pairing::new(&identities[who], identities[1 - who].peer_id()).expect("a secret");
            let own_reflexive = Some(address(who, seen_over).ip());
            let (introduction, keepalive) = (IntroductionId(7), Keepalive::default());
            Agent::new(Config { introduction, own_reflexive, keepalive, guessing: None }, &pairing, now)
        });
        let (flights, open, sent, events) = Default::default();
        let mut two = Two { agents, now, start: now, delays, flights, serial: 0, open, sent, events };
        let seen = |who| Candidate { kind: CandidateKind::ServerReflexive, address: address(who, seen_over) };
        let host = |who| Candidate { kind: CandidateKind::Host, address: address(who, 1 - seen_over) };
        let asked = 1 - asks;
        two.offer(asked, vec![seen(asks), host(asks)]);
        two.offer(asks, vec![seen(asked)]);
        two.run_until(now + trickle);
        two.offer(asks, vec![host(asked)]);
        two
    }

    fn offer(&mut self, to: usize, candidates: Vec<Candidate>) {
        self.agents[to].handle_command(Command::AddCandidates(candidates), self.now);
        self.drain();
    }

    fn drain(&mut self) {
        for who in [0, 1] {
            while let Some(Transmit { destination, payload, .. }) = self.agents[who].poll_transmit() {
                self.sent[who] += 1;
                self.open[who].insert(destination);
                let family = usize::from(destination.is_ipv6());
                if let Some(delay) = self.delays[family].filter(|_| destination == address(1 - who, family)) {
                    self.serial += 1;
                    let flight = (1 - who, address(who, family), payload);
                    self.flights.insert((self.now + delay, self.serial), flight);
                }
            }
            while let Some(event) = self.agents[who].poll_event() {
                self.events[who].push(event);
            }
        }
    }

    fn run_until(&mut self, end: Instant) {
        for _ in 0..10_000 {
            let arrival = self.flights.keys().next().map(|(at, _)| *at);
            let wakeups = self.agents.iter().filter_map(Agent::poll_wakeup).map(|wakeup| wakeup.at);
            let Some(next) = wakeups.chain(arrival).min().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (who, source, payload) = entry.remove();
                // A stateful firewall.
                if self.open[who].contains(&source) {
                    let received = Received { base: Base::MAIN, source, payload: &payload };
                    self.agents[who].handle_datagram(received, self.now);
                }
                self.drain();
            }
            for who in [0, 1] {
                if self.agents[who].poll_wakeup().is_some_and(|wakeup| wakeup.at <= self.now) {
                    self.agents[who].handle_timeout(self.now);
                }
            }
            self.drain();
        }
        panic!("somebody wakes up for nothing");
    }

    /// Over which version of IP each of them is.
    fn families(&self) -> [Option<usize>; 2] {
        [0, 1].map(|who| match self.agents[who].state {
            State::Open { path, .. } | State::Asked { path, .. } => Some(usize::from(path.remote.address.is_ipv6())),
            _ => None,
        })
    }

    fn moves(&self, who: usize) -> usize {
        self.events[who].iter().filter(|event| matches!(event, Event::Moved { .. })).count()
    }
}

fn ms(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms))
}

#[test]
fn the_faster_version_of_ip_is_the_path_whichever_the_rendezvous_sees_and_whoever_asks() {
    for (delays, faster) in [([ms(40), ms(10)], 1), ([ms(10), ms(40)], 0), ([ms(100), ms(80)], 1), ([ms(5), ms(15)], 0)]
    {
        for seen_over in [0, 1] {
            for asks in [0, 1] {
                let mut two = Two::meet(delays, seen_over, asks, Duration::from_millis(40));
                two.run_until(two.start + Duration::from_secs(3));
                let story = format!("{delays:?}, seen over {seen_over}, {asks} asks: {:?}", two.events);
                assert_eq!(two.families(), [Some(faster); 2], "{story}");
                assert!(two.moves(0) <= 1 && two.moves(1) <= 1, "{story}");
            }
        }
    }
}

#[test]
fn a_version_of_ip_that_carries_nothing_costs_no_time() {
    for (delays, works) in [([ms(20), None], 0), ([None, ms(20)], 1)] {
        let mut two = Two::meet(delays, works, 0, Duration::from_millis(40));
        two.run_until(two.start + Duration::from_secs(3));
        assert_eq!(two.families(), [Some(works); 2]);
        for events in &two.events {
            let punched = events.iter().find_map(|event| match event {
                Event::Punched { after, .. } => Some(*after),
                _ => None,
            });
            assert_eq!(punched, ms(40), "{events:?}");
        }
    }
}

#[test]
fn who_has_compared_asks_no_more_than_anybody() {
    let mut two = Two::meet([ms(10), ms(40)], 0, 0, Duration::from_millis(40));
    two.run_until(two.start + Duration::from_secs(2));
    let compared = two.sent;
    assert!(compared.iter().all(|sent| *sent <= 24), "{compared:?}");
    two.run_until(two.start + Duration::from_secs(62));
    let later = [0, 1].map(|who| two.sent[who] - compared[who]);
    assert!(later.iter().all(|sent| *sent <= 6), "keepalives and answers, nothing else: {later:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_delays_both_end_on_one_path_which_is_not_clearly_the_slower_one(
        four in 1u64..150, six in 1u64..150, seen_over in 0usize..2, asks in 0usize..2, trickle in 0u64..150,
    ) {
        let mut two = Two::meet([ms(four), ms(six)], seen_over, asks, Duration::from_millis(trickle));
        two.run_until(two.start + Duration::from_secs(3));
        let [Some(one), Some(other)] = two.families() else { return Err(TestCaseError::fail(format!("{:?}", two.events))) };
        let rtts = [2 * four, 2 * six];
        let lead = if two.agents[0].leads { one } else { other };
        let (chosen, left) = (rtts[lead], rtts[1 - lead]);
        prop_assert!(left + (chosen / 8).max(2) + 1 > chosen, "{} ms chosen, {} ms left: {:?}", chosen, left, two.events);
        // Where the two are alike, each may have found another one first.
        let alike = chosen.abs_diff(left) <= (chosen.max(left) / 4).max(4) + 1;
        prop_assert!(one == other || alike, "{:?}", two.events);
    }
}
