//! The oracle's word on what everybody knows; that the matrix agrees with it is tested there.

use super::*;
use crate::model::presets;

#[test]
fn the_textbook_says_the_same() {
    let said = |a, b| judgement(a, b, Relation::Separate).verdict;
    assert_eq!(said("home", "home"), Verdict::Direct);
    assert_eq!(said("open", "symmetric_random"), Verdict::Direct);
    assert_eq!(said("address_restricted", "corporate"), Verdict::Direct);
    for other in ["home", "symmetric_sequential"] {
        let foretold = said(other, "symmetric_sequential");
        assert!(matches!(foretold, Verdict::DirectWithPrediction { p } if p > 0.99), "{other}: {foretold}");
    }
    assert_eq!(said("symmetric_random", "corporate"), Verdict::Relayed);
    assert_eq!(said("udp_blocked", "open"), Verdict::Relayed);
    assert_eq!(said("ipv6_firewall", "dual_stack"), Verdict::Direct);
    assert_eq!(said("ipv6_firewall", "home"), Verdict::Relayed);
}

#[test]
fn what_is_left_to_chance_has_the_chance_that_the_paradox_gives() {
    let chance = |b| match judgement("home", b, Relation::Separate).verdict {
        Verdict::DirectByChance { p } => p,
        other => panic!("{other}"),
    };
    assert!((0.985..0.995).contains(&chance("symmetric_random")), "{}", chance("symmetric_random"));
    assert!((0.975..0.985).contains(&chance("mobile")), "{}", chance("mobile"));
}

#[test]
fn two_behind_one_nat_need_its_lan_or_its_hairpin() {
    let said = |kind, relation| judgement(kind, kind, relation).verdict;
    assert_eq!(said("no_loopback", Relation::SameLan), Verdict::Direct);
    assert_eq!(said("no_loopback", Relation::SameOuterNat), Verdict::Relayed);
    assert_eq!(said("hairpin", Relation::SameOuterNat), Verdict::Direct);
    assert_eq!(said("home_behind_cgnat", Relation::SameOuterNat), Verdict::Relayed);
}

#[test]
fn the_order_of_the_two_makes_no_difference() {
    for a in presets::all() {
        for b in presets::all() {
            let [one, other] = [(&a, &b), (&b, &a)]
                .map(|(a, b)| direct_path_possible(&a.access, &b.access, Relation::Separate).verdict);
            assert_eq!(one, other, "{} and {}", a.name, b.name);
        }
    }
}

#[test]
fn who_cannot_reach_the_rendezvous_meets_nobody_even_at_home() {
    let blocked = presets::named("udp_blocked").unwrap().access;
    assert_eq!(direct_path_possible(&blocked, &blocked, Relation::SameLan).verdict, Verdict::Direct);
    assert!(!plain_path(&blocked, &blocked, Relation::SameLan));
}

fn judgement(a: &str, b: &str, relation: Relation) -> Judgement {
    let access = |name| presets::named(name).expect("a preset").access;
    direct_path_possible(&access(a), &access(b), relation)
}
