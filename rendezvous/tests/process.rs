//! The real program: what it prints, how it stops, and what it says when it cannot start.
#![cfg(unix)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::introduction::{CloseCode, FromServer};
use nix::sys::signal::Signal;
use quinn::ConnectionError;
use support::{Person, Process, command, soon};

const LOOPBACK: [&str; 2] = ["--listen", "127.0.0.1:0"];

#[tokio::test]
async fn it_prints_one_line_and_sigterm_sends_everybody_away_within_a_second() {
    let data = tempfile::tempdir().expect("a folder");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let process = Process::start(data.path(), &LOOPBACK);
        let (mut alice, _) = Person::new(1).register_at(&process.place()).await;
        let since = Instant::now();
        process.signal(signal);
        assert_eq!(alice.next().await, FromServer::Draining);
        assert_eq!(alice.closed().await, u64::from(CloseCode::Draining.code()));
        let (status, out, err) = process.wait();
        assert_eq!(status.code(), Some(0), "{err}");
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
        assert_eq!(out, "", "nothing after the link");
        assert!(!err.contains("ERROR") && !err.contains("127.0.0.1"), "no errors and no addresses: {err}");
    }
}

#[tokio::test]
async fn after_a_crash_the_key_is_the_same_and_clients_learn_at_once_that_they_must_come_back() {
    let data = tempfile::tempdir().expect("a folder");
    let process = Process::start(data.path(), &LOOPBACK);
    let (place, first) = (process.place(), process.join.clone());
    let (alice, _) = Person::new(1).register_at(&place).await;
    process.signal(Signal::SIGKILL);
    process.wait();
    let listen = format!("127.0.0.1:{}", place.port);
    let process = Process::start(data.path(), &["--listen", &listen]);
    assert_eq!(process.join, first);
    // Her next keepalive is answered by a stateless reset; she does not wait for the idle timeout of 12 s.
    let lost = tokio::time::timeout(Duration::from_secs(5), alice.connection.closed()).await;
    assert_eq!(lost, Ok(ConnectionError::Reset));
    let _back = Person::new(1).register_at(&place).await;
}

#[tokio::test]
async fn a_link_names_the_host_that_it_is_told() {
    let data = tempfile::tempdir().expect("a folder");
    let named = Process::start(data.path(), &["--listen", "127.0.0.1:0", "--host", "rendezvous.example.org:4000"]);
    let place = named.place();
    assert_eq!((place.host.as_str(), place.port), ("rendezvous.example.org", 4000));
    drop(named);
    let everywhere = Process::start(data.path(), &["--listen", "0.0.0.0:0"]);
    assert_ne!(everywhere.place().host, "0.0.0.0");
    everywhere.signal(Signal::SIGTERM);
    assert!(everywhere.wait().2.contains("--host"));
}

