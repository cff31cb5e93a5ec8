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

fn netsim(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsim"));
    command.args(arguments);
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
