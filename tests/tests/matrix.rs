//! Everybody meets everybody: real clients behind every kind of access that netsim knows, over one Internet with one
//! rendezvous. Each pair becomes direct exactly where the oracle says that it can, by plain probing or by guessing ports.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use e2e::binary;
use netsim::matrix::programs::{How, Programs, run};
use netsim::matrix::{Cell, Plan};
use netsim::netns::in_namespaces;
use netsim::oracle::Verdict;
use netsim::scenario::Driver;

#[test]
fn every_pair_of_kinds_becomes_direct_exactly_where_the_oracle_says_so() {
    in_namespaces(|| {
        let binaries: BTreeMap<String, PathBuf> =
            ["punchline", "rendezvous"].map(|name| (name.to_owned(), binary(name))).into();
        let how = How {
            driver: Driver::Wire,
            // With it nobody's first probe comes before the other's: that is another story.
            delay: Duration::from_millis(10),
            // Waiting for those who will not meet costs no processor.
            jobs: 12,
            patience: Duration::from_secs(60),
            ..How::default()
        };
        let plan = Plan { meetings: 1, ..Plan::default() };
        let table = run(&plan, &Programs::punchline(Driver::Wire, binaries)?, &how, |_, _| {})?;
        assert!(table.cells.len() >= 150, "{} pairs", table.cells.len());
        assert!(table.cells.iter().all(|cell| cell.meetings == 1 && cell.agrees()), "{}", table.text());
        // Where ports have to be guessed, too: an attempt fails once in a hundred times, and there is time for a second one.
        let could = |cell: &&Cell| {
            let reaches = cell.row != "udp_blocked" && cell.column != "udp_blocked";
            reaches && cell.possible.verdict != Verdict::Relayed && cell.direct == 0
        };
        assert_eq!(table.cells.iter().find(could), None, "{}", table.text());
        // Who has a path has sent and received over it.
        let silent = |cell: &&Cell| cell.direct > 0 && (cell.message_ms.is_none() || cell.packets.is_none());
        assert_eq!(table.cells.iter().find(silent), None);
        Ok(())
    });
}