#[tokio::test]
async fn a_second_server_in_one_folder_is_told_which_process_has_it() {
    let data = tempfile::tempdir().expect("a folder");
    let first = Process::start(data.path(), &LOOPBACK);
    let error = refused(command(data.path()).args(LOOPBACK).output().expect("started"), 1);
    assert!(error.contains(&format!("another rendezvous (process {}) uses the data folder", first.id())), "{error}");
    soon(Person::new(1).register_at(&first.place())).await;
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let (data, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let first = Process::start(data.path(), &LOOPBACK);
    let address = format!("127.0.0.1:{}", first.place().port);
    let error = refused(command(other.path()).args(["--listen", &address]).output().expect("started"), 1);
    assert!(error.contains(&format!("UDP {address} is in use")) && error.contains("--listen IP:PORT"), "{error}");
}

#[test]
fn usage_errors_are_exit_code_2() {
    let data = tempfile::tempdir().expect("a folder");
    let config = data.path().join("rendezvous.toml");
    fs::write(&config, "lisen = ['127.0.0.1']\n").expect("written");
    let file = config.to_str().expect("text");
    for (args, complaint) in [
        (vec!["--listen", "example.org"], "is not IP or IP:PORT, for example"),
        (vec!["--host", "http://example.org"], "is not HOST or HOST:PORT, for example"),
        (vec!["--config", file], "unknown field `lisen`"),
        (vec!["--config", "/nonexistent"], "reading the configuration /nonexistent"),
        (vec!["--no-such-flag"], "--no-such-flag"),
        (vec!["--listen", "127.0.0.1:4000", "--listen", "127.0.0.2:5000"], "same port"),
        (vec!["--listen", "127.0.0.1", "--listen", "0.0.0.0"], "neither of them the wildcard"),
    ] {
        let error = refused(command(data.path()).args(&args).output().expect("started"), 2);
        assert!(error.contains(complaint), "{args:?}: {error}");
    }
    let from_environment = command(data.path()).env("RENDEZVOUS_LISTEN", "nowhere").output().expect("started");
    refused(from_environment, 2);
}

#[tokio::test]
async fn flags_win_over_the_environment_and_that_over_the_file() {
    let data = tempfile::tempdir().expect("a folder");
    let config = data.path().join("rendezvous.toml");
    fs::write(&config, "listen = ['127.0.0.1:0']\nhost = 'file.example'\nlog-format = 'json'\n").expect("written");
    let config = config.to_str().expect("text");
    let file: &[(&str, &str)] = &[("RENDEZVOUS_CONFIG", config)];
    let environment: &[(&str, &str)] = &[("RENDEZVOUS_CONFIG", config), ("RENDEZVOUS_HOST", "environment.example")];
    for (environment, args, host) in [
        (file, [].as_slice(), "file.example"),
        (environment, &[], "environment.example"),
        (environment, &["--host", "flag.example"], "flag.example"),
    ] {
        let process = Process::start_in(data.path(), args, environment);
        assert_eq!(process.place().host, host);
        process.signal(Signal::SIGTERM);
        let (_, _, err) = process.wait();
        assert!(err.lines().count() > 0 && err.lines().all(|line| line.starts_with('{')), "JSON: {err}");
    }
}

/// An outside judge of our RFC 5780. Where coturn is not installed (`.ci/run` installs it) there is nothing to see.
#[test]
fn coturn_finds_no_nat_on_loopback() {
    let data = tempfile::tempdir().expect("a folder");
    let process = Process::start(data.path(), &["--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0"]);
    let port = process.place().port.to_string();
    let judge =
        Command::new("turnutils_natdiscovery").args(["-m", "-f", "-L", "127.0.0.1", "-p", &port, "127.0.0.1"]).output();
    let Ok(judge) = judge else {
        eprintln!("coturn is not installed: skipped");
        return;
    };
    let verdict = String::from_utf8_lossy(&judge.stdout);
    for finding in ["No NAT! (Endpoint Independent Mapping)", "NAT with Endpoint Independent Filtering!"] {
        assert!(verdict.contains(finding), "{verdict}");
    }
}

#[test]
fn an_address_of_another_machine_is_named() {
    let data = tempfile::tempdir().expect("a folder");
    let error = refused(command(data.path()).args(["--listen", "192.0.2.250:0"]).output().expect("started"), 1);
    assert!(error.contains("this machine has no address 192.0.2.250"), "{error}");
}

#[test]
fn a_key_that_cannot_be_read_stops_the_server_and_stays_as_it_is() {
    let data = tempfile::tempdir().expect("a folder");
    let key = data.path().join("rendezvous.key");
    for (text, complaint) in [
        ("not a key\n", "does not hold a key"),
        ("punchline-rendezvous-key-9 00\n", "has format 9, this program knows format 1"),
    ] {
        fs::write(&key, text).expect("written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("private");
        let error = refused(command(data.path()).args(LOOPBACK).output().expect("started"), 1);
        assert!(error.contains(complaint), "{error}");
        assert_eq!(fs::read_to_string(&key).expect("still there"), text);
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("opened");
    let error = refused(command(data.path()).args(LOOPBACK).output().expect("started"), 1);
    assert!(error.contains("chmod 600"), "{error}");
    let not_a_folder = refused(command(&key).args(LOOPBACK).output().expect("started"), 1);
    assert!(not_a_folder.contains("create the data folder"), "{not_a_folder}");
}

/// It must have ended with this exit code, without a link: what it complained of.
fn refused(output: Output, code: i32) -> String {
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(output.stdout, b"");
    error
}
