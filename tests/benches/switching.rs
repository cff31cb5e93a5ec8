//! How long two people are without each other: at the first message, and when the network under a conversation changes.
//! A thousand numbered messages flow meanwhile, and every run demands that they arrive once and in order.
//! `cargo bench -p e2e --bench switching` prints the medians; docs/benchmarks.md keeps them. `-- NAME RUNS` tells one.

#[cfg(target_os = "linux")]
mod linux {
    use std::time::{Duration, Instant};

    use anyhow::{Context, Result};
    use e2e::{Firewall, Flow, Running, Said, Town, direct_again, sleep_and_wake, summary};
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

    const SERIES: [(&str, Run); 13] = [
        ("first", first),
        ("first with 10 % loss", first_with_loss),
        ("direct path cut", cut),
        ("roam", roam),
        ("NAT reboot", reboot),
        ("server restart", restart),
        ("server restart, relayed", restart_relayed),
        ("server update, relayed", update_relayed),
        ("UDP blocked for one", blocked_for_one),
        ("UDP blocked for both", blocked_for_both),
        ("UDP unblocked", unblocked),
        ("tunnel falls silent", tunnel_silent),
        ("sleep", sleep),
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

    fn millis(time: Duration) -> f64 {
        time.as_secs_f64() * 1e3
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
        let (recovery, gap) = (millis(flow.recovery(happened)?), millis(flow.longest_gap()));
        Ok((vec![("messages again after", recovery), ("longest silence", gap)], alices, happened))
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
        figures.push(("direct again after", millis(direct_again(&mut alices, happened, PATIENCE)?)));
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

    fn update_relayed(seed: u64) -> Result<Figures> {
        let symmetric = [presets::corporate(), presets::corporate()];
        let mut town = Town::new(seed, symmetric, 0.0)?;
        let (figures, ..) = flow(&mut town, false, Town::update_rendezvous)?;
        Ok(figures)
    }

    fn via(way: &'static str) -> impl Fn(&serde_json::Value) -> bool {
        move |said| said["event"] == "registered" && said["via"] == way
    }

    /// Bob is there. From the start of Alice's program, which has something to say at once.
    fn cold(seed: u64, nats: [Behaviour; 2], bobs_way: &'static str) -> Result<Figures> {
        let town = Town::with_tunnel(seed, nats)?;
        let mut bobs = town.bob.chat(&town.alice)?;
        bobs.expect_that("a registration", PATIENCE, via(bobs_way));
        let mut alices = town.alice.chat(&town.bob)?;
        alices.say("first");
        let is_message = |said: &serde_json::Value| said["event"] == "message" && said["dir"] == "in";
        let heard = bobs.expect_that("the message", PATIENCE, is_message).at;
        let registered = alices.expect_that("a registration", PATIENCE, via("tunnel")).at;
        let relayed = alices.expect("path", PATIENCE).at;
        let since = |at: Instant| millis(at.saturating_duration_since(alices.started));
        Ok(vec![
            ("registered, from the start", since(registered)),
            ("first message at the peer", since(heard)),
            ("relayed connection", since(relayed)),
        ])
    }

    fn blocked_for_one(seed: u64) -> Result<Figures> {
        cold(seed, [presets::udp_blocked(), presets::home()], "udp")
    }

    fn blocked_for_both(seed: u64) -> Result<Figures> {
        cold(seed, [presets::udp_blocked(), presets::udp_blocked()], "tunnel")
    }

    /// Alice's network lets no UDP in, and then does. When it does is another moment in each run, because how soon it is
    /// noticed depends on when UDP was tried last.
    fn unblocked(seed: u64) -> Result<Figures> {
        let town = Town::with_tunnel(seed, homes())?;
        let mut blocked = Some(Firewall::against_udp(town.alice.host())?);
        let mut bobs = town.bob.chat(&town.alice)?;
        bobs.expect("registered", PATIENCE);
        let mut alices = town.alice.chat(&town.bob)?;
        let in_tunnel = alices.expect_that("a tunnel", PATIENCE, via("tunnel")).at;
        alices.expect("path", PATIENCE);
        // Twelve seconds of lines; the first attempt over UDP is in vain.
        let (pace, at) = (Duration::from_millis(12), 250 + 25 * (seed as usize % 20));
        let lift = || blocked.take().map_or(Ok(()), Firewall::lift);
        let (flow, lifted) = Flow::run(&mut alices, &mut bobs, (LINES.0, pace), at, lift, PATIENCE)?;
        let on_udp = alices.expect_that("UDP again", PATIENCE, via("udp")).at;
        anyhow::ensure!(on_udp > lifted, "UDP was not blocked\n{}", alices.transcript());
        let direct = direct_again(&mut alices, lifted, PATIENCE)?;
        Ok(vec![
            ("UDP was blocked for", millis(lifted - in_tunnel)),
            ("first message over UDP after", millis((on_udp - lifted) + flow.recovery(on_udp)?)),
            ("direct after", millis(direct)),
            ("longest silence", millis(flow.longest_gap())),
        ])
    }

    /// Both can only send TCP, and what stands between forgets Alice's connection.
    fn tunnel_silent(seed: u64) -> Result<Figures> {
        let town = Town::with_tunnel(seed, [presets::udp_blocked(), presets::udp_blocked()])?;
        let mut bobs = town.bob.chat(&town.alice)?;
        bobs.expect_that("a tunnel", PATIENCE, via("tunnel"));
        let mut alices = town.alice.chat(&town.bob)?;
        alices.expect("path", PATIENCE);
        let mut gone = None;
        let forget = || {
            gone = Some(Firewall::against_connections_to(town.alice.host(), 443)?);
            Ok(())
        };
        let (flow, happened) = Flow::run(&mut alices, &mut bobs, LINES, EVENT, forget, PATIENCE)?;
        let noticed = alices.expect("rendezvous_lost", PATIENCE).at;
        Ok(vec![
            ("noticed after", millis(noticed.saturating_duration_since(happened))),
            ("messages again after", millis(flow.recovery(happened)?)),
        ])
    }

    /// Bob's laptop sleeps until the rendezvous has given him up.
    fn sleep(seed: u64) -> Result<Figures> {
        let town = Town::new(seed, homes(), 0.0)?;
        let mut bobs = town.bob.chat(&town.alice)?;
        bobs.expect("registered", PATIENCE);
        let mut alices = town.alice.chat(&town.bob)?;
        for side in [&mut alices, &mut bobs] {
            side.expect_direct(PATIENCE);
        }
        let slept = sleep_and_wake(&town, &mut alices, &mut bobs, PATIENCE)?;
        Ok(vec![
            ("slept", millis(slept.slept)),
            ("all that was said, after waking", millis(slept.last)),
            ("direct again after", millis(slept.direct)),
        ])
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
