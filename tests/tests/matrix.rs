//! Everybody meets everybody: real clients behind every kind of access that netsim knows, over one Internet with one
//! rendezvous. Each pair becomes direct exactly where the oracle says that plain probing gets through.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use common::link::{Link, Rendezvous};
use e2e::{Person, start_rendezvous};
use netsim::model::presets::{self, Preset};
use netsim::model::{Families, Line};
use netsim::netns::in_namespaces;
use netsim::oracle::{Relation, direct_path_possible, plain_path};
use netsim::wire::Internet;

/// One way from a house to the Internet. With it nobody's first probe comes before the other's: that is another story.
const DELAY: Duration = Duration::from_millis(10);
/// Pairs at a time: waiting for those who will not meet costs no processor.
const AT_ONCE: usize = 12;
/// How long a ping tries. Punching ends after ten seconds by itself; who will meet has met in one, and a
/// busy machine may have some more.
const PATIENCE: &str = "6";
const SOON: Duration = Duration::from_secs(30);

#[test]
fn every_pair_of_kinds_becomes_direct_exactly_where_the_oracle_says_so() {
    in_namespaces(|| {
        let kinds = presets::all();
        let pairs = kinds.iter().enumerate().flat_map(|(i, a)| kinds[i..].iter().map(move |b| (a, b)));
        let pairs: Mutex<VecDeque<(&Preset, &Preset)>> = Mutex::new(pairs.collect());
        let count = pairs.lock().map_err(|_| "poisoned")?.len();
        assert!(count >= 150, "{count} pairs");

        let net = Internet::new(1)?;
        let server = net.public_host("rendezvous")?;
        let folder = tempfile::tempdir()?;
        let addresses: Vec<IpAddr> = server.addresses().iter().collect();
        let listen: Vec<String> = addresses.iter().map(|ip| SocketAddr::new(*ip, 3478).to_string()).collect();
        let (_rendezvous, join) = start_rendezvous(&server, &listen, folder.path())?;
        let joins = Joins::new(&join, &addresses)?;
        let wrong = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while let Some((a, b)) = pairs.lock().ok().and_then(|mut pairs| pairs.pop_front()) {
                        let expected = plain_path(&a.access, &b.access, Relation::Separate);
                        let met = meet(&net, a, b, folder.path(), &joins);
                        if !met.as_ref().is_ok_and(|met| *met == expected) {
                            let possible = direct_path_possible(&a.access, &b.access, Relation::Separate);
                            let line =
                                format!("{} x {}: {met:?}, expected {expected}: {}", a.name, b.name, possible.because);
                            wrong.lock().into_iter().for_each(|mut wrong| wrong.push(line.clone()));
                        }
                    }
                });
            }
        });
        let wrong = wrong.into_inner().map_err(|_| "poisoned")?;
        assert!(wrong.is_empty(), "{} of {count} pairs:\n{}", wrong.len(), wrong.join("\n"));
        Ok(())
    });
}

/// Does Alice, behind this, reach Bob, behind that?
fn meet(net: &Internet, a: &Preset, b: &Preset, folder: &Path, joins: &Joins) -> Result<bool> {
    let folder = tempfile::tempdir_in(folder)?;
    let line = Line { delay: DELAY, ..Line::default() };
    let sit = |name: &str, kind: &Preset| -> Result<Person<netsim::wire::Host>> {
        let house = net.site(&format!("{name}-{}-{}", a.name, b.name), &kind.access, line);
        Person::new(name, &house.host(name)?, folder.path(), joins.for_families(kind.access.families))
    };
    let (alice, bob) = (sit("alice", a)?, sit("bob", b)?);
    alice.add(&bob)?;
    bob.add(&alice)?;
    let mut bobs = bob.run()?;
    if b.name != "udp_blocked" {
        bobs.expect("registered", SOON);
    }
    let mut ping = alice.start(&["ping", "bob", "--timeout", PATIENCE])?;
    match ping.exit_code(SOON) {
        0 => Ok(true),
        4 => Ok(false),
        code => anyhow::bail!("exit code {code}\n{}", ping.transcript()),
    }
}

/// The rendezvous' link by each of its addresses: there are no names on this Internet.
struct Joins {
    v4: String,
    v6: String,
}

impl Joins {
    fn new(join: &str, addresses: &[IpAddr]) -> Result<Self> {
        let Link::Join(rendezvous) = join.parse()? else { anyhow::bail!("{join} is not a link to join") };
        let by = |ipv4: bool| -> Result<String> {
            let ip = addresses.iter().find(|ip| ip.is_ipv4() == ipv4).context("the server has both")?;
            Ok(Link::Join(Rendezvous { host: ip.to_string(), ..rendezvous.clone() }).to_string())
        };
        Ok(Joins { v4: by(true)?, v6: by(false)? })
    }

    fn for_families(&self, families: Families) -> &str {
        if families == Families::Ipv6 { &self.v6 } else { &self.v4 }
    }
}
