//! What is said about messages, on the command line and over the control socket. Nobody is ever met here.
#![cfg(unix)]

mod support;

use common::session::MAX_EMOJI;
use serde_json::{Value, json};
use support::{Person, bob};

/// Says this to Bob, who cannot be reached; its id.
fn says(alice: &Person, text: &str) -> String {
    waits(alice, &["msg", "Bob", text])
}

/// Says something, which is kept and waits; its id.
fn waits(alice: &Person, arguments: &[&str]) -> String {
    let answer = alice.punchline(arguments.iter().copied().chain(["--timeout", "0.05", "--json"]));
    assert_eq!(answer.code, 6, "{answer:?}");
    let sent = answer.events().into_iter().find(|event| event["event"] == "sent").expect("it was said");
    assert_eq!((&sent["state"], &sent["peer"]), (&json!("queued"), &json!(bob().to_string())));
    sent["id"].as_str().expect("an id").to_owned()
}

fn history(alice: &Person) -> Vec<Value> {
    alice.punchline(["history", "Bob", "--json"]).events()
}

#[test]
fn a_message_is_answered_edited_reacted_to_and_deleted_by_the_first_digits_of_its_id() {
    let alice = Person::joined();
    let id = says(&alice, "lunch?");
    waits(&alice, &["reply", &id[..8], "at noon"]);
    waits(&alice, &["edit", &id, "dinner?"]);
    waits(&alice, &["react", &id.to_uppercase()[..12], "+1"]);
    let told = history(&alice);
    assert_eq!((&told[0]["text"], &told[0]["edited"]), (&json!("dinner?"), &json!(true)));
    assert_eq!(told[0]["own_reaction"], "+1");
    assert_eq!((&told[1]["text"], &told[1]["reply_to"]), (&json!("at noon"), &json!(id)));
    let shown = alice.punchline(["history", "Bob"]).stdout;
    assert!(shown.contains(&format!("(queued, {})", &id[..8])), "{shown}");
    assert!(shown.contains(&format!("to Bob, to {}: at noon", &id[..8])), "{shown}");
    waits(&alice, &["react", &id]);
    waits(&alice, &["delete", &id]);
    let told = history(&alice);
    assert_eq!((&told[0]["text"], &told[0]["deleted"]), (&json!(""), &json!(true)));
    assert_eq!(told[0]["own_reaction"], json!(null));
    for command in [&["edit", &id, "x"][..], &["delete", &id], &["react", &id, "+1"], &["reply", &id, "x"]] {
        alice.punchline(command).refused(2, &["is deleted"]);
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anybody_goes_online() {
    let alice = Person::joined();
    let id = says(&alice, "lunch?");
    alice.punchline(["edit", "0123", "x"]).refused(2, &["no message", "0123", "punchline history"]);
    alice.punchline(["delete", "nothing"]).refused(2, &["no message"]);
    alice.punchline(["reply", &id[..3], "x"]).refused(2, &["at least 4 digits"]);
    alice.punchline(["edit", &id, " "]).refused(2, &["nothing to say"]);
    alice.punchline(["reply", &id]).refused(2, &["nothing to say"]);
    alice.punchline(["react", &id, &"x".repeat(MAX_EMOJI + 1)]).refused(2, &["a reaction has at most"]);
    assert_eq!(alice.punchline(["outbox", "cancel", &id]).code, 0);
    alice.punchline(["edit", &id, "x"]).refused(2, &["cancelled", "never had it"]);
    assert_eq!(alice.punchline(["msg", "Bob", "x", "--expire", "2"]).code, 2);
    assert_eq!(history(&alice).len(), 1, "nothing was said");
}

#[test]
fn a_message_whose_time_is_over_expires_and_its_command_says_so() {
    let alice = Person::joined();
    let answer = alice.punchline(["msg", "Bob", "quick!", "--expire", "1s", "--timeout", "60", "--json"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("the message is expired"), "{answer:?}");
    assert_eq!(history(&alice)[0]["state"], "expired");
    let answer = alice.punchline(["msg", "Bob", "slow", "--expire", "2h", "--timeout", "0.05"]);
    assert_eq!(answer.code, 6, "{answer:?}");
    assert!(history(&alice)[1]["expires"].is_string(), "{:?}", history(&alice));
}

#[test]
fn the_node_that_is_online_carries_it_out_and_a_chat_sees_it() {
    let alice = Person::joined();
    let id = says(&alice, "lunch?");
    assert_eq!(alice.punchline(["up"]).code, 0);
    let mut chat = alice.start(["chat", "Bob", "--wait", "60", "--json"]);
    chat.wait_for("waiting");
    waits(&alice, &["edit", &id[..8], "dinner?"]);
    let edited = chat.wait_for("edited");
    assert_eq!((&edited["id"], &edited["text"], &edited["dir"]), (&json!(id), &json!("dinner?"), &json!("out")));
    waits(&alice, &["react", &id[..8], "+1"]);
    assert_eq!(chat.wait_for("reaction")["emoji"], "+1");
    waits(&alice, &["delete", &id[..8]]);
    assert_eq!(chat.wait_for("deleted")["id"], json!(id));
    let read = alice.punchline(["read", "Bob", "--json"]);
    assert_eq!((read.code, read.events().last().map(|event| event["messages"].clone())), (0, Some(json!(0))));
    alice.punchline(["read", "Zoe"]).refused(2, &["no contact called Zoe"]);
}

#[test]
fn commands_typed_in_a_chat_are_carried_out_in_order() {
    let alice = Person::joined();
    let id = says(&alice, "lunch?");
    let input =
        format!("/edit {0} dinner?\n/react {0} +1\n/nonsense\n//home\n/reply {0} soon\n/edit 0123 x\n", &id[..8]);
    let answer = alice.punchline_with_input(["chat", "Bob", "--wait", "0.05", "--json"], input.as_bytes());
    assert_eq!(answer.code, 6, "{answer:?}");
    let kinds = ["message", "edited", "reaction", "undelivered"];
    let events: Vec<Value> = answer
        .events()
        .into_iter()
        .filter(|event| kinds.contains(&event["event"].as_str().unwrap_or_default()))
        .collect();
    let said: Vec<&str> = events.iter().take(6).map(|event| event["event"].as_str().expect("a kind")).collect();
    assert_eq!(said, ["edited", "reaction", "undelivered", "message", "message", "undelivered"]);
    assert!(events[2]["reason"].as_str().expect("words").contains("/react"), "{}", events[2]);
    assert_eq!((&events[3]["text"], &events[4]["reply_to"]), (&json!("/home"), &json!(id)));
    assert!(events[5]["reason"].as_str().expect("words").contains("no message"), "{}", events[5]);
    assert_eq!(history(&alice)[0]["text"], "dinner?");
}
