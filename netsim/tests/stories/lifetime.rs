//! Nothing outlives its owner: no program, no namespace.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use netsim::netns::{Error, Host, Network, Router, Signal, Story, in_namespaces};
use nix::sched::{CloneFlags, setns};

/// The kernel takes a namespace down in the background, some milliseconds later; a busy machine takes longer.
const SURELY: Duration = Duration::from_secs(20);

#[test]
fn a_dropped_network_leaves_no_namespace_behind() {
    in_namespaces(|| {
        let net = Network::new()?;
        let server = net.public_host("server")?;
        let home = net.router("home", Router::home())?;
        let alice = home.host("alice")?;
        // We keep two namespaces on purpose, and see the far ends of their cables go: with the Internet's namespace,
        // and with the router's.
        let kept = [hold(&server)?, hold(&alice)?];
        assert!(kept.iter().all(has_a_link));

        drop((net, server, home, alice));
        let dropped = Instant::now();
        while kept.iter().any(has_a_link) {
            assert!(dropped.elapsed() < SURELY, "a namespace is still there");
            thread::yield_now();
        }
        Ok(())
    });
}

#[test]
fn a_story_that_panics_leaves_no_namespace_behind() {
    in_namespaces(|| {
        let (send, kept) = mpsc::channel();
        let story = thread::spawn(move || {
            let server = Network::new().unwrap().public_host("server").unwrap();
            send.send(hold(&server).unwrap()).unwrap();
            panic!("this panic is part of the test");
        });
        assert!(story.join().is_err());
        let (kept, panicked) = (kept.recv()?, Instant::now());
        while has_a_link(&kept) {
            assert!(panicked.elapsed() < SURELY, "the Internet is still there");
            thread::yield_now();
        }
        Ok(())
    });
}

#[test]
fn a_killed_owner_takes_its_children_along() {
    in_namespaces(|| {
        if env::var_os(OWNER).is_some() {
            return wait_to_be_killed();
        }
        let mut owner = Command::new(env::current_exe()?)
            .args(["lifetime::a_killed_owner_takes_its_children_along", "--exact", "--nocapture"])
            .env(OWNER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(owner.stdout.take().ok_or("no pipe")?);
        let mut line = String::new();
        while !line.contains("my child runs") {
            line.clear();
            assert_ne!(said.read_line(&mut line)?, 0, "the owner ended early");
        }

        owner.kill()?;
        assert_eq!(owner.wait()?.signal(), Some(Signal::SIGKILL as i32));
        // The child has inherited the owner's output: it ends when both of them are gone.
        let (ended, end) = mpsc::channel();
        thread::spawn(move || ended.send(said.read_to_end(&mut vec![]).is_ok()));
        assert_eq!(end.recv_timeout(SURELY), Ok(true), "the child lives on");
        Ok(())
    });
}

#[test]
fn a_program_outlives_the_thread_that_started_it_and_not_its_handle() {
    in_namespaces(|| {
        let alice = Network::new()?.public_host("alice")?;
        let mut command = sleep();
        command.stdout(Stdio::piped());
        let (host, spawned) = (alice.clone(), thread::spawn(move || alice.spawn(command)));
        let mut program = spawned.join().map_err(|_| "the spawning thread panicked")??;
        let mut output = program.take_stdout().ok_or("no pipe")?;

        assert_eq!(program.wait_timeout(Duration::from_millis(100))?, None, "it died with a mere thread");
        drop(program);
        // End of output: the program is gone.
        assert_eq!(output.read_to_end(&mut vec![])?, 0);
        drop(host);
        Ok(())
    });
}

#[test]
fn a_program_ends_on_a_signal_and_says_so() {
    in_namespaces(|| {
        let alice = Network::new()?.public_host("alice")?;
        let mut program = alice.spawn(sleep())?;
        program.signal(Signal::SIGTERM)?;
        let status = program.wait_timeout(SURELY)?.ok_or("it does not end")?;
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
        program.signal(Signal::SIGTERM)?;
        Ok(())
    });
}

#[test]
fn a_program_sees_the_network_of_its_host() {
    in_namespaces(|| {
        let alice = Network::new()?.public_host("alice")?;
        let mut command = Command::new("cat");
        command.arg("/proc/self/net/dev").stdout(Stdio::piped());
        let mut seen = String::new();
        alice.spawn(command)?.take_stdout().ok_or("no pipe")?.read_to_string(&mut seen)?;
        let mut devices: Vec<_> = seen.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
        devices.sort_unstable();
        assert_eq!(devices, ["eth0", "lo"]);
        Ok(())
    });
}

#[test]
fn a_program_that_is_not_there_is_named() {
    in_namespaces(|| {
        let alice = Network::new()?.public_host("alice")?;
        let missing = alice.spawn(Command::new("/nowhere/punchline"));
        let Err(error @ Error::Spawn { .. }) = missing else { return Err("it started".into()) };
        assert_eq!(error.to_string(), "alice: cannot start /nowhere/punchline: is it installed and executable?");
        Ok(())
    });
}

fn sleep() -> Command {
    let mut command = Command::new("sleep");
    command.arg("600");
    command
}

/// A descriptor of the host's namespace, which keeps it alive.
fn hold(host: &Host) -> Result<File, Box<dyn std::error::Error>> {
    Ok(host.enter(|| File::open("/proc/thread-self/ns/net"))??)
}

/// Whether the namespace has any interface beside the loopback.
fn has_a_link(namespace: &File) -> bool {
    let look = || -> io::Result<bool> {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(fs::read_to_string("/proc/thread-self/net/dev")?.contains("eth0"))
    };
    thread::scope(|scope| scope.spawn(look).join().expect("no panic in there").expect("a look into the namespace"))
}

/// Set in the process that the story of the killed owner kills: this test once more.
const OWNER: &str = "NETSIM_STORY_OWNER";

fn wait_to_be_killed() -> Story {
    let alice = Network::new()?.router("home", Router::home())?.host("alice")?;
    let _child = alice.spawn(sleep())?;
    println!("\nmy child runs");
    io::stdin().read_to_end(&mut vec![])?;
    Ok(())
}
