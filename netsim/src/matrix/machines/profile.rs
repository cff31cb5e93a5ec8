//! What a client would know of its access: what NAT discovery finds out where the server has two addresses.

use common::nat::{self, NatProfile};

use crate::model::behaviour::{Filtering, Mapping};
use crate::model::{Access, Family, Observed, Survey};

/// The truth, as far as it can be seen. Of the ports nothing: the machines look by themselves.
pub(super) fn of(access: &Access) -> NatProfile {
    let surveys = Family::ALL.into_iter().find_map(|family| Survey::of(access, family));
    let Some(Observed { translated, mapping, filtering, .. }) = surveys.as_ref().and_then(Survey::observed) else {
        return NatProfile::default();
    };
    let mapping = match mapping {
        Mapping::EndpointIndependent => nat::Mapping::EndpointIndependent,
        Mapping::AddressDependent => nat::Mapping::AddressDependent,
        Mapping::AddressAndPortDependent => nat::Mapping::AddressAndPortDependent,
    };
    let filtering = match filtering {
        Filtering::EndpointIndependent => nat::Filtering::EndpointIndependent,
        Filtering::AddressDependent => nat::Filtering::AddressDependent,
        Filtering::AddressAndPortDependent => nat::Filtering::AddressAndPortDependent,
    };
    NatProfile {
        translated: Some(*translated),
        mapping: Some(mapping),
        filtering: Some(filtering),
        ..NatProfile::default()
    }
}
