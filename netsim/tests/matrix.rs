//! `netsim matrix` with real programs, as a person uses it: somebody else's program in a few kinds of houses.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/example.py");
/// What comes at once comes by then on any machine.
const SURELY: Duration = Duration::from_secs(30);

#[test]
fn a_program_that_punches_is_direct_where_the_oracle_says_so() {
    for driver in ["wire", "netns"] {
        let output = matrix(&["--driver", driver, "--kinds", "full_cone,home,symmetric_random", "--format", "json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let table: Value = serde_json::from_slice(&output.stdout).unwrap();
        let cells = table["cells"].as_array().unwrap();
        assert_eq!(cells.len(), 6);
        for cell in cells {
            let pair = [&cell["row"], &cell["column"]].map(|kind| kind.as_str().unwrap());
            let met = !matches!(pair, ["home" | "symmetric_random", "symmetric_random"]);
            assert_eq!((&cell["meetings"], &cell["direct"]), (&1.into(), &u64::from(met).into()), "{driver} {cell}");
            // A word to the server, a probe and an answer each are the least.
            assert!(cell["packets"]["p50"].as_u64().unwrap() >= 6, "{cell}");
            let [message, direct] = ["message_ms", "direct_ms"].map(|field| cell[field]["p50"].as_u64());
            assert_eq!((message.is_some(), direct.is_some()), (met, met), "{cell}");
            assert!(message >= direct, "{cell}");
        }
    }
}

#[test]
fn a_kind_that_the_kernel_cannot_be_is_not_by_this_driver_and_the_table_says_why() {
    let output = matrix(&["--driver", "netns", "--kinds", "open,mobile"]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(table.contains("not by this driver: mobile: kernel rules do not do this"), "{table}");
    assert_eq!(table.matches("    -").count(), 2, "{table}");
}

#[test]
fn who_exchanges_without_a_direct_path_is_relayed_and_who_fails_is_quoted() {
    let say = |lines: &str| format!("printf {lines}");
    let relayed = say(r#"'{{"event":"path","kind":"relayed"}}\n{{"event":"message"}}\n'"#);
    let output = netsim(&["--driver", "wire", "--kinds", "symmetric_random", "--peer", &relayed]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(table.starts_with(" 1 symmetric_random      R\n"), "{table}");

    let output =
        netsim(&["--driver", "wire", "--kinds", "home", "--peer", "bash -c 'echo no luck {side} >&2; exit 3'"]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(table.contains("NOT AS THE ORACLE SAYS: home x home"), "{table}");
    assert!(table.contains("alice-0 ended with exit code 3") && table.contains("no luck b"), "{table}");
}

#[test]
fn what_the_server_says_of_itself_can_be_used_by_the_peers() {
    let peer = r#"bash -c 'test "$0" = 17 && echo {{\"event\":\"message\"}}' {number}"#;
    let run = |says: &[&str], server: &str| {
        let mut arguments = vec!["--driver", "wire", "--kinds", "symmetric_random", "--peer", peer, "--server", server];
        arguments.extend(says);
        netsim(&arguments)
    };
    for (says, server) in [
        (&[][..], r#"bash -c 'echo {{\"number\":17}}; sleep 60'"#),
        (&["--server-says", "number (?<number>[0-9]+)"], "bash -c 'echo hello; echo number 17; sleep 60'"),
    ] {
        let output = run(says, server);
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 relayed"), "{output:?}");
    }
    let output = run(&[], "echo hello");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`{number}` has no value; there are: folder, line"));
    let output = run(&[], "bash -c 'echo broken >&2; exit 1'");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("ended and never said that it stands") && said.contains("broken"), "{said}");
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    let refused = |arguments: &[&str]| {
        let output = netsim(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(&["--peer", "true"]).contains("add --driver wire"));
    assert!(refused(&["--driver", "wire", "--peer", "run 'it"]).contains("has no partner"));
    assert!(refused(&["--driver", "wire", "--peer", "/nowhere/p"]).contains("cannot start /nowhere/p"));
    assert!(refused(&["--driver", "wire", "--kinds", "home,home", "--peer", "true"]).contains("twice"));
    assert!(refused(&["--driver", "wire", "--kinds", "hoem", "--peer", "true"]).contains("there is no kind `hoem`"));
    assert!(refused(&["--driver", "wire", "--trace", "--peer", "true"]).contains("virtual time"));
}

#[test]
fn ctrl_c_stops_every_meeting_and_leaves_neither_programs_nor_files() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Each side says where its files are, and holds on to the pipe, as does a child that does not look at signals.
    let peer = format!("bash -c 'exec >> {}; trap \"\" TERM INT; tail -f /dev/null & pwd; wait'", pipe.display());
    let mut running =
        command(&["--driver", "wire", "--kinds", "home,open", "--peer", &peer]).stdout(Stdio::null()).spawn().unwrap();
    let mut pipe = BufReader::new(fs::File::open(&pipe).unwrap());
    let mut files = String::new();
    for _ in 0..6 {
        files.clear();
        pipe.read_line(&mut files).unwrap();
        assert!(Path::new(files.trim()).is_dir(), "{files}");
    }
    kill(Pid::from_raw(running.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert!(!Path::new(files.trim()).exists(), "{files}");
    // The pipe ends when nobody holds it any more.
    let (gone, all_gone) = mpsc::channel();
    thread::spawn(move || gone.send(pipe.read_line(&mut String::new()).unwrap()));
    assert_eq!(all_gone.recv_timeout(SURELY), Ok(0), "a program is left");
}

/// With the example of the documentation.
fn matrix(arguments: &[&str]) -> Output {
    let serve = format!("python3 {EXAMPLE} serve");
    let meet = format!("python3 {EXAMPLE} {{server.address}} {{me}} {{peer}}");
    netsim(&[arguments, &["--server", &serve, "--peer", &meet]].concat())
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsim"));
    command.arg("matrix").args(arguments);
    command
}

fn netsim(arguments: &[&str]) -> Output {
    command(arguments).output().expect("netsim runs")
}
