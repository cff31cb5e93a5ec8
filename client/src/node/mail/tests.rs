//! What the machine does with a mailbox, honest or not.

mod lies;
mod town;

use std::time::Duration;

use common::introduction::{FromServer, MailId, PublishPrekeys, ToServer};
use common::prekey::{Keyring, ONE_TIME_LIFE, PrekeyId, SIGNED_LIFE};
use common::seal;
use common::session::{MAX_TEXT, PeerFrame};

use self::town::{ALICE, BOB, NOW_S, Town, id, identity, is_stored, key_of, says, secret, terms};
use super::{Deposited, MAX_DEPOSITS, PrekeySet};
use crate::node::{NodeCommand, NodeEvent};

#[test]
fn what_alice_says_is_kept_signed_for_and_told_once_and_the_key_is_gone_when_it_is_on_disk() {
    let mut town = Town::with_prekeys(1);
    town.deposit(1, "hello");
    let outcomes = town.alice.outcomes();
    assert!(matches!(&outcomes[..], [(1, outcome)] if is_stored(outcome)), "{outcomes:?}");
    let envelope = town.envelopes().remove(0);
    assert_eq!(key_of(&envelope), 10, "to the one-time prekey");

    town.connect(BOB);
    let mail = NodeEvent::Mail { id: MailId(1), peer: id(ALICE), frames: says("hello"), one_time: Some(PrekeyId(10)) };
    assert_eq!(town.bob.mails(), [mail]);
    assert_eq!(town.mail.len(), 1, "nothing is on his disk yet");
    town.command(BOB, NodeCommand::Collected(vec![MailId(1)]));
    assert!(town.mail.is_empty());
    let keyring = &town.bob.machine.home.keyring;
    let opened = seal::open(&identity(BOB), keyring, id(ALICE), seal::MAIL, &envelope);
    assert_eq!(opened, Err(seal::SealError::UnknownPrekey));
}

#[test]
fn a_rendezvous_that_does_not_speak_of_a_mailbox_is_asked_for_nothing() {
    let mut town = Town::new();
    town.give_prekeys(1, 10..12);
    town.deposit(1, "before there is a connection");
    town.register(ALICE);
    town.register(BOB);
    town.deposit(2, "without a mailbox");
    town.command(BOB, NodeCommand::Collected(vec![MailId(1)]));
    assert_eq!(town.alice.outcomes(), [(1, Deposited::Lost), (2, Deposited::Lost)]);
    assert_eq!(town.asked, []);
    assert!(town.bob.machine.prekey().is_some_and(|key| key.id == PrekeyId(1)), "for his greetings");

    town.message(BOB, FromServer::Mailbox(terms(0)));
    assert!(
        matches!(&town.asked[..], [(BOB, ToServer::Prekeys(PublishPrekeys { one_time, .. }))] if one_time.len() == 2)
    );
    assert!(town.bob.told.contains(&NodeEvent::Mailbox(terms(0))));
}

#[test]
fn the_signed_prekey_is_published_at_each_registration_and_a_one_time_prekey_once() {
    let mut town = Town::new();
    town.give_prekeys(1, 10..12);
    let one_times = |town: &mut Town| {
        let published = std::mem::take(&mut town.asked).into_iter().map(|(_, asked)| match asked {
            ToServer::Prekeys(publish) => (publish.signed.id.0, publish.one_time.len()),
            other => panic!("{other:?}"),
        });
        published.collect::<Vec<_>>()
    };
    town.connect(BOB);
    assert_eq!(one_times(&mut town), [(1, 2)]);
    town.disconnect(BOB);
    town.connect(BOB);
    assert_eq!(one_times(&mut town), [(1, 0)]);
    town.give_prekeys(2, 20..21);
    assert_eq!(one_times(&mut town), [(2, 1)], "at once while there is a mailbox");
    let keyring = Keyring::new([secret(3, false, 0)]);
    town.command(BOB, NodeCommand::Prekeys(Box::new(PrekeySet { keyring, publish: None })));
    assert_eq!(one_times(&mut town), []);
    assert_eq!(town.bob.machine.prekey().map(|key| key.id), Some(PrekeyId(2)), "nothing new is to be handed out");
}

