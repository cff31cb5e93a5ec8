//! `cargo demo`: two people behind two home routers meet before your eyes. Everything is real: the server, both clients,
//! the kernel's address translation between them. Only the Internet is small, and gone when the demo ends.

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    use anyhow::{Context, Result, ensure};
    use clap::Parser;
    use e2e::{Person, RendezvousOptions, Running, World, binary, router_of};
    use netsim::netns::{KernelRouter, Router, enter_user_namespace_if_needed};
    use serde_json::Value;

    /// Two people behind two home routers find each other and talk, with nobody in between.
    ///
    /// Builds a small Internet out of network namespaces on this machine: a rendezvous server on a public address, two
    /// home routers (nftables masquerade, unsolicited input dropped) and a client behind each. Nothing leaves the machine,
    /// and nothing stays on it.
    #[derive(Parser)]
    #[command(name = "demo")]
    struct Arguments {
        /// You are Alice: type to Bob, who answers. End with Ctrl-D.
        #[arg(long)]
        interactive: bool,
        /// Show every event of both clients as JSON.
        #[arg(long, conflicts_with = "interactive")]
        raw: bool,
    }

    /// Long enough for the slowest machine; the story itself takes a second.
    const PATIENCE: Duration = Duration::from_secs(30);

    pub(super) fn main() -> Result<()> {
        let arguments = Arguments::parse();
        enter_user_namespace_if_needed()?;
        println!("Building punchline and rendezvous (the first time takes a minute or two) ...");
        binary("punchline");
        let started = Instant::now();
        let stage = Stage::set()?;
        clean_up_on_ctrl_c(stage.world.folder().to_owned())?;
        stage.describe();
        match arguments.interactive {
            true => stage.play_with_the_reader(),
            false => stage.play(started, arguments.raw),
        }
    }

    struct Stage {
        world: World,
        homes: [KernelRouter; 2],
        alice: Person,
        bob: Person,
    }

    impl Stage {
        fn set() -> Result<Self> {
            let world = World::with(RendezvousOptions { two_addresses: true })?;
            let homes =
                [router_of(&world, "alice-home", Router::home())?, router_of(&world, "bob-home", Router::home())?];
            let alice = world.alice(&homes[0].host("alice")?)?;
            let bob = world.bob(&homes[1].host("bob")?)?;
            world.acquaint(&alice, &bob)?;
            Ok(Stage { world, homes, alice, bob })
        }

        fn describe(&self) {
            let [home_a, home_b] = &self.homes;
            println!();
            println!("  the Internet     {} (namespaces on this machine, no way out)", self.world.net().prefix());
            println!("  rendezvous       {}:3478", self.world.server().address());
            for (person, home) in [(&self.alice, home_a), (&self.bob, home_b)] {
                let place = format!("{} behind a home router at {}", person.host().address(), home.wan_address());
                println!("  {:<16} {place}", person.name());
            }
            println!("  each has the other's link, for example");
            println!("  {}", self.bob.link);
            println!();
        }

        /// The whole story by itself.
        fn play(&self, started: Instant, raw: bool) -> Result<()> {
            let mut story = Story { started, raw, told: BTreeMap::new() };
            let mut bobs = self.bob.chat(&self.alice)?;
            story.follow(&mut [("bob", &mut bobs)], |story| story.has("bob profile"))?;
            let mut alices = self.alice.chat(&self.bob)?;
            story.follow(&mut [("alice", &mut alices), ("bob", &mut bobs)], |story| {
                ["alice path", "bob path"].iter().all(|moment| story.has(moment))
            })?;
            alices.say("Hello Bob! Two routers lie between us, and nobody else.");
            story.follow(&mut [("alice", &mut alices), ("bob", &mut bobs)], |story| {
                story.has("alice receipt") && story.has("bob message")
            })?;
            bobs.say("Hello Alice! The server only told us where to knock.");
            story.follow(&mut [("alice", &mut alices), ("bob", &mut bobs)], |story| {
                ["bob receipt", "alice message", "alice profile"].iter().all(|moment| story.has(moment))
            })?;
            for running in [&mut alices, &mut bobs] {
                running.end_of_input();
            }
            for running in [&mut alices, &mut bobs] {
                ensure!(running.exit_code(PATIENCE) == 0, "a chat did not end well:\n{}", running.transcript());
            }
            println!();
            let took = started.elapsed().as_secs_f64();
            println!("Messages went both ways over a direct path. {took:.1} s from an empty machine to here.");
            println!("Try `cargo demo --interactive` to be Alice yourself.");
            Ok(())
        }

        /// The reader is Alice; Bob answers what he is told.
        fn play_with_the_reader(&self) -> Result<()> {
            println!("You are Alice. Type to Bob; end with Ctrl-D.");
            println!();
            let mut bobs = self.bob.chat(&self.alice)?;
            bobs.expect("registered", PATIENCE);
            let mut command = self.alice.punchline(&["chat", "bob"]);
            command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
            let mut alices = self.alice.host().spawn(command)?;
            let mut answers = 0;
            while alices.try_wait()?.is_none() {
                let Some(said) = bobs.next_line(Duration::from_millis(100)) else { continue };
                if said.event["event"] == "message" && said.event["dir"] == "in" {
                    bobs.say(&answer(said.event["text"].as_str().unwrap_or_default(), answers));
                    answers += 1;
                }
            }
            Ok(())
        }
    }

    /// Bob is a good listener.
    fn answer(text: &str, so_far: usize) -> String {
        const ANSWERS: [&str; 4] = [
            "I hear you loud and clear. You said:",
            "No server has seen this but us two:",
            "That came straight through both routers:",
            "Noted:",
        ];
        format!("{} \u{201c}{text}\u{201d}", ANSWERS[so_far % ANSWERS.len()])
    }

    /// Tells what happens as it happens.
    struct Story {
        started: Instant,
        raw: bool,
        /// Moments of the story, such as "alice path", and how often they came.
        told: BTreeMap<String, usize>,
    }

    impl Story {
        fn has(&self, moment: &str) -> bool {
            self.told.contains_key(moment)
        }

        /// Tells until it has come to a certain point.
        fn follow(&mut self, people: &mut [(&str, &mut Running)], until: impl Fn(&Story) -> bool) -> Result<()> {
            let deadline = Instant::now() + PATIENCE;
            while !until(self) {
                for (who, running) in people.iter_mut() {
                    while let Some(said) = running.next_line(Duration::from_millis(5)) {
                        self.tell(who, said.at, &said.event);
                    }
                }
                ensure!(Instant::now() < deadline, "the story does not go on\n{}", transcripts(people));
            }
            Ok(())
        }

        fn tell(&mut self, who: &str, at: Instant, event: &Value) {
            let kind = event["event"].as_str().unwrap_or("?");
            let incoming = kind != "message" || event["dir"] == "in";
            if incoming {
                *self.told.entry(format!("{who} {kind}")).or_default() += 1;
            }
            let line = if self.raw { Some(event.to_string()) } else { sentence(kind, event) };
            if let Some(line) = line {
                println!("  {:6.3} s  {who:<6} {line}", at.saturating_duration_since(self.started).as_secs_f64());
            }
        }
    }

    fn transcripts(people: &mut [(&str, &mut Running)]) -> String {
        people.iter_mut().map(|(_, running)| running.transcript()).collect()
    }

    /// One event in words; `None` for what the story can do without.
    fn sentence(kind: &str, event: &Value) -> Option<String> {
        let text = |key: &str| event[key].as_str().unwrap_or("?").to_owned();
        let number = |key: &str| format!("{:.1} ms", event[key].as_f64().unwrap_or_default());
        Some(match kind {
            "registered" => format!("registered; the rendezvous sees {}", text("observed")),
            "profile" => format!("knows its NAT: {}", profile(&event["profile"])),
            "introduced" if event["requested"] == true => {
                format!("was introduced as asked; the peer may be at {}", list(&event["addresses"]))
            }
            "introduced" => format!("hears that somebody asks; the peer may be at {}", list(&event["addresses"])),
            "punched" => format!(
                "first probe through: {} answered in {}, {} after the introduction",
                text("remote"),
                number("rtt_ms"),
                number("after_ms")
            ),
            "path" => format!("{} path to {}, round trip {}", text("kind"), text("remote"), number("rtt_ms")),
            "message" if event["dir"] == "in" => format!("reads: {}", text("text")),
            "message" => format!("says:  {}", text("text")),
            "receipt" => match text("state").as_ref() {
                "read" => "knows that it was read".to_owned(),
                "server" => "knows that the server keeps it".to_owned(),
                _ => "knows that it arrived".to_owned(),
            },
            "refused" => format!("asks for {}, who is not there yet", text("name")),
            "rendezvous_lost" | "no_path" | "lost" | "error" => event.to_string(),
            _ => return None,
        })
    }

    fn list(addresses: &Value) -> String {
        let addresses = addresses.as_array().into_iter().flatten().filter_map(Value::as_str);
        addresses.collect::<Vec<_>>().join(", ")
    }

    fn profile(profile: &Value) -> String {
        let words = |key: &str| profile[key].as_str().map(|word| format!("{} {key}", word.replace('_', "-")));
        let known: Vec<String> = ["mapping", "filtering"].into_iter().filter_map(words).collect();
        if known.is_empty() { "not much is known".into() } else { known.join(", ") }
    }

    /// Namespaces and processes go with this process; the folder would stay.
    fn clean_up_on_ctrl_c(folder: PathBuf) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?;
        std::thread::spawn(move || {
            if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
                let _ = std::fs::remove_dir_all(folder);
                std::process::exit(130);
            }
        });
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("The demo builds its Internet out of Linux network namespaces; run it on Linux.");
    std::process::exit(1);
}
