//! Everything in one file under a passphrase, and back again.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Person, bob, join_link, somebody};

const PASSPHRASE: &[u8] = b"correct horse battery staple\n";

fn says(alice: &Person, lines: &str) {
    let answer = alice.punchline_with_input(["chat", "Bob", "--wait", "0.05"], lines.as_bytes());
    assert_eq!(answer.code, 6, "{answer:?}");
}

fn backup(alice: &Person) -> String {
    let file = alice.beside("alice.backup");
    let made = alice.punchline_with_input(["backup", &file, "--passphrase-file", "-", "--json"], PASSPHRASE).event(0);
    assert_eq!((&made["event"], &made["file"]), (&json!("backed_up"), &json!(file)));
    file
}

fn restore(to: &Person, file: &str, more: &[&str]) -> support::Answer {
    let arguments = [&["restore", file, "--passphrase-file", "-", "--json"], more].concat();
    to.punchline_with_input(arguments, PASSPHRASE)
}

fn texts(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["text"].as_str().expect("a text")).collect()
}

/// All files of the folder and what is in them.
fn files(person: &Person) -> Vec<(String, Vec<u8>)> {
    let Ok(folder) = fs::read_dir(person.data()) else { return Vec::new() };
    let mut files: Vec<_> = folder
        .map(|file| file.expect("a file"))
        .map(|file| (file.file_name().into_string().expect("UTF-8"), fs::read(file.path()).unwrap_or_default()))
        // SQLite's shared memory says which of the processes read; the locks say nothing.
        .filter(|(name, _)| !name.ends_with("-shm") && !name.ends_with("lock"))
        .collect();
    files.sort();
    files
}

#[test]
fn a_backup_comes_back_on_another_machine() {
    let alice = Person::joined();
    says(&alice, "one\ntwo\n");
    let file = backup(&alice);
    says(&alice, "after the backup\n");
    assert!(!String::from_utf8_lossy(&fs::read(&file).expect("there")).contains("seed"), "it is sealed");

    let other = Person::new();
    let restored = restore(&other, &file, &[]).event(0);
    let id = alice.punchline(["id", "--json"]).event(0);
    assert_eq!(
        (&restored["event"], &restored["id"], &restored["name"]),
        (&json!("restored"), &id["id"], &json!("Alice"))
    );
    assert_eq!((&restored["contacts"], &restored["messages"]), (&json!(1), &json!(2)));
    assert_eq!(other.punchline(["id", "--json"]).event(0), id, "the rendezvous, too");
    assert_eq!(other.punchline(["contacts"]).stdout, alice.punchline(["contacts"]).stdout);
    assert_eq!(texts(&other.punchline(["outbox", "--json"]).events()), ["one", "two"]);
    assert_eq!(texts(&other.punchline(["search", "two", "--json"]).events()), ["two"]);
    let names: Vec<String> = files(&other).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["config.json", "identity.key", "messages.db"], "nothing else is left");
}

#[test]
fn a_backup_is_made_while_a_client_is_online_and_nothing_stays_behind() {
    let alice = Person::joined();
    says(&alice, "hello\n");
    let mut node = alice.start(["run", "--json"]);
    node.wait_for("started");
    let file = backup(&alice);
    assert!(files(&alice).iter().all(|(name, _)| !name.starts_with(".backup")), "{:?}", files(&alice));
    let arguments = ["restore", &file, "--replace", "--passphrase-file", "-"];
    let refused = alice.punchline_with_input(arguments, PASSPHRASE);
    refused.refused(1, &["another punchline", &node.pid().to_string()]);
    let other = Person::new();
    assert_eq!(restore(&other, &file, &[]).event(0)["messages"], 1);
}

#[test]
fn a_file_that_exists_is_not_overwritten_and_a_short_passphrase_is_none() {
    let alice = Person::joined();
    let file = alice.beside("alice.backup");
    alice.punchline_with_input(["backup", &file, "--passphrase-file", "-"], b"short\n").refused(2, &["at least 8"]);
    alice.punchline_with_input(["backup", &file, "--passphrase-file", "-"], b"").refused(2, &["is empty"]);
    fs::write(&file, "precious").expect("written");
    alice.punchline_with_input(["backup", &file, "--passphrase-file", "-"], PASSPHRASE).refused(2, &["exists already"]);
    assert_eq!(fs::read_to_string(&file).expect("there"), "precious");
    Person::new().punchline(["backup", &file]).refused(2, &["punchline join"]);
}

