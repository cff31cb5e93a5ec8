//! A disk that is full or read-only, a database that is broken, old or new: what is wrong is said, nothing is lost, and when the
//! trouble is over everything is there.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use rusqlite::Connection;
use serde_json::Value;
use support::{Person, bob, join_link, somebody};

fn says(alice: &Person, lines: &str) {
    let answer = alice.punchline_with_input(["chat", "Bob", "--wait", "0.05"], lines.as_bytes());
    assert_eq!(answer.code, 6, "{answer:?}");
}

fn said(alice: &Person) -> Vec<String> {
    let events = alice.punchline(["history", "Bob", "--json"]).events();
    events.iter().map(|event: &Value| event["text"].as_str().expect("a text").to_owned()).collect()
}

/// Runs the test of this name once more, in namespaces of its own where it may mount.
fn in_own_namespaces(test: &str, story: impl FnOnce()) {
    if std::env::var_os("PUNCHLINE_TEST_INSIDE").is_some() {
        story();
        return;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env("PUNCHLINE_TEST_INSIDE", "1")
        .output()
        .expect("unshare(1) of util-linux");
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

/// A small disk for the data folder.
fn small_disk(alice: &Person) {
    fs::create_dir(alice.data()).expect("made");
    mount(Some("tmpfs"), &alice.data(), Some("tmpfs"), MsFlags::empty(), Some("size=1m,mode=700")).expect("mounted");
    assert_eq!(alice.punchline(["join", &join_link(), "--name", "Alice"]).code, 0);
    assert_eq!(alice.punchline(["add", &bob().to_string(), "--name", "Bob"]).code, 0);
}

/// Writes until nothing more fits.
fn fill_up(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).expect("created");
    for size in [4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

#[test]
fn a_full_disk_is_named_and_what_was_said_before_is_kept() {
    in_own_namespaces("a_full_disk_is_named_and_what_was_said_before_is_kept", || {
        let alice = Person::new();
        small_disk(&alice);
        says(&alice, "before\n");
        fill_up(&alice.file("filler"));
        let carol = somebody(3).to_string();
        alice.punchline(["add", &carol, "--name", "Carol"]).refused(1, &["disk is full", "Make room"]);
        let answer = alice.punchline_with_input(["chat", "Bob", "--wait", "0.05"], b"into the void\n");
        assert_eq!(answer.code, 1, "{answer:?}");
        assert!(answer.stderr.contains("disk is full") || answer.stderr.contains("No space left"), "{answer:?}");
        assert!(!answer.stdout.contains("into the void"), "what is not kept is not echoed: {answer:?}");
        fs::remove_file(alice.file("filler")).expect("removed");
        assert_eq!(said(&alice), ["before"]);
        says(&alice, "after\n");
        assert_eq!(said(&alice), ["before", "after"]);
        assert_eq!(alice.punchline(["contacts", "--json"]).events().len(), 1);
    });
}

#[test]
fn a_client_whose_disk_fills_up_while_it_runs_says_so_and_goes_on_later() {
    in_own_namespaces("a_client_whose_disk_fills_up_while_it_runs_says_so_and_goes_on_later", || {
        let alice = Person::new();
        small_disk(&alice);
        // More than the disk holds.
        let lines: String = (0..400).map(|n| format!("{n} {}\n", "x".repeat(4000))).collect();
        let answer = alice.punchline_with_input(["chat", "Bob", "--wait", "1", "--json"], lines.as_bytes());
        assert_eq!(answer.code, 1, "{}", answer.stderr);
        assert!(answer.stderr.contains("the disk is full"), "{}", answer.stderr);
        let events = answer.events();
        let echoed: Vec<&str> =
            events.iter().filter(|event| event["event"] == "message").filter_map(|e| e["text"].as_str()).collect();
        assert!(!echoed.is_empty() && echoed.len() < 400, "{} of 400", echoed.len());
        let options = Some("size=16m,mode=700");
        mount(None::<&str>, &alice.data(), None::<&str>, MsFlags::MS_REMOUNT, options).expect("room was made");
        let outbox = alice.punchline(["outbox", "--json"]).events();
        let kept: Vec<&str> = outbox.iter().filter_map(|event| event["text"].as_str()).collect();
        assert_eq!(kept, echoed, "what was echoed was kept, and nothing else");
    });
}

#[test]
fn a_read_only_folder_is_named_and_left_as_it_is() {
    in_own_namespaces("a_read_only_folder_is_named_and_left_as_it_is", || {
        let alice = Person::new();
        small_disk(&alice);
        says(&alice, "before\n");
        let remount = |flags: MsFlags| {
            mount(None::<&str>, &alice.data(), None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>)
                .expect("remounted");
        };
        remount(MsFlags::MS_RDONLY);
        let carol = somebody(3).to_string();
        for arguments in [&["add", &carol, "--name", "Carol"][..], &["history", "Bob"], &["chat", "Bob"], &["run"]] {
            let answer = alice.punchline(arguments);
            answer.refused(1, &[&alice.data().display().to_string()]);
            assert!(answer.stderr.to_lowercase().contains("read-only"), "{answer:?}");
        }
        remount(MsFlags::empty());
        says(&alice, "after\n");
        assert_eq!(said(&alice), ["before", "after"]);
    });
}

/// All of the database in one file.
fn settled(alice: &Person) -> Vec<u8> {
    let db = Connection::open(alice.file("messages.db")).expect("open");
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("settled");
    drop(db);
    fs::read(alice.file("messages.db")).expect("there")
}

#[test]
fn a_broken_database_is_named_and_left_for_whoever_repairs_it() {
    let alice = Person::joined();
    says(&alice, &(0..200).map(|n| format!("message {n} {}\n", "x".repeat(200))).collect::<String>());
    let whole = settled(&alice);
    let flipped = |from: usize, to: usize| {
        let mut bytes = whole.clone();
        bytes[from..to].iter_mut().for_each(|byte| *byte ^= 0x5a);
        bytes
    };
    for (what, broken) in [
        ("the header", flipped(0, 64)),
        ("the first page", flipped(100, 4096)),
        ("all but the header", flipped(4096, whole.len())),
        ("half of it missing", whole[..whole.len() / 2].to_vec()),
        ("a page cut through", whole[..whole.len() / 3 + 1000].to_vec()),
    ] {
        fs::write(alice.file("messages.db"), &broken).expect("written");
        let answer = alice.punchline(["history", "Bob", "--all"]);
        assert_eq!(answer.code, 1, "{what}: {answer:?}");
        assert!(answer.stderr.contains("messages.db is damaged"), "{what}: {answer:?}");
        assert!(answer.stderr.contains("left as it is"), "{what}: {answer:?}");
        assert!(fs::read(alice.file("messages.db")).expect("there") == broken, "{what}: left as it is");
        for log in ["messages.db-wal", "messages.db-shm"] {
            let _ = fs::remove_file(alice.file(log));
        }
    }
    fs::write(alice.file("messages.db"), &whole).expect("written");
    assert_eq!(said(&alice).len(), 50, "a page of it");
}

#[test]
fn a_log_that_is_empty_cut_or_garbage_costs_nothing_that_was_settled() {
    let alice = Person::joined();
    says(&alice, "one\ntwo\n");
    let whole = settled(&alice);
    for log in [&b""[..], b"garbage", &[0x5a; 40_000]] {
        fs::write(alice.file("messages.db"), &whole).expect("written");
        fs::write(alice.file("messages.db-wal"), log).expect("written");
        let _ = fs::remove_file(alice.file("messages.db-shm"));
        assert_eq!(said(&alice), ["one", "two"]);
    }
    says(&alice, "three\n");
    assert_eq!(said(&alice), ["one", "two", "three"]);
}

#[test]
fn a_newer_database_is_refused_by_every_command_and_left_as_it_is() {
    let alice = Person::joined();
    says(&alice, "one\n");
    let db = Connection::open(alice.file("messages.db")).expect("open");
    db.pragma_update(None, "user_version", 99).expect("set");
    drop(db);
    let before = settled(&alice);
    let (carol, file) = (somebody(3).to_string(), alice.beside("x.backup"));
    fs::write(alice.beside("passphrase"), "correct horse").expect("written");
    let passphrase = alice.beside("passphrase");
    for arguments in [
        &["contacts"][..],
        &["add", &carol, "--name", "Carol"],
        &["history", "Bob"],
        &["search", "one"],
        &["outbox"],
        &["export"],
        &["backup", &file, "--passphrase-file", &passphrase],
        &["chat", "Bob"],
        &["run"],
        &["status"],
    ] {
        alice.punchline(arguments).refused(1, &["newer version of punchline", "format 99", "update punchline"]);
    }
    assert!(settled(&alice) == before);
}

#[test]
fn what_an_older_version_kept_is_all_there_and_goes_on() {
    // The folder of somebody who used the version before receipts were signed; the contact is called Bob.
    let older = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/older/1");
    let alice = Person::new();
    fs::create_dir(alice.data()).expect("made");
    fs::set_permissions(alice.data(), PermissionsExt::from_mode(0o700)).expect("set");
    for file in ["config.json", "contacts.json", "identity.key", "messages.db"] {
        fs::copy(older.join(file), alice.file(file)).expect("copied");
        fs::set_permissions(alice.file(file), PermissionsExt::from_mode(0o600)).expect("set");
    }
    let contacts = alice.punchline(["contacts", "--json"]).events();
    assert_eq!(contacts.iter().map(|contact| &contact["name"]).collect::<Vec<_>>(), ["Bob"]);
    let told = |command: &[&str]| -> Vec<(String, String, String)> {
        let word = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let events = alice.punchline([command, &["--json"]].concat()).events();
        events.iter().map(|event| (word(event, "dir"), word(event, "text"), word(event, "state"))).collect()
    };
    let line = |dir: &str, text: &str, state: &str| (dir.to_owned(), text.to_owned(), state.to_owned());
    let waits = line("out", "call me when you are back", "queued");
    let said = [
        line("out", "Is anybody there?", "device"),
        line("in", "I can hear you, 你好", "device"),
        line("out", "good", "device"),
        waits.clone(),
    ];
    assert_eq!(told(&["history", "Bob"]), said);
    assert_eq!(told(&["search", "你好"]), said[1..2]);
    assert_eq!(told(&["outbox"]).len(), 1);
    says(&alice, "still there\n");
    assert_eq!(told(&["history", "Bob"])[..4], said);
    let id = alice.punchline(["outbox", "--json"]).events()[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(alice.punchline(["outbox", "cancel", &id]).code, 0);
    assert_eq!(told(&["history", "Bob"])[3], line("out", &waits.1, "cancelled"));
}
