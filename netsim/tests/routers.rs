//! What a kernel router does to the packets of the hosts behind it.

use std::error::Error;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use netsim::netns::{Network, Router, in_namespaces};

#[test]
fn a_home_router_keeps_one_mapping_for_all_destinations() {
    in_namespaces(|| {
        let net = Network::new()?;
        let (server, other) = (net.public_host("server")?, net.public_host("other")?);
        let home = net.router("home", Router::home())?;
        let alice = home.host("alice")?.udp(4000)?;

        let (first, second, third) = (server.udp(3478)?, server.udp(3479)?, other.udp(3478)?);
        for asked in
            [(&first, server.address(), 3478), (&second, server.address(), 3479), (&third, other.address(), 3478)]
        {
            alice.send_to(b"who am I?", (asked.1, asked.2))?;
            assert_eq!(sender(asked.0)?, (home.wan_address(), 4000).into());
        }
        Ok(())
    });
}

/// Who sent the next datagram.
fn sender(socket: &UdpSocket) -> Result<SocketAddr, Box<dyn Error>> {
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    match socket.recv_from(&mut [0; 1500]) {
        Err(late) if late.kind() == ErrorKind::WouldBlock => Err("nothing arrived".into()),
        other => Ok(other?.1),
    }
}
