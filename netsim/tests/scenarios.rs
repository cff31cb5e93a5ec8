//! `netsim run` and `netsim shell`, as they are typed, with programs that every Linux has.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real programs run in real time")]
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// What must happen has this long; it takes milliseconds unless the machine is busy.
const SURELY: Duration = Duration::from_secs(20);

/// Alice says something, and it comes back.
const ECHO: &str = r#"
title = "An echo"
hosts.alice = { behind = "home" }
hosts.server = {}
routers.home = { preset = "home" }
programs.echo = { host = "alice", command = ["cat"] }

[[steps]]
start = "echo"

[[steps]]
send = '{{"event":"said","from":"{home.address}","number":3}}'
to = "echo"

[[steps]]
expect = "echo"
event = "said"
where = { number = { above = 2, below = 4, not = 5 }, from = { matches = '^11\.' } }
save = { where = "from" }

[[steps]]
send = "it was {where}"
to = "echo"

[[steps]]
expect = "echo"
matches = 'was (?<address>[\d.]+)'

[[steps]]
send = "again {address}"
to = "echo"

[[steps]]
expect = "echo"
says = "again {home.address}"

[[steps]]
stop = "echo"

[[steps]]
run = "echo"
"#;

#[test]
fn a_scenario_that_goes_as_it_should_passes_on_both_drivers() {
    let folder = Folder::new();
    let file = folder.file("echo.toml", ECHO);
    for driver in ["netns", "wire"] {
        let output = netsim(&["run", "--driver", driver], &[&file]);
        let table = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{table}");
        assert!(table.starts_with("passed: An echo (") && table.contains(driver), "{table}");
        assert_eq!(table.lines().filter(|line| line.contains(" s  ")).count(), 9, "{table}");
    }
}

#[test]
fn the_scenarios_that_need_nothing_but_debian_pass_on_both_drivers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = ["tcp-through-a-home.toml", "udp-renumbered.toml"].map(|file| folder.join(file));
    for driver in ["netns", "wire"] {
        let output = netsim(&["run", "--driver", driver], &[&files[0], &files[1]]);
        let table = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{table}");
        assert!(table.ends_with("2 of 2 scenarios passed\n"), "{table}");
    }
}

#[test]
fn the_kernels_boxes_have_lines_with_delay_on_the_wire() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/ping-far-kernel-boxes.toml");
    let output = netsim(&["run"], &[&file]);
    let table = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert!(table.contains("; wire, seed"), "{table}");
}

#[test]
fn a_router_gives_a_port_to_who_asks_for_one_on_both_drivers() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/port-asked-for.toml");
    for driver in ["netns", "wire"] {
        let output = netsim(&["run", "--driver", driver], &[&file]);
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    }
    let mut without = command(&["run"]);
    let output = without.env("NETSIM_MINIUPNPD", "/nowhere/miniupnpd").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("`miniupnpd` was not found in /nowhere/miniupnpd (from NETSIM_MINIUPNPD)"), "{said}");
    assert!(said.contains("apt-get install miniupnpd-nftables"), "{said}");
}

#[test]
fn a_scenario_that_fails_shows_the_step_and_what_the_program_said_and_reaches_no_further() {
    let folder = Folder::new();
    let file = folder.file("fails.toml", &ECHO.replace("says = \"again", "within = 0.1\nsays = \"nothing like"));
    let junit = folder.path("junit.xml");
    let output = netsim(&["run", "--junit", junit.to_str().unwrap()], &[&file]);
    let table = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert!(table.contains("FAILED: An echo"), "{table}");
    assert!(table.contains("did not say \"nothing like {home.address}\" within 0.1 s"), "{table}");
    assert!(table.contains("again 11.1.1.1"), "{table}");
    assert_eq!(table.lines().filter(|line| line.contains("        -  ")).count(), 2, "{table}");
    let xml = fs::read_to_string(junit).unwrap();
    assert!(xml.contains("tests=\"9\" failures=\"1\" skipped=\"2\""), "{xml}");
    assert_eq!(xml.matches("<testcase ").count(), 9, "{xml}");
}

