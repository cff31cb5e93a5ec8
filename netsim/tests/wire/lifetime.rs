//! Nothing outlives its owner.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use netsim::model::presets;
use netsim::netns::{Story, in_namespaces};
use netsim::wire::{Host, Internet};
use nix::sched::{CloneFlags, setns};

/// The kernel takes a namespace down in the background, some milliseconds later; a busy machine takes longer.
const SURELY: Duration = Duration::from_secs(20);

#[test]
fn a_dropped_network_leaves_no_device_behind() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let hosts = [net.public_host("server")?, net.router("home", presets::home()).host("alice")?];
        let kept = [hold(&hosts[0])?, hold(&hosts[1])?];
        assert!(kept.iter().all(has_a_link));
        drop(net);
        assert!(kept.iter().all(has_a_link), "a host keeps its network");
        drop(hosts);
        kept.iter().for_each(wait_until_gone);
        Ok(())
    });
}

#[test]
fn a_killed_owner_leaves_no_device_behind() {
    in_namespaces(|| {
        if env::var_os(OWNER).is_some() {
            return wait_to_be_killed();
        }
        let mut owner = Command::new(env::current_exe()?)
            .args(["lifetime::a_killed_owner_leaves_no_device_behind", "--exact", "--nocapture"])
            .env(OWNER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(owner.stdout.take().ok_or("no pipe")?).lines();
        let path = said.find_map(|line| Some(line.ok()?.strip_prefix("alice is at ")?.to_owned()));
        let kept = File::open(path.ok_or("the owner ended early")?)?;
        assert!(has_a_link(&kept));

        owner.kill()?;
        owner.wait()?;
        wait_until_gone(&kept);
        Ok(())
    });
}

/// Set in the process that the story of the killed owner kills: this test once more.
const OWNER: &str = "NETSIM_WIRE_OWNER";

fn wait_to_be_killed() -> Story {
    let alice = Internet::new(1)?.router("home", presets::home()).host("alice")?;
    println!("\nalice is at {}", alice.namespace_path().display());
    io::stdin().read_to_end(&mut vec![])?;
    Ok(())
}

/// A descriptor of the host's namespace, which keeps it alive.
fn hold(host: &Host) -> Result<File, Box<dyn std::error::Error>> {
    Ok(host.enter(|| File::open("/proc/thread-self/ns/net"))??)
}

fn wait_until_gone(namespace: &File) {
    let started = Instant::now();
    while has_a_link(namespace) {
        assert!(started.elapsed() < SURELY, "its device is still there");
        thread::yield_now();
    }
}

/// Whether the namespace has any interface beside the loopback.
fn has_a_link(namespace: &File) -> bool {
    let look = || -> io::Result<bool> {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(fs::read_to_string("/proc/thread-self/net/dev")?.contains("eth0"))
    };
    thread::scope(|scope| scope.spawn(look).join().expect("no panic in there").expect("a look into the namespace"))
}
