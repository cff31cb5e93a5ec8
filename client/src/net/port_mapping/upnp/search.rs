//! SSDP: who on this LAN is an Internet gateway? Only the default gateway's answer counts.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::Place;

/// UPnP Device Architecture 1.1, section 1.3.2.
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);
/// Devices of version 2 answer to this, too. MX: within a second.
const QUESTION: &str = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
                        ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n";
/// Multicast over Wi-Fi is lost often, and routers take up to a second to answer.
const REPEATS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(200), Duration::from_millis(600)];
/// Then nobody is there.
const PATIENCE: Duration = Duration::from_millis(1800);
/// Answers that are looked at, whoever sends them.
const ANSWERS: usize = 64;

/// Whom to ask: everybody, because many routers listen to nothing else, and the gateway itself.
pub(super) fn targets(gateway: Ipv4Addr) -> [SocketAddrV4; 2] {
    [GROUP, SocketAddrV4::new(gateway, GROUP.port())]
}

/// Where the gateway has its description.
pub(super) async fn search(gateway: Ipv4Addr, local: Ipv4Addr, targets: &[SocketAddrV4]) -> Result<Place, String> {
    let io = |error: std::io::Error| format!("searching: {error}");
    // Bound to the address from which the gateway is reached, hence to its network.
    let socket = UdpSocket::bind((local, 0)).await.map_err(io)?;
    let begun = Instant::now();
    let mut problem = "no answer".to_owned();
    let (mut asked, mut heard) = (0, 0);
    let mut buffer = [0; 1500];
    while heard < ANSWERS {
        if REPEATS.get(asked).is_some_and(|after| begun + *after <= Instant::now()) {
            asked += 1;
            let mut last = Err(std::io::ErrorKind::AddrNotAvailable.into());
            for target in targets {
                let sent = socket.send_to(QUESTION.as_bytes(), target).await;
                last = last.or(sent);
            }
            last.map_err(io)?;
        }
        let until = begun + REPEATS.get(asked).copied().unwrap_or(PATIENCE);
        match timeout_at(until, socket.recv_from(&mut buffer)).await {
            Ok(Ok((count, source))) => {
                heard += 1;
                if source.ip() != IpAddr::V4(gateway) {
                    tracing::debug!("somebody on the LAN says that it is a gateway, and is not ours");
                    continue;
                }
                match location(&buffer[..count]).and_then(|location| Place::on_gateway(location, gateway)) {
                    Ok(place) => return Ok(place),
                    // It may be forged; an honest one may follow.
                    Err(reason) => problem = reason,
                }
            }
            // The gateway's own port is closed: that says nothing of the group.
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset) => {
                heard += 1;
            }
            Ok(Err(error)) => return Err(io(error)),
            Err(_) if asked < REPEATS.len() => {}
            Err(_) => break,
        }
    }
    Err(problem)
}

/// The URL in an answer.
pub(super) fn location(answer: &[u8]) -> Result<&str, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(answer).map_err(|error| format!("an answer that is no HTTP: {error}"))?;
    if parsed.is_partial() || response.code != Some(200) {
        return Err("an answer that says nothing".to_owned());
    }
    let location = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("location"));
    let value = location.ok_or("an answer without a location")?.value;
    std::str::from_utf8(value).map(str::trim).map_err(|_| "a location that is no text".to_owned())
}
