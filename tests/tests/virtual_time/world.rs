//! Alice, Bob and their rendezvous in a network of the model, and what may happen to them.

use std::fmt;
use std::time::{Duration, Instant};

use common::nat::NatProfile;
use common::session::Route;
use netsim::model::{Families, HostId, INTERNET, Line, NetworkId, Place, Preset, Random, RouterId, Topology};
use netsim::oracle::{self, Relation, Verdict};
use netsim::virtual_net::{Datagram, Endpoint, VirtualNet};

use crate::person::Person;
use crate::server::Rendezvous;

pub(crate) enum Machine {
    Person(Box<Person>),
    Rendezvous(Box<Rendezvous>),
}

impl Endpoint for Machine {
    fn handle_datagram(&mut self, datagram: Datagram, now: Instant) {
        match self {
            Machine::Person(person) => person.handle_datagram(datagram, now),
            Machine::Rendezvous(server) => server.handle_datagram(&datagram, now),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Machine::Person(person) => person.handle_timeout(now),
            Machine::Rendezvous(server) => server.handle_timeout(now),
        }
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        match self {
            Machine::Person(person) => person.poll_transmit(),
            Machine::Rendezvous(server) => server.poll_transmit(),
        }
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        match self {
            Machine::Person(person) => person.poll_wakeup(),
            Machine::Rendezvous(server) => server.poll_wakeup(),
        }
    }
}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Alice,
    Bob,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    Wait(Duration),
    Say(Who),
    /// A letter for the other's mailbox.
    Write(Who),
    /// Whether the way between the two houses carries anything; what goes by the server is not concerned.
    Between(bool),
    /// How much the line of somebody's house loses and how late it can be.
    Line(Who, f64, Duration),
    /// Nothing goes in or out of somebody's house.
    Outage(Who, bool),
    /// Somebody goes elsewhere: to the other of two homes with the same kind of router.
    Roam(Who),
    /// The router forgets everything.
    Reboot(Who),
    /// The provider gives the router another address.
    Renumber(Who),
    /// The server is killed and started again.
    Restart,
    Sleep(Who, Duration),
    /// Somebody is woken, if asleep.
    Wake(Who),
}

struct Home {
    network: NetworkId,
    routers: Vec<RouterId>,
}

struct House {
    host: HostId,
    homes: [Home; 2],
    at: usize,
    said: Vec<String>,
    written: Vec<String>,
}

pub(crate) struct World {
    net: VirtualNet<Machine>,
    server: HostId,
    alice: House,
    bob: House,
    /// The route to end on; `None` where chance decides.
    best: Option<Route>,
    /// What has happened.
    steps: Vec<String>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("steps", &self.steps).finish_non_exhaustive()
    }
}

const LINE: Duration = Duration::from_millis(10);

impl World {
    /// Each in a house with such a router, with another one to go to.
    pub(crate) fn new(alice: &Preset, bob: &Preset, seed: u64, start: Instant) -> Self {
        let random = Random::new(seed);
        let mut topology = Topology::new(seed);
        let server = topology.add_host(INTERNET, Families::Both, Line::delay(LINE));
        let own = topology.addresses(server);
        let second = topology.add_address(server).expect("a second address");
        let mut house = |preset: &Preset| {
            let mut home = || {
                let (network, routers) = preset.access.build(&mut topology, INTERNET, Line::delay(LINE));
                Home { network, routers }
            };
            let homes = [home(), home()];
            let host = topology.add_host(homes[0].network, preset.access.families, Line::default());
            House { host, homes, at: 0, said: Vec::new(), written: Vec::new() }
        };
        let (alice_house, bob_house) = (house(alice), house(bob));
        let addresses = [alice_house.host, bob_house.host].map(|host| topology.addresses(host));
        let mut net = VirtualNet::new(topology, start);
        net.place(server, Machine::Rendezvous(Box::new(Rendezvous::new(own, second, random.fork(3), start))));
        for (n, host) in [(1, alice_house.host), (2, bob_house.host)] {
            let addresses = addresses[usize::from(n) - 1];
            // As a link with a name does: whichever version of IP works.
            let server_at = own.iter().find(|ip| addresses.of_family(*ip).is_some()).expect("a common version of IP");
            let server_at = (server_at, crate::server::PORT).into();
            let person = Person::new(n, 3 - n, server_at, addresses, random.fork(10 + u64::from(n)), start);
            net.place(host, Machine::Person(Box::new(person)));
        }
        let best = match oracle::direct_path_possible(&alice.access, &bob.access, Relation::Separate).verdict {
            Verdict::Direct | Verdict::DirectWithPrediction { .. } => Some(Route::Direct),
            Verdict::DirectByChance { .. } => None,
            Verdict::Relayed => Some(Route::Relayed),
        };
        World { net, server, alice: alice_house, bob: bob_house, best, steps: Vec::new() }
    }

