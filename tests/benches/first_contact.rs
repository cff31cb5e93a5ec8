//! How long two people wait for each other: from the start of `punchline ping` to its first reply and to the direct
//! path, between two home routers. `cargo bench --package e2e` prints the medians; docs/benchmarks.md keeps them.

#[cfg(target_os = "linux")]
mod linux {
    use std::time::Duration;

    use anyhow::{Result, ensure};
    use e2e::{World, router_of};
    use netsim::netns::{Router, enter_user_namespace_if_needed};

    const RUNS: usize = 20;
    const PATIENCE: Duration = Duration::from_secs(20);

    pub(super) fn main() -> Result<()> {
        enter_user_namespace_if_needed()?;
        let mut runs = Vec::new();
        for number in 1..=RUNS {
            let run = one_run()?;
            println!(
                "run {number:2}: first reply {:7.1} ms, direct {:7.1} ms, exit {}",
                run.reply, run.direct, run.exit
            );
            runs.push(run);
        }
        let direct = runs.iter().filter(|run| run.exit == 0).count();
        println!("direct in {direct} of {RUNS} runs");
        println!("first reply: {}", summary(runs.iter().map(|run| run.reply)));
        println!("direct path: {}", summary(runs.iter().map(|run| run.direct)));
        ensure!(direct == RUNS, "not every run became direct");
        Ok(())
    }

    struct Run {
        reply: f64,
        direct: f64,
        exit: i32,
    }

    /// A new world each time: no mapping of an earlier run helps.
    fn one_run() -> Result<Run> {
        let world = World::new()?;
        let alice = world.alice(&router_of(&world, "a", Router::home())?.host("alice")?)?;
        let bob = world.bob(&router_of(&world, "b", Router::home())?.host("bob")?)?;
        world.acquaint(&alice, &bob)?;
        let mut bobs = bob.run()?;
        bobs.expect("registered", PATIENCE);
        let mut ping = alice.start(&["ping", "bob"])?;
        let summary = ping.expect("summary", PATIENCE).event;
        let number = |key: &str| summary[key].as_f64().unwrap_or(f64::NAN);
        Ok(Run { reply: number("first_reply_ms"), direct: number("direct_ms"), exit: ping.exit_code(PATIENCE) })
    }

    fn summary(values: impl Iterator<Item = f64>) -> String {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let middle = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
        format!("median {middle:.1} ms, least {:.1}, most {:.1}", sorted[0], sorted[sorted.len() - 1])
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
