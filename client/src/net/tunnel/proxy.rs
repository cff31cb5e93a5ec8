//! The proxy that a network demands for TCP, named in the environment as for every other program, and how it is asked.

use std::fmt;
use std::io;
use std::net::IpAddr;

use data_encoding::BASE64;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Where the proxy is looked for, the first that is set and not empty. Lower case is the older custom.
const VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// Where exceptions are.
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// The port of a proxy that is named without one.
const DEFAULT_PORT: u16 = 80;
/// The longest head of an answer that is read.
const MAX_HEAD: usize = 8 * 1024;

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// `NAME:PASSWORD` in base64.
    credentials: Option<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.credentials.as_ref().map(|_| "(secret)");
        f.debug_struct("Proxy").field("at", &self.authority()).field("credentials", &secret).finish()
    }
}

/// Why there is no way through a proxy. None of the words repeats what the variable holds: there may be a password in it.
#[derive(Debug, thiserror::Error)]
pub(in crate::net) enum ProxyError {
    #[error("{0} names a proxy that is not spoken to by HTTP; give one as http://HOST:PORT")]
    Scheme(&'static str),
    #[error("{0} is not http://HOST:PORT or http://NAME:PASSWORD@HOST:PORT")]
    Malformed(&'static str),
    #[error(
        "the proxy {0} wants a name and a password: set HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT, special characters as %XX"
    )]
    Authentication(String),
    #[error("the proxy {0} refuses (HTTP status {1})")]
    Refused(String, u16),
    #[error("the proxy {0} did not answer like one")]
    Nonsense(String),
    #[error("the proxy {0}: {1}")]
    Io(String, io::Error),
}

impl Proxy {
    /// The proxy for this host, if the environment names one; `get` reads a variable.
    pub(super) fn of(host: &str, get: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, ProxyError> {
        let set = |name: &&'static str| Some((*name, get(name).filter(|value| !value.trim().is_empty())?));
        let Some((variable, value)) = VARIABLES.iter().find_map(set) else { return Ok(None) };
        let exceptions = EXCEPTIONS.iter().find_map(set).map(|(_, value)| value).unwrap_or_default();
        if exceptions.split(',').any(|exception| excepts(exception.trim(), host)) {
            return Ok(None);
        }
        parse(variable, value.trim()).map(Some)
    }

    /// `HOST:PORT`
    pub(super) fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    /// Asks it for a connection to there, over a connection to itself.
    pub(super) async fn connect(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        host: &str,
        port: u16,
    ) -> Result<(), ProxyError> {
        let to = authority(host, port);
        let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
        if let Some(credentials) = &self.credentials {
            request.push_str(&format!("Proxy-Authorization: Basic {credentials}\r\n"));
        }
        request.push_str("\r\n");
        let io = |error| ProxyError::Io(self.authority(), error);
        stream.write_all(request.as_bytes()).await.map_err(io)?;
        match status(&read_head(stream).await.map_err(io)?) {
            Some(200..=299) => Ok(()),
            Some(407) => Err(ProxyError::Authentication(self.authority())),
            Some(status) => Err(ProxyError::Refused(self.authority(), status)),
            None => Err(ProxyError::Nonsense(self.authority())),
        }
    }
}

/// The status in the first line, if it is one of HTTP.
pub(in crate::net) fn status(head: &str) -> Option<u16> {
    let mut words = head.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.trim().parse().ok()
}

/// Up to the empty line and not a byte further: what follows is the other end's.
pub(in crate::net) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn parse(variable: &'static str, value: &str) -> Result<Proxy, ProxyError> {
    let bad = || ProxyError::Malformed(variable);
    let rest = match value.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some(_) => return Err(ProxyError::Scheme(variable)),
        None => value,
    };
    let rest = rest.split('/').next().unwrap_or_default();
    let (user, at) = match rest.rsplit_once('@') {
        Some((user, at)) => (Some(user), at),
        None => (None, rest),
    };
    let (host, port) = match at.strip_prefix('[').map(|inside| inside.split_once(']')) {
        Some(Some((host, ""))) => (host, None),
        Some(Some((host, port))) => (host, Some(port.strip_prefix(':').ok_or_else(bad)?)),
        Some(None) => return Err(bad()),
        None => at.split_once(':').map_or((at, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(DEFAULT_PORT), |port| port.parse().map_err(|_| bad()))?;
    // What is no name would split the request that it is put into.
    if host.is_empty() || port == 0 || !host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c)) {
        return Err(bad());
    }
    let credentials = user.map(|user| percent_decode(user).map(|user| BASE64.encode(&user)).ok_or_else(bad));
    Ok(Proxy { host: host.to_owned(), port, credentials: credentials.transpose()? })
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                *data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).ok()?.first()?
            }
            other => other,
        });
    }
    Some(out)
}

