//! How long two people are without each other: at the first message, and when the network under a conversation changes.
//! A thousand numbered messages flow meanwhile, and every run demands that they arrive once and in order.
//! `cargo bench -p e2e --bench switching` prints the medians; docs/benchmarks.md keeps them. `-- NAME RUNS` tells one.

#[cfg(target_os = "linux")]
mod linux {
    use std::time::{Duration, Instant};

    use anyhow::{Context, Result};
    use e2e::{Flow, Running, Said, Town, summary};
    use netsim::model::{Behaviour, presets};
    use netsim::netns::enter_user_namespace_if_needed;

    const RUNS: u64 = 20;
    const LINES: (usize, Duration) = (1000, Duration::from_millis(4));
    /// The event comes when a third has been said.
    const EVENT: usize = 333;
    const PATIENCE: Duration = Duration::from_secs(60);
    /// One way to the server and back.
    const ROUND_TRIP: f64 = 40.0;

    /// Figures of one run, by name.
    type Figures = Vec<(&'static str, f64)>;
    type Run = fn(u64) -> Result<Figures>;

    const SERIES: [(&str, Run); 7] = [
        ("first", first),
        ("first with 10 % loss", first_with_loss),
        ("direct path cut", cut),
        ("roam", roam),
        ("NAT reboot", reboot),
        ("server restart", restart),
        ("server restart, relayed", restart_relayed),
    ];

    pub(super) fn main() -> Result<()> {
        enter_user_namespace_if_needed()?;
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        let (only, runs) = (arguments.next(), arguments.next().map_or(Ok(RUNS), |runs| runs.parse())?);
        for (name, run) in SERIES.into_iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
            println!("{name}");
            let mut all: Vec<Figures> = Vec::new();
            for seed in 1..=runs {
                all.push(run(seed).with_context(|| format!("{name}, run {seed}"))?);
            }
            let names: Vec<_> = all.first().into_iter().flatten().map(|(name, _)| *name).collect();
            for figure in names {
                let of = |run: &Figures| run.iter().find(|(name, _)| *name == figure).map(|(_, value)| *value);
                println!("  {figure:32} {}", summary(all.iter().filter_map(of)));
            }
            println!("  {} runs", all.len());
        }
        Ok(())
    }

    fn homes() -> [Behaviour; 2] {
        [presets::home(), presets::home()]
    }

    /// Bob is online. Alice's client starts, with something to say.
    fn meet(seed: u64, loss: f64) -> Result<Figures> {
        let town = Town::new(seed, homes(), loss)?;
        let mut bobs = town.bob.chat(&town.alice)?;
        bobs.expect("registered", PATIENCE);
        let mut alices = town.alice.chat(&town.bob)?;
        alices.say("first");
        let registered = alices.expect("registered", PATIENCE).at;
        let is = |event: &'static str| move |said: &serde_json::Value| said["event"] == event;
        let heard =
            bobs.expect_that("the message", PATIENCE, |said| said["event"] == "message" && said["dir"] == "in").at;
        let punched = bobs.expect_that("a punched path", PATIENCE, is("punched")).at;
        alices.expect_direct(PATIENCE);
        let direct = alices.said().iter().find(|said| is_direct(said)).context("direct")?.at;
        // The request left together with the registration, one round trip before its answer was there.
        let since = |at: Instant| {
            at.saturating_duration_since(registered).as_secs_f64() * 1e3
                - registered.saturating_duration_since(at).as_secs_f64() * 1e3
                + ROUND_TRIP
        };
        Ok(vec![
            ("first message at the peer", since(heard)),
            ("first probe answered", since(punched)),
            ("messages rely on the direct path", since(direct)),
        ])
    }

    fn first(seed: u64) -> Result<Figures> {
        meet(seed, 0.0)
    }

    fn first_with_loss(seed: u64) -> Result<Figures> {
        meet(seed, 0.1)
    }

    fn is_direct(said: &Said) -> bool {
        said.event["event"] == "path" && said.event["kind"] == "direct"
    }

    /// Both talk; then lines flow from Alice to Bob, and something happens.
    fn flow(
        town: &mut Town,
        direct: bool,
        happens: impl FnOnce(&mut Town) -> Result<()>,
    ) -> Result<(Figures, Running, Instant)> {
        let mut bobs = town.bob.chat(&town.alice)?;
        bobs.expect("registered", PATIENCE);
        let mut alices = town.alice.chat(&town.bob)?;
        if direct {
            alices.expect_direct(PATIENCE);
            bobs.expect_direct(PATIENCE);
        } else {
            alices.expect("path", PATIENCE);
        }
        let (flow, happened) = Flow::run(&mut alices, &mut bobs, LINES, EVENT, || happens(town), PATIENCE)?;
        let recovery = flow.recovery(happened)?.as_secs_f64() * 1e3;
        let gap = flow.longest_gap().as_secs_f64() * 1e3;
        Ok((vec![("messages again after", recovery), ("longest silence", gap)], alices, happened))
    }

    /// From the event to a direct path that was punched after it.
    fn direct_again(alices: &mut Running, happened: Instant) -> Result<f64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let punched =
                alices.said().iter().find(|said| said.at > happened && said.event["event"] == "punched").map(|s| s.at);
            let direct = alices.said().iter().rfind(|said| said.event["event"] == "path").is_some_and(is_direct);
            let last = alices.said().iter().rfind(|said| said.at > happened && is_direct(said)).map(|said| said.at);
            if let (Some(punched), true) = (punched, direct) {
                return Ok(last.unwrap_or(punched).max(punched).saturating_duration_since(happened).as_secs_f64() * 1e3);
            }
            anyhow::ensure!(Instant::now() < deadline, "no direct path\n{}", alices.transcript());
            let _ = alices.next_line(Duration::from_millis(50));
        }
    }

    fn cut(seed: u64) -> Result<Figures> {
        let mut town = Town::new(seed, homes(), 0.0)?;
        let (figures, ..) = flow(&mut town, true, |town| town.cut_direct_path())?;
        Ok(figures)
    }

    fn roam(seed: u64) -> Result<Figures> {
        let mut town = Town::new(seed, homes(), 0.0)?;
        let moved = |town: &mut Town| Ok(town.alice.host().roam(&town.cafe).map(drop)?);
        let (mut figures, mut alices, happened) = flow(&mut town, true, moved)?;
        figures.push(("direct again after", direct_again(&mut alices, happened)?));
        Ok(figures)
    }

    fn reboot(seed: u64) -> Result<Figures> {
        let mut town = Town::new(seed, homes(), 0.0)?;
        let (figures, ..) = flow(&mut town, true, |town| Ok(town.alices.reboot()?))?;
        Ok(figures)
    }

    fn restart(seed: u64) -> Result<Figures> {
        let mut town = Town::new(seed, homes(), 0.0)?;
        let (figures, ..) = flow(&mut town, true, Town::restart_rendezvous)?;
        Ok(figures)
    }

    fn restart_relayed(seed: u64) -> Result<Figures> {
        let symmetric = [presets::corporate(), presets::corporate()];
        let mut town = Town::new(seed, symmetric, 0.0)?;
        let (figures, ..) = flow(&mut town, false, Town::restart_rendezvous)?;
        Ok(figures)
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
