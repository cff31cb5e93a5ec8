//! A node on a data folder, with a rendezvous that does not answer: what the others see, and how it ends.
#![cfg(unix)]

mod support;

use nix::sys::signal::Signal;
use serde_json::json;
use support::Person;

#[test]
fn the_second_process_on_a_folder_names_the_first_and_the_rest_still_works() {
    let alice = Person::joined();
    let mut first = alice.start(["run", "--json"]);
    first.wait_for("started");
    let pid = first.pid().to_string();
    alice.punchline(["run"]).refused(1, &["another punchline", &pid, "--data"]);
    assert_eq!(alice.punchline(["id"]).code, 0);
    assert_eq!(alice.punchline(["add", &support::somebody(3).to_string(), "--name", "Carol"]).code, 0);
    let joined = alice.punchline(["join", &support::join_link(), "--json"]).event(0);
    assert_eq!(joined["restart_needed"], false, "nothing changed");
}

#[test]
fn an_unreachable_rendezvous_is_told_with_what_was_tried_and_the_status_says_so() {
    let alice = Person::joined();
    let mut node = alice.start(["run", "--json"]);
    let lost = node.wait_for("rendezvous_lost");
    assert!(lost["reason"].as_str().expect("words").contains("127.0.0.1:9"), "{lost}");
    let status = alice.punchline(["status", "--json"]).event(0);
    assert_eq!((&status["running"], &status["pid"]), (&json!(true), &json!(node.pid())));
}

#[test]
fn a_node_that_is_asked_to_stop_ends_well_and_leaves_no_status() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let alice = Person::joined();
        let mut node = alice.start(["run", "--json"]);
        node.wait_for("started");
        node.signal(signal);
        assert_eq!(node.ended(), Some(0), "{signal}");
        assert!(!alice.file("status.json").exists());
    }
}

#[test]
fn a_node_that_was_killed_is_not_mistaken_for_a_running_one() {
    let alice = Person::joined();
    let mut node = alice.start(["run", "--json"]);
    node.wait_for("rendezvous_lost");
    node.signal(Signal::SIGKILL);
    node.ended();
    assert!(alice.file("status.json").exists(), "nobody could remove it");
    assert_eq!(alice.punchline(["status", "--json"]).event(0)["running"], false);
    let mut next = alice.start(["run", "--json"]);
    next.wait_for("started");
}

#[test]
fn a_closed_output_ends_quietly() {
    let alice = Person::joined();
    let mut node = alice.start(["run", "--json"]);
    node.wait_for("started");
    node.stop_reading();
    assert_eq!(node.ended(), Some(0));
}

#[test]
fn a_ping_without_a_rendezvous_gives_up_with_a_summary_and_code_4() {
    let alice = Person::joined();
    let answer = alice.punchline(["ping", "Bob", "--timeout", "0.2", "--json"]);
    assert_eq!(answer.code, 4, "{answer:?}");
    let events = answer.events();
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["started", "summary", "error"]);
    assert_eq!(events[1]["direct_ms"], json!(null));
    assert_eq!(events[2]["code"], 4);
}

#[test]
fn what_a_chat_could_not_deliver_is_told_line_by_line() {
    let alice = Person::joined();
    let input = "hello\r\n\n\nstill there?\n".as_bytes();
    let answer = alice.punchline_with_input(["chat", "Bob", "--wait", "0.2", "--json"], input);
    assert_eq!(answer.code, 6, "{answer:?}");
    let events = answer.events();
    let texts = |kind: &str| -> Vec<String> {
        let of_kind = events.iter().filter(|event| event["event"] == kind);
        of_kind.map(|event| event["text"].as_str().expect("a text").to_owned()).collect()
    };
    assert_eq!(texts("message"), ["hello", "still there?"]);
    assert_eq!(texts("undelivered"), ["hello", "still there?"]);
    assert_eq!(events.last().expect("an end")["event"], "error");
}

#[test]
fn a_chat_without_input_ends_well() {
    let alice = Person::joined();
    assert_eq!(alice.punchline(["chat", "Bob"]).code, 0);
}
