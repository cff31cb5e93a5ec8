//! The server and its mailbox in virtual time: stories, abuse, and random steps beside a model that is too simple to be wrong.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::introduction::{
    CloseCode, Deposit, FetchPrekeys, FromServer, MAX_COLLECTED, Register, StunEndpoints, ToServer,
};
use common::nat::NatProfile;
use common::prekey::{PrekeyId, PrekeySecret};
use proptest::prelude::*;

use super::*;
use crate::limits::{
    CONSENTS_OF_SOURCE, DEPOSITS_OF_SOURCE, Days, MAIL_OVERHEAD, MAIL_TO_ONE, MAIL_WINDOW, MAILBOX_DEPOSITS_OF_ONE,
    MAILBOX_REQUESTS, ONE_TIMES_TO_ONE,
};
use crate::people::{capability, key};
use crate::server::{Output, Server};

#[test]
fn mail_for_one_who_is_away_is_there_when_he_comes_and_gone_when_he_has_signed_for_it() {
    let mut world = World::new();
    let bob = world.here(2, &[12]);
    world.leave(bob);
    let alice = world.here(1, &[12]);
    let envelopes = [vec![1; 300], vec![2; 1000]];
    for envelope in &envelopes {
        let told = world.deposit(alice, 2, 12, envelope);
        let [(to, FromServer::Deposited { request: 7, outcome: DepositOutcome::Stored(receipt) })] = told.as_slice()
        else {
            panic!("stored, not {told:?}")
        };
        assert_eq!((*to, receipt.digest), (alice, seal::digest(envelope)));
        assert_eq!(receipt.until_s, world.now_s + 14 * DAY_S);
        assert_eq!(receipt.verify(server_identity().peer_id(), key(1), key(2)), Ok(()));
        assert!(receipt.verify(server_identity().peer_id(), key(1), key(3)).is_err(), "for nobody else");
    }
    let (bob, told) = world.comes(2, &[12]);
    let [FromServer::Registered(_), FromServer::Mailbox(terms), FromServer::Mail(first), FromServer::Mail(second)] =
        told.as_slice()
    else {
        panic!("two mails, not {told:?}")
    };
    assert_eq!((terms.waiting, terms.keeps_s), (2, 14 * 24 * 3600));
    assert_eq!([&first.envelope, &second.envelope], [&envelopes[0], &envelopes[1]]);
    assert_eq!([first.sender, second.sender], [key(1); 2]);
    assert_eq!(world.collect(bob, 2, &[first.id]), []);
    world.leave(bob);
    let (bob, told) = world.comes(2, &[12]);
    assert_eq!(mails(&told), std::slice::from_ref(second), "what was not collected comes again");
    world.collect(bob, 2, &[second.id]);
    assert_eq!(world.total(), Usage::default());
    world.leave(bob);
    assert_eq!(mails(&world.comes(2, &[12]).1), []);
}

#[test]
fn a_deposit_for_one_who_is_here_is_pushed_at_once() {
    let mut world = World::new();
    let (alice, bob) = (world.here(1, &[12]), world.here(2, &[12]));
    let told = world.deposit(alice, 2, 12, &[5; 300]);
    assert!(matches!(told[0], (to, FromServer::Deposited { outcome: DepositOutcome::Stored(_), .. }) if to == alice));
    assert!(matches!(&told[1], (to, FromServer::Mail(mail)) if *to == bob && mail.envelope == [5; 300]));
    assert_eq!(told.len(), 2);
}

#[test]
fn unknown_refused_and_without_a_mailbox_are_one_answer() {
    let mut world = World::new();
    let bob = world.here(2, &[12]);
    world.publish(bob, 2, 5);
    let carol = world.here(3, &[]);
    world.publish(carol, 3, 5);
    world.leave(carol);
    let alice = world.here(1, &[12]);
    // Nobody; one who is away and knows nobody; one who is here, by a capability that is not his; oneself.
    for (peer, with) in [(99, 12), (3, 12), (2, 13), (1, 12)] {
        let refused = FromServer::Deposited { request: 7, outcome: DepositOutcome::Refused };
        assert_eq!(world.deposit(alice, peer, with, &[5; 300]), [(alice, refused)], "{peer}");
        let none = FromServer::Prekeys { request: 8, bundle: None };
        assert_eq!(world.fetch(alice, peer, with), [(alice, none)], "{peer}");
    }
    assert_eq!(world.total(), Usage::default());
    assert!(world.mailbox.one_times.is_empty(), "and it costs no memory");
}

#[test]
fn whom_a_contact_no_longer_knows_it_gets_nothing_from_while_it_is_away() {
    let mut world = World::new();
    let alice = world.here(1, &[12]);
    let bob = world.here(2, &[12]);
    world.publish(bob, 2, 5);
    assert!(matches!(stored(&world.deposit(alice, 2, 12, &[5; 300])), Some(true)));
    assert_eq!(world.say(bob, ToServer::Update(register(&[13]))), [], "terms are told once");
    world.leave(bob);
    assert!(matches!(stored(&world.deposit(alice, 2, 12, &[5; 300])), Some(false)));
    assert_eq!(bundle(&world.fetch(alice, 2, 12)), None);
}

