//! What the operator decides: flags over environment over file over defaults, decided here and nowhere else.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use common::link::DEFAULT_PORT;
use common::tunnel;
use serde::Deserialize;

use crate::data_folder::{self, DataError};
use crate::limits::Limits;
use crate::listen;

/// What a server needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Addresses with the port of QUIC and STUN; the port above it is for STUN alone. Port 0: any.
    pub listen: Vec<SocketAddr>,
    /// Do without the IPv6 addresses where there is no IPv6.
    pub ipv6_optional: bool,
    /// The data folder.
    pub data: PathBuf,
    /// What links name in place of the listening address.
    pub host: Option<Host>,
    /// TCP addresses of the tunnel, all with one port; none: no tunnel.
    pub tunnel: Vec<SocketAddr>,
    /// Forward datagrams between two who were introduced.
    pub relay: bool,
    /// The folder of the mail for those who are away; `None`: none is kept.
    pub mailbox: Option<PathBuf>,
    /// How much is allowed.
    pub limits: Limits,
}

impl Config {
    /// A server on this address with its data in this folder, and defaults in everything else.
    pub fn new(listen: SocketAddr, data: impl Into<PathBuf>) -> Self {
        let (data, limits) = (data.into(), Limits::default());
        let (listen, tunnel, mailbox) = (vec![listen], Vec::new(), Some(data.clone()));
        Config { listen, ipv6_optional: false, data, host: None, tunnel, relay: true, mailbox, limits }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file.
    #[error("reading the configuration {}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// What stands in it.
    #[error("the configuration {}: {source}", path.display())]
    Parse {
        /// Which one.
        path: PathBuf,
        /// Where, and what.
        source: Box<toml::de::Error>,
    },
    /// There is no data folder.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// `IP` or `IP:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ListenAddress {
    ip: IpAddr,
    port: Option<u16>,
}

impl ListenAddress {
    /// With this port if it has none.
    fn at_or(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

/// Why a text is no address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not IP or IP:PORT, for example 203.0.113.5, 0.0.0.0:3478 or [2001:db8::5]:3478")]
pub struct BadListenAddress(String);

impl FromStr for ListenAddress {
    type Err = BadListenAddress;

    fn from_str(text: &str) -> Result<Self, BadListenAddress> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse() {
            return Ok(ListenAddress { ip, port: None });
        }
        let address: SocketAddr = text.parse().map_err(|_| BadListenAddress(text.to_owned()))?;
        Ok(ListenAddress { ip: address.ip(), port: Some(address.port()) })
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = BadListenAddress;

    fn try_from(text: String) -> Result<Self, BadListenAddress> {
        text.parse()
    }
}

/// `HOST` or `HOST:PORT`, for links.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Host {
    /// A name or an IP address, without brackets.
    pub name: String,
    /// If it differs from the one that is listened on.
    pub port: Option<u16>,
}

/// Why a text is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not HOST or HOST:PORT, for example rendezvous.example.org or [2001:db8::5]:4000")]
pub struct BadHost(String);

impl FromStr for Host {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        if let Ok(ListenAddress { ip, port }) = text.parse() {
            return if port == Some(0) {
                Err(BadHost(text.to_owned()))
            } else {
                Ok(Host { name: ip.to_string(), port })
            };
        }
        let bad = || BadHost(text.to_owned());
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?)),
            None => (text, None),
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || name.len() > 253 || !name.chars().all(allowed) {
            return Err(bad());
        }
        Ok(Host { name: name.to_owned(), port })
    }
}

impl TryFrom<String> for Host {
    type Error = BadHost;

