//! Contacts on one LAN, with a rendezvous and without: found by multicast DNS or by broadcast, and over the LAN whatever the router
//! can do.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::lan::{Announcement, LanNonce, LanTag, MAX_TAGS};
use common::link::{Link, Rendezvous};
use e2e::talking::say;
use e2e::{Firewall, Person, Running, World, router_of, start_rendezvous};
use netsim::model::behaviour::{Filtering, Hairpinning, Mapping};
use netsim::model::{Line, presets};
use netsim::netns::{Host, KernelRouter, Router, in_namespaces};
use netsim::wire::Internet;
use serde_json::Value;

use crate::{SOON, say_both, talk};

/// From the start of the second client to the first message. The promise is two seconds.
const FOUND: Duration = Duration::from_secs(2);

#[test]
fn with_a_rendezvous_two_behind_one_router_without_loopback_talk_over_their_lan() {
    in_namespaces(|| {
        let home = Home::new(Router::home())?;
        let (mut alices, mut bobs) = talk(&home.alice, &home.bob)?;
        home.assert_over_the_lan(&mut alices, &mut bobs);
        Ok(())
    });
}

#[test]
fn without_a_server_and_without_an_uplink_two_find_each_other_within_two_seconds() {
    in_namespaces(|| {
        for dropped in [None, Some(BROADCAST), Some(MULTICAST)] {
            let home = Home::without_the_world()?;
            home.drop_on_both(dropped)?;
            let (mut alices, mut bobs, took) = home.first_message()?;
            println!("{took:?} to the first message, without {dropped:?}");
            assert!(took < FOUND, "{took:?}, without {dropped:?}\n{}", alices.transcript());
            home.assert_over_the_lan(&mut alices, &mut bobs);
            let status = home.alice.command(&["status"])?;
            assert_eq!(status["sessions"][0]["by"], "lan", "{status}");
            say_both(&mut alices, &mut bobs);
        }
        Ok(())
    });
}

#[test]
fn neither_multicast_nor_broadcast_and_they_are_not_found() {
    in_namespaces(|| {
        let home = Home::without_the_world()?;
        home.drop_on_both(Some(BROADCAST))?;
        home.drop_on_both(Some(MULTICAST))?;
        let mut bobs = home.bob.run()?;
        let mut alices = home.alice.start(&["ping", "bob", "--timeout", "4"])?;
        assert_eq!(alices.exit_code(SOON), 4, "{}", alices.transcript());
        assert_eq!((alices.count("introduced"), bobs.count("introduced")), (0, 0));
        Ok(())
    });
}

#[test]
fn a_ping_without_any_server_measures_the_lan_and_exits_with_0() {
    in_namespaces(|| {
        let home = Home::without_the_world()?;
        let mut bobs = home.bob.run()?;
        bobs.expect("started", SOON);
        let mut ping = home.alice.start(&["ping", "bob"])?;
        let direct = ping.expect("ping", FOUND).event;
        assert_eq!(direct["route"], "direct", "{direct}");
        assert_eq!(ping.expect("summary", SOON).event["route"], "direct");
        assert_eq!(ping.exit_code(SOON), 0);
        let introduced = ping.said().iter().find(|said| said.event["event"] == "introduced").map(|s| s.event.clone());
        assert_eq!(introduced.context("introduced")?["by"], "lan");
        Ok(())
    });
}

#[test]
fn whoever_comes_later_finds_who_is_there_and_two_who_come_at_once_find_each_other() {
    in_namespaces(|| {
        let home = Home::without_the_world()?;
        let mut bobs = home.bob.chat(&home.alice)?;
        bobs.expect("rendezvous_lost", SOON);
        // His first announcements are long over.
        let mut alices = home.alice.run()?;
        bobs.expect_direct(FOUND);
        alices.expect_direct(FOUND);
        drop((alices, bobs));
        let (mut bobs, mut alices) = (home.bob.chat(&home.alice)?, home.alice.chat(&home.bob)?);
        bobs.expect_direct(FOUND);
        alices.expect_direct(FOUND);
        say_both(&mut alices, &mut bobs);
        assert_eq!((alices.count("introduced"), bobs.count("introduced")), (1, 1), "{}", alices.transcript());
        Ok(())
    });
}

