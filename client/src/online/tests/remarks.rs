//! What is said about messages: commands in a chat, and how both sides are shown it.

use super::*;
use crate::commands::Msg;
use crate::store::{Record, State};

fn found(world: &mut World, content: Content) -> Heard {
    world.feed(Happening::Named(FIRST, Ok(content)))
}

fn asked(out: &Out) -> Vec<(PeerId, &str, &Remark)> {
    out.finds.iter().map(|(_, peer, about)| (*peer, about.digits.as_str(), &about.remark)).collect()
}

fn types(world: &mut World, n: u128, line: &str) -> Out {
    world.all(Happening::Line(FIRST, Line::Text(line.into()), message(n)))
}

#[test]
fn a_command_in_a_chat_looks_for_its_message_and_the_next_line_waits_for_that() {
    let (mut world, _) = chat();
    world.direct();
    let out = types(&mut world, 7, "/edit 6f1d at noon");
    assert_eq!(asked(&out), [(bob(), "6f1d", &Remark::Edit("at noon".into()))]);
    assert!(out.events.is_empty() && out.commands.is_empty(), "nothing is sent yet");
    assert!(!world.engine.takes_input(FIRST), "what was typed later is not said earlier");
    let out = found(&mut world, Content::Edit { of: message(3), text: "at noon".into() });
    let [Event::Edited { dir: Direction::Out, id, post, text, waiting: None, .. }] = &out.events[..] else {
        panic!("{out:?}")
    };
    assert_eq!((id, post, text.as_str()), (&message(3).to_string(), &message(7).to_string(), "at noon"));
    assert_eq!(sent(&out).len(), 1);
    assert!(world.engine.takes_input(FIRST));
    assert!(matches!(&world.receipt(7).events[..], [Event::Receipt { .. }]));
    assert_eq!(exit(&world.feed(Happening::EndOfInput(FIRST))), Exit::Done);
}

#[test]
fn a_command_that_does_not_fit_says_why_and_sends_nothing() {
    let (mut world, _) = chat();
    world.direct();
    let out = world.line("/shrug");
    let [Event::Undelivered { text: None, reason, .. }] = &out.events[..] else { panic!("{out:?}") };
    assert!(reason.contains("no command /shrug") && reason.contains("/react"), "{reason}");
    assert!(out.commands.is_empty());
    types(&mut world, 8, "/delete 6f1d");
    let out = world.feed(Happening::Named(FIRST, Err(crate::exit::Failure::usage("this message is not yours"))));
    assert!(matches!(&out.events[..], [Event::Undelivered { reason, .. }] if reason.contains("not yours")));
    assert!(out.commands.is_empty() && world.engine.takes_input(FIRST));
    let out = world.feed(Happening::EndOfInput(FIRST));
    assert_eq!(exit(&out), Exit::Other, "a script must learn that lines were not sent");
}

#[test]
fn two_slashes_say_one() {
    let (mut world, _) = chat();
    world.direct();
    assert!(matches!(sent(&world.line("//usr/bin"))[..], [frame] if says(frame) == Some("/usr/bin")));
}

#[test]
fn what_the_peer_says_about_messages_is_shown_and_a_void_is_not() {
    let (mut world, _) = chat();
    world.direct();
    let mut seq = 0;
    let mut comes = |content| {
        seq += 1;
        let (id, stream) = (message(100 + u128::from(seq)), StreamId(9));
        let out = world.all(Happening::Node(NodeEvent::Frame {
            peer: bob(),
            via: Via::Session(Route::Direct),
            frame: PeerFrame::Post(Post { id, stream, seq, at_ms: 0, content }),
            rtt: RTT,
        }));
        // Whoever has a chat open reads what comes.
        assert!(matches!(out.records[..], [Record::Heard { .. }, Record::Shown { .. }]), "{:?}", out.records);
        Heard::by(FIRST, true, out).events
    };
    let (of, name) = (message(3), message(3).to_string());
    let reply = comes(Content::Text { text: "yes".into(), reply_to: Some(of) });
    assert!(matches!(&reply[..], [Event::Message { reply_to: Some(to), .. }] if *to == name), "{reply:?}");
    let edit = comes(Content::Edit { of, text: "no".into() });
    assert!(
        matches!(&edit[..], [Event::Edited { dir: Direction::In, id, text, .. }] if *id == name && text == "no"),
        "{edit:?}"
    );
    let deletion = comes(Content::Delete { of });
    assert!(matches!(&deletion[..], [Event::Deleted { dir: Direction::In, id, .. }] if *id == name), "{deletion:?}");
    let reaction = comes(Content::Reaction { to: of, emoji: "+1".into() });
    assert!(
        matches!(&reaction[..], [Event::Reaction { dir: Direction::In, id, emoji, .. }] if *id == name && emoji == "+1"),
        "{reaction:?}"
    );
    assert_eq!(comes(Content::Void), []);
}

#[test]
fn a_message_that_expires_is_kept_with_its_time_and_its_command_hears_when_that_is_over() {
    let content = Content::Text { text: "lunch?".into(), reply_to: None };
    let patience = cli::Patience { wait: cli::Goal::Device, timeout: Duration::from_secs(15) };
    let (mut world, _) = World::new(Watch);
    let task = Msg::new(bob(), message(50), content, patience).expiring(Some(Duration::from_secs(5)));
    let out = world.all(Happening::Attached(FrontId(1), Box::new(task)));
    let kept = |record: &Record| matches!(record, Record::Said { expires_ms: Some(5000), .. });
    assert!(matches!(&out.records[..], [said] if kept(said)), "{:?}", out.records);
    let at = world.engine.poll_wakeup().expect("something is due");
    world.elapsed = at.saturating_duration_since(world.start);
    assert_eq!(world.elapsed, Duration::from_secs(5));
    let out = world.all(Happening::Wakeup);
    assert!(matches!(out.records[..], [Record::Expired { id, .. }] if id == message(50)), "{:?}", out.records);
    let [(FrontId(1), Err(failure))] = &out.ends[..] else { panic!("{:?}", out.ends) };
    assert!(failure.message.contains(State::Expired.word()), "{failure}");
}