    /// Somebody believes this of the NAT, whatever it is.
    pub(crate) fn misread(&mut self, who: Who, profile: NatProfile) {
        self.act(who, |person, _| person.believes = Some(profile));
    }

    /// Writes down what happens.
    pub(crate) fn record(&mut self) {
        for who in [Who::Alice, Who::Bob] {
            self.act(who, |person, _| person.log = Some(Vec::new()));
        }
    }

    fn house(&mut self, who: Who) -> &mut House {
        match who {
            Who::Alice => &mut self.alice,
            Who::Bob => &mut self.bob,
        }
    }

    pub(crate) fn person(&self, who: Who) -> &Person {
        let host = if who == Who::Alice { self.alice.host } else { self.bob.host };
        match self.net.endpoint(host) {
            Some(Machine::Person(person)) => person,
            _ => unreachable!("a person lives there"),
        }
    }

    fn act<R>(&mut self, who: Who, act: impl FnOnce(&mut Person, Instant) -> R) -> R {
        let host = self.house(who).host;
        let acted = self.net.act(host, |machine, now| match machine {
            Machine::Person(person) => act(person, now),
            Machine::Rendezvous(_) => unreachable!("a person lives there"),
        });
        acted.expect("a person lives there")
    }

    fn at_server<R>(&mut self, act: impl FnOnce(&mut Rendezvous, Instant) -> R) -> R {
        let acted = self.net.act(self.server, |machine, now| match machine {
            Machine::Rendezvous(server) => act(server, now),
            Machine::Person(_) => unreachable!("nobody lives there"),
        });
        acted.expect("it stands there")
    }

    /// Both write letters.
    pub(crate) fn with_post(&mut self) {
        [Who::Alice, Who::Bob].into_iter().for_each(|who| self.act(who, |person, _| person.with_post()));
    }

    /// All letters of somebody, in order.
    pub(crate) fn written(&self, who: Who) -> &[String] {
        match who {
            Who::Alice => &self.alice.written,
            Who::Bob => &self.bob.written,
        }
    }

    /// Letters that the rendezvous keeps.
    pub(crate) fn mails(&mut self) -> u64 {
        self.at_server(|server, _| server.mails())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.net.elapsed()
    }

    pub(crate) fn step(&mut self, step: Step) {
        self.steps.push(format!("{:9.3} {step:?}", self.elapsed().as_secs_f64()));
        match step {
            Step::Wait(time) => self.net.run_for(time),
            Step::Say(who) => {
                let house = self.house(who);
                let text = format!("{who:?} {}", house.said.len());
                house.said.push(text.clone());
                self.act(who, |person, now| person.say(&text, now));
            }
            Step::Write(who) => {
                let house = self.house(who);
                let text = format!("{who:?} writes {}", house.written.len());
                house.written.push(text.clone());
                self.act(who, |person, now| person.write(&text, now));
            }
            Step::Between(open) => {
                for who in [Who::Alice, Who::Bob] {
                    self.act(who, |person, _| person.cut_off = !open);
                }
            }
            Step::Line(who, loss, jitter) => {
                self.lines(who, |link| link.change(Line { loss, jitter, ..Line::delay(LINE) }));
            }
            Step::Outage(who, cut) => self.lines(who, |link| link.cut(cut)),
            Step::Roam(who) => {
                let house = self.house(who);
                house.at = 1 - house.at;
                let (host, network) = (house.host, house.homes[house.at].network);
                self.net.topology().move_host(host, network);
                self.moved(who, host);
            }
            Step::Reboot(who) => self.routers(who, Topology::reboot),
            Step::Renumber(who) => self.routers(who, Topology::renumber),
            Step::Restart => self.at_server(Rendezvous::restart),
            Step::Wake(who) => self.act(who, Person::wake),
            Step::Sleep(who, time) => self.act(who, |person, now| person.sleep(time, now)),
        }
    }

