//! Two people with two places each to be at, a server, and all that goes wrong with their lines.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{Person, Running, start_rendezvous};
use netsim::model::{Behaviour, Line};
use netsim::wire::{Host, Internet, Site};
use tempfile::TempDir;

use crate::dice::Dice;

/// From a person to the Internet, one way.
const AWAY: Duration = Duration::from_millis(5);

/// The places of one person, and how things are there.
struct Places {
    sites: [Site; 2],
    at: usize,
}

/// The order is that of the end.
pub(crate) struct Stage {
    rendezvous: Option<Running>,
    server_back: Instant,
    people: [Rc<Person<Host>>; 2],
    places: [Places; 2],
    /// When the line of each host is whole again; the last is the server's.
    cut_until: [Option<Instant>; 3],
    next_trouble: Instant,
    dice: Dice,
    cuts: usize,
    roamed: usize,
    server: Host,
    folder: TempDir,
}

impl Stage {
    /// All places are behind such a router; the lines of the two lose this share of their packets, each way, wherever they are.
    pub(crate) fn new(seed: u64, nat: Behaviour, loss: f64, dice: Dice) -> Result<Self> {
        let net = Internet::new(seed)?;
        let server = net.public_host("rendezvous")?;
        let folder = tempfile::tempdir()?;
        let (rendezvous, join) = start_rendezvous(&server, &listen(&server), folder.path())?;
        let (mut people, mut places) = (Vec::new(), Vec::new());
        for name in ["alice", "bob"] {
            let sites = ["home", "cafe"].map(|place| net.router(&format!("{name}-{place}"), nat.clone()));
            let host = sites[0].host(name)?;
            host.set_line(Line { delay: AWAY, loss, ..Line::default() });
            people.push(Rc::new(Person::new(name, &host, folder.path(), &join)?));
            places.push(Places { sites, at: 0 });
        }
        people[0].add(&people[1])?;
        people[1].add(&people[0])?;
        let (Ok(people), Ok(places)) = (people.try_into(), places.try_into()) else { unreachable!("two of each") };
        let now = Instant::now();
        Ok(Stage {
            rendezvous: Some(rendezvous),
            server_back: now,
            people,
            places,
            cut_until: [None; 3],
            next_trouble: now,
            dice,
            cuts: 0,
            roamed: 0,
            server,
            folder,
        })
    }

    pub(crate) fn person(&self, number: usize) -> Rc<Person<Host>> {
        self.people[number].clone()
    }

    /// What is due: a server that comes back, a line that is whole again, and the next trouble unless there is peace.
    pub(crate) fn step(&mut self, peace: bool) -> Result<()> {
        let now = Instant::now();
        if self.rendezvous.is_none() && now >= self.server_back {
            self.rendezvous = Some(start_rendezvous(&self.server, &listen(&self.server), self.folder.path())?.0);
        }
        for who in 0..self.cut_until.len() {
            if self.cut_until[who].is_some_and(|until| now >= until || peace) {
                self.host(who).restore();
                self.cut_until[who] = None;
            }
        }
        if now >= self.next_trouble && !peace {
            self.trouble(now)?;
            self.next_trouble = now + self.dice.between(500, 3000);
        }
        Ok(())
    }

    /// A line falls silent, or somebody goes to another network from one moment to the next.
    fn trouble(&mut self, now: Instant) -> Result<()> {
        let (who, lasts) = (usize::try_from(self.dice.roll(5))?, self.dice.between(200, 3000));
        match who {
            0..=2 => {
                self.host(who).cut();
                self.cut_until[who] = Some(now + lasts);
                self.cuts += 1;
            }
            _ => {
                let places = &mut self.places[who - 3];
                places.at = 1 - places.at;
                self.people[who - 3].host().roam(&places.sites[places.at])?;
                self.roamed += 1;
            }
        }
        Ok(())
    }

    fn host(&self, who: usize) -> &Host {
        self.people.get(who).map_or(&self.server, |person| person.host())
    }

    pub(crate) fn kill_rendezvous(&mut self, away: Duration) {
        if let Some(rendezvous) = self.rendezvous.take() {
            rendezvous.kill();
            self.server_back = Instant::now() + away;
        }
    }

    /// The server runs and no line is silent.
    pub(crate) fn is_whole(&self) -> bool {
        self.rendezvous.is_some() && self.cut_until.iter().all(Option::is_none)
    }

    pub(crate) fn troubles(&self) -> String {
        format!("{} lines fell silent, {} moves", self.cuts, self.roamed)
    }
}

fn listen(server: &Host) -> [String; 1] {
    [format!("{}:3478", server.address())]
}
