//! The scenarios that come with netsim, told with the programs as they are now.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use e2e::binary;
use netsim::netns::{Story, in_namespaces};
use netsim::scenario::{Driver, Options, Scenario};

#[test]
fn two_homes_talk_directly_over_the_kernels_routers() {
    in_namespaces(|| tell("chat-two-homes", Driver::Netns));
}

#[test]
fn two_homes_talk_directly_over_the_model() {
    in_namespaces(|| tell("chat-two-homes", Driver::Wire));
}

#[test]
fn two_behind_one_router_talk_over_their_lan() {
    in_namespaces(|| tell("chat-one-router", Driver::Netns));
}

#[test]
fn a_home_behind_a_carrier_has_a_direct_path() {
    in_namespaces(|| tell("chat-carrier", Driver::Netns));
}

#[test]
fn a_chat_outlives_routers_that_forget_their_mappings() {
    in_namespaces(|| tell("chat-nat-reboot", Driver::Netns));
}

#[test]
fn a_chat_goes_on_where_the_laptop_goes() {
    in_namespaces(|| tell("chat-roam", Driver::Netns));
}

#[test]
fn a_chat_goes_on_without_its_server_and_finds_it_again() {
    in_namespaces(|| tell("chat-server-killed", Driver::Netns));
}

#[test]
fn what_is_said_while_a_line_is_cut_arrives_when_it_is_back() {
    in_namespaces(|| tell("chat-line-cut", Driver::Netns));
}

#[test]
fn a_chat_is_patient_with_a_bad_line() {
    in_namespaces(|| tell("chat-far-and-lossy", Driver::Wire));
}

#[test]
fn where_everybody_is_killed_on_bad_lines_nothing_is_lost() {
    in_namespaces(|| tell("chat-tortured", Driver::Wire));
}

#[test]
fn two_symmetric_nats_are_told_that_there_is_no_path() {
    in_namespaces(|| tell("chat-both-symmetric", Driver::Netns));
}

#[test]
fn each_scenario_that_comes_with_netsim_can_be_told_by_some_driver() {
    let files = std::fs::read_dir(folder()).expect("the scenarios").map(|entry| entry.expect("a file").path());
    let files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
    assert!(files.len() >= 8, "{files:?}");
    for file in files {
        let told = Scenario::read(&file).and_then(|scenario| Driver::for_scenario(&scenario));
        assert!(told.is_ok(), "{told:?}");
    }
}

fn tell(name: &str, driver: Driver) -> Story {
    let scenario = Scenario::read(&folder().join(name).with_extension("toml"))?;
    let binaries: BTreeMap<String, PathBuf> =
        ["punchline", "rendezvous"].map(|name| (name.to_owned(), binary(name))).into();
    let report = scenario.tell(driver, &Options { seed: 1, binaries, ..Options::default() }, &mut |_| {})?;
    assert!(report.passed(), "{report}");
    Ok(())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../netsim/scenarios")
}