    /// The operating system says so within a moment.
    fn moved(&mut self, who: Who, host: HostId) {
        let addresses = self.net.topology().addresses(host);
        self.act(who, |person, _| person.moved_to(addresses));
        self.net.run_for(Duration::from_millis(50));
        self.act(who, Person::network_changed);
    }

    fn lines(&mut self, who: Who, mut change: impl FnMut(&mut netsim::model::Link)) {
        let house = self.house(who);
        let routers: Vec<RouterId> = house.homes.iter().filter_map(|home| home.routers.first().copied()).collect();
        let host = house.host;
        let places = match routers.is_empty() {
            true => vec![Place::Host(host)],
            false => routers.into_iter().map(Place::Router).collect(),
        };
        for place in places {
            self.net.topology().links(place).into_iter().flatten().for_each(&mut change);
        }
    }

    fn routers(&mut self, who: Who, act: impl Fn(&mut Topology<Vec<u8>>, RouterId)) {
        let house = self.house(who);
        let routers = house.homes[house.at].routers.clone();
        routers.into_iter().for_each(|router| act(self.net.topology(), router));
    }

    /// The trouble is over: the network carries everything again.
    pub(crate) fn heal(&mut self) {
        for who in [Who::Alice, Who::Bob] {
            self.step(Step::Outage(who, false));
            self.step(Step::Line(who, 0.0, Duration::ZERO));
        }
        self.step(Step::Between(true));
    }

    /// Has everything arrived?
    pub(crate) fn is_settled(&self) -> bool {
        let of = |who, said: &[String], other| {
            self.person(who).seen.delivered == said.len() && self.person(other).seen.heard.len() >= said.len()
        };
        of(Who::Alice, &self.alice.said, Who::Bob) && of(Who::Bob, &self.bob.said, Who::Alice)
    }

    /// Do the messages of both rely on this route?
    pub(crate) fn are_both(&self, on: Route) -> bool {
        [Who::Alice, Who::Bob].into_iter().all(|who| self.person(who).route() == Some(on))
    }

    /// Is each on the route that the oracle says?
    pub(crate) fn is_on_the_best_route(&self) -> bool {
        [Who::Alice, Who::Bob].into_iter().all(|who| {
            let route = self.person(who).route();
            route.is_some() && (self.best.is_none() || route == self.best)
        })
    }

    /// Runs until the condition holds; for how long that took, or `None` if it never did.
    pub(crate) fn run_until(&mut self, at_most: Duration, condition: impl Fn(&Self) -> bool) -> Option<Duration> {
        let before = self.elapsed();
        let slice = Duration::from_millis(50);
        while !condition(self) {
            if self.elapsed() - before >= at_most {
                return None;
            }
            self.net.run_for(slice);
        }
        Some(self.elapsed() - before)
    }

    /// What is wrong with what the two have seen, if anything is.
    pub(crate) fn complaint(&self) -> Option<String> {
        let wrong = |who, said: &Vec<String>, other| {
            let heard = &self.person(other).seen.heard;
            (heard != said).then(|| format!("{who:?} said {said:?}, the other was shown {heard:?}"))
        };
        let late = |who| {
            let probes = self.person(who).probes_after_the_end;
            (probes > 0).then(|| format!("{who:?} sent {probes} probes when there was nothing to find any more"))
        };
        let heard = wrong(Who::Alice, &self.alice.said, Who::Bob);
        let heard = heard.or_else(|| wrong(Who::Bob, &self.bob.said, Who::Alice));
        heard.or_else(|| late(Who::Alice)).or_else(|| late(Who::Bob))
    }

    /// All that happened, for whoever has to find out why.
    pub(crate) fn report(&self) -> String {
        let mut report = self.steps.join("\n");
        for who in [Who::Alice, Who::Bob] {
            let person = self.person(who);
            let log = person.log.as_ref().map_or_else(String::new, |log| log.join("\n"));
            report += &format!("\n\n{who:?}: {:?}\n{log}", person.seen);
        }
        report
    }
}
