//! What a survey sees of boxes in series is what the model says of them.

use netsim::model::behaviour::{Filtering, Hairpinning, Mapping, PortAssignment, Quirks, StrayInbound};
use netsim::model::{Access, Behaviour, Families, Family, Line, Router, Survey};
use netsim::netns::{in_namespaces, survey_between};
use netsim::wire::Internet;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

#[test]
fn whatever_stands_between_is_seen_as_the_model_says() {
    in_namespaces(|| {
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 48,
            failure_persistence: None,
            max_shrink_iters: 32,
            ..ProptestConfig::default()
        });
        runner.run(&proptest::collection::vec(behaviour(), 0..3), |chain| {
            let seen = seen(&chain).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(Survey::of_chain(&chain.iter().collect::<Vec<_>>()), seen);
            Ok(())
        })?;
        Ok(())
    });
}

fn seen(chain: &[Behaviour]) -> netsim::netns::Result<Survey> {
    let routers = chain.iter().cloned().map(Router::ipv4).collect();
    let access = Access { families: Families::Ipv4, routers };
    assert!(Survey::of(&access, Family::Ipv6).is_none());
    let net = Internet::new(1)?;
    let outside = [net.public_host("one")?, net.public_host("two")?];
    let site = net.site("site", &access, Line::default());
    survey_between(&[site.host("alice")?, site.host("bob")?], &outside)
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let ports = prop::sample::select(vec![
        PortAssignment::Preserving,
        PortAssignment::PreservingOverloading,
        PortAssignment::Random,
        PortAssignment::Sequential { step: 1, noise: 0 },
    ]);
    let hairpinning =
        prop::sample::select(vec![Hairpinning::Off, Hairpinning::ExternalSource, Hairpinning::InternalSource]);
    let stray = prop::sample::select(vec![StrayInbound::Ignored, StrayInbound::OccupiesTuple]);
    let blocked = prop::bool::weighted(0.05);
    let cell = (prop::sample::select(&Mapping::ALL[..]), prop::sample::select(&Filtering::ALL[..]));
    (cell, ports, hairpinning, stray, blocked).prop_map(|((mapping, filtering), ports, hairpinning, stray, blocked)| {
        let quirks = Quirks { stray_inbound: stray, blocks_udp: blocked, ..Quirks::default() };
        Behaviour::nat(mapping, filtering).ports(ports).hairpinning(hairpinning).quirks(quirks)
    })
}
