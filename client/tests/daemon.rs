//! One node and many front ends: `up`, `down`, and what goes over the control socket. Nobody is ever met here.
#![cfg(unix)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::{Person, Running, somebody};

/// A front end of a test's own.
struct Front {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Front {
    fn of(person: &Person) -> Self {
        Front::at(&person.file("control.sock"))
    }

    fn at(path: &std::path::Path) -> Self {
        let stream = UnixStream::connect(path).expect("somebody listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let lines = BufReader::new(stream.try_clone().expect("cloned"));
        let mut front = Front { stream, lines };
        let greeting = front.line().expect("a greeting");
        assert_eq!(greeting["punchline"], 1, "{greeting}");
        front
    }

    fn says(&mut self, line: &str) {
        writeln!(self.stream, "{line}").expect("written");
    }

    /// The next line; `None` at the end.
    fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect("JSON")),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads on until this event.
    fn until(&mut self, event: &str) -> Value {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("it ended before {event}"));
            if line["event"] == event {
                return line;
            }
        }
    }
}

fn up(person: &Person) -> u64 {
    let up = person.punchline(["up", "--json"]).event(0);
    assert_eq!(up["change"], "started", "{up}");
    up["pid"].as_u64().expect("a number")
}

#[test]
fn up_and_down_say_what_they_did_and_may_be_repeated() {
    let alice = Person::joined();
    let pid = up(&alice);
    let again = alice.punchline(["up", "--json"]).event(0);
    assert_eq!((&again["change"], &again["pid"]), (&json!("already"), &json!(pid)));
    assert_eq!(alice.punchline(["status", "--json"]).event(0)["pid"], pid);
    let mode = fs::metadata(alice.file("control.sock")).expect("there").mode();
    assert_eq!(mode & 0o777, 0o600);
    let down = alice.punchline(["down", "--json"]).event(0);
    assert_eq!((&down["change"], &down["pid"]), (&json!("stopped"), &json!(pid)));
    assert!(!alice.file("control.sock").exists() && !alice.file("status.json").exists());
    assert_eq!(alice.punchline(["down", "--json"]).event(0)["change"], "none");
    assert_eq!(alice.punchline(["status", "--json"]).event(0)["running"], false);
}

#[test]
fn what_is_missing_is_said_by_up_itself() {
    Person::new().punchline(["up"]).refused(2, &["punchline join"]);
    Person::new().punchline(["msg", "Bob", "hi"]).refused(2, &["punchline join"]);
    Person::new().punchline(["tail"]).refused(2, &["punchline join"]);
    let alice = Person::joined();
    let mut chat = alice.start_with_input(["chat", "Bob", "--wait", "60", "--json"], b"hello\n");
    chat.wait_for("waiting");
    alice.punchline(["up"]).refused(1, &[&chat.pid().to_string(), "one command only"]);
    chat.signal(Signal::SIGINT);
    chat.ended();
}

#[test]
fn all_commands_use_the_node_that_is_online() {
    let alice = Person::joined();
    let pid = up(&alice);
    let answer = alice.punchline(["ping", "Bob", "--timeout", "0.2", "--json"]);
    assert_eq!(answer.code, 4, "{answer:?}");
    let started = &answer.events()[0];
    assert_eq!((&started["attached"], &started["pid"]), (&json!(true), &json!(pid)));
    let answer = alice.punchline_with_input(["chat", "Bob", "--wait", "0.1"], b"one\n");
    assert!(answer.code == 6 && answer.stdout.contains("not delivered to Bob: \"one\""), "{answer:?}");
    assert!(!answer.stderr.contains("goes online itself"), "{answer:?}");
    assert_eq!(alice.punchline(["why", "Bob", "--timeout", "0.1"]).code, 6);
    assert_eq!(alice.punchline(["speed", "Bob", "--timeout", "0.1"]).code, 6);
    assert_eq!(alice.punchline(["netcheck", "--timeout", "0.1"]).code, 6);
    // Somebody who was added just now is known there, too.
    assert_eq!(alice.punchline(["add", &somebody(3).to_string(), "--name", "Carol"]).code, 0);
    assert_eq!(alice.punchline(["ping", "Carol", "--timeout", "0.1"]).code, 4);
    assert_eq!(alice.punchline(["status", "--json"]).event(0)["pid"], pid, "it is the same one all the time");
}

