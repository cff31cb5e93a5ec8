//! Links: what people hand to each other. A link always carries the key of the rendezvous it names, so there is no
//! moment at which a client would have to trust whoever answers first.
//!
//! - `punchline://HOST:PORT/join#SERVERKEY` joins a rendezvous;
//! - `punchline://HOST:PORT/p/PEERID?name=NAME#SERVERKEY` names a peer who can be met there.
//!
//! Both may say `tunnel=PORT` behind the `?`, where clients are tunnelled on another TCP port than 443.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity::{PeerId, PeerIdError};
use crate::tunnel;

/// The scheme before `://`.
pub const SCHEME: &str = "punchline";
/// The port that a link without one means; also STUN's (RFC 8489, section 18.6).
pub const DEFAULT_PORT: u16 = 3478;
/// The longest name a link or a greeting may carry, in bytes.
pub const MAX_NAME: usize = 64;
/// The longest host name (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 253;

/// A rendezvous server: where it is and the key it must prove to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendezvous {
    /// A host name or an IP address, without brackets.
    pub host: String,
    /// The UDP port of QUIC and STUN.
    pub port: u16,
    /// The pinned key.
    pub key: PeerId,
    /// The TCP port of the tunnel, if it is not [`tunnel::DEFAULT_PORT`]. Whether there is one, nobody knows but the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<NonZeroU16>,
}

/// A parsed link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// An invitation to a rendezvous.
    Join(Rendezvous),
    /// A peer, and the rendezvous where it is found.
    Peer {
        /// Where the peer registers.
        rendezvous: Rendezvous,
        /// Who it is.
        peer: PeerId,
        /// The name it suggests for itself.
        name: Option<String>,
    },
}

/// Why a text is not a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Not our scheme.
    #[error("a link starts with {SCHEME}://, for example {SCHEME}://example.org:3478/join#KEY")]
    Scheme,
    /// No `#KEY` at the end: perhaps a shell or a chat program cut it.
    #[error("the link has no #KEY at its end; put it in quotes, or copy it again as a whole")]
    NoKey,
    /// The key of the rendezvous is malformed.
    #[error("the key of the rendezvous in this link is wrong: {0}")]
    ServerKey(PeerIdError),
    /// The peer's id is malformed.
    #[error("the peer's id in this link is wrong: {0}")]
    Peer(PeerIdError),
    /// Host or port is malformed.
    #[error("`{0}` is not HOST, HOST:PORT or [IPV6]:PORT")]
    Address(String),
    /// Neither `/join` nor `/p/…`.
    #[error("a link goes on with /join or /p/PEER-ID after the host, this one with `{0}`")]
    Path(String),
    /// The name does not decode to short UTF-8 text.
    #[error("the name in this link is not text of at most {MAX_NAME} bytes")]
    Name,
    /// The port of the tunnel is none.
    #[error("`tunnel={0}` in this link is not a port from 1 to 65535")]
    Tunnel(String),
}

impl Rendezvous {
    /// `HOST:PORT`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The TCP port of the tunnel.
    pub fn tunnel_port(&self) -> u16 {
        self.tunnel.map_or(tunnel::DEFAULT_PORT, NonZeroU16::get)
    }

    /// The same with its tunnel on this port.
    pub fn with_tunnel(self, port: u16) -> Self {
        let tunnel = NonZeroU16::new(port).filter(|port| port.get() != tunnel::DEFAULT_PORT);
        Rendezvous { tunnel, ..self }
    }

    fn parse(authority: &str, key: PeerId) -> Result<Self, LinkError> {
        let bad = || LinkError::Address(printable(authority));
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(bad)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
                (
                    host,
                    after
                        .strip_prefix(':')
                        .map_or_else(|| if after.is_empty() { Ok(None) } else { Err(bad()) }, |p| Ok(Some(p)))?,
                )
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?,
            None => DEFAULT_PORT,
        };
        let ipv6 = authority.starts_with('[');
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || host.len() > MAX_HOST || (!ipv6 && !host.chars().all(allowed)) {
            return Err(bad());
        }
        Ok(Rendezvous { host: host.to_owned(), port, key, tunnel: None })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Link::Join(at) => {
                write!(f, "{SCHEME}://{}/join", at.authority())?;
                if let Some(tunnel) = at.tunnel {
                    write!(f, "?tunnel={tunnel}")?;
                }
                write!(f, "#{}", at.key)
            }
            Link::Peer { rendezvous, peer, name } => {
                write!(f, "{SCHEME}://{}/p/{peer}", rendezvous.authority())?;
                let name = name.as_ref().map(|name| format!("name={}", percent_encode(name)));
                let tunnel = rendezvous.tunnel.map(|port| format!("tunnel={port}"));
                for (before, pair) in ["?", "&"].iter().zip(name.into_iter().chain(tunnel)) {
                    write!(f, "{before}{pair}")?;
                }
                write!(f, "#{}", rendezvous.key)
            }
        }
    }
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let rest =
            text.trim().strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix("://")).ok_or(LinkError::Scheme)?;
        let (rest, key) = rest.rsplit_once('#').ok_or(LinkError::NoKey)?;
        let key = key.parse().map_err(LinkError::ServerKey)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let rendezvous = Rendezvous::parse(authority, key)?;
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let value = |key| query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix(key)));
        let rendezvous = match value("tunnel=") {
            Some(port) => {
                let bad = || LinkError::Tunnel(printable(port));
                rendezvous.with_tunnel(port.parse::<NonZeroU16>().map_err(|_| bad())?.get())
            }
            None => rendezvous,
        };
        if path == "/join" || path == "/join/" {
            return Ok(Link::Join(rendezvous));
        }
        let peer = path.strip_prefix("/p/").ok_or_else(|| LinkError::Path(printable(path)))?;
        let peer = peer.parse().map_err(LinkError::Peer)?;
        let name = value("name=").map(percent_decode).transpose()?.filter(|name| !name.is_empty());
        Ok(Link::Peer { rendezvous, peer, name })
    }
}

