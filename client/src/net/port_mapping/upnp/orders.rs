//! The three orders to the service (UPnP Forum, WANIPConnection:2, section 2.4), in SOAP.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::description::{LocalName, xml};
use super::{Lease, Place, http, short};

/// Where orders are taken.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Service {
    pub(super) at: Place,
    pub(super) kind: &'static str,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Refusal {
    /// ConflictInMappingEntry: somebody else has this port.
    Taken,
    /// OnlyPermanentLeasesSupported.
    OnlyPermanentLeases,
    /// Any other code of the router's.
    Code(u16),
    /// It did not get that far.
    Failed(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Taken => f.write_str("the ports are taken"),
            Refusal::OnlyPermanentLeases => f.write_str("the router wants leases without an end, and then takes none"),
            Refusal::Code(606) => f.write_str("the router does not allow it"),
            Refusal::Code(code) => write!(f, "the router refuses with code {code}"),
            Refusal::Failed(reason) => f.write_str(reason),
        }
    }
}

/// The router's outer address.
pub(super) async fn external_address(service: &Service) -> Result<Ipv4Addr, Refusal> {
    outer_address(&order(service, "GetExternalIPAddress", "").await?)
}

/// The address in the answer.
pub(super) fn outer_address(answer: &str) -> Result<Ipv4Addr, Refusal> {
    let document = xml(answer).map_err(Refusal::Failed)?;
    let text = document.descendants().find(|node| node.has_tag_name_of("NewExternalIPAddress"));
    let text = text.and_then(|node| node.text()).unwrap_or_default().trim();
    text.parse().map_err(|_| Refusal::Failed(format!("{:?} is no outer address", short(text))))
}

/// A port for this address of ours, or more time for it.
pub(super) async fn add(lease: &Lease, local: SocketAddrV4) -> Result<(), Refusal> {
    let Lease { service, port, seconds } = lease;
    let arguments = format!(
        "<NewRemoteHost></NewRemoteHost><NewExternalPort>{port}</NewExternalPort><NewProtocol>UDP</NewProtocol>\
         <NewInternalPort>{}</NewInternalPort><NewInternalClient>{}</NewInternalClient><NewEnabled>1</NewEnabled>\
         <NewPortMappingDescription>punchline</NewPortMappingDescription><NewLeaseDuration>{seconds}</NewLeaseDuration>",
        local.port(),
        local.ip(),
    );
    order(service, "AddPortMapping", &arguments).await.map(drop)
}

/// Gives it back.
pub(super) async fn delete(lease: &Lease) -> Result<(), Refusal> {
    let arguments = format!(
        "<NewRemoteHost></NewRemoteHost><NewExternalPort>{}</NewExternalPort><NewProtocol>UDP</NewProtocol>",
        lease.port
    );
    order(&lease.service, "DeletePortMapping", &arguments).await.map(drop)
}

async fn order(Service { at, kind }: &Service, action: &str, arguments: &str) -> Result<String, Refusal> {
    let body = format!(
        "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{action} xmlns:u=\"{kind}\">\
         {arguments}</u:{action}></s:Body></s:Envelope>\r\n"
    );
    judge(http::post(at, &format!("{kind}#{action}"), &body).await.map_err(Refusal::Failed)?)
}

/// Was it carried out?
pub(super) fn judge(answer: http::Answer) -> Result<String, Refusal> {
    if answer.status == 200 {
        return Ok(answer.body);
    }
    let code = xml(&answer.body).ok().and_then(|document| {
        let code = document.descendants().find(|node| node.has_tag_name_of("errorCode"))?;
        code.text()?.trim().parse::<u16>().ok()
    });
    Err(match code {
        Some(718) => Refusal::Taken,
        Some(725) => Refusal::OnlyPermanentLeases,
        Some(code) => Refusal::Code(code),
        None => Refusal::Failed(format!("HTTP status {}", answer.status)),
    })
}
