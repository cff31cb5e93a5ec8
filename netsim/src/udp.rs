//! The smallest program there is to put into a host: it sends datagrams when told to, and says what arrives.
//!
//! `netsim udp` runs it on a real socket, the virtual driver of [`scenario`](crate::scenario) without one; both say the same.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::net::SocketAddr;

use serde_json::{Value, json};

/// Send datagrams and say what arrives: a program for scenarios
///
/// Each line `to ADDRESS:PORT TEXT` on standard input sends a datagram. Each
/// datagram that arrives is a line on standard output:
///   {"event":"datagram","from":"11.1.1.1:4000","text":"hello"}
/// The first line is {"event":"ready","port":4000}; a datagram for which there
/// is no way is {"event":"unsent","to":"..."}. It ends when its input does.
///
/// In a scenario, on every driver:
///   programs.echo = { host = "server", command = ["netsim", "udp", "--port", "7", "--echo"] }
#[derive(Debug, Clone, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// The port to listen on and to send from
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Send back whatever arrives
    #[arg(long)]
    pub echo: bool,
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToSend {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub payload: Vec<u8>,
}

impl Arguments {
    /// What it says first.
    pub fn ready(&self) -> String {
        json!({ "event": "ready", "port": self.port }).to_string()
    }

    /// What it says of a datagram that arrived, and its answer.
    pub fn heard(&self, from: SocketAddr, payload: &[u8]) -> (String, Option<ToSend>) {
        // A socket of both versions of IP has its own way to write an IPv4 address.
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let said = json!({ "event": "datagram", "from": from.to_string(), "text": String::from_utf8_lossy(payload) });
        (said.to_string(), self.echo.then(|| ToSend { to: from, payload: payload.to_vec() }))
    }
}

/// Reads a line of input; if it is no order, what is said of it.
pub fn read(line: &str) -> Result<ToSend, String> {
    let order = line.trim_end().strip_prefix("to ").map(|rest| rest.split_once(' ').unwrap_or((rest, "")));
    match order.map(|(to, text)| (to.parse(), text)) {
        Some((Ok(to), text)) => Ok(ToSend { to, payload: text.as_bytes().to_vec() }),
        _ => Err(error(&format!("`{}` is no order: write `to ADDRESS:PORT TEXT`", line.trim_end()))),
    }
}

/// What it says if a datagram cannot be sent: there is no network, or none of that version of IP.
pub fn unsent(to: SocketAddr) -> String {
    json!({ "event": "unsent", "to": to.to_string() }).to_string()
}

fn error(message: &str) -> String {
    let message: Value = message.into();
    json!({ "event": "error", "message": message }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_an_address_and_text_and_whatever_else_is_told_so() {
        let sent = |to: &str, text: &str| Ok(ToSend { to: to.parse().unwrap(), payload: text.as_bytes().to_vec() });
        assert_eq!(read("to 11.1.1.1:7 hello you\n"), sent("11.1.1.1:7", "hello you"));
        assert_eq!(read("to [2001:db8::1]:7 x"), sent("[2001:db8::1]:7", "x"));
        assert_eq!(read("to 11.1.1.1:7"), sent("11.1.1.1:7", ""));
        assert!(read("to nowhere x").is_err_and(|said| said.contains("to ADDRESS:PORT TEXT")));
        assert!(read("").is_err());
    }

    #[test]
    fn what_arrives_is_said_and_an_echo_goes_where_it_came_from() {
        let from = "[::ffff:11.1.1.1]:9".parse().unwrap();
        let (said, none) = Arguments { port: 7, echo: false }.heard(from, b"\"hi\"");
        assert_eq!(said, r#"{"event":"datagram","from":"11.1.1.1:9","text":"\"hi\""}"#);
        assert_eq!(none, None);
        let (_, answer) = Arguments { port: 7, echo: true }.heard(from, b"hi");
        assert_eq!(answer, Some(ToSend { to: "11.1.1.1:9".parse().unwrap(), payload: b"hi".to_vec() }));
    }
}
