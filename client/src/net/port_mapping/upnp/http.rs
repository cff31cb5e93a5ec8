//! As much of HTTP/1.1 (RFC 9112) as it takes to ask a router something: one request a connection, an answer of bounded
//! size in bounded time, and no redirection followed.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Place;

/// An answer's size. The descriptions of routers are a few KiB, of the most talkative ones 30.
pub(super) const MAX_ANSWER: usize = 64 * 1024;
/// The time for all of one exchange.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

pub(super) async fn get(place: &Place) -> Result<Answer, String> {
    let Place { address, path } = place;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    exchange(place, &request).await
}

pub(super) async fn post(place: &Place, soap_action: &str, body: &str) -> Result<Answer, String> {
    let (Place { address, path }, length) = (place, body.len());
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n\
         Content-Length: {length}\r\nSOAPAction: \"{soap_action}\"\r\n\r\n{body}"
    );
    exchange(place, &request).await
}

async fn exchange(place: &Place, request: &str) -> Result<Answer, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(place.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        loop {
            match parse(&bytes, false) {
                Ok(Some(answer)) => return Ok(Ok(answer)),
                Err(problem) => return Ok(Err(problem)),
                Ok(None) if bytes.len() > MAX_ANSWER => return Ok(Err(format!("more than {MAX_ANSWER} bytes"))),
                Ok(None) => {}
            }
            if (&mut stream).take(16 * 1024).read_buf(&mut bytes).await? == 0 {
                return Ok(
                    parse(&bytes, true).and_then(|answer| answer.ok_or_else(|| "an answer cut short".to_owned()))
                );
            }
        }
    };
    let answer: std::io::Result<_> =
        timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    answer.map_err(|error| error.to_string()).flatten().map_err(|problem| format!("HTTP: {problem}"))
}

/// The answer, once it is whole. Without a length it ends with the connection.
pub(super) fn parse(bytes: &[u8], ended: bool) -> Result<Option<Answer>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let begin = match response.parse(bytes).map_err(|error| error.to_string())? {
        httparse::Status::Complete(begin) => begin,
        httparse::Status::Partial => return Ok(None),
    };
    let value =
        |name: &str| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let rest = &bytes[begin..];
    let chunked = value("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    let body = if chunked {
        unchunk(rest)?
    } else if let Some(length) = value("content-length") {
        let length = std::str::from_utf8(length).ok().and_then(|length| length.trim().parse::<usize>().ok());
        let length = length.filter(|length| *length <= MAX_ANSWER).ok_or("a length of no sense")?;
        rest.get(..length).map(<[u8]>::to_vec)
    } else {
        ended.then(|| rest.to_vec())
    };
    let Some(body) = body else { return Ok(None) };
    let status = response.code.unwrap_or_default();
    // Some routers write Latin-1 into their names, which we do not need.
    Ok(Some(Answer { status, body: String::from_utf8_lossy(&body).into_owned() }))
}

/// Joins the chunks (RFC 9112, section 7.1), once the last one is there.
fn unchunk(mut rest: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut body = Vec::new();
    loop {
        match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete((_, 0))) => return Ok(Some(body)),
            Ok(httparse::Status::Complete((begin, size))) => {
                let size =
                    usize::try_from(size).ok().filter(|size| *size <= MAX_ANSWER).ok_or("a chunk of no sense")?;
                let Some(chunk) = rest.get(begin..begin + size) else { return Ok(None) };
                body.extend_from_slice(chunk);
                let Some(next) = rest.get(begin + size + 2..) else { return Ok(None) };
                rest = next;
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("a chunk of no sense".to_owned()),
        }
    }
}
