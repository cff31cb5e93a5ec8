//! Whatever is wrong, the answer says what, and nothing is lost.

mod support;

use std::fs;

use support::{Person, bob, join_link, key, peer_link, somebody};

#[test]
fn whoever_has_not_joined_is_told_how_to() {
    let nobody = Person::new();
    for arguments in [&["id"][..], &["run"], &["chat", "Bob"], &["ping", "Bob"], &["speed", "Bob"], &["status"]] {
        nobody.punchline(arguments).refused(2, &["punchline join 'punchline://"]);
    }
    let link = peer_link(bob(), "Bob");
    nobody.punchline(["add", &link]).refused(2, &[&format!("punchline join '{}'", join_link())]);
    assert!(!nobody.data().exists(), "a refused command leaves no trace");
}

#[test]
fn a_malformed_link_is_refused_with_its_fault() {
    let alice = Person::joined();
    let key = key();
    for (link, word) in [
        ("punchline://127.0.0.1:9/join".to_owned(), "no #KEY"),
        (format!("https://127.0.0.1:9/join#{key}"), "starts with punchline://"),
        (format!("punchline://127.0.0.1:0/join#{key}"), "HOST:PORT"),
        (format!("punchline://127.0.0.1:9/jion#{key}"), "/jion"),
        ("punchline://127.0.0.1:9/join#abc".to_owned(), "key of the rendezvous"),
        (String::new(), "starts with punchline://"),
    ] {
        alice.punchline(["join", &link]).refused(2, &[word]);
    }
    let mut id = bob().to_string();
    id.replace_range(5..6, if &id[5..6] == "a" { "b" } else { "a" });
    alice.punchline(["add", &id, "--name", "Bobby"]).refused(2, &["neither an id nor a link", "checksum"]);
    alice.punchline(["add", "punchline://127.0.0.1:9/p/abc#def"]).refused(2, &["key of the rendezvous"]);
}

#[test]
fn the_wrong_kind_of_link_names_the_right_command() {
    let alice = Person::joined();
    alice.punchline(["add", &join_link()]).refused(2, &[&format!("punchline join '{}'", join_link())]);
    alice.punchline(["join", &peer_link(bob(), "Bob")]).refused(2, &["names a person", "punchline add"]);
}

#[test]
fn somebody_at_another_rendezvous_is_not_added() {
    let alice = Person::joined();
    let elsewhere = format!("punchline://127.0.0.1:99/p/{}?name=Eve#{}", somebody(3), somebody(8));
    alice.punchline(["add", &elsewhere]).refused(2, &["127.0.0.1:99", "127.0.0.1:9:", "never meet"]);
    assert_eq!(alice.punchline(["contacts", "--json"]).events().len(), 1);
    // The same server by another address is no other server.
    let same = format!("punchline://localhost:9/p/{}?name=Eve#{}", somebody(3), key());
    assert_eq!(alice.punchline(["add", &same]).code, 0);
}

#[test]
fn contacts_that_would_confuse_are_refused() {
    let alice = Person::joined();
    let own = alice.punchline(["id", "--json"]).event(0)["id"].as_str().expect("an id").to_owned();
    alice.punchline(["add", &own, "--name", "Me"]).refused(2, &["your own id"]);
    alice.punchline(["ping", &own]).refused(2, &["your own id"]);
    let eve = somebody(3).to_string();
    alice.punchline(["add", &eve, "--name", "BOB"]).refused(2, &["Bob already"]);
    alice.punchline(["add", &eve]).refused(2, &["--name"]);
    alice.punchline(["add", &eve, "--name", "E\u{1b}[2Jve"]).refused(2, &["control characters"]);
    alice.punchline(["join", &join_link(), "--name", &"x".repeat(65)]).refused(2, &["64 bytes"]);
}

#[test]
fn an_unknown_peer_is_answered_with_what_to_do() {
    let alice = Person::joined();
    for command in ["chat", "ping", "speed"] {
        alice.punchline([command, "Bbo"]).refused(2, &["did you mean Bob?"]);
        alice.punchline([command, "Zoe"]).refused(2, &["no contact called Zoe", "punchline contacts"]);
        alice.punchline([command, &somebody(3).to_string()]).refused(2, &["no contact called"]);
        alice.punchline([command, &join_link()]).refused(2, &["not a contact"]);
    }
    alice.punchline(["contacts", "--remove", "Zoe"]).refused(2, &["Zoe"]);
}

#[test]
fn in_json_mode_a_refusal_is_an_error_event() {
    let alice = Person::joined();
    let error = alice.punchline(["ping", "Zoe", "--json"]).event(2);
    assert_eq!((error["event"].as_str(), error["code"].as_u64()), (Some("error"), Some(2)));
    assert_eq!(error["kind"], "usage");
    let error = alice.punchline(["--json", "pong"]).event(2);
    assert_eq!(error["event"], "error");
}

#[test]
fn a_folder_that_is_a_file_is_named() {
    let alice = Person::new();
    fs::write(alice.data(), "not a folder").expect("written");
    let path = alice.data().display().to_string();
    for arguments in [&["id"][..], &["status"], &["contacts"], &["run"], &["join", &join_link()]] {
        alice.punchline(arguments).refused(1, &["cannot", &path]);
    }
    assert_eq!(fs::read_to_string(alice.data()).expect("there"), "not a folder");
}

#[test]
fn files_from_a_newer_version_are_refused_and_left_alone() {
    for (name, newer) in [
        ("identity.key", "punchline identity 2\nseed something new\n"),
        ("config.json", r#"{"format":2,"rendezvous":[]}"#),
        ("contacts.json", r#"{"format":7}"#),
    ] {
        let alice = Person::joined();
        fs::write(alice.file(name), newer).expect("written");
        let commands: &[&[&str]] = match name {
            "contacts.json" => &[&["contacts"], &["add", &somebody(3).to_string(), "--name", "Eve"], &["run"]],
            _ => &[&["id"], &["run"], &["join", &join_link()], &["ping", "Bob"]],
        };
        for arguments in commands {
            alice.punchline(*arguments).refused(1, &["newer version", name, "update punchline"]);
        }
        assert_eq!(alice.read(name), newer, "left as it was");
    }
}

#[test]
fn damaged_files_are_named_and_left_alone() {
    for name in ["identity.key", "config.json", "contacts.json"] {
        let alice = Person::joined();
        fs::write(alice.file(name), "\u{0}garbage").expect("written");
        let eve = somebody(3).to_string();
        let commands: &[&[&str]] = match name {
            "contacts.json" => &[&["contacts"], &["add", &eve, "--name", "Eve"], &["run"], &["status"]],
            _ => &[&["id"], &["run"], &["join", &join_link()], &["status"]],
        };
        for arguments in commands {
            alice.punchline(*arguments).refused(1, &["damaged", name]);
        }
        assert_eq!(alice.read(name), "\u{0}garbage", "left as it was");
    }
}

#[test]
fn a_lost_identity_is_not_quietly_replaced() {
    let alice = Person::joined();
    fs::remove_file(alice.file("identity.key")).expect("removed");
    alice.punchline(["run"]).refused(1, &["identity.key", "missing"]);
}
