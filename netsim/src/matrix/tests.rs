//! The matrix is what the oracle says, the same every time, and what the documentation shows.

#![allow(
    clippy::disallowed_methods,
    reason = "virtual time has to start somewhere, and only the clock makes an Instant"
)]

use std::sync::OnceLock;
use std::time::Instant;

use super::*;
use crate::model::behaviour::{Behaviour, Filtering, Hairpinning, Mapping};
use crate::model::{Access, Families, Router};
use crate::oracle::Relation;

#[test]
fn every_cell_of_the_presets_is_what_the_oracle_says() {
    let table = presets_table();
    assert!(table.kinds.len() >= 16);
    assert!(table.cells.iter().all(Cell::agrees), "{}", table.text());
}

#[test]
fn every_pair_of_the_nine_cells_of_rfc_4787_is_what_the_oracle_says() {
    let mut kinds = Vec::new();
    for mapping in Mapping::ALL {
        for filtering in Filtering::ALL {
            // Two of a kind, kept apart behind one box of theirs, are held to the oracle's word as well.
            let nat = Behaviour::nat(mapping, filtering).hairpinning(Hairpinning::ExternalSource);
            let access = Access { families: Families::Ipv4, routers: vec![Router::ipv4(nat)] };
            let name = format!("{mapping}/{filtering}").leak();
            kinds.push(Preset { name, stands_for: "a cell", access });
        }
    }
    let table = run(&Plan { kinds, seed: 100, meetings: 2 }, Instant::now(), |_, _| {});
    assert!(table.cells.iter().all(Cell::agrees), "{}", table.text());
}

#[test]
fn a_late_word_costs_nobody_the_path_not_even_behind_routers_that_accept_input() {
    let table = presets_table();
    let late = |row: &str, column: &str| {
        let cell = table.late().find(|cell| cell.row == row && cell.column == column).expect("a cell");
        assert_eq!(cell.direct, cell.meetings, "{cell:?}");
        cell.direct_ms.expect("a path").p95
    };
    for row in
        ["port_restricted", "home", "home_open", "hairpin", "no_loopback", "cgnat", "home_behind_cgnat", "dual_stack"]
    {
        // 400 ms of silence, a look, and a word.
        assert!((600..1200).contains(&late(row, "home_open")), "{row}: {}", late(row, "home_open"));
    }
    assert!(late("home", "home") < 500);
}

#[test]
fn a_message_follows_every_direct_path_at_once_and_none_comes_without_one() {
    for cell in &presets_table().cells {
        match (cell.direct_ms, cell.message_ms) {
            (None, None) => {}
            // One way of the longest two lines, with their jitter, is some 60 ms; a NAT in series has a line more.
            (Some(path), Some(message)) => assert!(message.p95 <= path.p95 + 90, "{cell:?}"),
            _ => panic!("{cell:?}"),
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_meeting_packet_by_packet() {
    let [home, mobile] = ["home", "mobile"].map(|name| presets::named(name).unwrap());
    let play = |seed| trace((&home, &mobile), Relation::Separate, Timing::Together, seed, Instant::now()).unwrap();
    let first = play(3);
    assert!(first.contains("let-in") && first.contains("filtered") && first.ends_with("packets\n"), "{first}");
    assert_eq!(first, play(3));
    assert_ne!(first, play(4));
}

#[test]
fn the_documentation_shows_this_matrix() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/nat-matrix.md");
    let documented = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        documented == presets_table().markdown(),
        "docs/nat-matrix.md is out of date: cargo run -p netsim -- matrix --format markdown > docs/nat-matrix.md"
    );
}

#[test]
fn all_forms_show_every_kind() {
    let table = presets_table();
    let forms = [table.text(), table.markdown(), table.json().unwrap(), table.svg(), table.html()];
    for kind in &table.kinds {
        assert!(forms.iter().all(|form| form.contains(kind.as_str())), "{kind}");
    }
    for picture in &forms[3..] {
        assert_eq!(picture.matches("<g class=\"cell\">").count(), table.kinds.len() * table.kinds.len());
    }
    assert!(!forms[4].contains("<script") && !forms[4].contains("href"), "the page needs nothing else");
}

/// As the command makes it when nothing else is said.
fn presets_table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| run(&Plan::default(), Instant::now(), |_, _| {}))
}
