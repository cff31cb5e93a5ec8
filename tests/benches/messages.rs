//! How many messages a second go from one person to another over a direct path, each on the disk of both; and how long one takes to be
//! there and to be known to be, if each waits for the one before.
//! `cargo bench -p e2e --bench messages` prints both for a line without delay and for one of 20 ms there and back, as a table and
//! as JSON; docs/benchmarks.md keeps them. `-- NAME RUNS LINES` tells one, so often, with so many.

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io::{BufRead, BufReader, Write};
    use std::process::{ChildStdin, ChildStdout, Stdio};
    use std::sync::mpsc::{self, Receiver};
    use std::thread;
    use std::time::{Duration, Instant};

    use anyhow::{Context, Result, ensure};
    use e2e::{Computer, Person, World, start_rendezvous};
    use netsim::model::Line;
    use netsim::netns::{Process, enter_user_namespace_if_needed};
    use netsim::wire::Internet;
    use serde_json::json;

    const RUNS: usize = 5;
    /// Lines of one run at full speed.
    const LINES: usize = 20_000;
    const CHARACTERS: usize = 80;
    /// Lines of one run that go one at a time, after some that count for nothing.
    const SINGLE: usize = 500;
    const WARM_UP: usize = 20;
    /// One way, from each of the two to the Internet: four of them are a round trip of 20 ms.
    const FAR: Duration = Duration::from_millis(5);
    const PATIENCE: Duration = Duration::from_secs(120);

    /// What one run found.
    struct Figures {
        per_second: f64,
        median_ms: f64,
        p95_ms: f64,
    }

    type Run = fn(usize) -> Result<Figures>;

    const SERIES: [(&str, Run); 2] = [("near", near), ("far", far)];

    pub(super) fn main() -> Result<()> {
        enter_user_namespace_if_needed()?;
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        let only = arguments.next();
        let runs = arguments.next().map_or(Ok(RUNS), |runs| runs.parse())?;
        let lines = arguments.next().map_or(Ok(LINES), |lines| lines.parse())?;
        ensure!(runs > 0 && lines > 0, "nothing would be measured");
        println!("line   messages/s (least-most)        one at a time: median, p95 (of the run in the middle)");
        let mut all = Vec::new();
        for (name, run) in SERIES.into_iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
            let figures = (1..=runs).map(|number| run(lines).with_context(|| format!("{name}, run {number}")));
            let figures = figures.collect::<Result<Vec<Figures>>>()?;
            let sorted = |of: fn(&Figures) -> f64| {
                let mut values: Vec<f64> = figures.iter().map(of).collect();
                values.sort_by(f64::total_cmp);
                values
            };
            let middle = |values: &[f64]| values[values.len() / 2];
            let rates = sorted(|run| run.per_second);
            let (median, p95) = (middle(&sorted(|run| run.median_ms)), middle(&sorted(|run| run.p95_ms)));
            let (least, most) = (rates[0], rates[rates.len() - 1]);
            println!("{name:6} {:8.0} ({least:.0}-{most:.0})        {median:.2} ms, {p95:.2} ms", middle(&rates));
            all.push(json!({
                "line": name, "runs": runs, "lines": lines, "messages_per_s": middle(&rates), "least": least, "most": most,
                "single_median_ms": median, "single_p95_ms": p95,
            }));
        }
        all.iter().for_each(|figures| println!("{figures}"));
        Ok(())
    }

    /// Two namespaces and a bridge.
    fn near(lines: usize) -> Result<Figures> {
        let world = World::new()?;
        let alice = world.alice(&world.net().public_host("alice")?)?;
        let bob = world.bob(&world.net().public_host("bob")?)?;
        world.acquaint(&alice, &bob)?;
        figures(&alice, &bob, lines)
    }

    /// Two public hosts of the model.
    fn far(lines: usize) -> Result<Figures> {
        let net = Internet::new(1)?;
        let server = net.public_host("rendezvous")?;
        let folder = tempfile::tempdir()?;
        let (_rendezvous, join) = start_rendezvous(&server, &[format!("{}:3478", server.address())], folder.path())?;
        let person = |name: &str| {
            let host = net.public_host(name)?;
            host.set_line(Line::delay(FAR));
            Person::new(name, &host, folder.path(), &join)
        };
        let (alice, bob) = (person("alice")?, person("bob")?);
        alice.add(&bob)?;
        bob.add(&alice)?;
        figures(&alice, &bob, lines)
    }

    fn figures<C: Computer>(alice: &Person<C>, bob: &Person<C>, lines: usize) -> Result<Figures> {
        let mut bobs = Client::start(bob, &["run"])?;
        bobs.hears("registered", 1)?;
        let mut alices = Client::start(alice, &["chat", bob.name()])?;
        alices.hears_of("path", "\"kind\":\"direct\"")?;
        let mut singles = one_at_a_time(&mut alices, WARM_UP + SINGLE)?.split_off(WARM_UP);
        singles.sort_by(f64::total_cmp);
        let per_second = at_full_speed(&mut alices, lines)?;
        drop((alices, bobs));
        let all = WARM_UP + SINGLE + lines;
        ensure!(kept(alice, bob)? == all && kept(bob, alice)? == all, "not every message is on both disks");
        let (median_ms, p95_ms) = (singles[singles.len() / 2], singles[singles.len() * 95 / 100]);
        Ok(Figures { per_second, median_ms, p95_ms })
    }

    /// From the first line to the last receipt.
    fn at_full_speed(client: &mut Client, lines: usize) -> Result<f64> {
        let mut input = client.input.take().context("its input")?;
        let begun = Instant::now();
        let typing =
            thread::spawn(move || (0..lines).try_for_each(|number| type_line(&mut input, number)).map(|()| input));
        let last = client.hears("receipt", lines)?;
        client.input = Some(typing.join().expect("it does not panic")?);
        Ok(lines as f64 / (last - begun).as_secs_f64())
    }

    /// From each line to its receipt, in milliseconds.
    fn one_at_a_time(client: &mut Client, lines: usize) -> Result<Vec<f64>> {
        (0..lines)
            .map(|number| {
                let begun = Instant::now();
                type_line(client.input.as_mut().context("its input")?, number)?;
                Ok((client.hears("receipt", 1)? - begun).as_secs_f64() * 1000.0)
            })
            .collect()
    }

    fn type_line(input: &mut ChildStdin, number: usize) -> std::io::Result<()> {
        writeln!(input, "{number:0>width$}", width = CHARACTERS)
    }

    /// Messages in somebody's history, counted without the help of whoever showed them.
    fn kept<C: Computer>(person: &Person<C>, with: &Person<C>) -> Result<usize> {
        let mut history = person.start(&["history", with.name(), "--all"])?;
        ensure!(history.exit_code(PATIENCE) == 0, "{}", history.transcript());
        Ok(history.said().len())
    }

    /// A client whose lines are only looked at, not taken apart: there are two processors for the three of us.
    struct Client {
        /// Killed when dropped.
        _process: Process,
        input: Option<ChildStdin>,
        lines: Receiver<(Instant, String)>,
    }

    impl Client {
        fn start<C: Computer>(person: &Person<C>, arguments: &[&str]) -> Result<Client> {
            let mut command = person.punchline(arguments);
            let log = File::create(person.data().with_extension("log"))?;
            command.arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
            let mut process = person.host().start(command)?;
            let output = process.take_stdout().context("its output")?;
            let (sender, lines) = mpsc::channel();
            thread::spawn(move || read(output, &sender));
            Ok(Client { input: process.take_stdin(), _process: process, lines })
        }

        /// Waits for so many of these events; when the last came.
        fn hears(&mut self, event: &str, count: usize) -> Result<Instant> {
            self.wait(&format!("\"event\":\"{event}\""), "", count)
        }

        /// Waits for one of these events that has these words in it.
        fn hears_of(&mut self, event: &str, words: &str) -> Result<Instant> {
            self.wait(&format!("\"event\":\"{event}\""), words, 1)
        }

        fn wait(&mut self, event: &str, words: &str, count: usize) -> Result<Instant> {
            let mut heard = 0;
            loop {
                let (at, line) =
                    self.lines.recv_timeout(PATIENCE).with_context(|| format!("{heard} of {count} {event}"))?;
                heard += usize::from(line.contains(event) && line.contains(words));
                if heard == count {
                    return Ok(at);
                }
            }
        }
    }

    fn read(output: ChildStdout, sender: &mpsc::Sender<(Instant, String)>) {
        let mut lines = BufReader::with_capacity(1 << 16, output).lines().map_while(std::io::Result::ok);
        // Bob's messages are nobody's business here.
        while let Some(line) = lines.find(|line| !line.contains("\"event\":\"message\"")) {
            if sender.send((Instant::now(), line)).is_err() {
                return;
            }
        }
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