#[test]
fn what_must_not_be_said_fails_a_scenario_when_it_is_said() {
    let folder = Folder::new();
    let file = folder.file("absent.toml", &ECHO.replace("says = \"again", "absent = true\nsays = \"again"));
    let output = netsim(&["run"], &[&file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("all the same"), "{output:?}");
}

#[test]
fn a_program_that_ends_early_or_otherwise_or_is_not_there_is_told_apart() {
    let folder = Folder::new();
    let program = |command: &str, step: &str| {
        let text = format!(
            "title = \"t\"\nhosts.a = {{}}\nprograms.p = {{ host = \"a\", command = {command} }}\n\
             steps = [{{ start = \"p\" }}, {step}]"
        );
        stdout(&netsim(&["run"], &[&folder.file("p.toml", &text)]))
    };
    let ends = r#"{ expect = "p", exit = 0 }"#;
    assert!(program(r#"["true"]"#, r#"{ expect = "p", says = "x" }"#).contains("p ended and never said \"x\""));
    assert!(program(r#"["false"]"#, ends).contains("p ended with exit code 1, not 0"));
    assert!(program(r#"["sh", "-c", "kill -9 $$"]"#, ends).contains("p ended with signal SIGKILL, not 0"));
    assert!(program(r#"["cat"]"#, r#"{ expect = "p", exit = 0, within = 0 }"#).contains("p still runs after 0 s"));
    assert!(program(r#"["/nowhere/p"]"#, ends).contains("cannot start /nowhere/p"));
    assert!(program(r#"["cat"]"#, r#"{ start = "p" }"#).contains("p runs already"));
}

#[test]
fn the_json_form_has_an_object_for_each_step_and_one_for_the_scenario() {
    let folder = Folder::new();
    let output = netsim(&["run", "--json", "--seed", "7"], &[&folder.file("echo.toml", ECHO)]);
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 10);
    assert!(lines[..9].iter().all(|step| step["event"] == "step" && step["outcome"] == "passed"), "{lines:?}");
    assert_eq!((&lines[9]["passed"], &lines[9]["seed"]), (&Value::from(true), &Value::from(7)));
}

#[test]
fn a_bad_file_keeps_all_others_from_being_told() {
    let folder = Folder::new();
    let (good, bad) = (folder.file("good.toml", ECHO), folder.file("bad.toml", &ECHO.replace("start", "strat")));
    let output = netsim(&["run"], &[&good, &bad]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(2), String::new()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("bad.toml:9: strat: unknown field"), "{said}");
    let output = netsim(&["run"], &[Path::new("/nowhere.toml")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere.toml: cannot be read"));
}

#[test]
fn virtual_time_refuses_real_programs_by_their_line_and_says_what_to_use() {
    let folder = Folder::new();
    let file = folder.file("echo.toml", ECHO);
    let refused = |arguments: &[&str]| {
        let output = netsim(arguments, &[&file]);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused(&["run", "--driver", "virtual"]);
    assert!(said.contains(": command: the driver virtual cannot run `") && said.contains("or --driver wire"), "{said}");
    assert!(said.contains("echo.toml:"), "{said}");
    let file = folder.file("none.toml", "title = \"t\"\nhosts.a = {}\n");
    for arguments in [&["run", "--driver", "virtual", "--pcap", "x"][..], &["shell", "--driver", "virtual"]] {
        let host: &[&Path] = if arguments[0] == "shell" { &[&file, Path::new("a")] } else { &[&file] };
        let output = netsim(arguments, host);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("use --driver wire"), "{output:?}");
    }
}

#[test]
fn what_netsim_udp_says_is_the_same_on_every_driver() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    for name in ["udp-renumbered", "udp-mapping-expires", "udp-roam"] {
        for driver in ["virtual", "netns", "wire"] {
            let output = netsim(&["run", "--driver", driver], &[&scenarios.join(name).with_extension("toml")]);
            assert_eq!(output.status.code(), Some(0), "{name} on {driver}: {}", stdout(&output));
        }
    }
}

#[test]
fn a_program_that_cannot_be_ends_the_same_on_every_driver() {
    let folder = Folder::new();
    let text = r#"
        title = "No program"
        hosts.a = {}
        programs.first = { host = "a", command = ["netsim", "udp", "--port", "7"] }
        programs.second = { host = "a", command = ["netsim", "udp", "--port", "7"] }
        programs.wrong = { host = "a", command = ["netsim", "udp", "--prot", "7"] }
        steps = [
            { start = "wrong" }, { expect = "wrong", says = "--prot" }, { expect = "wrong", exit = 2 },
            { start = "first" }, { expect = "first", event = "ready" },
            { start = "second" }, { expect = "second", says = "port 7 cannot be used" },
            { expect = "second", exit = 2 },
            { send = "nonsense", to = "first" }, { expect = "first", event = "error" },
            { send = "to [2001:db8::ffff]:7 x", to = "first" }, { kill = "first" },
            { start = "second" }, { expect = "second", event = "ready" }, { stop = "second" },
        ]
    "#;
    let file = folder.file("none.toml", text);
    for driver in ["virtual", "netns", "wire"] {
        let output = netsim(&["run", "--driver", driver], &[&file]);
        assert_eq!(output.status.code(), Some(0), "{driver}: {}", stdout(&output));
    }
}

#[test]
fn in_virtual_time_an_hour_passes_at_once_and_one_seed_gives_one_report() {
    let folder = Folder::new();
    let text = r#"
        title = "Jitter"
        hosts.alice = { behind = "home" }
        hosts.server = { line = { delay = 0.02, jitter = 0.01 } }
        routers.home = { preset = "home", line = { delay = 0.03, jitter = 0.01 } }
        programs.echo = { host = "server", command = ["netsim", "udp", "--port", "7", "--echo"] }
        programs.alice = { host = "alice", command = ["netsim", "udp", "--port", "5000"] }
        steps = [
            { start = "echo" }, { start = "alice" },
            { send = "to {server.address}:7 now", to = "alice" },
            { expect = "alice", event = "datagram", where = { text = "now" } },
            { wait = 3000 },
            { send = "to {server.address}:7 later", to = "alice", at = 3600 },
            { expect = "alice", event = "datagram", where = { text = "later" }, within = 1 },
            { expect = "alice", says = "never" },
        ]
    "#;
    let file = folder.file("jitter.toml", text);
    let report = |seed: &str| {
        let output = netsim(&["run", "--driver", "virtual", "--seed", seed], &[&file]);
        assert_eq!(output.status.code(), Some(1));
        stdout(&output)
    };
    let first = report("1");
    assert!(first.contains("3600.000 s") && first.contains("did not say \"never\" within 20 s"), "{first}");
    // There and back takes 50 ms each way, more or less.
    let took = first.lines().find(|line| line.contains("\"now\"") && line.contains("says")).unwrap();
    let took: f64 = took.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!((0.06..0.14).contains(&took), "{first}");
    assert_eq!(first, report("1"));
    assert_ne!(first, report("2").replace("seed 2", "seed 1"));
}

#[test]
fn ctrl_c_stops_in_order_and_leaves_neither_programs_nor_files() {
    let folder = Folder::new();
    // A program with a child that does not look at signals, and says where its files are. Both hold on to a pipe.
    let text = r#"
        title = "Long"
        hosts.a = {}
        programs.p = { host = "a", command = ["sh", "-c", "exec >> {here}/pipe; trap '' TERM INT; tail -f /dev/null & pwd; wait"] }
        steps = [{ start = "p" }, { wait = 3600 }]
    "#;
    let (file, pipe) = (folder.file("long.toml", text), folder.path("pipe"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut running = command(&["run", "--json"]).arg(&file).stdout(Stdio::piped()).spawn().unwrap();
    let (mut files, mut pipe) = (String::new(), BufReader::new(fs::File::open(&pipe).unwrap()));
    pipe.read_line(&mut files).unwrap();
    assert!(Path::new(files.trim()).is_dir(), "{files}");

    // Once the step is over that started it, the scenario is waiting.
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("start p"));
    kill(Pid::from_raw(running.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert!(lines.any(|line| line.unwrap().contains("\"outcome\":\"interrupted\"")));
    assert!(!Path::new(files.trim()).exists(), "{files}");
    // The pipe ends when nobody holds it any more.
    let (gone, all_gone) = mpsc::channel();
    thread::spawn(move || gone.send(pipe.read_line(&mut String::new()).unwrap()));
    assert_eq!(all_gone.recv_timeout(SURELY), Ok(0), "a program is left");
}

#[test]
fn a_shell_is_in_the_host_it_was_asked_for_and_its_exit_status_is_ours() {
    let folder = Folder::new();
    let file = folder.file("echo.toml", ECHO);
    let file = file.to_str().unwrap();
    for driver in ["netns", "wire"] {
        let script = "cat /proc/net/fib_trie; echo $NETSIM_HOST {server.address}; exit 7";
        let output = netsim(&["shell", "--driver", driver, file, "alice", "--", "sh", "-c", script], &[]);
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        let said = stdout(&output);
        assert!(said.contains("192.168.1.") && said.contains("alice 11.1.1."), "{said}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("server "), "{output:?}");
    }
    let output = netsim(&["shell", file, "bob"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there are: alice, server"), "{output:?}");
}

#[test]
fn what_hosts_sent_is_captured_and_drawn_with_what_was_lost() {
    let folder = Folder::new();
    // A refused connection is a packet there and a packet back; behind a cut line a datagram is lost.
    let text = r#"
        title = "Lost"
        hosts.alice = { behind = "home" }
        hosts.server = {}
        routers.home = { preset = "home" }
        programs.connect = { host = "alice", command = ["bash", "-c", "exec 3<>/dev/tcp/{server.address}/9"] }
        programs.send = { host = "alice", command = ["bash", "-c", "echo hello > /dev/udp/{server.address}/9"] }
        steps = [{ run = "connect", exit = 1 }, { cut = "home" }, { run = "send" }]
    "#;
    let file = folder.file("lost.toml", text);
    for driver in ["netns", "wire"] {
        let captures = folder.path(driver);
        let output = netsim(&["run", "--driver", driver, "--pcap", captures.to_str().unwrap()], &[&file]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let output = netsim(&["ladder"], &[&captures.join("alice.pcapng"), &captures.join("server.pcapng")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said, "2 hosts, 3 packets sent, 1 of them seen nowhere else\n");
        let picture = stdout(&output);
        let drawn = |class: &str| picture.matches(&format!("<g class=\"{class}\">")).count();
        assert_eq!((drawn("arrived"), drawn("lost"), drawn("stranger")), (2, 1, 0), "{picture}");
        assert!(picture.contains(">alice</text>") && picture.contains("→9 6 B"), "{picture}");
    }
    // The router's outer interface has seen the same packets, and the lost one before its line was cut.
    for (driver, made_of) in [("netns", ""), ("wire", ""), ("wire", ", box = \"kernel\"")] {
        let file = folder.file("seen.toml", &text.replace("preset = \"home\"", &format!("preset = \"home\"{made_of}")));
        let captures = folder.path("seen");
        let output = netsim(&["run", "--driver", driver, "--pcap", captures.to_str().unwrap()], &[&file]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let output = netsim(&["ladder"], &[&captures.join("home.pcapng"), &captures.join("server.pcapng")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said, "2 hosts, 3 packets sent, 1 of them seen nowhere else\n", "{driver}{made_of}");
    }
    let output = netsim(&["ladder"], &[&file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no pcap or pcapng file"), "{output:?}");
}

/// A folder for one test, gone with it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).expect("a file");
        self.path(name)
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsim"));
    command.args(arguments);
    command
}

fn netsim(arguments: &[&str], files: &[&Path]) -> Output {
    command(arguments).args(files).output().expect("netsim runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
