//! A NAT profile in plain words, for people.

use crate::nat::{Filtering, Mapping, NatProfile, PortAssignment};

/// What the profile means for somebody who wants direct connections. It says what to expect and no more: whatever it
/// says, everything is tried.
pub fn verdict(profile: &NatProfile) -> &'static str {
    let open = profile.filtering == Some(Filtering::EndpointIndependent);
    match (profile.mapping, profile.translated) {
        (Some(Mapping::AddressDependent | Mapping::AddressAndPortDependent), _) => match profile.ports {
            Some(PortAssignment::Sequential { .. }) => {
                "Your router takes another port for each destination, in foreseeable steps. \
                 Direct connections work where the other router is more open, and not yet elsewhere."
            }
            _ => {
                "Your router takes another port for each destination. \
                 Direct connections work where the other router is more open, and not yet elsewhere."
            }
        },
        (_, Some(false)) if open => {
            "No router translates your address, and nothing is filtered. \
             Direct connections to nearly everybody will work."
        }
        (_, Some(false)) => "No router translates your address. Direct connections to most people will work.",
        (Some(Mapping::EndpointIndependent), _) if open => {
            "Your router keeps one mapping for all destinations, and lets everybody in. \
             Direct connections to nearly everybody will work."
        }
        (Some(Mapping::EndpointIndependent), _) => {
            "Your router keeps one mapping for all destinations. Direct connections to most people will work."
        }
        (None, Some(true)) if profile.ports == Some(PortAssignment::Preserved) => {
            "Your router keeps your port number, which is a good sign. \
             Direct connections to most people should work, but not everything could be tested."
        }
        (None, Some(true)) => {
            "Your router translates your address; in which way could not be tested fully. \
             Direct connections are tried all the same."
        }
        (None, None) => "Nothing is known of your router yet. Direct connections are tried all the same.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_has_a_verdict_that_fits_what_is_known() {
        let mappings = [
            None,
            Some(Mapping::EndpointIndependent),
            Some(Mapping::AddressDependent),
            Some(Mapping::AddressAndPortDependent),
        ];
        let ports = [
            None,
            Some(PortAssignment::Preserved),
            Some(PortAssignment::Sequential { step: 1 }),
            Some(PortAssignment::Random { low: 1024, high: 65535 }),
        ];
        let filters = [None, Some(Filtering::EndpointIndependent), Some(Filtering::AddressAndPortDependent)];
        for mapping in mappings {
            for ports in ports {
                for filtering in filters {
                    for translated in [None, Some(false), Some(true)] {
                        let profile = NatProfile { translated, mapping, filtering, ports, hairpinning: None };
                        let words = verdict(&profile);
                        let symmetric = mapping > Some(Mapping::EndpointIndependent);
                        let free = translated == Some(false) && !symmetric;
                        assert_eq!(words.contains("another port"), symmetric, "{profile:?}");
                        assert_eq!(words.starts_with("No router"), free, "{profile:?}");
                        assert!(words.matches(". ").count() <= 1 && words.len() <= 170, "too long: {words}");
                    }
                }
            }
        }
        assert!(verdict(&NatProfile::default()).starts_with("Nothing is known"));
    }
}