#[test]
fn a_contact_who_was_killed_is_found_again_when_it_is_back() {
    in_namespaces(|| {
        let home = Home::without_the_world()?;
        let (mut alices, bobs, _) = home.first_message()?;
        bobs.kill();
        alices.say("Are you still there?");
        let mut bobs = home.bob.run()?;
        let back = Instant::now();
        assert_eq!(bobs.expect_message(SOON)["text"], "Are you still there?");
        println!("{:?} after the start again", back.elapsed());
        alices.expect("receipt", SOON);
        Ok(())
    });
}

#[test]
fn a_router_with_loopback_is_not_needed_for_what_the_lan_can_do() {
    in_namespaces(|| {
        let cell = Router::cell(Mapping::EndpointIndependent, Filtering::EndpointIndependent);
        for lan in [false, true] {
            let mut home = Home::new(Router { hairpinning: Hairpinning::ExternalSource, ..cell })?;
            if !lan {
                home = home.without_lan();
            }
            let (mut alices, mut bobs) = talk(&home.alice, &home.bob)?;
            home.assert_over_the_lan(&mut alices, &mut bobs);
        }
        Ok(())
    });
}

#[test]
fn in_each_version_of_ip_the_rendezvous_alone_brings_two_behind_one_router_together_over_their_lan() {
    in_namespaces(|| {
        for (access, six) in [("hairpin", false), ("ipv6_firewall", true), ("dual_stack", false), ("dual_stack", true)]
        {
            let net = Internet::new(1)?;
            let server = net.public_host("rendezvous")?;
            let listen: Vec<String> =
                server.addresses().iter().map(|ip| SocketAddr::new(ip, 3478).to_string()).collect();
            let folder = tempfile::tempdir()?;
            let (_running, join) = start_rendezvous(&server, &listen, folder.path())?;
            let Link::Join(rendezvous) = join.trim().parse()? else { return Err("a link to join".into()) };
            let reached = server.addresses().iter().find(|ip| ip.is_ipv6() == six).context("it has both")?;
            let join = Link::Join(Rendezvous { host: reached.to_string(), ..rendezvous }).to_string();
            let home = net.site("home", &presets::named(access).context("a preset")?.access, Line::default());
            let person = |name: &str| Person::new(name, &home.host(name)?, folder.path(), &join);
            let (alice, bob) = (person("alice")?, person("bob")?);
            alice.add(&bob)?;
            bob.add(&alice)?;
            let mut bobs = bob.chat(&alice)?;
            bobs.expect("registered", SOON);
            let mut alices = alice.chat(&bob)?;
            for (side, other) in [(&mut alices, &bob), (&mut bobs, &alice)] {
                let remote: SocketAddr = side.expect_direct(SOON)["remote"].as_str().context("an address")?.parse()?;
                let own: Vec<IpAddr> = other.host().addresses().iter().collect();
                assert!(own.contains(&remote.ip()), "{access}: {remote} is none of {own:?}");
            }
            say_both(&mut alices, &mut bobs);
        }
        Ok(())
    });
}

#[test]
fn a_talk_over_the_lan_does_not_notice_that_the_uplink_dies_and_is_back() {
    in_namespaces(|| {
        let mut home = Home::new(Router::home())?;
        home.router.wan_down()?;
        let (mut alices, mut bobs, _) = home.first_message()?;
        let seen = |side: &mut Running| ["introduced", "path", "lost", "no_path"].map(|kind| side.count(kind));
        let before = (seen(&mut alices), seen(&mut bobs));
        for _ in 0..2 {
            home.router.wan_up()?;
            for side in [&mut alices, &mut bobs] {
                side.expect("registered", SOON);
            }
            say_both(&mut alices, &mut bobs);
            home.router.wan_down()?;
            for side in [&mut alices, &mut bobs] {
                side.expect("rendezvous_lost", SOON * 2);
            }
            say_both(&mut alices, &mut bobs);
        }
        assert_eq!((seen(&mut alices), seen(&mut bobs)), before, "{}{}", alices.transcript(), bobs.transcript());
        home.world.kill_rendezvous();
        Ok(())
    });
}

