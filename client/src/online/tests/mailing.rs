//! Mail from somebody who was here before us, and the keys that it is sealed to.

use common::introduction::{MailId, MailboxTerms};
use common::prekey::{Due, PrekeyId, PrekeySecret};

use super::*;
use crate::node::Deposited;
use crate::store::Record;

const MAIL: MailId = MailId(4);

fn registered(world: &mut World) -> Out {
    world.all(Happening::Node(NodeEvent::Mailbox(MailboxTerms { keeps_s: 86_400, one_time_prekeys: 64, waiting: 1 })))
}

fn mail(world: &mut World, one_time: Option<PrekeyId>) -> Out {
    let frames = vec![PeerFrame::Post(post("hi"))];
    world.all(Happening::Node(NodeEvent::Mail { id: MAIL, peer: bob(), frames, one_time }))
}

fn deposited(world: &mut World, token: u64, outcome: Deposited) -> Out {
    world.all(Happening::Node(NodeEvent::Deposited { peer: bob(), token, outcome }))
}

/// The tokens of what goes to the mailbox.
fn deposits(out: &Out) -> Vec<u64> {
    let tokens = out.commands.iter().filter_map(|command| match command {
        NodeCommand::Deposit { token, .. } => Some(*token),
        _ => None,
    });
    tokens.collect()
}

fn collected(out: &Out) -> bool {
    out.commands.iter().any(|command| matches!(command, NodeCommand::Collected(mails) if mails[..] == [MAIL]))
}

#[test]
fn mail_is_kept_and_shown_and_collected_when_its_receipt_is_at_the_server() {
    let (mut world, _) = World::new(Watch);
    registered(&mut world);
    let out = mail(&mut world, Some(PrekeyId(9)));
    let gone = vec![PrekeyId(9)];
    assert!(matches!(&out.records[..], [Record::Heard { .. }, Record::PrekeysGone(ids)] if *ids == gone), "{out:?}");
    assert!(matches!(&out.events[..], [(To::Everybody, Event::Message { dir: Direction::In, .. })]));
    let [token] = deposits(&out)[..] else { panic!("one receipt: {out:?}") };
    assert!(!collected(&out) && world.engine.room().owes_receipts());
    let out = deposited(&mut world, token, Deposited::Lost);
    assert!(!collected(&out) && !world.engine.room().owes_receipts());
    assert_eq!(deposits(&registered(&mut world)), [token], "another chance");
    assert!(collected(&deposited(&mut world, token, Deposited::Refused)), "he wants no mail: it is not kept for ever");
    assert!(!world.engine.room().owes_receipts());
}

#[test]
fn mail_is_answered_with_our_own_words_in_front_of_the_receipt() {
    let (mut world, _) = chat();
    registered(&mut world);
    world.line("hello");
    let out = mail(&mut world, None);
    let said = out.commands.iter().filter_map(|command| match command {
        NodeCommand::Deposit { frames, .. } => Some(frames),
        _ => None,
    });
    let said: Vec<&PeerFrame> = said.flatten().collect();
    assert!(matches!(said[..], [PeerFrame::Post(_), PeerFrame::Receipt(_)]), "{said:?}");
}

#[test]
fn a_mailbox_that_is_full_is_told_of_and_nothing_is_said_to_be_there() {
    let (mut world, _) = chat();
    registered(&mut world);
    world.line("hello");
    let out = world.all(Happening::Node(NodeEvent::Refused { peer: bob() }));
    let [token] = deposits(&out)[..] else { panic!("he is away: {out:?}") };
    let out = deposited(&mut world, token, Deposited::Full);
    let told: Vec<&Event> = out.events.iter().map(|(_, event)| event).collect();
    assert!(matches!(told[..], [Event::MailboxFull { who }] if who.peer == bob()), "{told:?}");
    assert_eq!(out.records, []);
}

#[test]
fn over_a_connection_the_receipt_goes_at_once() {
    let (mut world, _) = World::new(Watch);
    registered(&mut world);
    world.direct();
    let out = mail(&mut world, None);
    assert!(deposits(&out).is_empty());
    assert!(collected(&out));
    assert!(out.commands.iter().any(|c| matches!(c, NodeCommand::Send { frame: PeerFrame::Receipt(_), .. })));
}

#[test]
fn many_mails_are_acknowledged_a_few_envelopes_at_a_time_and_all_of_them() {
    let (mut world, _) = World::new(Watch);
    registered(&mut world);
    let mut waiting = Vec::new();
    for n in 1..=20 {
        let frames = vec![PeerFrame::Post(Post { id: message(n), seq: n as u64, ..post("hi") })];
        let mail = NodeEvent::Mail { id: MailId(n as u64), peer: bob(), frames, one_time: None };
        waiting.extend(deposits(&world.all(Happening::Node(mail))));
        assert!(waiting.len() <= 4);
    }
    let mut collected = 0;
    while let Some(token) = waiting.pop() {
        let out = deposited(&mut world, token, Deposited::Full);
        collected += out.commands.iter().filter(|command| matches!(command, NodeCommand::Collected(_))).count();
        waiting.extend(deposits(&out));
    }
    assert_eq!(collected, 20);
}

#[test]
fn mail_that_does_not_open_is_asked_for_again_and_collected() {
    let (mut world, _) = World::new(Watch);
    registered(&mut world);
    let out = world.all(Happening::Node(NodeEvent::MailUnreadable { id: MAIL, peer: bob() }));
    assert_eq!(deposits(&out).len(), 1);
    assert!(collected(&out));
}

#[test]
fn prekeys_are_kept_before_they_are_handed_out_and_made_when_they_are_due() {
    let (mut world, _) = World::new(Watch);
    let now = Moment { at: world.start, wall: Timestamp::UNIX_EPOCH };
    world.all(Happening::Keys(Vec::new(), Vec::new()));
    assert_eq!(world.engine.room().prekeys_due(now), Due { signed: true, one_times: 0 });
    let secret = |id, one_time| PrekeySecret::new(id, [7; 32], one_time, 0);
    let out = world.all(Happening::Prekeys(vec![secret(1, false)]));
    assert!(matches!(&out.records[..], [Record::Prekeys(secrets)] if secrets.len() == 1), "{out:?}");
    let published = |out: &Out| match &out.commands[..] {
        [NodeCommand::Prekeys(set)] => set.publish.as_ref().map(|publish| publish.one_time.len()),
        _ => None,
    };
    assert_eq!(published(&out), Some(0));
    world.all(Happening::Node(NodeEvent::Mailbox(MailboxTerms { keeps_s: 1, one_time_prekeys: 3, waiting: 0 })));
    assert_eq!(world.engine.room().prekeys_due(now).one_times, 61);
    let out = world.all(Happening::Keys(vec![secret(1, false)], Vec::new()));
    assert_eq!(published(&out), Some(0), "who starts again hands out the one that there is");
    let out = world.all(Happening::Prekeys((2..63).map(|id| secret(id, true)).collect()));
    assert_eq!(published(&out), Some(61));
    assert_eq!(world.engine.room().prekeys_due(now), Due::default());
}

#[test]
fn a_clock_that_is_a_year_off_is_said_once() {
    let (mut world, _) = World::new(Watch);
    let mut clock = |server_s| world.node(NodeEvent::Clock { server_s }).events.len();
    assert_eq!([clock(0), clock(3600), clock(365 * 86_400), clock(365 * 86_400)], [0, 0, 1, 0]);
}