#[test]
fn no_more_than_the_window_is_on_its_way_and_who_never_collects_gets_no_more() {
    let mut world = World::new();
    let bob = world.here(2, &[12]);
    world.leave(bob);
    let alice = world.here(1, &[12]);
    for n in 0..100 {
        assert_eq!(stored(&world.deposit(alice, 2, 12, &[n; 300])), Some(true));
    }
    let (bob, told) = world.comes(2, &[12]);
    let first = mails(&told);
    assert_eq!(first.len(), MAIL_WINDOW);
    assert_eq!(mails(&only(world.deposit(alice, 2, 12, &[100; 300]), bob)), [], "not before there is room");
    world.wait(3600);
    assert_eq!(world.drain(), [], "nothing by itself");
    let ids: Vec<_> = first.iter().map(|mail| mail.id).collect();
    let more = mails(&only(world.collect(bob, 2, &ids[..4]), bob));
    assert_eq!(more.iter().map(|mail| mail.envelope[0]).collect::<Vec<_>>(), [16, 17, 18, 19], "as many, in order");
    let mut seen: Vec<u8> = first.iter().chain(&more).map(|mail| mail.envelope[0]).collect();
    let mut way: Vec<_> = first[4..].iter().chain(&more).map(|mail| mail.id).collect();
    while let Some(id) = way.first().copied() {
        way.remove(0);
        let came = mails(&only(world.collect(bob, 2, &[id]), bob));
        seen.extend(came.iter().map(|mail| mail.envelope[0]));
        way.extend(came.iter().map(|mail| mail.id));
        assert!(way.len() <= MAIL_WINDOW);
    }
    assert_eq!(seen, (0..=100).collect::<Vec<u8>>());
    assert_eq!(world.total(), Usage::default());
}

#[test]
fn long_envelopes_fill_the_window_by_their_bytes() {
    let mut world = World::new();
    let bob = world.here(2, &[12]);
    world.leave(bob);
    let alice = world.here(1, &[12]);
    let longest = vec![1; common::seal::MAX_ENVELOPE];
    (0..20).for_each(|_| assert_eq!(stored(&world.deposit(alice, 2, 12, &longest)), Some(true)));
    let (bob, told) = world.comes(2, &[12]);
    let came = mails(&told);
    let bytes: usize = came.iter().map(|mail| mail.envelope.len()).sum();
    assert!(bytes <= 128 * 1024 && bytes + longest.len() > 128 * 1024, "{bytes}");
    assert_eq!(mails(&only(world.collect(bob, 2, &[came[0].id]), bob)).len(), 1);
}

#[test]
fn a_recipient_removes_nothing_but_its_own_mail_and_nothing_without_its_signature() {
    let mut world = World::new();
    let (bob, carol) = (world.here(2, &[12]), world.here(3, &[13]));
    let alice = world.here(1, &[12, 13]);
    let to_bob = mails(&only(world.deposit(alice, 2, 12, &[5; 300]), bob))[0].id;
    let to_carol = mails(&only(world.deposit(alice, 3, 13, &[6; 300]), carol));
    // Each has numbers of its own, so this names the mail of either.
    assert_eq!(to_bob, to_carol[0].id);
    assert_eq!(world.collect(bob, 2, &[to_bob, to_bob, MailId(2), MailId(u64::MAX)]), []);
    assert_eq!(world.collect(bob, 2, &[to_bob]), [], "a second time");
    world.leave(carol);
    let (carol, told) = world.comes(3, &[13]);
    assert_eq!(mails(&told), to_carol, "hers is still there");
    // Mallory has taken the connection, but not the key: signed by another, and for another server.
    let forged = Collected::sign(&identity(2), server_identity().peer_id(), vec![to_carol[0].id]);
    assert!(world.closes(carol, ToServer::Collected(forged), CloseCode::Protocol));
    let (carol, _) = world.comes(3, &[13]);
    let elsewhere = Collected::sign(&identity(3), key(9), vec![to_carol[0].id]);
    assert!(world.closes(carol, ToServer::Collected(elsewhere), CloseCode::Protocol));
    let (carol, told) = world.comes(3, &[13]);
    assert_eq!(mails(&told), to_carol);
    let many = vec![MailId(1); MAX_COLLECTED + 1];
    let many = Collected::sign(&identity(3), server_identity().peer_id(), many);
    assert!(world.closes(carol, ToServer::Collected(many), CloseCode::Protocol));
}

#[test]
fn a_number_is_never_used_again_for_another_mail() {
    let mut world = World::new();
    let (alice, bob) = (world.here(1, &[12]), world.here(2, &[12]));
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mail = mails(&only(world.deposit(alice, 2, 12, &[5; 300]), bob));
        world.collect(bob, 2, &[mail[0].id]);
        ids.push(mail[0].id.0);
    }
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn a_one_time_prekey_is_given_once_and_one_contact_cannot_take_those_of_another() {
    let mut world = World::new();
    let bob = world.here(2, &[12, 23]);
    world.publish(bob, 2, 40);
    world.leave(bob);
    let (alice, carol) = (world.here(1, &[12]), world.here(3, &[23]));
    let mut given = Vec::new();
    for n in 0..ONE_TIMES_TO_ONE.burst + 3 {
        let bundle = bundle(&world.fetch(alice, 2, 12)).expect("a contact gets the signed one in any case");
        assert_eq!(bundle.signed.id, PrekeyId(1000));
        assert_eq!(bundle.one_time.is_some(), n < ONE_TIMES_TO_ONE.burst);
        given.extend(bundle.one_time.map(|prekey| prekey.id));
    }
    let other = bundle(&world.fetch(carol, 2, 23)).expect("a bundle").one_time.expect("there are more");
    given.push(other.id);
    given.sort();
    given.dedup();
    assert_eq!(given.len(), ONE_TIMES_TO_ONE.burst as usize + 1, "no two the same");
    world.wait(ONE_TIMES_TO_ONE.interval.as_secs());
    assert!(bundle(&world.fetch(alice, 2, 12)).expect("a bundle").one_time.is_some(), "later there is one more");
    let (bob, told) = world.comes(2, &[12, 23]);
    assert_eq!(terms(&told).expect("terms").one_time_prekeys, 40 - given.len() as u16 - 1);
    // New ones join the old ones, up to the most that there may be; a new signed one takes the place of the old one.
    world.publish_as(bob, 2, 2000, 2001..2065);
    world.leave(bob);
    let (_, told) = world.comes(2, &[12, 23]);
    assert_eq!(terms(&told).expect("terms").one_time_prekeys, ONE_TIMES as u16);
    assert_eq!(bundle(&world.fetch(alice, 2, 12)).expect("a bundle").signed.id, PrekeyId(2000));
}

