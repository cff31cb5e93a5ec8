//! What a router says of itself: of all its services one takes orders for ports.

use roxmltree::{Document, Node, ParsingOptions};

use super::orders::Service;
use super::{Place, http, short};

/// The services that map ports, the best first (UPnP Forum, IGD 2.0 and 1.0).
const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];
/// Elements and texts of one answer.
const NODES: u32 = 10_000;

/// Fetches the description and finds the service in it.
pub(super) async fn read(place: &Place) -> Result<Service, String> {
    let answer = http::get(place).await?;
    if answer.status != 200 {
        return Err(format!("the description is answered with {}", answer.status));
    }
    find(&answer.body, place)
}

pub(super) fn find(text: &str, place: &Place) -> Result<Service, String> {
    let document = xml(text)?;
    let services = || document.descendants().filter(|node| node.has_tag_name_of("service"));
    let of_kind = |kind: &str| services().find(|service| child(*service, "serviceType") == Some(kind));
    let found = SERVICES.into_iter().find_map(|kind| Some((kind, of_kind(kind)?)));
    let (kind, service) = found.ok_or("it has no service for ports")?;
    let control = child(service, "controlURL").ok_or("its service has no address")?;
    // Relative to the description, but for an old kind that names a base.
    let base = match child(document.root_element(), "URLBase") {
        Some(base) if !base.is_empty() => Place::on_gateway(base, *place.address.ip())?,
        _ => place.clone(),
    };
    let at = match control.contains("://") {
        true => Place::on_gateway(control, *place.address.ip())?,
        false => base.at_path(control)?,
    };
    Ok(Service { at, kind })
}

/// Parses it. roxmltree takes no document type, hence no entities that grow, and does not recurse.
pub(super) fn xml(text: &str) -> Result<Document<'_>, String> {
    let options = ParsingOptions { nodes_limit: NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| format!("no XML: {}", short(&error.to_string())))
}

/// The text of an element's child.
fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children().find(|child| child.has_tag_name_of(name)).map(|child| child.text().unwrap_or_default().trim())
}

/// Names without their namespaces, which routers often get wrong.
pub(super) trait LocalName {
    fn has_tag_name_of(&self, name: &str) -> bool;
}

impl LocalName for Node<'_, '_> {
    fn has_tag_name_of(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}
