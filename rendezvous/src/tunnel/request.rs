//! The little HTTP that stands before a WebSocket (RFC 6455, section 4.2).

use std::io;

use common::tunnel::PATH;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The longest head of a request: a browser's with its cookies has about two.
const MAX_HEAD: usize = 8 * 1024;
/// Ends a head.
const END: &[u8] = b"\r\n\r\n";

/// What somebody asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// A tunnel.
    Tunnel {
        /// Grants it.
        answer: String,
    },
    /// Something else.
    Page {
        /// Says that it is not there.
        answer: &'static str,
    },
}

/// What a visitor with a browser sees.
const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 10\r\n\
                         Connection: close\r\n\r\nNot found\n";

/// Reads a request's head, and what came behind it.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Request, Vec<u8>)> {
    let mut received = Vec::new();
    loop {
        let before = received.len().saturating_sub(END.len() - 1);
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(at) = received[before..].windows(END.len()).position(|bytes| bytes == END) {
            let rest = received.split_off(before + at + END.len());
            return Ok((parse(&received), rest));
        }
        if received.len() > MAX_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no HTTP request"));
        }
    }
}

fn parse(head: &[u8]) -> Request {
    match key(head) {
        Some(key) => {
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\n\r\n",
                derive_accept_key(key.as_bytes())
            );
            Request::Tunnel { answer }
        }
        None => Request::Page { answer: NOT_FOUND },
    }
}

/// The key of a request for our WebSocket; `None` if it is one for anything else.
fn key(head: &[u8]) -> Option<&str> {
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let mut words = lines.next()?.split(' ');
    if [words.next()?, words.next()?, words.next()?] != ["GET", PATH, "HTTP/1.1"] {
        return None;
    }
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let value =
        |wanted: &str| headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, v)| v.trim());
    let says = |name: &str, word: &str| {
        value(name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    let upgrades = says("connection", "upgrade") && says("upgrade", "websocket") && says("sec-websocket-version", "13");
    // Sixteen bytes in base64, of which nothing more is asked.
    value("sec-websocket-key").filter(|key| upgrades && key.len() == 24)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of RFC 6455, section 1.3, with our path.
    const EXAMPLE: &str = "GET /punchline HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
                           Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                           Origin: http://example.com\r\nSec-WebSocket-Version: 13\r\n\r\n";

    #[test]
    fn a_request_for_a_tunnel_is_answered_as_the_rfc_says() {
        let Request::Tunnel { answer } = parse(EXAMPLE.as_bytes()) else { panic!("refused") };
        assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
    }

    #[test]
    fn anything_else_is_a_page_that_is_not_there() {
        let without = |text: &str| EXAMPLE.replace(text, "");
        for asked in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            EXAMPLE.replace("/punchline", "/punchline2"),
            EXAMPLE.replace("GET", "POST"),
            without("Upgrade: websocket\r\n"),
            without("Sec-WebSocket-Version: 13\r\n"),
            without("dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            assert_eq!(parse(asked.as_bytes()), Request::Page { answer: NOT_FOUND }, "{asked}");
        }
    }

    #[tokio::test]
    async fn a_head_may_come_in_pieces_and_has_an_end() {
        let mut pieces = in_pieces(EXAMPLE.as_bytes(), b"\x82\x80");
        let (request, rest) = read(&mut pieces).await.expect("a request");
        assert!(matches!(request, Request::Tunnel { .. }));
        assert!(b"\x82\x80".starts_with(&rest), "{rest:?}");
        assert!(read(&mut [b'x'; 100_000].as_slice()).await.is_err(), "no end in sight");
        assert!(read(&mut b"GET / HT".as_slice()).await.is_err(), "cut off");
    }

    /// A reader that gives three bytes at a time.
    fn in_pieces(head: &[u8], rest: &[u8]) -> impl AsyncRead + Unpin + use<> {
        struct Pieces(Vec<u8>);
        impl AsyncRead for Pieces {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                buffer: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                let count = self.0.len().min(3).min(buffer.remaining());
                buffer.put_slice(&self.0.drain(..count).collect::<Vec<_>>());
                std::task::Poll::Ready(Ok(()))
            }
        }
        Pieces([head, rest].concat())
    }

    proptest! {
        #[test]
        fn no_head_makes_the_parser_panic(head: Vec<u8>) {
            let _ = parse(&head);
        }
    }
}