#[test]
fn a_prekey_whose_time_is_over_is_given_to_nobody_and_makes_room() {
    let mut world = World::new();
    let bob = world.here(2, &[12]);
    world.publish(bob, 2, ONE_TIMES as u64);
    world.leave(bob);
    world.wait(8 * DAY_S);
    let alice = world.here(1, &[12]);
    assert_eq!(bundle(&world.fetch(alice, 2, 12)).expect("a bundle").one_time, None);
    let (_, told) = world.comes(2, &[12]);
    assert_eq!(terms(&told).expect("terms").one_time_prekeys, 0);
}

#[test]
fn prekeys_of_the_wrong_kind_or_too_many_are_a_fault() {
    let mut world = World::new();
    let prekey = |one_time| secret(5, one_time, 99).public(&identity(2));
    for (signed, one_time) in
        [(prekey(true), vec![]), (prekey(false), vec![prekey(false)]), (prekey(false), vec![prekey(true); 65])]
    {
        let bob = world.here(2, &[]);
        assert!(world.closes(bob, ToServer::Prekeys(PublishPrekeys { signed, one_time }), CloseCode::Protocol));
    }
}

#[test]
fn what_waits_for_one_from_one_is_bounded_and_others_do_not_notice() {
    let mut world = World::new();
    let bob = world.here(2, &[12, 23]);
    world.leave(bob);
    let (mallory, carol) = (world.here(1, &[12]), world.here(3, &[23]));
    let kept = (0..700).filter(|_| stored(&world.deposit(mallory, 2, 12, &[5; 300])) == Some(true)).count();
    assert_eq!(kept as u64, MAIL_TO_ONE.mails);
    assert_eq!(full(&world.deposit(mallory, 2, 12, &[5; 300])), Some(true));
    assert_eq!(stored(&world.deposit(carol, 2, 23, &[6; 300])), Some(true));
    assert_eq!(world.total().mails, MAIL_TO_ONE.mails + 1, "nothing was thrown away for it");
    let longest = vec![1; common::seal::MAX_ENVELOPE];
    let long = (0..400).filter(|_| stored(&world.deposit(carol, 2, 23, &longest)) == Some(true)).count() as u64;
    let each = longest.len() as u64 + MAIL_OVERHEAD;
    assert!(long * each <= MAIL_TO_ONE.bytes && (long + 2) * each > MAIL_TO_ONE.bytes, "{long}");
    // Room is made by the recipient alone.
    let (bob, told) = world.comes(2, &[12, 23]);
    world.collect(bob, 2, &[mails(&told)[0].id]);
    assert_eq!(stored(&world.deposit(mallory, 2, 12, &[5; 300])), Some(true));
    assert_eq!(full(&world.deposit(mallory, 2, 12, &[5; 300])), Some(true));
}

#[test]
fn one_home_with_many_keys_does_not_fill_the_mailbox() {
    let limits = Limits { mailbox_bytes: 160_000, ..Limits::default() };
    let mut world = World::with(&limits);
    let bob = world.here(2, &[12]);
    world.leave(bob);
    let mut kept = 0;
    for mallory in 100..200 {
        let mallory = world.here_at(mallory, &[], [198, 51, 100, 1]);
        kept += (0..5).filter(|_| stored(&world.deposit(mallory, 2, 12, &[5; 744])) == Some(true)).count();
    }
    assert_eq!(kept, 10, "a sixteenth of what there is");
    let alice = world.here(1, &[12]);
    assert_eq!(stored(&world.deposit(alice, 2, 12, &[5; 744])), Some(true));
}

#[test]
fn a_source_that_deposits_too_often_is_told_so_whoever_the_recipient_is() {
    let mut world = World::new();
    let answers: Vec<_> = (0..DEPOSITS_OF_SOURCE.burst + 100)
        .map(|n| {
            // A connection has no more frames than this source has deposits, so there are two; and one key more or less is no matter.
            let peer = (n / 4000) as u8 + 1;
            let connection = match n % 4000 {
                0 => world.here_at(peer, &[12], [198, 51, 100, 1]),
                _ => ConnectionId(u64::from(peer) - 1),
            };
            full(&world.deposit(connection, 99, 12, &[5; 300]))
        })
        .collect();
    let refused = answers.iter().position(|full| *full == Some(true)).expect("at some time");
    assert_eq!(refused, DEPOSITS_OF_SOURCE.burst as usize);
}

