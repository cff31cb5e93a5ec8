//! Kinds of access that are measured, and are not among the presets: those are what there is in the world, these have one
//! property more or less, so that a strategy of punching is seen by itself.

use crate::model::behaviour::PortAssignment;
use crate::model::{Access, Behaviour, Families, Preset, Router, presets};

/// The kind of this name: a preset, or one of [`further`].
pub fn named(name: &str) -> Option<Preset> {
    presets::named(name).or_else(|| further().into_iter().find(|kind| kind.name == name))
}

/// Those that no matrix has unless they are named.
pub fn further() -> Vec<Preset> {
    let symmetric = |ports| presets::symmetric_random().ports(ports);
    let behind = |routers| Access { families: Families::Ipv4, routers };
    let alone = |name, stands_for, nat: Behaviour| Preset { name, stands_for, access: behind(vec![Router::ipv4(nat)]) };
    // The kernel has no blocks of ports, and can be this carrier.
    let carrier = Router { carrier: true, ..Router::ipv4(presets::home()) };
    vec![
        alone(
            "symmetric_in_a_row",
            "the next port up for each destination, and nobody's between",
            symmetric(PortAssignment::Sequential { step: 1, noise: 0 }),
        ),
        alone(
            "symmetric_block_512",
            "a random port in a block of 512 for each destination",
            symmetric(PortAssignment::Block { size: 512 }),
        ),
        alone(
            "symmetric_block_1024",
            "a random port in a block of 1,024 for each destination",
            symmetric(PortAssignment::Block { size: 1024 }),
        ),
        Preset {
            name: "home_behind_linux",
            stands_for: "a home box behind a carrier's, both Linux masquerade: two NATs in series",
            access: behind(vec![Router::ipv4(presets::home()), carrier.clone()]),
        },
        Preset {
            name: "home_open_behind_linux",
            stands_for: "the same with a home box that accepts input",
            access: behind(vec![Router::ipv4(presets::home_open()), carrier]),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_and_none_has_the_name_of_another() {
        let all: Vec<Preset> = presets::all().into_iter().chain(further()).collect();
        for (n, kind) in all.iter().enumerate() {
            assert_eq!(named(kind.name).as_ref(), Some(kind));
            assert!(all[..n].iter().all(|other| other.name != kind.name), "{}", kind.name);
        }
        assert_eq!(named("nobody"), None);
    }
}
