//! Several front ends on one node: who hears what, and how each of them ends.

use common::session::MessageId;

use super::*;
use crate::cli::Goal;
use crate::commands::{Msg, Tail};
use crate::store::{self, Entry, Message, Times, What};

const SECOND: FrontId = FrontId(1);
const THIRD: FrontId = FrontId(2);

fn attach(world: &mut World, front: FrontId, task: impl Task + 'static) -> Heard {
    let listens = task.listens();
    let out = world.all(Happening::Attached(front, Box::new(task)));
    Heard::by(front, listens, out)
}

fn says(wait: Goal) -> Msg {
    let content = Content::Text { text: "hi".into(), reply_to: None };
    Msg::new(bob(), message(50), content, cli::Patience { wait, timeout: Duration::from_secs(15) })
}

fn registered() -> NodeEvent {
    NodeEvent::Registered { entrance: Entrance::Udp { observed: remote() }, local: Vec::new() }
}

fn states(events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(|event| if let Event::Sent { state, .. } = event { Some(*state) } else { None }).collect()
}

#[test]
fn what_happens_is_heard_by_all_and_what_a_task_says_by_its_own_front_end() {
    let (mut world, _) = chat();
    attach(&mut world, SECOND, Watch);
    let out = world.all(Happening::Node(up()));
    assert!(matches!(out.events[..], [(To::Everybody, Event::Path { .. })]), "{:?}", out.events);
    let out = world.all(Happening::Line(FIRST, Line::Text("hello".into()), message(1)));
    assert!(matches!(out.events[..], [(To::Everybody, Event::Message { .. })]), "both see what was said");
    let out = world.all(Happening::EndOfInput(FIRST));
    assert!(matches!(out.events[..], [(To::Only(FIRST), Event::Waiting { .. })]), "{:?}", out.events);
    let out = world.all(world.receipt_comes(2, 1));
    assert!(matches!(out.ends[..], [(FIRST, Ok(Exit::Done))]), "the other one stays: {:?}", out.ends);
    assert!(world.all(Happening::Interrupted(FIRST)).is_empty(), "it is not there any more");
    assert!(matches!(world.all(Happening::Interrupted(SECOND)).ends[..], [(SECOND, Ok(Exit::Done))]));
}

#[test]
fn whoever_comes_later_is_told_what_stands() {
    let (mut world, _) = World::new(Watch);
    world.node(registered());
    world.direct();
    let (_, ping) = (0, Ping::new(bob(), SECOND, Duration::from_millis(7), &ping_arguments()));
    let out = attach(&mut world, SECOND, ping);
    assert!(matches!(out.events[..], [Event::Registered { .. }, Event::Path { .. }]), "{:?}", out.events);
    let [PeerFrame::Ping { nonce }] = sent(&out)[..] else { panic!("it pings at once: {out:?}") };
    let pong = NodeEvent::Frame {
        peer: bob(),
        via: Via::Session(Route::Direct),
        frame: PeerFrame::Pong { nonce: *nonce },
        rtt: RTT,
    };
    let out = world.all(Happening::Node(pong));
    assert!(matches!(out.ends[..], [(SECOND, Ok(Exit::Done))]));
    let summary = out.events.iter().find_map(|(to, event)| match event {
        Event::Summary { direct_ms, .. } => Some((*to, *direct_ms)),
        _ => None,
    });
    assert_eq!(summary, Some((To::Only(SECOND), Some(Duration::from_millis(7).into()))), "counted from its own start");
}

fn ping_arguments() -> cli::Ping {
    let cli::Command::Ping(arguments) = Cli::parse_from(["punchline", "ping", "Bob"]).command else {
        panic!("ping is ping")
    };
    arguments
}

#[test]
fn two_pings_do_not_take_each_others_answers() {
    let (mut world, _) = World::new(Watch);
    world.direct();
    let first = attach(&mut world, SECOND, Ping::new(bob(), SECOND, Duration::ZERO, &ping_arguments()));
    let second = attach(&mut world, THIRD, Ping::new(bob(), THIRD, Duration::ZERO, &ping_arguments()));
    assert_ne!(sent(&first), sent(&second));
    let frame = sent(&second)[0].clone();
    let PeerFrame::Ping { nonce } = frame else { panic!("a ping") };
    let frame = PeerFrame::Pong { nonce };
    let pong = NodeEvent::Frame { peer: bob(), via: Via::Session(Route::Direct), frame, rtt: RTT };
    let out = world.all(Happening::Node(pong));
    assert!(matches!(out.ends[..], [(THIRD, Ok(Exit::Done))]), "{:?}", out.ends);
}

#[test]
fn a_message_is_sent_and_its_front_end_hears_how_far_it_came_and_nothing_else() {
    let (mut world, _) = World::new(Watch);
    world.direct();
    for (front, goal) in [(SECOND, Goal::Server), (THIRD, Goal::Device)] {
        let out = attach(&mut world, front, says(goal));
        assert!(out.events.is_empty() && out.end.is_none(), "{out:?}");
        let out = world.all(world.receipt_comes(2, 50));
        assert!(
            matches!(out.ends[..], [(ended, Ok(Exit::Done))] if ended == front),
            "what is on the device is farther"
        );
        let heard = Heard::by(front, false, out);
        assert_eq!((states(&heard.events), heard.events.len()), (vec!["device"], 1));
    }
}

