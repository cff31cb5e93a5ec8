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
const RULER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shared/ruler.py");
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
    assert!(refused(&["--driver", "wire", "--pairs", "home", "--peer", "true"]).contains("home:mobile"));
    let unknown = refused(&["--driver", "wire", "--pairs", "home:hoem", "--peer", "true"]);
    assert!(unknown.contains("no kind `hoem`") && unknown.contains("symmetric_block_512"), "{unknown}");
    assert!(refused(&["--pairs", "home:home"]).contains("add --driver wire"));
    assert!(refused(&["--flows", "5"]).contains("add --driver wire"));
    assert!(refused(&["--driver", "wire", "--pcap", "--peer", "true"]).contains("--keep"));
    let far = ["--driver", "wire", "--delay", "20", "--delay-between", "41", "--peer", "true"];
    assert!(refused(&far).contains("at most twice the delay"));
}

#[test]
fn named_pairs_are_met_in_their_order_and_each_is_a_line_with_its_figures() {
    let pairs = ["--pairs", "home:full_cone,symmetric_random:home,symmetric_in_a_row:symmetric_block_512"];
    let run = |format| matrix(&[&["--driver", "wire", "--meetings", "2", "--format", format], &pairs[..]].concat());
    let output = run("json");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let table: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cells = table["cells"].as_array().unwrap();
    let names: Vec<_> =
        cells.iter().map(|cell| [&cell["row"], &cell["column"]].map(|kind| kind.as_str().unwrap())).collect();
    assert_eq!(
        names,
        [["home", "full_cone"], ["symmetric_random", "home"], ["symmetric_in_a_row", "symmetric_block_512"]]
    );
    let each = cells[0]["figures"]["each"].as_array().unwrap();
    assert_eq!(each.iter().map(|met| met["seed"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert!(each.iter().all(|met| met["direct_ms"].is_u64() && met["first_message_ms"].is_u64()), "{each:?}");
    assert_eq!((&cells[0]["figures"]["within_3_s"], &cells[1]["figures"]["within_12_s"]), (&2.into(), &0.into()));

    let output = run("markdown");
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(list.contains("\n| home × full_cone | 2/2 | 2/2 | 100 % | 100 % | "), "{list}");
    assert!(list.contains("10 ms one way to the server and 20 ms between two houses"), "{list}");
    let output = run("text");
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(list.contains("\nsymmetric_random × home ") && !list.contains("R ="), "{list}");
}

#[test]
fn the_houses_are_as_far_from_the_server_and_from_each_other_as_is_said_behind_the_kernels_routers_too() {
    for (driver, pair) in [("wire", "full_cone:open"), ("netns", "full_cone:full_cone")] {
        let output = measured(
            &["--driver", driver, "--delay", "20", "--delay-between", "15", "--pairs", pair, "--patience", "20"],
            "distance {server.address} {me} {peer}",
        );
        // Who measures says no word of a message, and ends with 0 if the distances are right.
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(table.matches("ended with exit code 0").count(), 2, "{driver}: {table}");
    }
}

#[test]
fn other_flows_take_ports_of_each_nat() {
    for (flows, least, most) in [("0", "0", "0"), ("50", "10", "200")] {
        let output = measured(
            &["--driver", "wire", "--flows", flows, "--pairs", "symmetric_in_a_row:symmetric_in_a_row"],
            &format!("ports {{server.address}} {{me}} {{peer}} {least} {most}"),
        );
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(table.contains(" 1/1 "), "{flows} flows: {table}");
    }
}

#[test]
fn what_is_kept_of_a_meeting_is_what_was_said_and_what_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let keep = ["--driver", "wire", "--kinds", "home", "--keep", kept.to_str().unwrap(), "--pcap"];
    for again in ["1", "1-2"] {
        assert_eq!(matrix(&keep).status.code(), Some(0));
        let meeting = kept.join(again).join("0-home-home");
        for name in ["alice-0", "bob-0"] {
            let said = fs::read_to_string(meeting.join(format!("{name}.said"))).unwrap();
            assert!(said.contains(r#""event": "path""#), "{said}");
            for place in [name.to_owned(), format!("{name}-house")] {
                let captured = fs::metadata(meeting.join(format!("{place}.pcapng"))).unwrap().len();
                assert!(captured > 500, "{place}: {captured} bytes");
            }
        }
    }
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

/// With somebody who measures the house.
fn measured(arguments: &[&str], what: &str) -> Output {
    let [serve, peer] = ["serve", what].map(|what| format!("python3 {RULER} {what}"));
    netsim(&[arguments, &["--server", &serve, "--peer", &peer]].concat())
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
