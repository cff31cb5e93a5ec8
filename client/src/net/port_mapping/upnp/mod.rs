//! UPnP's Internet Gateway Device, as far as a port for one socket needs it: find the router (`search.rs`), read in its
//! description where it takes orders (`description.rs`), and give it three of them (`orders.rs`), over HTTP (`http.rs`).
//!
//! Nothing that is read here decides where a packet goes but to the gateway: of an URL that somebody names only port and path
//! are taken, and only if the rest of it is the gateway's own address. So whoever forges an answer can make us ask the router
//! something, which anybody on the LAN can do without us.

pub(in crate::net) mod decode;
mod description;
mod http;
mod orders;
mod search;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::keeper::{Grant, LIFETIME, leads_here};
use crate::node::MappingProtocol;
use orders::{Refusal, Service};

/// Ports that are tried: our own, and others if somebody else on the LAN has it.
const PORTS: usize = 4;
/// From here on ports are nobody's by name (RFC 6335).
const DYNAMIC_PORTS: u16 = 49152;

/// A port of the router's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lease {
    service: Service,
    port: u16,
    /// In seconds; 0 if this router knows only leases without an end.
    seconds: u32,
}

impl Lease {
    pub(super) fn gateway(&self) -> Ipv4Addr {
        *self.service.at.address.ip()
    }
}

/// A place on the gateway: port and path; the address is never somebody else's.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    address: SocketAddrV4,
    path: String,
}

impl Place {
    /// What an absolute URL says of the gateway.
    fn on_gateway(url: &str, gateway: Ipv4Addr) -> Result<Place, String> {
        let foreign = || format!("it names {:?}, which is not on the gateway itself", short(url));
        let scheme = url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")).ok_or_else(foreign)?;
        let rest = &url[scheme.len()..];
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // An address in digits and nothing else: no name that somebody would look up, no user.
        let address = authority.parse().or_else(|_| authority.parse().map(|ip| SocketAddrV4::new(ip, 80)));
        let address: SocketAddrV4 = address.map_err(|_| foreign())?;
        if *address.ip() != gateway || address.port() == 0 {
            return Err(foreign());
        }
        Place { address, path: String::new() }.at_path(path)
    }

    /// Another path there.
    fn at_path(&self, path: &str) -> Result<Place, String> {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        // It goes into the first line of a request: nothing in it may end that line.
        if path.len() > 512 || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("{:?} is no path", short(&path)));
        }
        Ok(Place { address: self.address, path })
    }
}

/// As much of what somebody says as is worth showing.
fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Asks for a port that leads to this address of ours.
pub(super) async fn ask(
    gateway: Ipv4Addr,
    local: SocketAddrV4,
    observed: Ipv4Addr,
) -> Result<Grant<super::Handle>, String> {
    let place = search::search(gateway, *local.ip(), &search::targets(gateway)).await?;
    let service = description::read(&place).await?;
    ask_of(service, local, observed).await
}

async fn ask_of(service: Service, local: SocketAddrV4, observed: Ipv4Addr) -> Result<Grant<super::Handle>, String> {
    let external = outer_address(&service, observed).await?;
    let mut lease = Lease { service, port: local.port(), seconds: u32::try_from(LIFETIME.as_secs()).unwrap_or(0) };
    for _ in 0..PORTS {
        match orders::add(&lease, local).await {
            Ok(()) => return Ok(grant(lease, external)),
            Err(Refusal::OnlyPermanentLeases) if lease.seconds != 0 => lease.seconds = 0,
            Err(Refusal::Taken) => {
                let [high, low] = crate::random::bytes().map_err(|failure| failure.message)?;
                lease.port = DYNAMIC_PORTS | u16::from_be_bytes([high, low]);
            }
            Err(refusal) => return Err(refusal.to_string()),
        }
    }
    Err(Refusal::Taken.to_string())
}

pub(super) async fn renew(
    lease: Lease,
    local: SocketAddrV4,
    observed: Ipv4Addr,
) -> Result<Grant<super::Handle>, String> {
    let external = outer_address(&lease.service, observed).await?;
    orders::add(&lease, local).await.map_err(|refusal| refusal.to_string())?;
    Ok(grant(lease, external))
}

pub(super) async fn release(lease: &Lease) -> Result<(), String> {
    orders::delete(lease).await.map_err(|refusal| refusal.to_string())
}

/// The router's outer address; asked first, so that no port is opened that leads nowhere.
async fn outer_address(service: &Service, observed: Ipv4Addr) -> Result<Ipv4Addr, String> {
    let external = orders::external_address(service).await.map_err(|refusal| refusal.to_string())?;
    leads_here(external, Some(observed)).map(|()| external)
}

fn grant(lease: Lease, external: Ipv4Addr) -> Grant<super::Handle> {
    // One without an end is looked after as often as the others: a router may forget it when it restarts.
    let lifetime = if lease.seconds == 0 { LIFETIME } else { Duration::from_secs(lease.seconds.into()) };
    let external = SocketAddrV4::new(external, lease.port);
    Grant { protocol: MappingProtocol::Upnp, external, lifetime, handle: super::Handle::Upnp(lease) }
}

#[cfg(test)]
mod tests;