#[test]
fn mail_is_kept_for_its_time_and_no_longer_and_is_removed_in_small_steps() {
    let limits = Limits { mailbox_days: Days::try_from(2).expect("allowed"), ..Limits::default() };
    let mut world = World::with(&limits);
    let bob = world.here(2, &[12]);
    world.leave(bob);
    let alice = world.here(1, &[12]);
    let until = |told: &[Told]| match told {
        [(_, FromServer::Deposited { outcome: DepositOutcome::Stored(receipt), .. })] => receipt.until_s,
        other => panic!("stored, not {other:?}"),
    };
    assert_eq!(until(&world.deposit(alice, 2, 12, &[5; 300])), world.now_s + 2 * DAY_S);
    for _ in 1..MAIL_SWEEP + 10 {
        world.deposit(alice, 2, 12, &[5; 300]);
    }
    world.wait(2 * DAY_S - 1);
    assert!(!world.sweep());
    assert_eq!(world.total().mails, u64::from(MAIL_SWEEP) + 10);
    world.wait(1);
    assert!(world.sweep(), "there is more");
    assert_eq!(world.total().mails, 10);
    assert!(!world.sweep());
    assert_eq!(world.total(), Usage::default());
    world.mailbox.tidy().expect("tidied");
}

#[test]
fn a_calendar_that_is_set_and_a_month_without_a_server_lose_no_mail() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || Mailbox::open(folder.path(), server_identity(), &Limits::default(), 4).expect("a mailbox");
    let mut world = World::new();
    world.mailbox = open();
    let (alice, bob) = (world.here(1, &[12]), world.here(2, &[12]));
    world.leave(bob);
    assert_eq!(stored(&world.deposit(alice, 2, 12, &[5; 300])), Some(true));
    world.now_s += 365 * DAY_S;
    world.sweep();
    assert_eq!(stored(&world.deposit(alice, 2, 12, &[5; 300])), Some(true), "and he is still known");
    world.now_s = 3;
    world.sweep();
    world.wait(13 * DAY_S);
    world.sweep();
    world.mailbox = Mailbox::in_memory(server_identity(), &Limits::default(), 4).expect("a mailbox");
    // Nobody serves, for a month.
    world.wait(30 * DAY_S);
    world.mailbox = open();
    world.sweep();
    assert_eq!(world.total().mails, 2);
    world.wait(DAY_S);
    world.sweep();
    assert_eq!(world.total().mails, 0, "after fourteen days of service");
}

#[test]
fn who_is_away_for_long_is_forgotten_once_nothing_waits_for_him() {
    let mut world = World::new();
    let (bob, carol) = (world.here(2, &[12]), world.here(3, &[13]));
    world.publish(bob, 2, 3);
    world.leave(bob);
    world.leave(carol);
    world.wait(DAY_S * (ACCOUNT_DAYS as u64));
    let alice = world.here(1, &[12, 13]);
    world.sweep();
    assert_eq!(stored(&world.deposit(alice, 3, 13, &[5; 300])), Some(true), "on the last day");
    world.wait(DAY_S);
    world.sweep();
    assert_eq!(stored(&world.deposit(alice, 2, 12, &[5; 300])), Some(false), "nobody knows him");
    assert_eq!(stored(&world.deposit(alice, 3, 13, &[5; 300])), Some(true), "for her something waits");
}

#[test]
fn when_all_accounts_are_taken_a_newcomer_is_told_of_no_mailbox_and_the_others_keep_theirs() {
    let limits = Limits { mailbox_accounts: 2, ..Limits::default() };
    let mut world = World::with(&limits);
    let (alice, bob) = (world.here(1, &[12, 13]), world.here(2, &[12]));
    let (carol, told) = world.comes(3, &[13]);
    assert!(matches!(told[..], [FromServer::Registered(_)]), "{told:?}");
    assert_eq!(stored(&world.deposit(alice, 3, 13, &[5; 300])), Some(false));
    assert_eq!(stored(&world.deposit(alice, 2, 12, &[5; 300])), Some(true));
    assert_eq!(stored(&world.deposit(carol, 1, 13, &[5; 300])), Some(true), "she may still write");
    world.leave(bob);
}

#[test]
fn new_accounts_of_one_home_are_limited() {
    let mut world = World::new();
    let told = |world: &mut World, n: u8| terms(&world.comes_at(identity_of(n, 7), &[], [198, 51, 100, 1])).is_some();
    let mut opened = 0;
    for n in 0..=255u8 {
        opened += usize::from(told(&mut world, n));
    }
    assert_eq!(opened, 256);
    world.mailbox.new_accounts = SourceBuckets::new(crate::limits::Rate { burst: 2, ..ACCOUNTS_OF_SOURCE }, 1);
    let more: Vec<_> =
        (0..4).map(|n| terms(&world.comes_at(identity_of(n, 8), &[], [198, 51, 100, 1])).is_some()).collect();
    assert_eq!(more, [true, true, false, false]);
    assert!(terms(&world.comes_at(identity_of(9, 8), &[], [198, 51, 100, 2])).is_some(), "from elsewhere");
    assert!(told(&mut world, 3), "who has one keeps it");
}

