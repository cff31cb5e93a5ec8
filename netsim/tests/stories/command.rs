//! The `netsim` program, as it is typed.

use std::process::{Command, Output};

#[test]
fn the_table_has_a_line_for_each_kind_of_router() {
    let output = netsim(&["routers"]).output().unwrap();
    let table = stdout(&output);
    assert!(output.status.success(), "{output:?}");
    for kind in ["home", "plain-linux", "corporate"] {
        assert_eq!(table.lines().filter(|line| line.starts_with(kind)).count(), 1, "{table}");
    }
}

#[test]
fn the_json_form_says_what_was_measured() {
    let output = netsim(&["routers", "--json"]).output().unwrap();
    let routers: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let probes: Vec<_> = routers.iter().map(|router| router["early_probe"].as_str().unwrap()).collect();
    assert_eq!(probes, ["harmless", "moves-mapping", "not-applicable"]);
    assert!(routers.iter().all(|router| router["as_promised"] == true && router["hairpinning"] == false));
}

#[test]
fn without_nft_the_error_says_what_to_install() {
    let output = netsim(&["routers"]).env("NETSIM_NFT", "/nowhere/nft").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("/nowhere/nft") && said.contains("apt-get install nftables"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_ruleset_that_is_refused_is_shown_with_nfts_own_words() {
    // A program that reads the rules and refuses them.
    let output = netsim(&["routers"]).env("NETSIM_NFT", "/bin/false").output().unwrap();
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
fn a_trace_of_a_late_word_shows_the_stray_packet_and_the_moved_mapping() {
    let arguments = ["matrix", "--kinds", "home,home_open", "--trace", "--late", "--seed", "3"];
    let packets = stdout(&netsim(&arguments).output().unwrap());
    assert!(packets.contains("taken in by the router itself"), "{packets}");
    assert!(packets.lines().last().is_some_and(|end| end.starts_with("NoPath")), "{packets}");
}

fn netsim(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsim"));
    command.args(arguments);
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
