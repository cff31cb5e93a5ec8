//! How long two people wait for each other: from the start of `punchline ping` to its first reply and to the direct
//! path, between two home routers. `cargo bench -p e2e --bench first_contact` prints the medians; docs/benchmarks.md
//! keeps them.

#[cfg(target_os = "linux")]
mod linux {
    use std::path::Path;
    use std::time::Duration;

    use anyhow::{Result, ensure};
    use e2e::{Computer, Person, World, router_of, start_rendezvous, summary};
    use netsim::model::{Line, presets};
    use netsim::netns::{Router, enter_user_namespace_if_needed};
    use netsim::wire::Internet;

    const RUNS: usize = 20;
    const PATIENCE: Duration = Duration::from_secs(20);
    /// One way from a house to the Internet, hence to the server; twice that between the houses.
    const DELAY: Duration = Duration::from_millis(20);

    pub(super) fn main() -> Result<()> {
        enter_user_namespace_if_needed()?;
        series("the kernel's routers, no delay", kernel)?;
        series("the model's routers, 20 ms to the server and 40 ms between the houses", model)
    }

    fn series(name: &str, run: fn() -> Result<Run>) -> Result<()> {
        println!("{name}");
        let mut runs = Vec::new();
        for number in 1..=RUNS {
            let run = run()?;
            println!(
                "  run {number:2}: first reply {:7.1} ms, direct {:7.1} ms, exit {}",
                run.reply, run.direct, run.exit
            );
            runs.push(run);
        }
        let direct = runs.iter().filter(|run| run.exit == 0).count();
        println!("  direct in {direct} of {RUNS} runs");
        println!("  first reply: {}", summary(runs.iter().map(|run| run.reply)));
        println!("  direct path: {}", summary(runs.iter().map(|run| run.direct)));
        ensure!(direct == RUNS, "not every run became direct");
        Ok(())
    }

    struct Run {
        reply: f64,
        direct: f64,
        exit: i32,
    }

    /// A new world each time: no mapping of an earlier run helps.
    fn kernel() -> Result<Run> {
        let world = World::new()?;
        let houses = [router_of(&world, "a", Router::home())?, router_of(&world, "b", Router::home())?];
        contact(&houses[0].host("alice")?, &houses[1].host("bob")?, world.folder(), world.join_link())
    }

    fn model() -> Result<Run> {
        let net = Internet::new(1)?;
        let server = net.public_host("rendezvous")?;
        let folder = tempfile::tempdir()?;
        let (_rendezvous, join) = start_rendezvous(&server, &[server.address().to_string()], folder.path())?;
        let house = |name: &str| net.router(name, presets::home());
        let (a, b) = (house("a"), house("b"));
        for house in [&a, &b] {
            house.set_line(Line { delay: DELAY, ..Line::default() });
        }
        contact(&a.host("alice")?, &b.host("bob")?, folder.path(), &join)
    }

    /// Bob is online; Alice's client starts from nothing.
    fn contact<C: Computer>(alice: &C, bob: &C, folder: &Path, join: &str) -> Result<Run> {
        let (alice, bob) = (Person::new("alice", alice, folder, join)?, Person::new("bob", bob, folder, join)?);
        alice.add(&bob)?;
        bob.add(&alice)?;
        let mut bobs = bob.run()?;
        bobs.expect("registered", PATIENCE);
        let mut ping = alice.start(&["ping", "bob"])?;
        let summary = ping.expect("summary", PATIENCE).event;
        let number = |key: &str| summary[key].as_f64().unwrap_or(f64::NAN);
        Ok(Run { reply: number("first_reply_ms"), direct: number("direct_ms"), exit: ping.exit_code(PATIENCE) })
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
