//! A door to each reader of what others on the network send and no key protects: for the fuzz targets in `fuzz/`, and for whoever
//! wants to know what a recorded answer was taken for. Nothing is sent, and nothing is done about it.

use super::lan::records::{self, Said};
use super::port_mapping::upnp;
use super::tunnel::proxy;

/// A packet of multicast DNS: does it ask for us, or announce somebody?
pub fn mdns(packet: &[u8]) -> bool {
    match records::read(packet) {
        Said::Question => true,
        Said::Announcements(announcements) => !announcements.is_empty(),
        Said::Nothing => false,
    }
}

/// A datagram that answers a search for a UPnP gateway: does it say where that is?
pub fn ssdp(datagram: &[u8]) -> bool {
    upnp::decode::found(datagram)
}

/// What a UPnP gateway answers over TCP: a description with a service for ports, an outer address, or a refusal with its code?
pub fn upnp(answer: &[u8]) -> bool {
    upnp::decode::answered(answer)
}

/// What an HTTP proxy answers: a status?
pub async fn proxy(mut answer: &[u8]) -> bool {
    proxy::read_head(&mut answer).await.is_ok_and(|head| proxy::status(&head).is_some())
}