#[test]
fn deposits_for_one_contact_go_one_after_the_other_and_no_more_than_eight_wait() {
    let mut town = Town::with_prekeys(0);
    // Nothing is answered for now.
    town.tamper = Box::new(|_| Vec::new());
    for token in 0..=MAX_DEPOSITS as u64 {
        town.deposit(token, &format!("line {token}"));
    }
    assert_eq!(town.alice.outcomes(), [(8, Deposited::Lost)]);
    assert!(matches!(&town.asked[..], [(ALICE, ToServer::FetchPrekeys(_))]), "{:?}", town.asked);
    let ToServer::FetchPrekeys(fetch) = town.asked.remove(0).1 else { unreachable!("seen above") };
    // Now two are under way: the first envelope, and the key of the second.
    town.message(ALICE, FromServer::Prekeys { request: fetch.request, bundle: None });
    assert!(matches!(&town.asked[..], [(_, ToServer::Deposit(_)), (_, ToServer::FetchPrekeys(_))]), "{:?}", town.asked);
    let ToServer::FetchPrekeys(fetch) = town.asked.remove(1).1 else { unreachable!("seen above") };
    town.message(ALICE, FromServer::Prekeys { request: fetch.request, bundle: None });
    assert_eq!(town.asked.len(), 1, "a second envelope waits for the first");

    town.mail.clear();
    town.tamper = Box::new(|word| vec![word]);
    town.pass(Duration::from_secs(30));
    let outcomes = town.alice.outcomes();
    assert_eq!(outcomes.iter().map(|(token, _)| *token).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert!(outcomes[0].1 == Deposited::Lost && outcomes[1..].iter().all(|(_, outcome)| is_stored(outcome)));
    let read = town.mail.values().map(|(_, mail)| {
        let opened = seal::open(&identity(BOB), &town.bob.machine.home.keyring, id(ALICE), seal::MAIL, &mail.envelope);
        opened.expect("it opens").frames
    });
    let said: Vec<_> = (1..8).map(|token| says(&format!("line {token}"))).collect();
    assert_eq!(read.collect::<Vec<_>>(), said, "in order");
}

#[test]
fn what_is_under_way_when_the_connection_ends_is_lost_and_can_be_tried_again() {
    let mut town = Town::with_prekeys(3);
    town.tamper = Box::new(|word| if matches!(word, FromServer::Deposited { .. }) { Vec::new() } else { vec![word] });
    (0..3).for_each(|token| town.deposit(token, "hello"));
    assert_eq!(town.alice.outcomes(), []);
    town.disconnect(ALICE);
    assert_eq!(town.alice.outcomes(), [0, 1, 2].map(|token| (token, Deposited::Lost)));
    town.deposit(3, "nowhere to go");
    assert_eq!(town.alice.outcomes(), [(3, Deposited::Lost)]);
    town.tamper = Box::new(|word| vec![word]);
    town.connect(ALICE);
    town.deposit(4, "hello");
    assert!(matches!(&town.alice.outcomes()[..], [(4, outcome)] if is_stored(outcome)));
}

#[test]
fn what_is_under_way_over_an_earlier_connection_is_lost_when_another_takes_its_place() {
    let mut town = Town::with_prekeys(0);
    town.tamper = Box::new(|_| Vec::new());
    town.deposit(0, "hello");
    town.tamper = Box::new(|word| vec![word]);
    town.connect(ALICE);
    assert_eq!(town.alice.outcomes(), [(0, Deposited::Lost)]);
}

#[test]
fn who_is_removed_from_the_contacts_gets_no_more() {
    let mut town = Town::with_prekeys(0);
    town.tamper = Box::new(|_| Vec::new());
    (0..2).for_each(|token| town.deposit(token, "hello"));
    town.command(ALICE, NodeCommand::Contacts(Vec::new()));
    town.deposit(2, "hello");
    assert_eq!(town.alice.outcomes(), [0, 1, 2].map(|token| (token, Deposited::Lost)));
    town.asked.clear();
    town.pass(Duration::from_secs(60));
    assert_eq!(town.asked, []);
}

#[test]
fn what_fits_into_no_envelope_is_refused_and_holds_nothing_up() {
    let mut town = Town::with_prekeys(0);
    let long = [says(&"x".repeat(MAX_TEXT)), says(&"y".repeat(MAX_TEXT))].concat();
    town.command(ALICE, NodeCommand::Deposit { peer: id(BOB), token: 1, frames: long });
    town.command(ALICE, NodeCommand::Deposit { peer: id(BOB), token: 2, frames: Vec::new() });
    town.deposit(3, "hello");
    let outcomes = town.alice.outcomes();
    assert_eq!(outcomes[..2], [(1, Deposited::Refused), (2, Deposited::Refused)]);
    assert!(is_stored(&outcomes[2].1));
}

#[test]
fn mail_goes_to_the_best_key_that_there_is() {
    let mut town = Town::with_prekeys(1);
    (0..2).for_each(|token| town.deposit(token, "hello"));
    // Bob has never published anything, or the server has forgotten it.
    town.prekeys.clear();
    town.deposit(2, "hello");
    let mut other = Town::with_prekeys(0);
    other.prekeys.clear();
    other.deposit(3, "hello");
    let newer = secret(5, false, 0).public(&identity(BOB));
    other.command(ALICE, NodeCommand::PeerPrekey { peer: id(BOB), prekey: newer });
    other.deposit(4, "hello");
    let keys = |town: &Town| town.envelopes().iter().map(|envelope| key_of(envelope)).collect::<Vec<_>>();
    assert_eq!(keys(&town), [10, 1, 1], "one-time, signed, and the signed one that is known from before");
    assert_eq!(keys(&other), [0, 5], "the identity key, until there is another");
    for expired in [SIGNED_LIFE, ONE_TIME_LIFE] {
        let mut town = Town::with_prekeys(0);
        let old = secret(6, false, expired).public(&identity(BOB));
        town.prekeys.insert(id(BOB), (old, [secret(7, true, expired).public(&identity(BOB))].into()));
        town.deposit(1, "hello");
        assert_eq!(keys(&town), if expired == SIGNED_LIFE { [7] } else { [0] });
    }
}

#[test]
fn letters_go_to_the_signed_prekey_that_is_known_while_it_is_fresh() {
    let mut town = Town::with_prekeys(0);
    let letter = |town: &mut Town| {
        town.disconnect(ALICE);
        town.connect(ALICE);
        let letters = std::mem::take(&mut town.asked).into_iter().filter_map(|(_, asked)| match asked {
            ToServer::Introduce(introduce) => Some(introduce.envelope),
            _ => None,
        });
        letters.map(|envelope| key_of(&envelope)).collect::<Vec<_>>()
    };
    town.command(ALICE, NodeCommand::Letter { peer: id(BOB), frames: says("hello") });
    town.command(ALICE, NodeCommand::Want(id(BOB)));
    town.asked.clear();
    assert_eq!(letter(&mut town), [0]);
    let prekey = secret(5, false, 0).public(&identity(BOB));
    town.command(ALICE, NodeCommand::PeerPrekey { peer: id(BOB), prekey });
    assert_eq!(letter(&mut town), [5]);
    town.now += Duration::from_secs(SIGNED_LIFE);
    town.alice.machine.handle_clock(NOW_S + SIGNED_LIFE, town.now);
    // The server's clock says so, too.
    town.disconnect(ALICE);
    town.register(ALICE);
    let registered = town.alice.told.iter().rev().find(|event| matches!(event, NodeEvent::Clock { .. }));
    assert_eq!(registered, Some(&NodeEvent::Clock { server_s: NOW_S }), "it has stood still");
    town.asked.clear();
    assert_eq!(letter(&mut town), [5], "of two clocks the one that is behind counts");
    town.now += Duration::from_secs(SIGNED_LIFE);
    town.asked.clear();
    town.command(ALICE, NodeCommand::Unwant(id(BOB)));
    town.command(ALICE, NodeCommand::Want(id(BOB)));
    let asked = town.asked.iter().find_map(|(_, asked)| match asked {
        ToServer::Introduce(introduce) => Some(key_of(&introduce.envelope)),
        _ => None,
    });
    assert_eq!(asked, Some(0));
}

#[test]
fn an_envelope_without_frames_is_mail_like_any_other() {
    let mut town = Town::with_prekeys(0);
    let sealed = seal::seal(&identity(ALICE), id(BOB), None, seal::MAIL, &[], [3; 32]).expect("short");
    town.mail.insert(
        MailId(4),
        (id(BOB), common::introduction::Mail { id: MailId(4), sender: id(ALICE), envelope: sealed }),
    );
    town.connect(BOB);
    let frames: Vec<PeerFrame> = Vec::new();
    assert_eq!(town.bob.mails(), [NodeEvent::Mail { id: MailId(4), peer: id(ALICE), frames, one_time: None }]);
}

#[test]
fn of_a_hundred_contacts_a_third_is_served_at_a_time_and_all_in_turn() {
    let others: Vec<_> = (100..200).map(id).collect();
    let mut town = Town::with_prekeys(0);
    town.command(ALICE, NodeCommand::Contacts(others.clone()));
    let count = |town: &Town, which: fn(&ToServer) -> bool| town.asked.iter().filter(|(_, asked)| which(asked)).count();
    let fetches = |asked: &ToServer| matches!(asked, ToServer::FetchPrekeys(_));
    let deposits = |asked: &ToServer| matches!(asked, ToServer::Deposit(_));
    town.tamper = Box::new(|_| Vec::new());
    for (token, peer) in others.iter().enumerate() {
        for token in [token as u64, 100 + token as u64] {
            town.command(ALICE, NodeCommand::Deposit { peer: *peer, token, frames: says("hello") });
        }
    }
    assert_eq!((count(&town, fetches), count(&town, deposits)), (32, 0));
    town.pass(Duration::from_secs(6));
    assert_eq!((count(&town, fetches), count(&town, deposits)), (64, 32));
    let first: Vec<_> = town.asked[..32].iter().map(|(_, asked)| asked.clone()).collect();
    let next = town.asked[32..].iter().filter(|(_, asked)| fetches(asked));
    let of = |asked: &ToServer| if let ToServer::FetchPrekeys(fetch) = asked { Some(fetch.peer) } else { None };
    assert!(next.clone().all(|(_, asked)| first.iter().all(|one| of(one) != of(asked))), "others have their turn");
    town.tamper = Box::new(|word| vec![word]);
    town.pass(Duration::from_secs(60));
    let outcomes = town.alice.outcomes();
    assert_eq!(outcomes.len(), 200);
    assert_eq!(outcomes.iter().filter(|(_, outcome)| is_stored(outcome)).count(), 200 - 32);
}