#[test]
fn without_one_a_command_goes_online_itself_and_says_so() {
    let alice = Person::joined();
    let answer = alice.punchline(["msg", "Bob", "hi", "--timeout", "0.1"]);
    assert_eq!(answer.code, 6, "{answer:?}");
    assert!(answer.stderr.contains("punchline up"), "{answer:?}");
    let answer = alice.punchline(["msg", "Bob", "hi", "--timeout", "0.1", "--json"]);
    assert_eq!(answer.events()[0]["attached"], false);
    assert_eq!(alice.punchline(["outbox", "--json"]).events().len(), 2, "what was said is kept");
}

#[test]
fn a_command_that_is_online_itself_lets_others_in_and_tells_them_when_it_ends() {
    let alice = Person::joined();
    let mut chat = alice.start_with_input(["chat", "Bob", "--wait", "60", "--json"], b"hello\n");
    chat.wait_for("waiting");
    let mut tail = alice.start(["tail", "--since", "0", "--json"]);
    assert_eq!(tail.wait_for("entry")["text"], "hello");
    chat.signal(Signal::SIGINT);
    assert_eq!(chat.ended(), Some(6));
    let error = tail.wait_for("error");
    assert!(error["message"].as_str().expect("words").contains("has been stopped"), "{error}");
    assert_eq!(tail.ended(), Some(1));
}

#[test]
fn down_ends_a_run_well_and_tells_the_others() {
    let alice = Person::joined();
    let mut run = alice.start(["run", "--json"]);
    run.wait_for("started");
    let mut tail = alice.start(["tail", "--json"]);
    tail.wait_for("started");
    assert_eq!(alice.punchline(["down", "--json"]).event(0)["pid"], run.pid());
    assert_eq!(run.ended(), Some(0));
    assert_eq!(tail.ended(), Some(1));
}

#[test]
fn a_killed_node_is_replaced_whatever_it_left() {
    let alice = Person::joined();
    let mut run = alice.start(["run", "--json"]);
    run.wait_for("started");
    run.signal(Signal::SIGKILL);
    run.ended();
    assert!(alice.file("control.sock").exists(), "nobody could remove it");
    assert_eq!(alice.punchline(["down", "--json"]).event(0)["change"], "none");
    up(&alice);
    assert_eq!(alice.punchline(["msg", "Bob", "hi", "--timeout", "0.1"]).code, 6);
}

#[test]
fn a_killed_front_end_does_not_trouble_the_node() {
    let alice = Person::joined();
    up(&alice);
    for _ in 0..3 {
        let mut chat = alice.start_with_input(["chat", "Bob", "--wait", "60", "--json"], b"hello\n");
        chat.wait_for("waiting");
        chat.signal(Signal::SIGKILL);
        chat.ended();
    }
    assert_eq!(alice.punchline(["outbox", "--json"]).events().len(), 3);
}

