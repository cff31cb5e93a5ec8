//! What is to be seen of boxes in series.

use super::*;
use crate::model::presets;

#[test]
fn a_chain_is_seen_as_the_worst_of_its_boxes() {
    let seen = |chain: &[&Behaviour]| *Survey::of_chain(chain).observed().expect("UDP passes");
    let (cone, symmetric) = (presets::full_cone(), presets::symmetric_random());
    assert_eq!(seen(&[&symmetric, &cone]).mapping, Mapping::AddressAndPortDependent);
    assert_eq!(seen(&[&cone, &presets::home()]).filtering, Filtering::AddressAndPortDependent);
    assert_eq!(seen(&[&symmetric, &cone]).ports, SeenPorts::Random, "the outer one keeps what the inner one gives");
    assert_eq!(seen(&[&cone, &presets::symmetric_sequential()]).ports, SeenPorts::Sequential);
    assert_eq!(Survey::of_chain(&[&presets::home(), &presets::udp_blocked()]), Survey::TcpOnly);
}

#[test]
fn where_nobody_translates_everything_is_as_it_is_sent() {
    let open = *Survey::of_chain(&[]).observed().expect("UDP passes");
    assert!(!open.translated && open.port_preservation && open.hairpinning.is_none());
    assert_eq!((open.filtering, open.early_probe), (Filtering::EndpointIndependent, EarlyProbe::Harmless));
    let walled = *Survey::of_chain(&[&presets::ipv6_firewall()]).observed().expect("UDP passes");
    assert_eq!(walled, Observed { filtering: Filtering::AddressAndPortDependent, ..open });
}

#[test]
fn a_hairpin_counts_only_as_far_as_peers_can_use_it() {
    let hairpins = |mapping, filtering| {
        let nat = Behaviour::nat(mapping, filtering).hairpinning(Hairpinning::ExternalSource);
        Survey::from(&nat).observed().and_then(|seen| seen.hairpinning)
    };
    use Filtering::EndpointIndependent as Open;
    for filtering in Filtering::ALL {
        assert_eq!(hairpins(Mapping::EndpointIndependent, filtering), Some(true));
        assert_eq!(hairpins(Mapping::AddressDependent, filtering), Some(filtering == Open));
    }
}

#[test]
fn a_probe_moves_a_mapping_only_if_it_gets_as_far_as_the_box_that_takes_it_in() {
    let probe = |chain: &[&Behaviour]| Survey::of_chain(chain).observed().map(|seen| seen.early_probe);
    let (open, home, cone) = (presets::home_open(), presets::home(), presets::full_cone());
    assert_eq!(probe(&[&open]), Some(EarlyProbe::MovesMapping));
    assert_eq!(probe(&[&open, &cone]), Some(EarlyProbe::MovesMapping));
    assert_eq!(probe(&[&open, &home]), Some(EarlyProbe::Harmless));
    assert_eq!(probe(&[&home, &open]), Some(EarlyProbe::MovesMapping));
}
