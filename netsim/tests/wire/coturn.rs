//! What coturn says of the model's boxes, on the wire.

use netsim::model::behaviour::{Filtering, Mapping};
use netsim::model::{Access, Behaviour, Families, Family, Line, Router, Survey, presets};
use netsim::netns::in_namespaces;
use netsim::wire::Internet;

use crate::judge::{self, Case};

#[test]
fn coturn_judges_all_cells_and_every_preset_that_translates_ipv4_as_we_do() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let addresses = [server.address(), server.add_address()?];
        let Some(_coturn) = judge::start(&server, addresses)? else { return Ok(()) };
        let cells = Mapping::ALL.into_iter().flat_map(|mapping| {
            Filtering::ALL.map(|filtering| {
                let routers = vec![Router::ipv4(Behaviour::nat(mapping, filtering))];
                (format!("{mapping} x {filtering}"), Access { families: Families::Ipv4, routers })
            })
        });
        let mut cases = vec![];
        let presets = presets::all().into_iter().map(|preset| (preset.name.to_owned(), preset.access));
        for (name, access) in cells.chain(presets) {
            let expected = Survey::of(&access, Family::Ipv4);
            // It asks over UDP, and what it says of a host without a NAT is not in these words.
            let Some(expected) = expected.filter(|s| s.observed().is_some_and(|seen| seen.translated)) else {
                continue;
            };
            let host = net.site(&name, &access, Line::default()).host("alice")?;
            cases.push(Case { name, host, expected });
        }
        assert_eq!(cases.len(), 9 + 14, "all presets but open, udp_blocked and ipv6_firewall");
        judge::judge(addresses[0], cases)
    });
}