#[test]
fn what_was_collected_is_nowhere_on_the_disk_any_more_nor_who_wrote_to_whom() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::new();
    world.mailbox = Mailbox::open(folder.path(), server_identity(), &Limits::default(), 4).expect("a mailbox");
    let (alice, bob) = (world.here(1, &[12]), world.here(2, &[12]));
    let (envelope, sender) = (b"sealed words ".repeat(500), *key(1).as_bytes());
    world.leave(alice);
    let alice = world.here(1, &[12]);
    let found = |needle: &[u8]| {
        let files = std::fs::read_dir(folder.path()).expect("readable").map(|file| file.expect("there").path());
        let holds = |file: std::path::PathBuf| {
            let bytes = std::fs::read(file).expect("readable");
            bytes.windows(needle.len()).filter(|window| *window == needle).count()
        };
        files.map(holds).sum::<usize>()
    };
    world.mailbox.untidy = true;
    world.mailbox.tidy().expect("tidied");
    let of_her_account = found(&sender);
    let mail = mails(&only(world.deposit(alice, 2, 12, &envelope), bob));
    assert!(found(&envelope[..64]) > 0 && found(&sender) > of_her_account);
    world.collect(bob, 2, &[mail[0].id]);
    world.mailbox.tidy().expect("tidied");
    assert_eq!((found(&envelope[..64]), found(&sender)), (0, of_her_account));
}

#[test]
fn a_full_disk_refuses_deposits_and_breaks_nothing_and_it_goes_on_when_there_is_room() {
    let mut world = World::new();
    let (alice, bob) = (world.here(1, &[12]), world.here(2, &[12]));
    let kept = mails(&only(world.deposit(alice, 2, 12, &[1; 300]), bob));
    world.mailbox.store().limit_disk(Some(2));
    let long = vec![2; 17_000];
    let told = world.deposit(alice, 2, 12, &long);
    assert_eq!((full(&told), told.len()), (Some(true), 1), "{told:?}");
    // What fits in one transaction with what does not is kept all the same.
    for envelope in [long.as_slice(), &[3; 300], &long] {
        world.send_deposit(alice, 2, 12, envelope);
    }
    let told = world.settle();
    let outcomes: Vec<_> = told.iter().filter_map(|told| full(std::slice::from_ref(told))).collect();
    assert_eq!(outcomes, [true, false, true]);
    assert_eq!(mails(&only(told, bob))[0].envelope, [3; 300]);
    world.mailbox.store().limit_disk(None);
    assert_eq!(stored(&world.deposit(alice, 2, 12, &long)), Some(true));
    world.collect(bob, 2, &[kept[0].id]);
    assert_eq!(world.total().mails, 2);
}

#[test]
fn one_connection_has_no_more_than_so_much_under_way() {
    let mut world = World::new();
    let alice = world.here(1, &[12]);
    let bob = world.here(2, &[12]);
    for _ in 0..MAILBOX_DEPOSITS_OF_ONE {
        assert_eq!(world.send_deposit(alice, 2, 12, &[5; 300]), [], "no answer before it is on the disk");
    }
    assert_eq!(full(&world.send_deposit(alice, 2, 12, &[5; 300])), Some(true));
    assert_eq!(full(&world.send_deposit(bob, 1, 12, &[5; 300])), None, "others are not concerned");
    world.settle();
    assert_eq!(world.send_deposit(alice, 2, 12, &[5; 300]), [], "and so it goes on");
    world.settle();
    let fetch = || ToServer::FetchPrekeys(FetchPrekeys { request: 8, peer: key(2), capability: capability(12) });
    for _ in 0..MAILBOX_REQUESTS {
        world.server.handle_message(alice, fetch(), world.now);
    }
    world.server.handle_message(alice, fetch(), world.now);
    assert!(world.drain_all().contains(&Output::Close(alice, CloseCode::RateLimited)));
}

#[test]
fn a_mailbox_without_time_refuses_deposits_and_hears_of_accounts_a_second_later() {
    let mut world = World::new();
    let (alice, bob) = (world.here(1, &[12]), world.here(2, &[12]));
    world.busy = true;
    assert_eq!(full(&world.deposit(alice, 2, 12, &[5; 300])), Some(true));
    let (carol, told) = world.comes(3, &[13]);
    assert!(matches!(told[..], [FromServer::Registered(_)]), "introductions do not suffer: {told:?}");
    world.say(bob, ToServer::Update(register(&[13])));
    world.busy = false;
    world.wait(1);
    assert!(matches!(world.settle()[..], [(to, FromServer::Mailbox(_))] if to == carol));
    assert_eq!(stored(&world.deposit(carol, 2, 13, &[5; 300])), Some(true));
    world.busy = true;
    let fetch = ToServer::FetchPrekeys(FetchPrekeys { request: 8, peer: key(2), capability: capability(12) });
    assert!(world.closes(alice, fetch, CloseCode::Full));
}

#[test]
fn mail_that_could_not_be_read_comes_when_the_mailbox_has_time() {
    let mut world = World::new();
    let (alice, bob) = (world.here(1, &[12]), world.here(2, &[12]));
    world.send_deposit(alice, 2, 12, &[5; 300]);
    let deposit = world.server.poll_command().expect("a deposit");
    let events = world.mailbox.run(&[deposit], world.now_s, world.now);
    events.into_iter().for_each(|event| world.server.handle_mailbox(event, world.now));
    let deliver = world.server.poll_command().expect("to be read");
    world.server.handle_mailbox_busy(deliver, world.now);
    assert_eq!(mails(&only(world.settle(), bob)), [], "not at once");
    world.wait(1);
    assert_eq!(mails(&only(world.settle(), bob)).len(), 1);
    world.wait(1);
    assert_eq!(world.settle(), []);
}