#[test]
fn a_message_to_somebody_who_is_offline_waits_and_the_code_says_so() {
    let (mut world, _) = World::new(Watch);
    world.node(registered());
    attach(&mut world, SECOND, says(Goal::Server));
    world.node(NodeEvent::Refused { peer: bob() });
    let out = loop {
        let at = world.engine.poll_wakeup().expect("it does not wait for ever");
        world.elapsed = at.saturating_duration_since(world.start);
        let out = world.all(Happening::Wakeup);
        if !out.ends.is_empty() {
            break Heard::by(SECOND, false, out);
        }
    };
    assert_eq!((exit(&out), states(&out.events)), (Exit::PeerOffline, vec!["queued"]));
    assert!(world.elapsed < Duration::from_secs(5), "nobody waits in vain: {:?}", world.elapsed);
    assert_eq!(world.engine.room().messenger().outstanding(bob()).len(), 1, "it is kept");
}

#[test]
fn whoever_waits_for_the_device_waits_until_the_peer_comes_or_time_is_up() {
    let (mut world, _) = World::new(Watch);
    world.node(registered());
    attach(&mut world, SECOND, says(Goal::Device));
    world.node(NodeEvent::Refused { peer: bob() });
    world.elapsed = Duration::from_secs(14);
    assert!(world.all(Happening::Wakeup).ends.is_empty());
    world.elapsed = Duration::from_secs(15);
    let out = Heard::by(SECOND, false, world.all(Happening::Wakeup));
    assert_eq!(exit(&out), Exit::PeerOffline);

    let (mut world, _) = World::new(Watch);
    attach(&mut world, SECOND, says(Goal::Device));
    world.direct();
    world.elapsed = Duration::from_secs(15);
    let out = Heard::by(SECOND, false, world.all(Happening::Wakeup));
    assert_eq!(exit(&out), Exit::Timeout, "it is there, and has not answered");
}

#[test]
fn an_interrupted_message_is_still_kept_and_said_to_be_queued() {
    let (mut world, _) = World::new(Watch);
    attach(&mut world, SECOND, says(Goal::Device));
    let out = Heard::by(SECOND, false, world.all(Happening::Interrupted(SECOND)));
    assert_eq!((exit(&out), states(&out.events)), (Exit::Timeout, vec!["queued"]));
    assert_eq!(world.engine.room().messenger().outstanding(bob()).len(), 1);
}

#[test]
fn what_ends_the_node_ends_everybody_with_the_reason() {
    let (mut world, _) = chat();
    attach(&mut world, SECOND, Watch);
    let out = world.all(Happening::NodeStopped);
    assert!(out.stop.is_some());
    assert!(matches!(out.ends[..], [(FIRST, Err(_)), (SECOND, Err(_))]), "{:?}", out.ends);
}

fn entry(number: i64) -> Entry {
    let message = Message {
        place: number << 20,
        peer: bob(),
        direction: store::Direction::Received,
        id: MessageId([7; 16]),
        at: Timestamp::UNIX_EPOCH,
        text: "hi".into(),
        edited: false,
        deleted: false,
        reply_to: None,
        state: store::State::OnDevice,
        times: Times::default(),
        host: None,
        unread: true,
        missing_before: 0,
        own_reaction: None,
        peer_reaction: None,
    };
    Entry { number, what: What::Message, state: store::State::OnDevice, message }
}

#[test]
fn a_tail_asks_for_the_next_page_only_when_it_has_the_one_before() {
    let (mut world, _) = World::new(Watch);
    let reads = |out: &Out| out.reads.iter().map(|(_, reading)| reading.after).collect::<Vec<_>>();
    let out = world.all(Happening::Attached(SECOND, Box::new(Tail::new(None, Some(3)))));
    assert_eq!(reads(&out), [Some(3)]);
    assert_eq!(reads(&world.all(Happening::Kept)), [], "one page is being read");
    let page = (4..4 + PAGE as i64).map(entry).collect();
    let out = world.all(Happening::Entries(SECOND, page, 3 + PAGE as i64));
    assert_eq!((out.events.len(), reads(&out)), (PAGE, vec![Some(3 + PAGE as i64)]));
    let out = world.all(Happening::Entries(SECOND, vec![entry(300)], 300));
    assert_eq!((out.events.len(), reads(&out)), (1, vec![]), "it has all");
    assert_eq!(reads(&world.all(Happening::Kept)), [Some(300)], "and hears of what comes");
    assert_eq!(reads(&world.all(Happening::Kept)), [], "once");
    let out = world.all(Happening::Entries(SECOND, vec![], 300));
    assert_eq!(reads(&out), [Some(300)], "something came while it read");
}
