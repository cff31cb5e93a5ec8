//! What the network says when something cannot be delivered reaches the socket that sent it, through the NAT.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use netsim::model::presets;
use netsim::netns::in_namespaces;
use netsim::wire::Internet;

use crate::voice::Voice;

const SURELY: Duration = Duration::from_secs(5);

#[test]
fn a_closed_port_outside_is_reported_to_the_socket_inside() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let alice = net.router("home", presets::symmetric_random()).host("alice")?.udp(4000)?;
        alice.connect((server.address(), 9))?;
        alice.set_read_timeout(Some(SURELY))?;
        alice.send(b"anybody?")?;
        let refused = alice.recv(&mut [0; 64]).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
        Ok(())
    });
}

#[test]
fn a_closed_port_inside_is_reported_to_the_socket_outside() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let alice = Voice::new(&net.router("home", presets::symmetric_random()).host("alice")?, 4000);
        let asked = Voice::new(&server, 3478);
        let mapped = alice.seen_by(&asked);
        drop(alice);

        asked.0.connect(mapped)?;
        asked.0.set_read_timeout(Some(Duration::from_millis(100)))?;
        let started = Instant::now();
        // Another test may be about to start a program: until that runs, it holds a copy of the closed socket.
        let refused = loop {
            match asked.0.send(b"still there?").and_then(|_| asked.0.recv(&mut [0; 64])) {
                Err(late) if late.kind() == ErrorKind::WouldBlock && started.elapsed() < SURELY => {}
                answer => break answer.map_err(|error| error.kind()),
            }
        };
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
        Ok(())
    });
}
