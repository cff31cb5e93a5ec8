//! The `netsim` program, as it is typed.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};

use netsim::model::presets;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn each_kind_of_router_does_what_it_was_configured_to_do() {
    let output = netsim(&["verify"]).output().unwrap();
    let table = stdout(&output);
    assert!(output.status.success(), "{output:?}");
    let cells = ["eim", "adm", "apdm"].map(|mapping| ["eif", "adf", "apdf"].map(|f| format!("{mapping}-{f} ")));
    let presets = ["full_cone ", "home ", "home_open ", "hairpin ", "symmetric_sequential ", "corporate "];
    for kind in cells.as_flattened().iter().map(String::as_str).chain(presets) {
        assert_eq!(table.lines().filter(|line| line.starts_with(kind)).count(), 1, "{table}");
    }
    assert_eq!(table.matches("agrees").count(), table.matches("configured").count(), "{table}");
}

#[test]
fn the_model_does_to_real_packets_what_it_was_configured_to_do() {
    let output = netsim(&["verify", "--driver", "wire"]).output().unwrap();
    let table = stdout(&output);
    assert!(output.status.success(), "{output:?}");
    // Nine cells, a series, and every preset, dual_stack over both versions of IP.
    let kinds = 9 + 1 + presets::all().len() + 1;
    assert_eq!((table.matches("agrees").count(), table.matches("configured").count()), (kinds, kinds), "{table}");
    for preset in presets::all() {
        assert!(table.contains(&format!("\n{}", preset.name)), "{table}");
    }
    let says = |kind: &str, what: &str| table.lines().any(|line| line.starts_with(kind) && line.contains(what));
    assert!(says("open ", "none: its own address      endpoint-independent"), "{table}");
    assert!(says("udp_blocked ", "no UDP gets out, TCP does"), "{table}");
    assert!(says("dual_stack (IPv6) ", "none: its own address      address-and-port-dependent"), "{table}");
}

#[test]
fn what_a_driver_cannot_build_is_listed_with_the_reason_and_the_rest_is_measured() {
    let kinds = "open,home_behind_carrier,home_behind_cgnat,dual_stack";
    let output = netsim(&["verify", "--kinds", kinds]).output().unwrap();
    let table = stdout(&output);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((table.matches("agrees").count(), table.matches("configured").count()), (3, 3), "{table}");
    assert!(table.contains("home_behind_cgnat    not by this driver: kernel rules do not do this: limits"), "{table}");
    assert!(table.contains("dual_stack (IPv6)    not by this driver: its networks have no IPv6"), "{table}");
}

#[test]
fn a_measurement_of_minutes_ends_with_ctrl_c_and_says_so() {
    for driver in ["kernel", "wire"] {
        let arguments = ["verify", "--lifetimes", "--driver", driver, "--kinds", "home,udp_blocked"];
        let mut running = netsim(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut table = BufReader::new(running.stdout.take().unwrap());
        let mut head = String::new();
        // It is told when the network is about to be built.
        table.read_line(&mut head).unwrap();
        assert!(head.starts_with("KIND ") && head.contains("UNREPLIED"), "{head}");
        kill(Pid::from_raw(running.id().cast_signed()), Signal::SIGINT).unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(130), "{driver}");
        let mut rest = String::new();
        table.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn where_nothing_is_remembered_there_is_no_lifetime_to_wait_for() {
    let arguments = ["verify", "--lifetimes", "--driver", "wire", "--json", "--kinds", "open,udp_blocked"];
    let output = netsim(&arguments).output().unwrap();
    let kinds = stdout(&output);
    let kinds: Vec<serde_json::Value> = kinds.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(kinds[0]["because"], "not measured: nothing on the way remembers anything");
    assert_eq!(kinds[1]["because"], "not measured: no UDP gets out");
}

#[test]
fn the_json_form_says_what_was_measured() {
    let output = netsim(&["verify", "--json", "--kinds", "home_open,corporate,home,cgnat"]).output().unwrap();
    let kinds: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let probes = kinds.iter().map(|kind| (kind["kind"].as_str().unwrap(), kind["measured"]["early_probe"].as_str()));
    let expected = [
        ("home_open", Some("moves-mapping")),
        ("corporate", Some("not-applicable")),
        ("home", Some("harmless")),
        ("cgnat", None),
    ];
    assert_eq!(probes.collect::<Vec<_>>(), expected);
    assert_eq!(kinds[2]["configured"], kinds[2]["measured"]);
    assert_eq!(kinds[2]["agrees"], true);
    assert!(kinds[3]["because"].as_str().unwrap().contains("limits"));
}

#[test]
fn a_kind_that_nobody_knows_is_answered_with_those_that_there_are() {
    let output = netsim(&["verify", "--kinds", "eim-fid"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("`eim-fid`") && said.contains("eim-eif, ") && said.contains("home_open"), "{said}");
}

#[test]
fn without_nft_the_error_says_what_to_install() {
    let output = netsim(&["verify"]).env("NETSIM_NFT", "/nowhere/nft").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("/nowhere/nft") && said.contains("apt-get install nftables"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_ruleset_that_is_refused_is_shown_with_nfts_own_words() {
    // A program that reads the rules and refuses them.
    let output = netsim(&["verify"]).env("NETSIM_NFT", "/bin/false").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("router"), "{said}");
}

#[test]
#[cfg(feature = "punchline")]
fn the_matrix_of_chosen_kinds_comes_as_json_and_as_a_picture() {
    let kinds = ["matrix", "--kinds", "home,symmetric_random", "--meetings", "2", "--format"];
    let output = netsim(&[&kinds[..], &["json"]].concat()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let table: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(table["cells"][0]["row"], "home");
    assert_eq!(table["cells"][0]["direct"], 2);
    assert_eq!(table["cells"][1]["possible"]["verdict"], "direct-by-chance");
    let picture = stdout(&netsim(&[&kinds[..], &["svg"]].concat()).output().unwrap());
    assert!(picture.starts_with("<svg ") && picture.contains("symmetric_random"));
}

#[test]
#[cfg(feature = "punchline")]
fn a_kind_that_does_not_exist_is_answered_with_those_that_do() {
    let output = netsim(&["matrix", "--kinds", "hoem"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("hoem") && said.contains("home_behind_cgnat"), "{said}");
}

#[test]
#[cfg(feature = "punchline")]
fn a_trace_of_a_late_word_shows_the_stray_packet_and_the_fresh_sockets_that_make_up_for_it() {
    let arguments = ["matrix", "--kinds", "home,home_open", "--trace", "--late", "--seed", "3"];
    let packets = stdout(&netsim(&arguments).output().unwrap());
    assert!(packets.contains("taken in by the router itself"), "{packets}");
    let fresh =
        |line: &str| line.contains("sent udp 192.168.1.2:") && line.contains("> 11.1.1.3:") && !line.contains(":4000");
    assert!(packets.lines().any(fresh), "{packets}");
    assert!(packets.lines().last().is_some_and(|end| end.starts_with("Direct")), "{packets}");
}

fn netsim(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsim"));
    command.args(arguments);
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