/// Is this host reached without a proxy? `*`, a name with everything below it, an address, or a range of them.
fn excepts(exception: &str, host: &str) -> bool {
    if exception == "*" {
        return true;
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return match exception.split_once('/') {
            Some((network, length)) => match (network.parse(), length.parse()) {
                (Ok(network), Ok(length)) => is_within(ip, network, length),
                _ => false,
            },
            None => exception.parse() == Ok(ip),
        };
    }
    let (host, exception) = (host.to_ascii_lowercase(), exception.trim_start_matches('.').to_ascii_lowercase());
    !exception.is_empty() && host.strip_suffix(&exception).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_within(ip: IpAddr, network: IpAddr, length: u32) -> bool {
    let same = |a: u128, b: u128, bits: u32| length <= bits && (a ^ b).checked_shr(bits - length).unwrap_or(0) == 0;
    match (ip, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::duplex;

    fn of(host: &str, variables: &[(&str, &str)]) -> Result<Option<Proxy>, ProxyError> {
        let get = |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        Proxy::of(host, get)
    }

    fn proxy(value: &str) -> Proxy {
        of("example.org", &[("HTTPS_PROXY", value)]).expect("a proxy").expect("named")
    }

    #[test]
    fn a_proxy_is_named_as_people_write_it() {
        for (value, at) in [
            ("http://proxy.example:3128", "proxy.example:3128"),
            ("HTTP://proxy.example:3128/", "proxy.example:3128"),
            ("proxy.example:8080", "proxy.example:8080"),
            ("http://proxy.example", "proxy.example:80"),
            ("http://[2001:db8::1]:3128", "[2001:db8::1]:3128"),
            ("http://name:pass%40word@192.0.2.1:3128", "192.0.2.1:3128"),
        ] {
            assert_eq!(proxy(value).authority(), at, "{value}");
        }
        assert_eq!(proxy("name:pass%40word@192.0.2.1").credentials, Some(BASE64.encode(b"name:pass@word")));
    }

    #[test]
    fn the_first_variable_that_is_set_counts() {
        let set = [("HTTPS_PROXY", "b:1"), ("https_proxy", ""), ("ALL_PROXY", "c:1")];
        assert_eq!(of("example.org", &set).expect("a proxy").map(|proxy| proxy.host), Some("b".into()));
        assert_eq!(of("example.org", &[("HTTP_PROXY", "d:1")]).expect("none"), None);
    }

    #[test]
    fn a_password_is_never_shown() {
        for value in ["http://me:hunter2@[::1", "socks5://me:hunter2@host:1", "http://me:hunter2@host:port"] {
            let error = of("example.org", &[("HTTPS_PROXY", value)]).expect_err("malformed");
            assert!(error.to_string().contains("HTTPS_PROXY") && !format!("{error} {error:?}").contains("hunter2"));
        }
        let proxy = proxy("http://me:hunter2@host:1");
        assert!(
            !format!("{proxy:?}").contains("hunter2") && !format!("{proxy:?}").contains(&BASE64.encode(b"me:hunter2"))
        );
    }

    #[test]
    fn exceptions_are_names_with_all_below_them_addresses_and_ranges() {
        for (exceptions, host, direct) in [
            ("example.org", "example.org", true),
            ("example.org", "rv.Example.org", true),
            (".example.org", "rv.example.org", true),
            ("example.org", "badexample.org", false),
            ("localhost, 192.0.2.1", "192.0.2.1", true),
            ("192.0.2.0/24", "192.0.2.77", true),
            ("192.0.2.0/24", "192.0.3.77", false),
            ("2001:db8::/32", "2001:db8::1", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("192.0.2.0/99", "192.0.2.1", false),
            ("*", "example.org", true),
            ("", "example.org", false),
            (",", "example.org", false),
        ] {
            let found = of(host, &[("https_proxy", "p:1"), ("no_proxy", exceptions)]).expect("well formed");
            assert_eq!(found.is_none(), direct, "{exceptions} for {host}");
        }
    }

    /// What comes of this answer, and what was asked.
    async fn ask(value: &str, answer: &str) -> (Result<(), ProxyError>, String) {
        let (mut near, mut far) = duplex(64 * 1024);
        far.write_all(answer.as_bytes()).await.expect("room");
        let done = proxy(value).connect(&mut near, "2001:db8::5", 443).await;
        drop(near);
        let (mut asked, mut rest) = (String::new(), far);
        rest.read_to_string(&mut asked).await.expect("text");
        (done, asked)
    }

    #[tokio::test]
    async fn it_is_asked_for_the_server_with_the_password_if_there_is_one() {
        let (done, asked) =
            ask("http://me:secret@host:1", "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n").await;
        assert!(done.is_ok());
        assert!(asked.starts_with("CONNECT [2001:db8::5]:443 HTTP/1.1\r\nHost: [2001:db8::5]:443\r\n"), "{asked}");
        assert!(asked.contains(&format!("\r\nProxy-Authorization: Basic {}\r\n", BASE64.encode(b"me:secret"))));
    }

    #[tokio::test]
    async fn a_refusal_says_what_to_do() {
        let say = |answer: &'static str| async move { ask("host:1", answer).await.0.expect_err("no").to_string() };
        let wants = say("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        assert!(wants.contains("host:1") && wants.contains("NAME:PASSWORD"), "{wants}");
        assert!(say("HTTP/1.0 403 Forbidden\r\n\r\n").await.contains("403"));
        assert!(say("SSH-2.0-OpenSSH_9.9\r\n\r\n").await.contains("like one"));
    }

    proptest! {
        #[test]
        fn no_environment_makes_it_panic(value in "\\PC{0,60}", exceptions in "\\PC{0,60}", host in "\\PC{0,30}") {
            let _ = of(&host, &[("https_proxy", &value), ("no_proxy", &exceptions)]);
        }
    }
}