#[test]
fn a_talk_that_the_rendezvous_brought_about_goes_on_over_the_lan_when_the_uplink_dies() {
    in_namespaces(|| {
        let home = Home::new(Router::home())?;
        let (mut alices, mut bobs) = talk(&home.alice, &home.bob)?;
        home.router.wan_down()?;
        say_both(&mut alices, &mut bobs);
        for side in [&mut alices, &mut bobs] {
            side.expect("rendezvous_lost", SOON * 2);
        }
        say_both(&mut alices, &mut bobs);
        home.router.wan_up()?;
        for side in [&mut alices, &mut bobs] {
            side.expect("registered", SOON);
        }
        say_both(&mut alices, &mut bobs);
        assert_eq!((alices.count("lost"), bobs.count("lost")), (0, 0));
        Ok(())
    });
}

#[test]
fn who_does_not_want_to_be_found_says_nothing_to_everybody() {
    in_namespaces(|| {
        let quiet = Home::without_the_world()?.without_lan();
        let mut bobs = quiet.bob.run()?;
        bobs.expect("rendezvous_lost", SOON);
        drop(bobs);
        let asking = quiet.bob.on_lan();
        let mut bobs = asking.start(&["--no-lan", "ping", "alice", "--timeout", "3"])?;
        assert_eq!(bobs.exit_code(SOON), 4);
        assert_eq!(said_to_all(asking.host())?, 0);

        let loud = Home::without_the_world()?;
        let mut bobs = loud.bob.run()?;
        bobs.expect("rendezvous_lost", SOON);
        assert!(said_to_all(loud.bob.host())? > 4, "the count counts");
        Ok(())
    });
}

#[test]
fn two_on_one_machine_find_each_other() {
    in_namespaces(|| {
        let world = World::new()?;
        let router = router_of(&world, "home", Router::home())?;
        let host = router.host("shared")?;
        let (alice, bob) = (world.alice(&host)?.on_lan(), world.bob(&host)?.on_lan());
        world.acquaint(&alice, &bob)?;
        router.wan_down()?;
        let mut bobs = bob.run()?;
        bobs.expect("started", SOON);
        let mut alices = alice.chat(&bob)?;
        alices.expect_direct(FOUND);
        say(&mut alices, &mut bobs, "Move over.");
        Ok(())
    });
}

#[test]
fn a_neighbour_who_is_no_contact_hears_nothing_of_us() {
    in_namespaces(|| {
        let home = Home::without_the_world()?;
        let carol = home.world.person("carol", &home.router.host("carol")?)?.on_lan();
        // She knows Bob's link, he does not know her.
        carol.add(&home.bob)?;
        let mut bobs = home.bob.run()?;
        bobs.expect("rendezvous_lost", SOON);
        let mut carols = carol.start(&["ping", "bob", "--timeout", "3"])?;
        assert_eq!(carols.exit_code(SOON), 4);
        assert_eq!((carols.count("introduced"), bobs.count("introduced")), (0, 0));
        Ok(())
    });
}

#[test]
fn a_neighbour_who_floods_gets_not_one_packet_and_does_not_keep_contacts_apart() {
    in_namespaces(|| {
        let home = Home::without_the_world()?;
        let carol = home.router.host("carol")?;
        let mut bobs = home.bob.run()?;
        bobs.expect("rendezvous_lost", SOON);
        let before = bobs.processor_time();
        let floods = carol.udp(0)?;
        floods.set_broadcast(true)?;
        let (port, over) = (floods.local_addr()?.port(), AtomicBool::new(false));
        let (sent, found) = thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let everybody = (Ipv4Addr::BROADCAST, BROADCAST);
                let each = |number| floods.send_to(&announcement(number, port).encode(), everybody).is_ok();
                (0..AT_MOST).take_while(|_| !over.load(Ordering::Relaxed)).filter(|number| each(*number)).count()
            });
            let found = home.alice.start(&["ping", "bob"]).map(|mut ping| {
                let found = ping.expect("summary", SOON).event;
                assert_eq!(ping.exit_code(SOON), 0, "{}", ping.transcript());
                found
            });
            over.store(true, Ordering::Relaxed);
            (flood.join(), found)
        });
        let (sent, found) = (sent.map_err(|_| "the flood broke off")?, found?);
        println!("{sent} announcements cost {:?} of his processor; {found}", bobs.processor_time() - before);
        assert!(sent > 1_000, "it was a flood");
        assert!(found["direct_ms"].as_f64().is_some_and(|ms| ms < FOUND.as_secs_f64() * 1000.0), "{found}");
        floods.set_read_timeout(Some(Duration::from_millis(500)))?;
        let answer = floods.recv_from(&mut [0; 2048]).map(|(_, from)| from);
        assert!(answer.is_err(), "{answer:?} has answered");
        Ok(())
    });
}

