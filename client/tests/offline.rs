//! The commands that need no network, as a person or a script uses them.

mod support;

use serde_json::json;
use support::{Person, bob, join_link, key, peer_link, somebody};

#[test]
fn joining_makes_an_identity_once_and_keeps_it() {
    let alice = Person::new();
    let joined = alice.punchline(["--json", "join", &join_link(), "--name", "Alice"]).event(0);
    assert_eq!((&joined["change"], &joined["rendezvous"]), (&json!("new"), &json!("127.0.0.1:9")));
    assert_eq!(joined["key"], key().to_string());
    let secret = alice.read("identity.key");
    let again = alice.punchline(["join", &join_link(), "--json"]).event(0);
    assert_eq!((&again["change"], &again["id"]), (&json!("same"), &joined["id"]));
    assert_eq!(alice.read("identity.key"), secret);
    assert!(alice.read("config.json").contains(r#""name": "Alice""#), "a name stays until another is given");
}

#[test]
fn joining_another_rendezvous_says_what_has_changed() {
    let alice = Person::joined();
    let change = |link: String| alice.punchline(["join", &link, "--json"]).event(0)["change"].clone();
    assert_eq!(change(format!("punchline://localhost:9/join#{}", key())), "new_address");
    assert_eq!(change(format!("punchline://localhost:9/join#{}", somebody(8))), "key_changed");
    assert_eq!(change(format!("punchline://[::1]:9/join#{}", somebody(7))), "moved");
    assert_eq!(alice.punchline(["contacts", "--json"]).events().len(), 1, "contacts stay");
}

#[test]
fn an_id_is_printed_with_its_link_and_the_link_can_be_added() {
    let alice = Person::joined();
    let id = alice.punchline(["id", "--json"]).event(0);
    let link = id["link"].as_str().expect("a link");
    assert!(link.contains("?name=Alice#"), "{link}");
    let answer = alice.punchline(["id"]);
    assert_eq!(answer.stdout.lines().collect::<Vec<_>>(), [id["id"].as_str().expect("an id"), link]);

    let bob = Person::joined();
    let added = bob.punchline(["add", link, "--json"]).event(0);
    assert_eq!((&added["change"], &added["peer"], &added["name"]), (&json!("added"), &id["id"], &json!("Alice")));
}

#[test]
fn adding_somebody_again_keeps_or_changes_the_name_and_says_which() {
    let alice = Person::joined();
    let add = |arguments: &[&str]| alice.punchline(["add", "--json"].iter().chain(arguments)).event(0);
    let id = bob().to_string();
    assert_eq!(add(&[&id, "--name", "Bob"])["change"], "known");
    assert_eq!(add(&[&peer_link(bob(), "Mallory")])["name"], "Bob", "a link does not rename");
    let renamed = add(&[&id, "--name", "Robert"]);
    assert_eq!((&renamed["change"], &renamed["was"]), (&json!("renamed"), &json!("Bob")));
    assert_eq!(alice.punchline(["contacts"]).stdout, format!("{id}  Robert\n"));
}

#[test]
fn a_contact_is_removed_by_name() {
    let alice = Person::joined();
    assert_eq!(alice.punchline(["contacts", "--remove", "bob", "--json"]).event(0)["change"], "removed");
    assert_eq!(alice.punchline(["contacts"]).stdout, "");
}

#[test]
fn two_that_add_at_the_same_time_lose_nothing() {
    let alice = Person::joined();
    let ids: Vec<String> = (10..20).map(|seed| somebody(seed).to_string()).collect();
    let mut running: Vec<_> = ids.iter().map(|id| alice.start(["add", id, "--name", &id[..8]])).collect();
    for one in running.drain(..) {
        assert_eq!(one.ended(), Some(0));
    }
    assert_eq!(alice.punchline(["contacts", "--json"]).events().len(), 11);
}

#[test]
fn without_a_node_the_status_says_so() {
    let alice = Person::joined();
    let status = alice.punchline(["status", "--json"]).event(0);
    assert_eq!((&status["running"], &status["contacts"], &status["sessions"]), (&json!(false), &json!(1), &json!([])));
    assert!(alice.punchline(["status"]).stdout.contains("not running"));
}

#[test]
fn a_name_from_a_link_cannot_command_the_terminal() {
    let alice = Person::joined();
    let answer = alice.punchline(["add", &peer_link(somebody(3), "%1B%5B2J%1B%5D0;x%07Eve%0A")]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stdout.starts_with("Added Eve"), "{answer:?}");
    let contacts = alice.punchline(["contacts", "--json"]).stdout;
    assert!(contacts.contains("Eve") && !contacts.contains("u001b"), "{contacts}");
}

/// As an earlier version left it.
fn earlier_contacts(alice: &Person) {
    let list = format!(r#"[{{"id":"{}","name":"Bob"}},{{"id":"{}","name":"Carol"}}]"#, bob(), somebody(3));
    std::fs::write(alice.file("contacts.json"), format!(r#"{{"format":1,"contacts":{list}}}"#)).expect("written");
}

#[test]
fn the_contacts_of_an_earlier_version_come_into_the_database() {
    let alice = Person::new();
    assert_eq!(alice.punchline(["join", &join_link()]).code, 0);
    earlier_contacts(&alice);
    let shown = format!("{}  Bob\n{}  Carol\n", bob(), somebody(3));
    assert_eq!(alice.punchline(["contacts"]).stdout, shown);
    assert!(!alice.file("contacts.json").exists() && alice.file("contacts.json.migrated").exists());
    assert_eq!(alice.punchline(["contacts"]).stdout, shown);
    // As if a crash had come between the two steps: everybody is there once, whatever they are called by now.
    assert_eq!(alice.punchline(["add", &somebody(3).to_string(), "--name", "Caroline"]).code, 0);
    earlier_contacts(&alice);
    assert_eq!(alice.punchline(["contacts"]).stdout, shown.replace("Carol", "Caroline"));
    assert_eq!(alice.punchline(["contacts", "--remove", "Bob"]).code, 0);
    assert_eq!(alice.punchline(["contacts"]).stdout, format!("{}  Caroline\n", somebody(3)));
}

#[test]
fn many_that_come_at_once_migrate_the_contacts_once() {
    let alice = Person::new();
    assert_eq!(alice.punchline(["join", &join_link()]).code, 0);
    earlier_contacts(&alice);
    let mut running: Vec<_> = (0..8).map(|_| alice.start(["history", "Bob"])).collect();
    for one in running.drain(..) {
        assert_eq!(one.ended(), Some(0));
    }
    assert_eq!(alice.punchline(["contacts", "--json"]).events().len(), 2);
}

#[cfg(unix)]
#[test]
fn the_data_folder_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let alice = Person::joined();
    let mode = |path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(alice.data()), 0o700);
    for name in ["identity.key", "config.json", "messages.db"] {
        assert_eq!(mode(alice.file(name)), 0o600, "{name}");
    }
}

#[test]
fn the_help_teaches_by_example_and_names_the_exit_codes() {
    let alice = Person::new();
    let help = alice.punchline(["--help"]);
    assert_eq!(help.code, 0);
    insta::assert_snapshot!(help.stdout);
    for command in [
        "join",
        "id",
        "add",
        "contacts",
        "run",
        "up",
        "down",
        "chat",
        "msg",
        "tail",
        "on",
        "ping",
        "speed",
        "status",
        "completions",
        "man",
        "service",
    ] {
        let help = alice.punchline([command, "--help"]);
        assert!(help.code == 0 && help.stdout.contains("Example"), "{help:?}");
    }
    assert!(!alice.data().exists(), "help leaves no trace");
}

#[test]
fn completions_manual_and_service_are_made_of_the_program_itself() {
    let alice = Person::joined();
    for shell in ["bash", "zsh", "fish"] {
        let answer = alice.punchline(["completions", shell]);
        assert!(answer.code == 0 && answer.stdout.contains("netcheck"), "{shell}");
    }
    let folder = alice.data().join("man/man1");
    assert_eq!(alice.punchline(["man", &folder.display().to_string()]).code, 0);
    let page = std::fs::read_to_string(folder.join("punchline-on-message.1")).expect("a page of its own");
    assert!(page.contains("exec"), "{page}");
    let unit = alice.punchline(["service", "--relay-only"]).stdout;
    assert!(unit.contains("Type=notify") && unit.contains(" --relay-only\n"), "{unit}");
    assert!(unit.contains(&alice.data().display().to_string()), "{unit}");
}
