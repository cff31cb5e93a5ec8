//! What was said is kept: the commands on the store, as a person or a script uses them. Nobody is ever met here.

mod support;

use serde_json::{Value, json};
use support::{Person, bob, somebody};

/// Says these lines to Bob, who cannot be reached.
fn says(alice: &Person, lines: &str) {
    let answer = alice.punchline_with_input(["chat", "Bob", "--wait", "0.05"], lines.as_bytes());
    assert_eq!(answer.code, 6, "{answer:?}");
    assert!(answer.stderr.contains("not delivered"), "{answer:?}");
}

fn texts(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["text"].as_str().expect("a text")).collect()
}

#[test]
fn what_could_not_be_delivered_waits_and_is_in_the_history() {
    let alice = Person::joined();
    says(&alice, "one\ntwo\n");
    let outbox = alice.punchline(["outbox", "--json"]).events();
    assert_eq!(texts(&outbox), ["one", "two"]);
    assert_eq!(outbox[0]["state"], "queued");
    assert_eq!(alice.punchline(["history", "Bob", "--json"]).events(), outbox);
    assert_eq!(texts(&alice.punchline(["history", "bob", "-n", "1", "--json"]).events()), ["two"]);
    let second = outbox[1]["place"].to_string();
    assert_eq!(texts(&alice.punchline(["history", "Bob", "--before", &second, "--json"]).events()), ["one"]);
    let shown = alice.punchline(["history", "Bob"]).stdout;
    assert!(shown.lines().all(|line| line.contains(" to Bob: ") && line.contains("(queued, ")), "{shown}");
}

#[test]
fn the_next_chat_goes_on_with_what_the_last_one_left() {
    let alice = Person::joined();
    says(&alice, "one\n");
    let answer = alice.punchline_with_input(["chat", "Bob", "--wait", "0.05", "--json"], b"two\n");
    let waiting = answer.events().into_iter().find(|event| event["event"] == "waiting").expect("it waits");
    assert_eq!(waiting["receipts"], json!(2), "the earlier one too");
}

#[test]
fn a_message_is_taken_back_by_the_first_digits_of_its_id() {
    let alice = Person::joined();
    says(&alice, "typo\ngood\n");
    let outbox = alice.punchline(["outbox", "--json"]).events();
    let id = outbox[0]["id"].as_str().expect("an id");
    let taken = alice.punchline(["outbox", "cancel", &id[..8], "--json"]).event(0);
    assert_eq!((&taken["event"], &taken["text"], &taken["id"]), (&json!("cancelled"), &json!("typo"), &json!(id)));
    assert_eq!(texts(&alice.punchline(["outbox", "--json"]).events()), ["good"]);
    let history = alice.punchline(["history", "Bob", "--json"]).events();
    assert_eq!(history[0]["state"], "cancelled", "it was written all the same");
    alice.punchline(["outbox", "cancel", id]).refused(2, &["no message that waits"]);
    alice.punchline(["outbox", "cancel", "ab"]).refused(2, &["at least 4"]);
}

#[test]
fn words_are_found_again() {
    let alice = Person::joined();
    says(&alice, "the train leaves at noon\n我们在东京见面\nnoon it is\n");
    let search = |words: &[&str]| {
        let events = alice.punchline(["search", "--json"].iter().chain(words)).events();
        texts(&events).iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(search(&["noon"]), ["the train leaves at noon", "noon it is"], "the newest last");
    assert_eq!(search(&["Train", "noon"]), ["the train leaves at noon"]);
    assert_eq!(search(&["东京"]), ["我们在东京见面"]);
    assert_eq!(search(&["noon", "--last", "1"]), ["noon it is"]);
    assert_eq!(search(&["noon", "--with", "Bob"]).len(), 2);
    assert_eq!(search(&["noon", "--with", &somebody(9).to_string()]).len(), 0);
    alice.punchline(["search", "noon", "--with", "Zoe"]).refused(2, &["no contact called Zoe"]);
    assert_eq!(alice.punchline(["search"]).code, 2);
}

#[test]
fn everything_is_exported_as_json_lines_or_to_read() {
    let alice = Person::joined();
    says(&alice, "*stars* and [brackets]\n");
    let history = alice.punchline(["history", "Bob", "--json"]).stdout;
    assert_eq!(alice.punchline(["export"]).stdout, history, "JSON is for programs, whatever else was asked for");
    let markdown = alice.punchline(["export", "--format", "markdown"]).stdout;
    let mut lines = markdown.lines();
    assert_eq!((lines.next(), lines.next()), (Some("# Bob"), Some("")));
    assert_eq!(lines.next(), Some(format!("`{}`", bob()).as_str()));
    assert!(markdown.contains(r"*(queued)*: \*stars\* and \[brackets\]"), "{markdown}");
}

#[test]
fn a_conversation_outlives_the_contact() {
    let alice = Person::joined();
    says(&alice, "goodbye\n");
    assert_eq!(alice.punchline(["contacts", "--remove", "Bob"]).code, 0);
    alice.punchline(["history", "Bob"]).refused(2, &["no contact called Bob"]);
    assert_eq!(texts(&alice.punchline(["history", &bob().to_string(), "--json"]).events()), ["goodbye"]);
    assert_eq!(texts(&alice.punchline(["export"]).events()), ["goodbye"]);
}

#[test]
fn before_anything_was_said_the_answers_are_empty() {
    let alice = Person::joined();
    for arguments in [&["history", "Bob"][..], &["outbox"], &["search", "x"], &["export"]] {
        let answer = alice.punchline(arguments);
        assert_eq!((answer.code, answer.stdout.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn a_damaged_or_newer_database_is_named_and_left_alone() {
    let alice = Person::joined();
    std::fs::write(alice.file("messages.db"), "no database at all, and longer than the header of one is".repeat(9))
        .expect("written");
    let before = alice.read("messages.db");
    for arguments in [&["history", "Bob"][..], &["chat", "Bob"], &["run"]] {
        alice.punchline(arguments).refused(1, &["messages.db is damaged", "left as it is"]);
    }
    assert_eq!(alice.read("messages.db"), before);
}

#[cfg(unix)]
#[test]
fn what_was_typed_survives_a_kill() {
    use nix::sys::signal::Signal;
    let alice = Person::joined();
    let mut chat = alice.start_with_input(["chat", "Bob", "--json"], b"one\ntwo\n");
    chat.wait_for("message");
    chat.wait_for("message");
    chat.signal(Signal::SIGKILL);
    chat.ended();
    assert_eq!(texts(&alice.punchline(["outbox", "--json"]).events()), ["one", "two"]);
}

#[cfg(unix)]
#[test]
fn a_running_client_notices_that_a_message_was_taken_back() {
    let alice = Person::joined();
    says(&alice, "typo\n");
    // It waits for this one receipt, and ends as soon as nothing is left to wait for.
    let mut chat = alice.start(["chat", "Bob", "--wait", "60", "--json"]);
    chat.wait_for("waiting");
    let id = alice.punchline(["outbox", "--json"]).event(0)["id"].clone();
    assert_eq!(alice.punchline(["outbox", "cancel", id.as_str().expect("an id")]).code, 0);
    assert_eq!(chat.ended(), Some(0));
}