/// So many packets a flood has, if nobody ends it.
const AT_MOST: u32 = 200_000;

/// One that is for nobody.
fn announcement(number: u32, port: u16) -> Announcement {
    let mut nonce = [0; 16];
    nonce[..4].copy_from_slice(&number.to_be_bytes());
    Announcement { nonce: LanNonce(nonce), port, tags: vec![LanTag(*b"stranger"); MAX_TAGS] }
}

/// One router, two computers.
struct Home {
    alice: Person,
    bob: Person,
    router: KernelRouter,
    world: World,
}

impl Home {
    fn new(router: Router) -> Result<Home> {
        let world = World::new()?;
        let router = router_of(&world, "home", router)?;
        let alice = world.alice(&router.host("alice")?)?.on_lan();
        let bob = world.bob(&router.host("bob")?)?.on_lan();
        world.acquaint(&alice, &bob)?;
        Ok(Home { alice, bob, router, world })
    }

    /// The line to the provider is cut, and there is no server behind it.
    fn without_the_world() -> Result<Home> {
        let mut home = Home::new(Router::home())?;
        home.world.kill_rendezvous();
        home.router.wan_down()?;
        Ok(home)
    }

    fn without_lan(mut self) -> Home {
        (self.alice, self.bob) = (self.alice.off_lan(), self.bob.off_lan());
        self
    }

    fn drop_on_both(&self, dropped: Option<u16>) -> Result<()> {
        let Some(port) = dropped else { return Ok(()) };
        [&self.alice, &self.bob]
            .into_iter()
            .try_for_each(|person| Firewall::against_port(person.host(), port).map(drop))
    }

    /// Bob is there; Alice comes and says something at once. How long it takes from her start until he reads it.
    fn first_message(&self) -> Result<(Running, Running, Duration)> {
        let mut bobs = self.bob.chat(&self.alice)?;
        bobs.expect("started", SOON);
        let mut alices = self.alice.chat(&self.bob)?;
        alices.say("Is anybody here?");
        let is_hers = |event: &Value| event["event"] == "message" && event["dir"] == "in";
        let heard = bobs.expect_that("her first message", SOON, is_hers);
        let took = heard.at.saturating_duration_since(alices.started);
        alices.expect("receipt", SOON);
        Ok((alices, bobs, took))
    }

    #[track_caller]
    fn assert_over_the_lan(&self, alices: &mut Running, bobs: &mut Running) {
        for (side, other) in [(alices, self.bob.host()), (bobs, self.alice.host())] {
            let is_direct = |event: &Value| event["event"] == "path" && event["kind"] == "direct";
            let paths = side.said().iter().filter(|said| is_direct(&said.event));
            let remotes: Vec<String> =
                paths.map(|said| said.event["remote"].as_str().unwrap_or_default().into()).collect();
            let prefix = format!("{}:", other.address());
            let over_the_lan = !remotes.is_empty() && remotes.iter().all(|remote| remote.starts_with(&prefix));
            assert!(over_the_lan, "{remotes:?} is not {prefix}\n{}", side.transcript());
        }
    }
}

/// The port of multicast DNS (RFC 6762).
const MULTICAST: u16 = 5353;
const BROADCAST: u16 = common::lan::PORT;

/// Datagrams to groups and to everybody that have left this computer (`IpExt` of proc_net_netstat).
fn said_to_all(host: &Host) -> Result<u64> {
    let counters = host.enter(|| fs::read_to_string("/proc/thread-self/net/netstat"))??;
    let mut lines = counters.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
    let counter = names.split_whitespace().zip(values.split_whitespace());
    let counted = counter.filter(|(name, _)| ["OutMcastPkts", "OutBcastPkts"].contains(name));
    let counts: Vec<u64> = counted.map(|(_, value)| value.parse()).collect::<Result<_, _>>()?;
    ensure!(counts.len() == 2, "no such counters in\n{counters}");
    Ok(counts.iter().sum())
}