#[test]
fn who_changes_his_contacts_twice_before_the_first_is_known_is_known_by_the_last() {
    let mut world = World::new();
    let (alice, bob) = (world.here(1, &[12, 13, 14]), world.here(2, &[12]));
    for with in [13, 14] {
        world.server.handle_message(bob, ToServer::Update(register(&[with])), world.now);
    }
    assert_eq!(world.settle(), []);
    let answers = [12, 13, 14].map(|with| stored(&world.deposit(alice, 2, with, &[5; 300])));
    assert_eq!(answers, [Some(false), Some(false), Some(true)]);
}

#[test]
fn who_changes_his_contacts_all_the_time_keeps_the_disk_no_busier_than_his_address_may() {
    let mut world = World::new();
    let bob = world.here(2, &[12]);
    let mut written = 0;
    for n in 0..CONSENTS_OF_SOURCE.burst + 500 {
        world.server.handle_message(bob, ToServer::Update(register(&[n])), world.now);
        let commands: Vec<_> = std::iter::from_fn(|| world.server.poll_command()).collect();
        written += commands.len() as u32;
        for event in world.mailbox.run(&commands, world.now_s, world.now) {
            world.server.handle_mailbox(event, world.now);
        }
    }
    assert_eq!(written, CONSENTS_OF_SOURCE.burst - 1, "one was for his registration");
    world.wait(1);
    world.settle();
    let alice = world.here(1, &[]);
    let last = CONSENTS_OF_SOURCE.burst + 499;
    assert_eq!(stored(&world.deposit(alice, 2, last, &[5; 300])), Some(true), "a second later the last is known");
}

#[test]
fn mail_pushed_to_one_connection_comes_again_to_the_next() {
    let mut world = World::new();
    let bob = world.here(2, &[12]);
    let alice = world.here(1, &[12]);
    assert_eq!(mails(&only(world.deposit(alice, 2, 12, &[5; 300]), bob)).len(), 1);
    // The same key, before the first connection is known to have ended.
    let (again, told) = world.comes(2, &[12]);
    assert_eq!(mails(&told).len(), 1);
    assert_eq!(mails(&only(world.deposit(alice, 2, 12, &[6; 300]), again)).len(), 1);
}

#[test]
fn a_server_without_a_mailbox_says_so_by_saying_nothing_and_keeps_nothing() {
    let mut world = World::new();
    world.server = Server::new(&Limits::default(), Box::new(|| 5));
    let (alice, told) = world.comes(1, &[12]);
    assert!(matches!(told[..], [FromServer::Registered(_)]));
    let bob = world.arrive(2, [192, 0, 2, 2]);
    world.say(bob, ToServer::Register(register(&[12])));
    assert_eq!(stored(&world.deposit(alice, 2, 12, &[5; 300])), Some(false));
    assert_eq!(bundle(&world.fetch(alice, 2, 12)), None);
    world.publish(alice, 1, 3);
    assert_eq!(world.collect(alice, 1, &[MailId(1)]), []);
    assert_eq!(world.server.poll_command(), None);
}

#[test]
fn an_envelope_that_is_too_long_is_a_fault() {
    let mut world = World::new();
    let alice = world.here(1, &[12]);
    let envelope = vec![0; common::seal::MAX_ENVELOPE + 1];
    let deposit = ToServer::Deposit(Deposit { request: 7, peer: key(2), capability: capability(12), envelope });
    assert!(world.closes(alice, deposit, CloseCode::Protocol));
}