#[test]
fn a_tail_streams_what_was_kept_and_what_comes_without_gap_or_repetition() {
    let alice = Person::joined();
    up(&alice);
    assert_eq!(alice.punchline(["msg", "Bob", "0", "--timeout", "0.05"]).code, 6);
    let mut from_the_start = alice.start(["tail", "--since", "0", "--json"]);
    // More than a pipe holds: the tail waits for us, and nobody else does.
    let lines: String = (1..=400).map(|n| format!("{n}\n")).collect();
    assert_eq!(alice.punchline_with_input(["chat", "Bob", "--wait", "0.05", "--json"], lines.as_bytes()).code, 6);
    let mut numbers = Vec::new();
    for n in 0..=400 {
        let entry = from_the_start.wait_for("entry");
        assert_eq!((&entry["text"], &entry["what"]), (&json!(n.to_string()), &json!("message")), "{entry}");
        numbers.push(entry["entry"].as_i64().expect("a number"));
    }
    assert!(numbers.is_sorted_by(|a, b| a < b));
    let since = numbers[199].to_string();
    let mut resumed = alice.start(["tail", "--since", &since, "--json"]);
    for n in 200..=400 {
        assert_eq!(resumed.wait_for("entry")["text"], n.to_string());
    }
    // What another process changes is heard of as well.
    let id = alice.punchline(["outbox", "--json"]).events()[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(alice.punchline(["outbox", "cancel", &id]).code, 0);
    for tail in [&mut from_the_start, &mut resumed] {
        let entry = tail.wait_for("entry");
        assert_eq!((&entry["what"], &entry["state"]), (&json!("state"), &json!("cancelled")), "{entry}");
    }
}

#[test]
fn a_text_comes_from_standard_input_and_what_is_none_is_refused() {
    let alice = Person::joined();
    up(&alice);
    let say = |arguments: &[&str], input: &[u8]| {
        alice.punchline_with_input(["msg", "Bob", "--timeout", "0.05"].iter().chain(arguments), input)
    };
    assert_eq!(say(&[], b"two\nlines\n").code, 6);
    assert_eq!(say(&["-"], "dash\r\n".as_bytes()).code, 6);
    let texts: Vec<_> = alice.punchline(["outbox", "--json"]).events().iter().map(|e| e["text"].clone()).collect();
    assert_eq!(texts, ["two\nlines", "dash"]);
    say(&[], b" \n").refused(2, &["nothing to say"]);
    say(&[], b"\xff\n").refused(2, &["UTF-8"]);
    say(&[], "x".repeat(20_000).as_bytes()).refused(2, &["at most 16384 bytes"]);
    alice.punchline(["msg", "Zoe", "hi"]).refused(2, &["no contact called Zoe"]);
}

#[test]
fn what_shows_the_address_is_not_used_by_who_does_not_want_that() {
    let alice = Person::joined();
    let pid = up(&alice).to_string();
    for arguments in [&["msg", "Bob", "hi", "--relay-only"][..], &["up", "--relay-only"]] {
        alice.punchline(arguments).refused(2, &["shows your address", &pid, "punchline down"]);
    }
}

#[test]
fn several_requests_go_on_at_once_and_each_answer_says_which_it_is_for() {
    let alice = Person::joined();
    up(&alice);
    let mut front = Front::of(&alice);
    front.says(r#"{"id":7,"command":"chat","peer":"Bob","wait_s":60}"#);
    front.says(r#"{"id":8,"command":"tail","as":"text"}"#);
    front.says(r#"{"id":9,"command":"ping","peer":"Bob","timeout_s":0.1}"#);
    let done = front.until("done");
    assert_eq!((&done["re"], &done["code"]), (&json!(9), &json!(4)));
    front.says(r#"{"re":7,"line":"hello"}"#);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let line = front.line().expect("a line");
        if line["event"] == "message" || line["text"].as_str().is_some_and(|text| text.contains(" to Bob: hello")) {
            heard.push(line["re"].as_u64().expect("a number"));
        }
    }
    heard.sort_unstable();
    assert_eq!(heard, [7, 8]);
    front.says(r#"{"re":8,"interrupt":true}"#);
    assert_eq!(front.until("done"), json!({"re": 8, "event": "done", "code": 0}));
    front.says(r#"{"re":7,"eof":true}"#);
    assert_eq!(front.until("waiting")["re"], 7);
    front.says(r#"{"re":7,"interrupt":true}"#);
    assert_eq!(front.until("done")["re"], 7);
}

#[test]
fn what_is_not_understood_is_answered_with_what_is_wrong() {
    let alice = Person::joined();
    up(&alice);
    let mut front = Front::of(&alice);
    for (line, re, word) in [
        ("hello?", json!(null), "not JSON"),
        (r#"{"command":"tail"}"#, json!(null), "`id`"),
        (r#"{"id":1,"command":"dance"}"#, json!(1), "unknown variant `dance`"),
        (r#"{"id":2,"command":"msg","peer":"Zoe","text":"hi"}"#, json!(2), "no contact called Zoe"),
        (r#"{"id":3,"command":"tail","with":"Zoe"}"#, json!(3), "no contact called Zoe"),
        (r#"{"id":4,"command":"msg","peer":"Bob"}"#, json!(4), "`text`"),
    ] {
        front.says(line);
        let error = front.until("error");
        assert_eq!((&error["re"], &error["code"]), (&re, &json!(2)), "{error}");
        assert!(error["message"].as_str().expect("words").contains(word), "{error}");
        if re != json!(null) {
            assert_eq!(front.until("done"), json!({"re": re, "event": "done", "code": 2}));
        }
    }
    for id in 0..16 {
        front.says(&format!(r#"{{"id":{id},"command":"tail"}}"#));
    }
    front.says(r#"{"id":99,"command":"tail"}"#);
    assert!(front.until("error")["message"].as_str().expect("words").contains("at most 16 requests"));
    front.says(r#"{"id":3,"command":"tail"}"#);
    assert!(front.until("error")["message"].as_str().expect("words").contains("request 3 is still"));
    for _ in 0..100 {
        front.says(r#"{"re":3,"line":"nobody asked for this"}"#);
        assert!(front.until("error")["message"].as_str().expect("words").contains("was not taken"));
    }
}

#[test]
fn an_endless_line_and_a_front_end_that_never_reads_are_dropped_and_the_node_goes_on() {
    let alice = Person::joined();
    up(&alice);
    let mut endless = Front::of(&alice);
    while endless.stream.write_all(&[b'x'; 65536]).is_ok() {}
    assert!(endless.line().is_none_or(|line| line["event"] == "error"));

    // It asks for an answer again and again, and never reads one.
    let mut deaf = Front::of(&alice);
    deaf.stream.set_write_timeout(Some(Duration::from_secs(20))).expect("set");
    let asks = "{\"id\":1,\"command\":\"dance\"}\n".repeat(1000);
    let mut asked = 0;
    while deaf.stream.write_all(asks.as_bytes()).is_ok() {
        asked += 1;
        assert!(asked < 10_000, "it is never dropped");
    }
    let mut rest = Vec::new();
    let _ = deaf.lines.read_to_end(&mut rest);
    assert_eq!(alice.punchline(["msg", "Bob", "hi", "--timeout", "0.1"]).code, 6, "the node is still there");
}

#[test]
fn there_are_at_most_64_connections_and_one_that_goes_makes_room() {
    let alice = Person::joined();
    up(&alice);
    let mut fronts: Vec<_> = (0..64).map(|_| Front::of(&alice)).collect();
    let stream = UnixStream::connect(alice.file("control.sock")).expect("somebody listens");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("text");
    assert!(line.contains("64 connections"), "{line}");
    // The one that goes is heard of by an answer that comes after it.
    fronts.pop();
    while alice.punchline(["msg", "Bob", "hi", "--timeout", "0.05"]).code != 6 {}
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_no_trouble() {
    let alice = Person::joined();
    let long = alice.data().join("x".repeat(120));
    let short = tempfile::tempdir().expect("a folder");
    fs::create_dir(&long).expect("made");
    for name in ["identity.key", "config.json", "messages.db"] {
        fs::copy(alice.file(name), long.join(name)).expect("copied");
    }
    let long = long.display().to_string();
    let run = |arguments: &[&str]| {
        let mut command = alice.shell("exec punchline \"$@\"");
        command.arg("punchline").args(arguments).args(["--data", &long]).env("XDG_RUNTIME_DIR", short.path());
        command.output().expect("it starts")
    };
    let up = run(&["up"]);
    assert!(up.status.success(), "{up:?}");
    let place = fs::read_to_string(format!("{long}/control.path")).expect("it says where");
    let folder = std::path::Path::new(&place).parent().expect("a folder").to_owned();
    assert!(folder.starts_with(short.path()) && place.len() < 104, "{place}");
    assert_eq!(fs::metadata(&folder).expect("there").mode() & 0o777, 0o700);
    assert_eq!(run(&["msg", "Bob", "hi", "--timeout", "0.05"]).status.code(), Some(6));
    assert!(run(&["down"]).status.success());
    // A folder that others may write to is not used.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("set");
    let mut node = Running::begin(
        alice
            .shell("exec punchline run --json --data \"$1\"")
            .args(["punchline", &long])
            .env("XDG_RUNTIME_DIR", short.path()),
    );
    node.wait_for("started");
    assert!(!std::path::Path::new(&place).exists(), "no socket was made there");
}

#[test]
fn another_users_process_is_refused() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("only root can become somebody else; nothing was tried");
        return;
    }
    let alice = Person::joined();
    up(&alice);
    // All the modes that keep others out are taken away; what is left is the question who is asking.
    for path in [alice.data().parent().expect("a folder").to_owned(), alice.data()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set");
    }
    fs::set_permissions(alice.file("control.sock"), fs::Permissions::from_mode(0o666)).expect("set");
    let mut front = Front::of(&alice);
    front.says(r#"{"id":1,"command":"tail"}"#);
    front.until("started");
    // Every Debian has a Perl that can do this.
    let script = "socket(my $s, 1, 1, 0) or die; connect($s, pack('S a*', 1, $ARGV[0])) or die $!; print while <$s>";
    let mut command = std::process::Command::new("perl");
    let output = command.args(["-e", script]).arg(alice.file("control.sock")).uid(65_534).gid(65_534).output();
    let output = output.expect("perl starts");
    assert!(output.status.success(), "the modes allow it: {output:?}");
    let heard = String::from_utf8(output.stdout).expect("text");
    assert!(heard.contains("only processes of the user") && !heard.contains("punchline\":1"), "{heard}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_service_manager_is_told_when_the_node_can_be_used() {
    let alice = Person::joined();
    let place = alice.data().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&place).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let mut run = Running::begin(alice.shell("exec punchline run --json").env("NOTIFY_SOCKET", &place));
    let mut told = [0; 64];
    let length = manager.recv(&mut told).expect("it is told");
    assert_eq!(&told[..length], b"READY=1");
    assert_eq!(alice.punchline(["msg", "Bob", "hi", "--timeout", "0.05", "--json"]).events()[0]["attached"], true);
    run.wait_for("started");
}