    fn try_from(text: String) -> Result<Self, BadHost> {
        text.parse()
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Whether to relay, as a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Relay {
    /// Forward.
    On,
    /// Introduce only.
    Off,
}

/// Where mail is kept, if anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum MailboxPlace {
    /// Nowhere.
    Off,
    /// In this folder.
    Folder(PathBuf),
}

impl From<String> for MailboxPlace {
    fn from(text: String) -> Self {
        if text == "off" { MailboxPlace::Off } else { MailboxPlace::Folder(text.into()) }
    }
}

/// The flags of `rendezvous run`, and their environment variables.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Address to listen on, IP or IP:PORT; may be given twice
    ///
    /// UDP at this port (3478 if none is given) carries QUIC and STUN, the port above it STUN alone. A second address of
    /// the same family lets clients find out how their NAT maps and filters (RFC 5780). Port 0 takes any free pair.
    /// Without this, all addresses of the machine, IPv4 and IPv6.
    #[arg(long, env = "RENDEZVOUS_LISTEN", value_name = "IP[:PORT]", value_delimiter = ',')]
    pub listen: Vec<ListenAddress>,
    /// What the join link names: the name or address by which clients reach this server
    #[arg(long, env = "RENDEZVOUS_HOST", value_name = "HOST[:PORT]")]
    pub host: Option<Host>,
    /// Folder of the server's key; /var/lib/rendezvous for root, else the user's data folder
    #[arg(long, env = "RENDEZVOUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Also serve clients whose network blocks UDP, at this TCP address; may be given several times
    ///
    /// IP or IP:PORT, 443 if no port is given, which is where the clients look unless the link says otherwise: the link
    /// that this server prints does. They speak TLS with this server's key and a WebSocket, to this server alone. Without
    /// this there is no tunnel.
    #[arg(long, env = "RENDEZVOUS_TUNNEL", value_name = "IP[:PORT]", value_delimiter = ',')]
    pub tunnel: Vec<ListenAddress>,
    /// Whether to forward the datagrams of two clients who cannot reach each other directly [default: on]
    ///
    /// They are encrypted from end to end; what it costs is bandwidth. Each client may send as much as the limits say.
    #[arg(long, env = "RENDEZVOUS_RELAY", value_name = "on|off", hide_possible_values = true)]
    pub relay: Option<Relay>,
    /// Where to keep mail for clients who are away, or `off` to keep none [default: the data folder]
    ///
    /// Only the recipient can open it. It waits for 14 days, takes up to 1 GiB, and is kept for up to 50,000 people, unless
    /// `mailbox-days`, `mailbox-bytes` and `mailbox-accounts` of the limits in the configuration file say otherwise.
    #[arg(long, env = "RENDEZVOUS_MAILBOX", value_name = "off|DIR")]
    pub mailbox: Option<MailboxPlace>,
    /// TOML file with any of: listen, host, data, tunnel, relay, mailbox, log-format, and a table of limits
    #[arg(long, env = "RENDEZVOUS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How log lines on standard error look [default: text]
    #[arg(long, env = "RENDEZVOUS_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileConfig {
    listen: Option<Vec<ListenAddress>>,
    host: Option<Host>,
    data: Option<PathBuf>,
    tunnel: Option<Vec<ListenAddress>>,
    relay: Option<bool>,
    mailbox: Option<MailboxPlace>,
    log_format: Option<LogFormat>,
    limits: Option<Limits>,
}

impl RunArgs {
    /// Reads the file, if there is one, and puts everything together.
    pub fn resolve(self) -> Result<(Config, LogFormat), ConfigError> {
        let file = self.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let listen = if self.listen.is_empty() { file.listen.unwrap_or_default() } else { self.listen };
        let port = listen.iter().find_map(|address| address.port).unwrap_or(DEFAULT_PORT);
        let chosen = listen.iter().map(|address| address.at_or(port)).collect();
        let data = match self.data.or(file.data) {
            Some(data) => data,
            None => data_folder::default_path()?,
        };
        let tunnel = if self.tunnel.is_empty() { file.tunnel.unwrap_or_default() } else { self.tunnel };
        let tunnel = tunnel.into_iter().map(|address| address.at_or(tunnel::DEFAULT_PORT)).collect();
        let mailbox = match self.mailbox.or(file.mailbox) {
            None => Some(data.clone()),
            Some(MailboxPlace::Folder(folder)) => Some(folder),
            Some(MailboxPlace::Off) => None,
        };
        let config = Config {
            ipv6_optional: listen.is_empty(),
            listen: if listen.is_empty() { listen::everywhere(port) } else { chosen },
            data,
            host: self.host.or(file.host),
            tunnel,
            relay: self.relay.map(|relay| relay == Relay::On).or(file.relay).unwrap_or(true),
            mailbox,
            limits: file.limits.unwrap_or_default(),
        };
        Ok((config, self.log_format.or(file.log_format).unwrap_or_default()))
    }
}