#[derive(Debug, Clone)]
enum Step {
    Deposit(u8, u8, usize),
    Come(u8),
    Leave(u8),
    /// Who says that it has which.
    Collect(u8, Vec<u64>),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..5u8, 1..5u8, 100usize..3000).prop_map(|(from, to, length)| Step::Deposit(from, to, length)),
        2 => (1..5u8).prop_map(Step::Come),
        1 => (1..5u8).prop_map(Step::Leave),
        2 => (1..5u8, proptest::collection::vec(1..30u64, 0..20)).prop_map(|(who, ids)| Step::Collect(who, ids)),
        1 => (1..200_000u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Random steps of four who all know each other, and beside them a model: for each recipient what waits, in order. Whoever
    /// comes gets the beginning of it; what is counted for the quotas is what is there.
    #[test]
    fn random_steps_agree_with_a_simple_model(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        let mut here: BTreeMap<u8, ConnectionId> = (1..5).map(|who| (who, world.here(who, &[1]))).collect();
        let mut waiting: BTreeMap<u8, Vec<(u64, u8, usize, u64)>> = BTreeMap::new();
        let mut next: BTreeMap<u8, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Deposit(from, to, length) => {
                    let Some(&connection) = here.get(&from) else { continue };
                    let told = world.deposit(connection, to, 1, &vec![from; length]);
                    prop_assert_eq!(stored(&told), Some(from != to));
                    if from != to {
                        let id = next.entry(to).or_insert(1);
                        waiting.entry(to).or_default().push((*id, from, length, world.now_s + 14 * DAY_S));
                        *id += 1;
                    }
                }
                Step::Come(who) => {
                    let (connection, told) = world.comes(who, &[1]);
                    here.insert(who, connection);
                    let came: Vec<_> = mails(&told).iter().map(|mail| (mail.id.0, mail.sender, mail.envelope.len())).collect();
                    let wait = waiting.entry(who).or_default();
                    let expected: Vec<_> =
                        wait.iter().map(|(id, from, length, _)| (*id, key(*from), *length)).take(MAIL_WINDOW).collect();
                    prop_assert_eq!(came, expected);
                    prop_assert_eq!(terms(&told).map(|terms| terms.waiting as usize), Some(wait.len()));
                }
                Step::Leave(who) => {
                    if let Some(connection) = here.remove(&who) {
                        world.leave(connection);
                    }
                }
                Step::Collect(who, ids) => {
                    let Some(&connection) = here.get(&who) else { continue };
                    world.collect(connection, who, &ids.iter().copied().map(MailId).collect::<Vec<_>>());
                    waiting.entry(who).or_default().retain(|(id, ..)| !ids.contains(id));
                }
                Step::Wait(seconds) => {
                    world.wait(seconds);
                    while world.sweep() {}
                    waiting.values_mut().for_each(|wait| wait.retain(|(.., expires)| *expires > world.now_s));
                }
            }
            let all = || waiting.iter().flat_map(|(to, wait)| wait.iter().map(move |mail| (*to, mail)));
            let usage = |mails: &mut dyn Iterator<Item = usize>| {
                mails.fold(Usage::default(), |u, length| Usage { mails: u.mails + 1, bytes: u.bytes + quota::cost(length) })
            };
            prop_assert_eq!(world.total(), usage(&mut all().map(|(_, mail)| mail.2)));
            for from in 1..5 {
                let of_sender = usage(&mut all().filter(|(_, mail)| mail.1 == from).map(|(_, mail)| mail.2));
                for to in 1..5 {
                    let pair = usage(&mut all().filter(|(who, mail)| *who == to && mail.1 == from).map(|(_, mail)| mail.2));
                    let account = world.mailbox.store.account(&key(to)).expect("read").expect("an account");
                    let standing = world.mailbox.store.standing(account, &key(from), 0).expect("read");
                    prop_assert_eq!((standing.pair, standing.sender), (pair, of_sender));
                }
            }
        }
    }
}

use quota::Usage;

type Told = (ConnectionId, FromServer);

fn identity(peer: u8) -> Identity {
    Identity::from_seed(&[peer; 32])
}

fn identity_of(n: u8, family: u8) -> Identity {
    let mut seed = [family; 32];
    seed[0] = n;
    seed[1] = 200;
    Identity::from_seed(&seed)
}

fn server_identity() -> Identity {
    identity(250)
}

fn register(contacts: &[u32]) -> Register {
    let capabilities = contacts.iter().copied().map(capability).collect();
    Register { epoch: 1, capabilities, reflexive: Vec::new(), profile: NatProfile::default(), relay_only: false }
}

fn secret(id: u64, one_time: bool, expires_s: u64) -> PrekeySecret {
    PrekeySecret { expires_s, ..PrekeySecret::new(id, [7; 32], one_time, 0) }
}

fn mails(told: &[FromServer]) -> Vec<Mail> {
    let mails = told.iter().filter_map(|message| match message {
        FromServer::Mail(mail) => Some(mail.clone()),
        _ => None,
    });
    mails.collect()
}

fn terms(told: &[FromServer]) -> Option<MailboxTerms> {
    told.iter().find_map(|message| match message {
        FromServer::Mailbox(terms) => Some(*terms),
        _ => None,
    })
}

fn outcome(told: &[Told]) -> Option<&DepositOutcome> {
    told.iter().find_map(|(_, message)| match message {
        FromServer::Deposited { outcome, .. } => Some(outcome),
        _ => None,
    })
}

fn stored(told: &[Told]) -> Option<bool> {
    outcome(told).map(|outcome| matches!(outcome, DepositOutcome::Stored(_)))
}

fn full(told: &[Told]) -> Option<bool> {
    outcome(told).map(|outcome| *outcome == DepositOutcome::Full)
}

fn bundle(told: &[Told]) -> Option<Box<Bundle>> {
    match told {
        [(_, FromServer::Prekeys { bundle, .. })] => bundle.clone(),
        other => panic!("prekeys, not {other:?}"),
    }
}

/// What one of them is told.
fn only(told: Vec<Told>, connection: ConnectionId) -> Vec<FromServer> {
    told.into_iter().filter(|(to, _)| *to == connection).map(|(_, message)| message).collect()
}

/// A server, its mailbox in memory, and a clock.
struct World {
    server: Server,
    mailbox: Mailbox,
    now: Instant,
    now_s: u64,
    next: u64,
    /// The mailbox has no time.
    busy: bool,
}

impl World {
    fn new() -> Self {
        World::with(&Limits::default())
    }

    fn with(limits: &Limits) -> Self {
        let server = Server::new(limits, Box::new(|| 5)).with_mailbox(3);
        let mailbox = Mailbox::in_memory(server_identity(), limits, 4).expect("a mailbox");
        let mut world = World { server, mailbox, now: Instant::now(), now_s: 1_700_000_000, next: 0, busy: false };
        world.wait(0);
        world
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.now_s += seconds;
        self.server.handle_calendar(self.now_s, self.now);
        self.server.handle_timeout(self.now);
    }

    fn sweep(&mut self) -> bool {
        self.mailbox.sweep(self.now).expect("swept")
    }

    fn total(&mut self) -> Usage {
        self.mailbox.store().total().expect("read")
    }

