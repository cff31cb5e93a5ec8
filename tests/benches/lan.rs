//! How long two people on one LAN wait for each other, with no server and no uplink: from the start of the second client to the
//! first message on the other's screen. `cargo bench -p e2e --bench lan` prints it for multicast DNS and broadcast, and for
//! each alone; docs/benchmarks.md keeps it.

#[cfg(target_os = "linux")]
mod linux {
    use std::time::Duration;

    use anyhow::{Result, ensure};
    use e2e::{Firewall, World, router_of, summary};
    use netsim::netns::{Router, enter_user_namespace_if_needed};

    const RUNS: usize = 20;
    const PATIENCE: Duration = Duration::from_secs(20);
    /// The promise.
    const FOUND: f64 = 2000.0;

    pub(super) fn main() -> Result<()> {
        enter_user_namespace_if_needed()?;
        series("multicast DNS and broadcast", None)?;
        series("multicast DNS alone", Some(common::lan::PORT))?;
        series("broadcast alone", Some(5353))
    }

    fn series(name: &str, dropped: Option<u16>) -> Result<()> {
        let runs = (0..RUNS).map(|_| run(dropped)).collect::<Result<Vec<f64>>>()?;
        println!("{name}: {}", summary(runs.iter().copied()));
        ensure!(runs.iter().all(|took| *took < FOUND), "each is to take less than {FOUND} ms");
        Ok(())
    }

    /// Bob is there; Alice's client starts from nothing, and she has typed a line before it is up.
    fn run(dropped: Option<u16>) -> Result<f64> {
        let mut world = World::new()?;
        let home = router_of(&world, "home", Router::home())?;
        let (alice, bob) = (world.alice(&home.host("alice")?)?.on_lan(), world.bob(&home.host("bob")?)?.on_lan());
        world.acquaint(&alice, &bob)?;
        world.kill_rendezvous();
        home.wan_down()?;
        if let Some(port) = dropped {
            [alice.host(), bob.host()].into_iter().try_for_each(|host| Firewall::against_port(host, port).map(drop))?;
        }
        let mut bobs = bob.run()?;
        // Then his first announcements are over, and it is hers that counts.
        bobs.expect("rendezvous_lost", PATIENCE);
        let mut alices = alice.chat(&bob)?;
        alices.say("Is anybody here?");
        let is_hers = |event: &serde_json::Value| event["event"] == "message" && event["dir"] == "in";
        let heard = bobs.expect_that("her message", PATIENCE, is_hers);
        Ok(heard.at.saturating_duration_since(alices.started).as_secs_f64() * 1000.0)
    }
}

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("needs Linux network namespaces");
}
