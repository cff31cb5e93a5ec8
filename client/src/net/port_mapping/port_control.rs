//! PCP (RFC 6887) and NAT-PMP (RFC 6886), as crab_nat speaks them, to the default gateway alone: its sockets are connected,
//! so that nobody else's answer is read, and read one datagram into a buffer of constant size.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{
    GatewayAddress, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp, pcp,
};

use super::Handle;
use super::keeper::{Grant, LIFETIME, leads_here};
use crate::node::MappingProtocol;

/// After 250 ms, and again after 500: RFC 6886, section 3.1; PCP's three seconds are for servers far away. The third wait is
/// cut by the time that all of it may take.
const PATIENCE: TimeoutConfig =
    TimeoutConfig { initial_timeout: Duration::from_millis(250), max_retries: 2, max_retry_timeout: None };
/// Whoever leaves has a second.
const LAST_PATIENCE: TimeoutConfig = TimeoutConfig { max_retries: 1, ..PATIENCE };

/// The same port outside as inside, if it is to be had.
fn options(port: NonZeroU16) -> PortMappingOptions {
    PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: u32::try_from(LIFETIME.as_secs()).ok(),
        timeout_config: Some(PATIENCE),
    }
}

pub(super) async fn ask_by_pcp(
    gateway: Ipv4Addr,
    local: SocketAddrV4,
    port: NonZeroU16,
) -> Result<Grant<Handle>, String> {
    let us = IpAddr::V4(*local.ip());
    let request = pcp::BaseMapRequest::new(gateway.into(), us, InternetProtocol::Udp, port);
    let mapping = pcp::port_mapping(request, None, None, options(port)).await.map_err(|failure| failure.to_string())?;
    granted_by_pcp(mapping)
}

pub(super) async fn ask_by_nat_pmp(
    gateway: Ipv4Addr,
    port: NonZeroU16,
    observed: Ipv4Addr,
) -> Result<Grant<Handle>, String> {
    let external = nat_pmp_address(gateway, observed).await?;
    let mapping = natpmp::port_mapping(gateway.into(), InternetProtocol::Udp, port, options(port)).await;
    Ok(grant(mapping.map_err(|failure| failure.to_string())?, MappingProtocol::NatPmp, external))
}

/// For the same port, and as long as at first, whatever was given then.
pub(super) async fn renew(
    mapping: PortMapping,
    gateway: Ipv4Addr,
    observed: Ipv4Addr,
) -> Result<Grant<Handle>, String> {
    let options =
        PortMappingOptions { external_port: Some(mapping.external_port()), ..options(mapping.internal_port()) };
    let port = mapping.internal_port();
    match mapping.mapping_type() {
        PortMappingType::NatPmp => {
            let external = nat_pmp_address(gateway, observed).await?;
            let renewed = natpmp::port_mapping(gateway.into(), InternetProtocol::Udp, port, options).await;
            Ok(grant(renewed.map_err(|failure| failure.to_string())?, MappingProtocol::NatPmp, external))
        }
        PortMappingType::Pcp { client, nonce, external_ip } => {
            let request = pcp::BaseMapRequest::new(gateway.into(), client, InternetProtocol::Udp, port);
            let renewed = pcp::port_mapping(request, Some(nonce), Some(external_ip), options).await;
            granted_by_pcp(renewed.map_err(|failure| failure.to_string())?)
        }
    }
}

pub(super) async fn release(mut mapping: PortMapping) -> Result<(), String> {
    mapping.timeout_config = LAST_PATIENCE;
    mapping.try_drop().await.map_err(|(failure, _)| failure.to_string())
}

pub(super) fn gateway(mapping: &PortMapping) -> Option<Ipv4Addr> {
    match mapping.gateway() {
        GatewayAddress::IpV4(gateway) => Some(gateway),
        GatewayAddress::IpV6(..) => None,
    }
}

/// The router's outer address; asked first, so that no port is opened that leads nowhere.
async fn nat_pmp_address(gateway: Ipv4Addr, observed: Ipv4Addr) -> Result<Ipv4Addr, String> {
    let external = natpmp::external_address(gateway.into(), Some(PATIENCE)).await;
    let external = external.map_err(|failure| failure.to_string())?;
    leads_here(external, Some(observed)).map(|()| external)
}

fn granted_by_pcp(mapping: PortMapping) -> Result<Grant<Handle>, String> {
    match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => match external_ip.to_canonical() {
            IpAddr::V4(external) => Ok(grant(mapping, MappingProtocol::Pcp, external)),
            IpAddr::V6(_) => Err("an IPv6 address for an IPv4 port".to_owned()),
        },
        PortMappingType::NatPmp => Err("an answer to something else".to_owned()),
    }
}

fn grant(mapping: PortMapping, protocol: MappingProtocol, external: Ipv4Addr) -> Grant<Handle> {
    Grant {
        protocol,
        external: SocketAddrV4::new(external, mapping.external_port().get()),
        lifetime: Duration::from_secs(mapping.lifetime().into()),
        handle: Handle::PortControl(Box::new(mapping)),
    }
}