    fn arrive_as(&mut self, peer: PeerId, ip: impl Into<IpAddr>) -> ConnectionId {
        let id = ConnectionId(self.next);
        self.next += 1;
        let stun = StunEndpoints { alternate_port: 3479, alternate: None };
        self.server.handle_connected(id, peer, SocketAddr::new(ip.into(), 4000), stun, self.now);
        id
    }

    fn arrive(&mut self, peer: u8, ip: impl Into<IpAddr>) -> ConnectionId {
        self.arrive_as(key(peer), ip)
    }

    /// What somebody is told who comes.
    fn comes(&mut self, peer: u8, contacts: &[u32]) -> (ConnectionId, Vec<FromServer>) {
        let id = self.arrive(peer, [192, 0, 2, peer]);
        let told = self.say(id, ToServer::Register(register(contacts)));
        (id, only(told, id))
    }

    fn comes_at(&mut self, who: Identity, contacts: &[u32], ip: [u8; 4]) -> Vec<FromServer> {
        let id = self.arrive_as(who.peer_id(), ip);
        let told = self.say(id, ToServer::Register(register(contacts)));
        self.leave(id);
        only(told, id)
    }

    fn here(&mut self, peer: u8, contacts: &[u32]) -> ConnectionId {
        self.here_at(peer, contacts, [192, 0, 2, peer])
    }

    fn here_at(&mut self, peer: u8, contacts: &[u32], ip: [u8; 4]) -> ConnectionId {
        let id = self.arrive(peer, ip);
        let told = self.say(id, ToServer::Register(register(contacts)));
        assert!(matches!(told[..], [(_, FromServer::Registered(_)), (_, FromServer::Mailbox(_))]), "{told:?}");
        id
    }

    fn leave(&mut self, connection: ConnectionId) {
        self.server.handle_closed(connection, self.now);
    }

    fn say(&mut self, client: ConnectionId, message: ToServer) -> Vec<Told> {
        self.server.handle_message(client, message, self.now);
        self.settle()
    }

    /// Lets the mailbox do all that it is asked.
    fn settle(&mut self) -> Vec<Told> {
        let mut told = self.drain();
        loop {
            let commands: Vec<_> = std::iter::from_fn(|| self.server.poll_command()).collect();
            if commands.is_empty() {
                return told;
            }
            if self.busy {
                commands.into_iter().for_each(|command| self.server.handle_mailbox_busy(command, self.now));
            } else {
                for event in self.mailbox.run(&commands, self.now_s, self.now) {
                    self.server.handle_mailbox(event, self.now);
                }
            }
            told.extend(self.drain());
            if self.busy {
                return told;
            }
        }
    }

    fn drain_all(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.server.poll_output()).collect()
    }

    fn drain(&mut self) -> Vec<Told> {
        let sent = self.drain_all().into_iter().filter_map(|output| match output {
            Output::Send(to, message) => Some((to, message)),
            Output::Close(..) => None,
        });
        sent.collect()
    }

    /// Does the server close upon this?
    fn closes(&mut self, client: ConnectionId, message: ToServer, code: CloseCode) -> bool {
        self.server.handle_message(client, message, self.now);
        let mut out = self.drain_all();
        while let Some(command) = self.server.poll_command() {
            if self.busy {
                self.server.handle_mailbox_busy(command, self.now);
            } else {
                let events = self.mailbox.run(&[command], self.now_s, self.now);
                events.into_iter().for_each(|event| self.server.handle_mailbox(event, self.now));
            }
            out.extend(self.drain_all());
        }
        out.contains(&Output::Close(client, code))
    }

    /// Without waiting for the answer.
    fn send_deposit(&mut self, client: ConnectionId, peer: u8, with: u32, envelope: &[u8]) -> Vec<Told> {
        let (capability, envelope) = (capability(with), envelope.to_vec());
        let deposit = Deposit { request: 7, peer: key(peer), capability, envelope };
        self.server.handle_message(client, ToServer::Deposit(deposit), self.now);
        self.drain()
    }

    fn deposit(&mut self, client: ConnectionId, peer: u8, with: u32, envelope: &[u8]) -> Vec<Told> {
        let mut told = self.send_deposit(client, peer, with, envelope);
        told.extend(self.settle());
        told
    }

    fn fetch(&mut self, client: ConnectionId, peer: u8, with: u32) -> Vec<Told> {
        let fetch = FetchPrekeys { request: 8, peer: key(peer), capability: capability(with) };
        self.say(client, ToServer::FetchPrekeys(fetch))
    }

    fn collect(&mut self, client: ConnectionId, peer: u8, mails: &[MailId]) -> Vec<Told> {
        let collected = Collected::sign(&identity(peer), server_identity().peer_id(), mails.to_vec());
        self.say(client, ToServer::Collected(collected))
    }

    /// A signed prekey, and so many for one use, good for a week.
    fn publish(&mut self, client: ConnectionId, peer: u8, count: u64) {
        self.publish_as(client, peer, 1000, 1..count + 1);
    }

    fn publish_as(&mut self, client: ConnectionId, peer: u8, signed: u64, one_time: std::ops::Range<u64>) {
        let (own, expires_s) = (identity(peer), self.now_s + 7 * DAY_S);
        let signed = secret(signed, false, expires_s).public(&own);
        let one_time = one_time.map(|id| secret(id, true, expires_s).public(&own)).collect();
        assert_eq!(self.say(client, ToServer::Prekeys(PublishPrekeys { signed, one_time })), []);
    }
}