/// A piece of a stranger's text that is safe and short enough to be repeated in an error.
fn printable(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn percent_decode(text: &str) -> Result<String, LinkError> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next().ok_or(LinkError::Name)?, bytes.next().ok_or(LinkError::Name)?];
                data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).map_err(|_| LinkError::Name)?[0]
            }
            other => other,
        });
    }
    let name = String::from_utf8(out).map_err(|_| LinkError::Name)?;
    if name.len() > MAX_NAME { Err(LinkError::Name) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use proptest::prelude::*;

    fn key() -> PeerId {
        Identity::from_seed(&[7; 32]).peer_id()
    }

    #[test]
    fn a_link_that_lost_its_key_says_so() {
        assert_eq!("punchline://example.org:3478/join".parse::<Link>(), Err(LinkError::NoKey));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let key = key();
        for (text, error) in [
            (format!("https://example.org/join#{key}"), LinkError::Scheme),
            (format!("punchline://example.org:0/join#{key}"), LinkError::Address("example.org:0".into())),
            (format!("punchline://exa mple/join#{key}"), LinkError::Address("exa mple".into())),
            (format!("punchline://[::1]3478/join#{key}"), LinkError::Address("[::1]3478".into())),
            (format!("punchline:///join#{key}"), LinkError::Address(String::new())),
            (format!("punchline://example.org/jion#{key}"), LinkError::Path("/jion".into())),
            ("punchline://example.org/join#abc".into(), LinkError::ServerKey(PeerIdError::Length(3))),
            (format!("punchline://example.org/p/abc#{key}"), LinkError::Peer(PeerIdError::Length(3))),
            (format!("punchline://example.org/p/{key}?name=%zz#{key}"), LinkError::Name),
            (format!("punchline://example.org/join?tunnel=0#{key}"), LinkError::Tunnel("0".into())),
            (format!("punchline://example.org/join?tunnel=https#{key}"), LinkError::Tunnel("https".into())),
        ] {
            assert_eq!(text.parse::<Link>(), Err(error), "{text}");
        }
    }

    #[test]
    fn an_ipv6_rendezvous_keeps_its_brackets() {
        let link: Link = format!("punchline://[2001:db8::1]:4000/join#{}", key()).parse().expect("a link");
        assert_eq!(link, Link::Join(Rendezvous { host: "2001:db8::1".into(), port: 4000, key: key(), tunnel: None }));
        assert!(link.to_string().starts_with("punchline://[2001:db8::1]:4000/join#"));
    }

    #[test]
    fn the_usual_port_of_a_tunnel_is_not_said() {
        let link: Link = format!("punchline://example.org:3478/join?tunnel=443#{}", key()).parse().expect("a link");
        assert_eq!(link.to_string(), format!("punchline://example.org:3478/join#{}", key()));
        let Link::Join(at) = link else { panic!("{link}") };
        assert_eq!((at.tunnel_port(), at.with_tunnel(8443).tunnel_port()), (443, 8443));
    }

    proptest! {
        #[test]
        fn every_link_survives_its_text(host in "[a-z0-9][a-z0-9.-]{0,30}", port in 1u16.., tunnel in 1u16.., name in proptest::option::of("\\PC{1,16}"), seed: [u8; 32]) {
            let rendezvous = Rendezvous { host, port, key: key(), tunnel: None }.with_tunnel(tunnel);
            let join = Link::Join(rendezvous.clone());
            prop_assert_eq!(join.to_string().parse(), Ok(join));
            let peer = Link::Peer { rendezvous, peer: Identity::from_seed(&seed).peer_id(), name };
            prop_assert_eq!(peer.to_string().parse(), Ok(peer));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "(punchline://)?\\PC{0,80}(#\\PC{0,60})?") {
            let _ = text.parse::<Link>();
        }
    }
}
