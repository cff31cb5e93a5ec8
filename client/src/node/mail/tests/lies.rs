//! A server that withholds, repeats, reorders and forges gains nothing but delay.

use std::time::Duration;

use common::introduction::{DepositOutcome, FromServer, MAX_COLLECTED, Mail, MailId, ToServer};
use common::prekey::{Bundle, PrekeyId};
use common::receipt::{EnvelopeDigest, StoredReceipt};
use common::seal;

use super::town::{ALICE, BOB, NOW_S, SERVER, Town, id, identity, is_stored, key_of, says, secret};
use crate::node::mail::Deposited;
use crate::node::{NodeCommand, NodeEvent};

const MALLORY: u8 = 3;

fn mail(n: u64, sender: u8, envelope: &[u8]) -> FromServer {
    FromServer::Mail(Mail { id: MailId(n), sender: id(sender), envelope: envelope.to_vec() })
}

/// By Alice for Bob, to his identity key.
fn sealed(text: &str) -> Vec<u8> {
    seal::seal(&identity(ALICE), id(BOB), None, seal::MAIL, &says(text), [4; 32]).expect("short")
}

/// Bob is connected and nothing was asked.
fn with_bob() -> Town {
    let mut town = Town::with_prekeys(2);
    town.connect(BOB);
    town.asked.clear();
    town.bob.told.clear();
    town
}

#[test]
fn whoever_withholds_prekeys_delays_mail_by_seconds_and_does_not_choose_the_key() {
    let mut town = Town::with_prekeys(2);
    let known = secret(5, false, 0).public(&identity(BOB));
    town.command(ALICE, NodeCommand::PeerPrekey { peer: id(BOB), prekey: known });
    town.tamper = Box::new(|word| if matches!(word, FromServer::Prekeys { .. }) { Vec::new() } else { vec![word] });
    town.deposit(1, "hello");
    assert_eq!(town.alice.outcomes(), []);
    town.pass(Duration::from_secs(6));
    assert!(matches!(&town.alice.outcomes()[..], [(1, outcome)] if is_stored(outcome)));
    assert_eq!(key_of(&town.envelopes()[0]), 5, "the one that is known, and not the identity key");
}

#[test]
fn whoever_withholds_the_answer_to_a_deposit_delays_it_and_what_comes_later_counts_for_nothing() {
    let mut town = Town::with_prekeys(2);
    let answers = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let held = answers.clone();
    town.tamper = Box::new(move |word| {
        if matches!(word, FromServer::Deposited { .. }) {
            held.borrow_mut().push(word);
            return Vec::new();
        }
        vec![word]
    });
    (1..=2).for_each(|token| town.deposit(token, "hello"));
    town.pass(Duration::from_secs(31));
    assert_eq!(town.alice.outcomes(), [(1, Deposited::Lost)]);
    let late = answers.borrow_mut().remove(0);
    town.message(ALICE, late);
    assert_eq!(town.alice.outcomes(), [], "it is not taken for the answer to another one");
    let second = answers.borrow_mut().remove(0);
    town.message(ALICE, second.clone());
    assert!(matches!(&town.alice.outcomes()[..], [(2, outcome)] if is_stored(outcome)));
    town.message(ALICE, second);
    assert_eq!(town.alice.outcomes(), [], "nor is an answer that is repeated");
}

