//! `netsim udp`: the program of `netsim::udp` on a real socket.

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{self, ExitCode};
use std::thread;

use anyhow::Context;
use netsim::udp::{self, Arguments, ToSend};

/// Runs until its input ends.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let port = arguments.port;
    // Of both versions of IP, where there are both.
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))
        .with_context(|| format!("port {port} cannot be used"))?;
    say(&arguments.ready());
    let orders = socket.try_clone().context("the socket cannot be shared")?;
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            match udp::read(&line) {
                Ok(datagram) => send(&orders, &datagram),
                Err(said) => say(&said),
            }
        }
        process::exit(0);
    });
    let mut buffer = vec![0; 65_536];
    loop {
        // An error here is about something sent earlier.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let (said, answer) = arguments.heard(from, &buffer[..length]);
        say(&said);
        if let Some(answer) = answer {
            send(&socket, &answer);
        }
    }
}

fn send(socket: &UdpSocket, datagram: &ToSend) {
    let to = match (datagram.to, socket.local_addr()) {
        (SocketAddr::V4(to), Ok(SocketAddr::V6(_))) => (to.ip().to_ipv6_mapped(), to.port()).into(),
        (to, _) => to,
    };
    if socket.send_to(&datagram.payload, to).is_err() {
        say(&udp::unsent(datagram.to));
    }
}

/// Nobody reads any more: that is an end, too.
fn say(line: &str) {
    let mut output = io::stdout().lock();
    if writeln!(output, "{line}").and_then(|()| output.flush()).is_err() {
        process::exit(0);
    }
}
