//! What the relay does when the kernel takes no more. Loopback never says so; these stories run in a network of their own, whose
//! loopback carries what the server sends at 4 Mb/s and everything else at once. The kernel charges what waits
//! there to the server's socket, until that one is full.
#![cfg(target_os = "linux")]

mod support;

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use common::relay::RelayChannel;
use rendezvous::limits::RELAY_QUEUE_FRAMES;
use support::{Client, Person, Server};
use tokio::time::{MissedTickBehavior, interval};

const PORT: u16 = 3478;
/// 2.3 ms of the line.
const SIZE: usize = 1100;

#[test]
fn what_waits_for_a_full_socket_loses_its_oldest_and_keeps_its_order() {
    in_a_slow_network("what_waits_for_a_full_socket_loses_its_oldest_and_keeps_its_order", async {
        const SENT: u16 = 300;
        let server = server();
        let [alice, bob, _] = people();
        let (mut at_alice, _) = alice.register_at(&server.place).await;
        let (mut at_bob, _) = bob.register_at(&server.place).await;
        let channel = introduced(&alice, &mut at_alice, &bob, &mut at_bob, &server).await;
        for n in 0..SENT {
            at_alice.send_frame(channel, &numbered(n));
            if n % 20 == 0 {
                the_server_reads().await;
            }
        }
        let mut arrived = vec![number(&at_bob.next_frame().await)];
        while arrived.last() < Some(&(SENT - 1)) {
            arrived.push(number(&at_bob.next_frame().await));
        }
        assert!(arrived.is_sorted_by(|one, next| one < next), "in order, each once: {arrived:?}");
        let at_once = arrived.iter().zip(0..).take_while(|(arrived, sent)| *arrived == sent).count();
        let lost = usize::from(SENT) - arrived.len();
        assert!(at_once > 20 && lost > 50, "the socket was full: {at_once} went at once, {lost} were lost");
        let newest: Vec<_> = (0..SENT).skip(usize::from(SENT) - RELAY_QUEUE_FRAMES).collect();
        assert!(arrived.ends_with(&newest), "the newest waited: {arrived:?}");
        server.stop().await;
    });
}

#[test]
fn who_fills_a_socket_does_not_cost_another_who_sends_to_the_same_one_a_frame() {
    in_a_slow_network("who_fills_a_socket_does_not_cost_another_who_sends_to_the_same_one_a_frame", async {
        const ROUNDS: u16 = 60;
        let server = server();
        let [alice, bob, hog] = people();
        let (mut at_alice, _) = alice.register_at(&server.place).await;
        let (mut at_bob, _) = bob.register_at(&server.place).await;
        let (mut at_hog, _) = hog.register_at(&server.place).await;
        let of_alice = introduced(&alice, &mut at_alice, &bob, &mut at_bob, &server).await;
        let of_hog = introduced(&hog, &mut at_hog, &bob, &mut at_bob, &server).await;
        // A quarter of the line for her; the hog alone brings five times as much as it carries.
        let mut pace = interval(Duration::from_millis(10));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut hers, mut hogs) = (Vec::new(), 0);
        let mut note = |frame: Vec<u8>| match frame.starts_with(&of_alice.header()) {
            true => hers.push(number(&frame)),
            false => hogs += 1,
        };
        for n in 0..ROUNDS {
            pace.tick().await;
            for _ in 0..20 {
                at_hog.send_frame(of_hog, &numbered(n));
            }
            at_alice.send_frame(of_alice, &numbered(n));
            while let Ok(frame) = at_bob.relayed.try_recv() {
                note(frame);
            }
        }
        // The hog's last ones are the end of it all.
        at_hog.send_frame(of_hog, &numbered(ROUNDS));
        loop {
            let frame = at_bob.next_frame().await;
            let last = number(&frame) == ROUNDS;
            note(frame);
            if last {
                break;
            }
        }
        assert_eq!(hers, (0..ROUNDS).collect::<Vec<_>>(), "all of hers, in order");
        assert!(hogs < usize::from(ROUNDS) * 20 / 2, "the line was full: {hogs} of the hog's arrived");
        assert!(hogs > usize::from(ROUNDS), "and the hog has its turns: {hogs}");
        server.stop().await;
    });
}

/// Makes the network and tells the story in it, in a process of its own. Where that is not permitted, or there are no tools for it, there
/// is nothing to see.
fn in_a_slow_network(name: &str, story: impl Future<Output = ()>) {
    const INSIDE: &str = "RENDEZVOUS_TEST_IN_A_SLOW_NETWORK";
    const CANNOT: i32 = 77;
    // What comes from the server's port goes the slow way, whoever it is for.
    let network = format!(
        "ip link set lo up && tc qdisc add dev lo root handle 1: htb default 1 \
         && tc class add dev lo parent 1: classid 1:1 htb rate 10gbit quantum 60000 \
         && tc class add dev lo parent 1: classid 1:2 htb rate 4mbit burst 2k \
         && tc filter add dev lo parent 1: protocol ip u32 match ip sport {PORT} 0xffff flowid 1:2 \
         || exit {CANNOT}; exec \"$0\" --exact {name} --nocapture"
    );
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(story);
    }
    let program = std::env::current_exe().expect("its path");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", &network]).arg(program).env(INSIDE, "1");
    let output = match command.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return eprintln!("unshare is not installed: skipped"),
        output => output.expect("started"),
    };
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if output.status.code() == Some(CANNOT) || said.contains("unshare failed") {
        return eprintln!("no network of its own (it takes iproute2 and user namespaces): skipped\n{said}");
    }
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn server() -> Server {
    Server::start_with(|config| config.listen = vec![SocketAddr::from(([127, 0, 0, 1], PORT))])
}

/// Bob, in the middle, knows both.
fn people() -> [Person; 3] {
    let [alice, bob, carol] = [1, 2, 3].map(Person::new);
    let bob_knows = Person::new(2).knows(&alice).knows(&carol);
    [alice.knows(&bob), bob_knows, carol.knows(&bob)]
}

/// `one` asks for `other`: the channel that both get.
async fn introduced(
    one: &Person,
    at_one: &mut Client,
    other: &Person,
    at_other: &mut Client,
    server: &Server,
) -> RelayChannel {
    at_one.send(&one.introduce(1, other.id(), &server.place)).await;
    at_other.next_introduction().await;
    at_one.next_introduction().await.relay.expect("a channel")
}

fn numbered(n: u16) -> Vec<u8> {
    let mut payload = vec![0; SIZE];
    payload[..2].copy_from_slice(&n.to_be_bytes());
    payload
}

fn number(frame: &[u8]) -> u16 {
    let payload = &frame[common::relay::HEADER..];
    u16::from_be_bytes([payload[0], payload[1]])
}

/// The server is another task of this thread; its sockets hold this much until then.
async fn the_server_reads() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}