#[test]
fn at_server_is_said_only_when_the_rendezvous_has_signed_for_this_very_envelope() {
    let other = seal::digest(b"another envelope");
    let sign = |by: u8, from: u8, to: u8, digest: EnvelopeDigest| {
        StoredReceipt::sign(&identity(by), id(from), id(to), digest, NOW_S + 100)
    };
    type Forge<'a> = &'a dyn Fn(StoredReceipt) -> StoredReceipt;
    let forgeries: [(&str, Forge<'_>); 5] = [
        ("another envelope", &|_| sign(SERVER, ALICE, BOB, other)),
        ("another server", &|it| sign(MALLORY, ALICE, BOB, it.digest)),
        ("another sender", &|it| sign(SERVER, MALLORY, BOB, it.digest)),
        ("another recipient", &|it| sign(SERVER, ALICE, MALLORY, it.digest)),
        ("another time", &|mut it| {
            it.until_s += 1;
            it
        }),
    ];
    for (what, forge) in forgeries {
        let mut town = Town::with_prekeys(2);
        town.tamper =
            Box::new(|word| if matches!(word, FromServer::Deposited { .. }) { Vec::new() } else { vec![word] });
        town.deposit(1, "hello");
        let (request, digest) = town
            .asked
            .iter()
            .find_map(|(_, asked)| match asked {
                ToServer::Deposit(deposit) => Some((deposit.request, seal::digest(&deposit.envelope))),
                _ => None,
            })
            .expect("a deposit");
        let outcome = DepositOutcome::Stored(forge(sign(SERVER, ALICE, BOB, digest)));
        town.message(ALICE, FromServer::Deposited { request, outcome });
        assert_eq!(town.alice.outcomes(), [(1, Deposited::Lost)], "{what}");
        town.tamper = Box::new(|word| vec![word]);
        town.deposit(2, "hello");
        assert!(matches!(&town.alice.outcomes()[..], [(2, outcome)] if is_stored(outcome)), "{what}");
    }
}

#[test]
fn what_the_server_refuses_and_what_finds_no_room_is_told_as_it_is() {
    for (answer, told) in [
        (Some(DepositOutcome::Refused), Deposited::Refused),
        (Some(DepositOutcome::Full), Deposited::Full),
        (None, Deposited::Refused),
    ] {
        let mut town = Town::with_prekeys(2);
        town.tamper = Box::new(move |word| match (word, answer.clone()) {
            (FromServer::Deposited { request, .. }, Some(outcome)) => vec![FromServer::Deposited { request, outcome }],
            // In the words of an introduction.
            (FromServer::Deposited { request, .. } | FromServer::Prekeys { request, .. }, None) => {
                vec![FromServer::Refused { request }]
            }
            (word, _) => vec![word],
        });
        town.deposit(1, "hello");
        assert_eq!(town.alice.outcomes(), [(1, told)]);
    }
}

#[test]
fn a_bundle_that_is_forged_old_or_handed_out_twice_is_not_used() {
    let bobs = |n, one_time, ago| secret(n, one_time, ago).public(&identity(BOB));
    let mallorys = |n, one_time| secret(n, one_time, 0).public(&identity(MALLORY));
    for (what, bundle, key) in [
        ("all of it is Mallory's", Bundle { signed: mallorys(20, false), one_time: Some(mallorys(21, true)) }, 5),
        ("one is", Bundle { signed: bobs(6, false, 0), one_time: Some(mallorys(21, true)) }, 6),
        ("an old one", Bundle { signed: bobs(4, false, 1_000), one_time: None }, 5),
        ("a one-time prekey in place of a signed one", Bundle { signed: bobs(7, true, 0), one_time: None }, 5),
        (
            "a signed one to be used up",
            Bundle { signed: bobs(4, false, 1_000), one_time: Some(bobs(4, false, 1_000)) },
            5,
        ),
    ] {
        let mut town = Town::with_prekeys(0);
        town.command(ALICE, NodeCommand::PeerPrekey { peer: id(BOB), prekey: bobs(5, false, 100) });
        town.tamper = Box::new(move |word| match word {
            FromServer::Prekeys { request, .. } => {
                vec![FromServer::Prekeys { request, bundle: Some(Box::new(bundle)) }]
            }
            word => vec![word],
        });
        town.deposit(1, "hello");
        assert_eq!(key_of(&town.envelopes()[0]), key, "{what}");
    }
    let mut town = Town::with_prekeys(0);
    let bundle = Bundle { signed: bobs(1, false, 0), one_time: Some(bobs(10, true, 0)) };
    town.tamper = Box::new(move |word| match word {
        FromServer::Prekeys { request, .. } => vec![FromServer::Prekeys { request, bundle: Some(Box::new(bundle)) }],
        word => vec![word],
    });
    town.deposit(1, "hello");
    town.disconnect(ALICE);
    town.connect(ALICE);
    town.deposit(2, "hello");
    assert_eq!(town.envelopes().iter().map(|envelope| key_of(envelope)).collect::<Vec<_>>(), [10, 1]);
}

#[test]
fn a_server_whose_clock_is_a_year_ahead_does_not_have_mail_sealed_to_the_identity_key() {
    let mut town = Town::with_prekeys(0);
    let now = town.now;
    town.alice.machine.home.clock.set_server(NOW_S + 365 * 86_400, now);
    town.deposit(1, "hello");
    assert_eq!(key_of(&town.envelopes()[0]), 1);
}

#[test]
fn keys_that_nobody_has_asked_for_and_answers_out_of_order_do_nothing() {
    let mut town = Town::with_prekeys(2);
    town.tamper = Box::new(|_| Vec::new());
    town.deposit(1, "hello");
    let mallorys = secret(20, false, 0).public(&identity(MALLORY));
    let bundle = Some(Box::new(Bundle { signed: mallorys, one_time: None }));
    town.message(ALICE, FromServer::Prekeys { request: 999, bundle });
    // The deposit that is not made yet was stored, says the server.
    for request in 0..20 {
        let digest = EnvelopeDigest([0; 32]);
        let receipt = StoredReceipt::sign(&identity(SERVER), id(ALICE), id(BOB), digest, NOW_S);
        town.message(ALICE, FromServer::Deposited { request, outcome: DepositOutcome::Stored(receipt) });
    }
    assert_eq!(town.alice.outcomes(), []);
    assert_eq!(town.envelopes(), Vec::<Vec<u8>>::new());
}

#[test]
fn mail_that_comes_again_is_told_once_and_signed_for_only_when_it_is_on_disk() {
    let mut town = with_bob();
    let envelope = sealed("hello");
    for n in [1, 1, 2, 1] {
        town.message(BOB, mail(n, ALICE, &envelope));
    }
    let told = NodeEvent::Mail { id: MailId(1), peer: id(ALICE), frames: says("hello"), one_time: None };
    assert_eq!(town.bob.mails(), [told]);
    assert_eq!(town.signed_for(), [], "not before it is on disk");
    town.command(BOB, NodeCommand::Collected(vec![MailId(1)]));
    assert_eq!(town.signed_for(), [MailId(1), MailId(2)], "under both names");

    town.message(BOB, mail(1, ALICE, &envelope));
    town.message(BOB, mail(3, ALICE, &envelope));
    assert_eq!(town.signed_for()[2..], [MailId(1), MailId(3)], "at once, and without a word");
    assert_eq!(town.bob.mails(), []);
}

#[test]
fn what_was_put_on_disk_during_an_outage_is_signed_for_when_it_comes_again() {
    let mut town = Town::with_prekeys(2);
    town.deposit(1, "hello");
    town.connect(BOB);
    assert_eq!(town.bob.mails().len(), 1);
    town.disconnect(BOB);
    town.command(BOB, NodeCommand::Collected(vec![MailId(1)]));
    assert_eq!(town.signed_for(), []);
    town.connect(BOB);
    assert_eq!((town.bob.mails(), town.signed_for()), (vec![], vec![MailId(1)]));
    assert!(town.mail.is_empty());
}

#[test]
fn mail_that_was_told_before_an_outage_and_is_not_on_disk_is_not_told_again() {
    let mut town = Town::with_prekeys(2);
    town.deposit(1, "hello");
    town.connect(BOB);
    town.disconnect(BOB);
    town.connect(BOB);
    assert_eq!((town.bob.mails().len(), town.signed_for()), (1, vec![]));
    town.command(BOB, NodeCommand::Collected(vec![MailId(1)]));
    assert!(town.mail.is_empty());
}

#[test]
fn mail_of_another_sender_junk_and_mail_to_a_key_that_is_gone_cannot_be_read_and_nothing_is_made_of_it() {
    let (long, letter) = (vec![7; seal::MAX_ENVELOPE + 1], {
        let purpose = b"request at somewhere";
        seal::seal(&identity(ALICE), id(BOB), None, purpose, &says("hello"), [4; 32]).expect("short")
    });
    let gone = secret(77, true, 0).public(&identity(BOB));
    let gone = seal::seal(&identity(ALICE), id(BOB), Some(&gone), seal::MAIL, &says("hello"), [4; 32]);
    let mallorys = seal::seal(&identity(MALLORY), id(BOB), None, seal::MAIL, &says("hello"), [4; 32]);
    let mut changed = sealed("hello");
    changed[60] ^= 1;
    let mut town = with_bob();
    let envelopes = [
        mallorys.expect("short"),
        gone.expect("short"),
        changed,
        letter,
        long,
        b"junk".to_vec(),
        Vec::new(),
        vec![0; 320],
    ];
    for (n, envelope) in envelopes.iter().enumerate() {
        let n = n as u64;
        town.message(BOB, mail(n, ALICE, envelope));
        assert_eq!(town.bob.mails(), [NodeEvent::MailUnreadable { id: MailId(n), peer: id(ALICE) }], "{n}");
        town.message(BOB, mail(n, ALICE, envelope));
        assert_eq!(town.bob.mails(), [], "told once");
    }
    assert_eq!(town.signed_for(), []);
    town.command(BOB, NodeCommand::Collected((0..envelopes.len() as u64).map(MailId).collect()));
    assert_eq!(town.signed_for().len(), envelopes.len());

    // What was said to be somebody else's is read when it comes under the right name.
    let mut town = with_bob();
    town.command(BOB, NodeCommand::Contacts(vec![id(ALICE), id(MALLORY)]));
    town.message(BOB, mail(1, MALLORY, &sealed("hello")));
    town.command(BOB, NodeCommand::Collected(vec![MailId(1)]));
    town.message(BOB, mail(2, ALICE, &sealed("hello")));
    let told = town.bob.mails();
    assert!(matches!(&told[..], [NodeEvent::MailUnreadable { .. }, NodeEvent::Mail { .. }]), "{told:?}");
}

#[test]
fn mail_of_who_is_no_contact_is_collected_unread() {
    let mut town = with_bob();
    town.message(BOB, mail(1, MALLORY, &sealed("hello")));
    town.command(BOB, NodeCommand::Contacts(Vec::new()));
    town.message(BOB, mail(2, ALICE, &sealed("hello")));
    assert_eq!(town.bob.mails(), []);
    assert_eq!(town.signed_for(), [MailId(1), MailId(2)]);
}

#[test]
fn another_envelope_under_the_name_of_one_that_is_not_on_disk_waits_its_turn() {
    let mut town = with_bob();
    town.message(BOB, mail(1, ALICE, &sealed("one")));
    town.message(BOB, mail(1, ALICE, &sealed("another")));
    assert_eq!(town.bob.mails().len(), 1);
    town.command(BOB, NodeCommand::Collected(vec![MailId(1)]));
    town.message(BOB, mail(1, ALICE, &sealed("another")));
    assert_eq!(town.bob.mails().len(), 1);
}

#[test]
fn a_server_that_sends_more_than_can_be_kept_at_a_time_is_not_heard_until_some_is_on_disk() {
    let mut town = with_bob();
    for n in 0..MAX_COLLECTED as u64 + 10 {
        town.message(BOB, mail(n, ALICE, &sealed(&format!("line {n}"))));
    }
    assert_eq!(town.bob.mails().len(), MAX_COLLECTED);
    let all: Vec<_> = (0..MAX_COLLECTED as u64).map(MailId).collect();
    town.command(BOB, NodeCommand::Collected(all));
    town.message(BOB, mail(900, ALICE, &sealed("more")));
    assert_eq!(town.bob.mails().len(), 1);
}

#[test]
fn two_envelopes_to_one_one_time_prekey_are_both_read_if_they_come_together() {
    let mut town = with_bob();
    let once = secret(10, true, 0).public(&identity(BOB));
    for (n, text) in [(1, "one"), (2, "two")] {
        let envelope = seal::seal(&identity(ALICE), id(BOB), Some(&once), seal::MAIL, &says(text), [n as u8; 32]);
        town.message(BOB, mail(n, ALICE, &envelope.expect("short")));
    }
    let told = town.bob.mails();
    let both = told.iter().all(|event| matches!(event, NodeEvent::Mail { one_time: Some(PrekeyId(10)), .. }));
    assert!(told.len() == 2 && both, "{told:?}");
}

#[test]
fn a_mailbox_that_is_spoken_of_again_and_again_is_heard_of_once() {
    let mut town = with_bob();
    for _ in 0..100 {
        town.message(BOB, FromServer::Mailbox(super::town::terms(0)));
    }
    assert_eq!((town.bob.told.len(), town.asked.len()), (0, 0));
}

#[test]
fn mail_before_the_mailbox_was_spoken_of_is_not_looked_at() {
    let mut town = Town::new();
    town.register(BOB);
    town.message(BOB, mail(1, ALICE, &sealed("hello")));
    assert_eq!((town.bob.mails(), town.signed_for()), (vec![], vec![]));
}

#[test]
fn a_server_that_repeats_without_end_is_answered_no_more_often_than_an_honest_one_takes() {
    let mut town = with_bob();
    let envelope = sealed("hello");
    town.message(BOB, mail(1, ALICE, &envelope));
    town.command(BOB, NodeCommand::Collected(vec![MailId(1)]));
    for _ in 0..5_000 {
        town.message(BOB, mail(1, ALICE, &envelope));
    }
    let burst = town.asked.len();
    assert_eq!(burst, 1024);
    town.pass(Duration::from_secs(1));
    let later = town.asked.len() - burst;
    assert!((1..=40).contains(&later), "{later}");
    assert!(town.signed_for().len() < 3_000, "the rest comes again");
}
