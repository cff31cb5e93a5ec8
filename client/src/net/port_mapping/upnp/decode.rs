//! What a router answers, read without asking one: each function says whether it made sense. See [`crate::net::decode`].

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Place, description, http, orders, search};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

/// The answer to a search.
pub(in crate::net) fn found(datagram: &[u8]) -> bool {
    search::location(datagram).and_then(|location| Place::on_gateway(location, GATEWAY)).is_ok()
}

/// Whatever comes over TCP: a description, an outer address, a refusal.
pub(in crate::net) fn answered(bytes: &[u8]) -> bool {
    let whole = http::parse(bytes, false).ok().flatten();
    let Some(answer) = whole.or_else(|| http::parse(bytes, true).ok().flatten()) else { return false };
    let at = Place { address: SocketAddrV4::new(GATEWAY, 80), path: "/".to_owned() };
    let described = description::find(&answer.body, &at).is_ok();
    let addressed = orders::outer_address(&answer.body).is_ok();
    let refused = matches!(orders::judge(answer), Err(refusal) if !matches!(refusal, orders::Refusal::Failed(_)));
    described || addressed || refused
}