#[cfg(unix)]
#[test]
fn a_backup_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let alice = Person::joined();
    assert_eq!(fs::metadata(backup(&alice)).expect("there").permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_cannot_be_restored_says_why_and_changes_nothing() {
    let alice = Person::joined();
    says(&alice, "one\n");
    let file = backup(&alice);
    let whole = fs::read(&file).expect("there");
    let refused = |bytes: &[u8], passphrase: &[u8], code: i32, words: &[&str]| {
        let broken = alice.beside("broken.backup");
        fs::write(&broken, bytes).expect("written");
        let nobody = Person::new();
        let arguments = ["restore", &broken, "--passphrase-file", "-"];
        nobody.punchline_with_input(arguments, passphrase).refused(code, words);
        assert!(!nobody.data().exists(), "no trace");
        let before = files(&alice);
        let arguments = ["restore", &broken, "--passphrase-file", "-", "--replace"];
        alice.punchline_with_input(arguments, passphrase).refused(code, words);
        assert_eq!(files(&alice), before);
    };
    refused(&whole, b"incorrect horse\n", 2, &["passphrase", "Nothing was changed"]);
    refused(&whole[..whole.len() - 1], PASSPHRASE, 1, &["damaged", "Nothing was changed"]);
    refused(&whole[..40], PASSPHRASE, 1, &["ends too early"]);
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    refused(&changed, PASSPHRASE, 1, &["damaged"]);
    let mut newer = whole.clone();
    newer[19] = 2;
    refused(&newer, PASSPHRASE, 1, &["newer version", "update punchline"]);
    refused(b"something else", PASSPHRASE, 1, &["no backup"]);
    refused(b"", PASSPHRASE, 1, &["no backup"]);
    let nobody = Person::new();
    nobody.punchline(["restore", "/nowhere/x.backup"]).refused(1, &["/nowhere/x.backup"]);
    // Tests have no terminal.
    nobody.punchline(["restore", &file]).refused(2, &["--passphrase-file"]);
}

#[test]
fn a_folder_with_an_identity_is_left_alone_unless_it_is_to_be_replaced() {
    let alice = Person::joined();
    says(&alice, "from alice\n");
    let file = backup(&alice);
    let carol = Person::new();
    assert_eq!(carol.punchline(["join", &join_link(), "--name", "Carol"]).code, 0);
    assert_eq!(carol.punchline(["add", &somebody(7).to_string(), "--name", "Dave"]).code, 0);
    let old = carol.read("identity.key");
    let before = files(&carol);
    let refused = carol.punchline_with_input(["restore", &file, "--passphrase-file", "-"], PASSPHRASE);
    refused.refused(2, &["identity.key", "--replace", "--data"]);
    assert_eq!(files(&carol), before);

    let answer = restore(&carol, &file, &["--replace"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let events = answer.events();
    assert_eq!((&events[0]["event"], &events[1]["event"]), (&json!("replacing"), &json!("restored")));
    assert!(old.contains(events[0]["id"].as_str().expect("an id")), "it says whose identity it replaces");
    assert_eq!((&events[0]["contacts"], &events[0]["messages"]), (&json!(1), &json!(0)));
    assert_eq!(texts(&carol.punchline(["history", "Bob", "--json"]).events()), ["from alice"]);
    // The old ones are aside, and still a whole.
    let aside = events[0]["aside"].as_str().expect("a folder");
    assert_eq!(fs::read_to_string(format!("{aside}/identity.key")).expect("kept"), old);
    let contacts = carol.punchline(["--data", aside, "contacts"]).stdout;
    assert_eq!(contacts, format!("{}  Dave\n", somebody(7)));
    assert_eq!(carol.punchline(["contacts"]).stdout, format!("{}  Bob\n", bob()));
}

#[test]
fn a_broken_folder_is_replaced_too() {
    let alice = Person::joined();
    says(&alice, "one\n");
    let file = backup(&alice);
    fs::write(alice.file("messages.db"), "no database at all, and longer than the header of one is".repeat(9))
        .expect("written");
    fs::write(alice.file("identity.key"), "garbage").expect("written");
    let answer = restore(&alice, &file, &["--replace"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let replacing = &answer.events()[0];
    assert_eq!((&replacing["id"], &replacing["messages"]), (&json!(null), &json!(null)));
    assert_eq!(texts(&alice.punchline(["outbox", "--json"]).events()), ["one"]);
}