fn read(path: &Path) -> Result<FileConfig, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these arguments beside a file of this content, which is gone again afterwards.
    fn resolve(file: &str, listen: &[&str]) -> Result<(Config, LogFormat), ConfigError> {
        let path = tempfile::NamedTempFile::new().expect("a file").into_temp_path();
        fs::write(&path, file).expect("written");
        let listen = listen.iter().map(|text| text.parse().expect("an address")).collect();
        let config = Some(path.to_path_buf());
        RunArgs { listen, config, data: Some("/data".into()), ..RunArgs::default() }.resolve()
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = "listen = ['192.0.2.1:4000']\nhost = 'example.org'\nlog-format = 'json'\nlimits.registrations = 5\n";
        let (config, format) = resolve(file, &[]).expect("a configuration");
        assert_eq!(config.listen, ["192.0.2.1:4000".parse().expect("an address")]);
        assert_eq!(config.host, Some(Host { name: "example.org".into(), port: None }));
        assert_eq!((format, config.limits.registrations), (LogFormat::Json, 5));
        assert_eq!(config.limits.connections_per_ipv4, Limits::default().connections_per_ipv4);
        let (config, _) = resolve(file, &["192.0.2.2", "192.0.2.3:5000"]).expect("a configuration");
        let expected = ["192.0.2.2:5000", "192.0.2.3:5000"].map(|text| text.parse().expect("an address"));
        assert_eq!(config.listen, expected, "an address without a port takes that of the others");
    }

    #[test]
    fn without_addresses_it_listens_everywhere() {
        let (config, format) = resolve("", &[]).expect("a configuration");
        assert_eq!(config.listen, listen::everywhere(3478));
        assert!(config.ipv6_optional);
        assert_eq!(format, LogFormat::Text);
    }

    #[test]
    fn it_relays_unless_the_file_says_no_and_the_flag_wins() {
        let relay = |file: &str| resolve(file, &[]).map(|(config, _)| config.relay).expect("a configuration");
        assert_eq!([relay(""), relay("relay = false"), relay("relay = true")], [true, false, true]);
        let args = RunArgs { relay: Some(Relay::Off), data: Some("/data".into()), ..RunArgs::default() };
        assert!(!args.resolve().expect("a configuration").0.relay);
        let error = resolve("limits.relay-bytes-per-second = 0", &[]).expect_err("none at all").to_string();
        assert!(error.contains("nonzero"), "{error}");
    }

    #[test]
    fn mail_is_kept_in_the_data_folder_unless_the_file_says_otherwise_and_the_flag_wins() {
        let mailbox = |file: &str| resolve(file, &[]).map(|(config, _)| config.mailbox).expect("a configuration");
        assert_eq!(mailbox(""), Some("/data".into()));
        assert_eq!(mailbox("mailbox = '/mail'"), Some("/mail".into()));
        assert_eq!(mailbox("mailbox = 'off'"), None);
        let mailbox = Some(String::from("/else").into());
        let args = RunArgs { mailbox, data: Some("/data".into()), ..RunArgs::default() };
        assert_eq!(args.resolve().expect("a configuration").0.mailbox, Some("/else".into()));
        for days in [0, 31] {
            let error = resolve(&format!("limits.mailbox-days = {days}"), &[]).expect_err("out of range").to_string();
            assert!(error.contains("for 1 to 30 days"), "{error}");
        }
    }

    #[test]
    fn there_is_no_tunnel_unless_it_is_asked_for_and_it_is_at_the_port_of_https() {
        let tunnel = |file: &str| resolve(file, &[]).map(|(config, _)| config.tunnel).expect("a configuration");
        assert_eq!(tunnel(""), []);
        let expected = ["192.0.2.1:443", "[2001:db8::1]:8443"].map(|text| text.parse().expect("an address"));
        assert_eq!(tunnel("tunnel = ['192.0.2.1', '[2001:db8::1]:8443']"), expected);
    }

    #[test]
    fn an_unknown_key_is_named() {
        for (file, key) in [("lisen = []", "lisen"), ("[limits]\nregistration = 5", "registration")] {
            let error = resolve(file, &[]).expect_err("a typing error").to_string();
            assert!(error.contains(&format!("unknown field `{key}`")), "{error}");
        }
    }

    #[test]
    fn hosts_and_addresses_are_read_as_people_write_them() {
        let host = |text: &str| text.parse::<Host>().map(|host| (host.name, host.port)).ok();
        assert_eq!(host("example.org:4000"), Some(("example.org".into(), Some(4000))));
        assert_eq!(host("2001:db8::5"), Some(("2001:db8::5".into(), None)));
        assert_eq!(host("[2001:db8::5]:4000"), Some(("2001:db8::5".into(), Some(4000))));
        for bad in ["", ":4000", "example.org:0", "example.org:http", "https://example.org", "192.0.2.1:0"] {
            assert_eq!(host(bad), None, "{bad}");
        }
        assert!("example.org".parse::<ListenAddress>().is_err());
        assert!("[::1]".parse::<ListenAddress>().is_ok());
    }
}
