//! A computer that a survey speaks from, whoever its packets are carried by.

use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use crate::model::Family;
use crate::netns::error::{Error, Result};
use crate::netns::host::Host;
use crate::netns::process::Process;
use crate::wire;

/// A computer whose sockets and programs are real.
pub trait Vantage: Sized {
    /// For messages.
    fn name(&self) -> &str;
    /// Its first address of this version of IP.
    fn address_of(&self, family: Family) -> Option<IpAddr>;
    /// Runs the closure there, and waits for it; sockets made in it stay there.
    fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T>;
    /// Starts a program there.
    fn spawn(&self, command: Command) -> Result<Process>;

    /// A UDP socket there, on one of its addresses.
    fn udp_on(&self, address: IpAddr, port: u16) -> Result<UdpSocket> {
        self.enter(|| UdpSocket::bind((address, port)))?
            .map_err(Error::kernel(self.name(), format!("bind UDP port {port}")))
    }

    /// Whether a TCP connection to the other one comes about in this time.
    fn connects_to(&self, other: &Self, family: Family, port: u16, patience: Duration) -> Result<bool> {
        let address = first_address(other, family)?;
        let listener = other
            .enter(|| TcpListener::bind((address, port)))?
            .map_err(Error::kernel(other.name(), format!("bind TCP port {port}")))?;
        let connected = self.enter(|| TcpStream::connect_timeout(&(address, port).into(), patience))?;
        drop(listener);
        Ok(connected.is_ok())
    }
}

/// The address that a survey over this version of IP speaks from.
pub(super) fn first_address(host: &impl Vantage, family: Family) -> Result<IpAddr> {
    let none = || Error::kernel(host.name(), format!("give it an address of {family}"));
    host.address_of(family).ok_or_else(|| none()(nix::errno::Errno::EADDRNOTAVAIL.into()))
}

impl Vantage for Host {
    fn name(&self) -> &str {
        self.name()
    }

    fn address_of(&self, family: Family) -> Option<IpAddr> {
        (family == Family::Ipv4).then(|| self.address().into())
    }

    fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        self.enter(closure)
    }

    fn spawn(&self, command: Command) -> Result<Process> {
        self.spawn(command)
    }
}

impl Vantage for wire::Host {
    fn name(&self) -> &str {
        self.name()
    }

    fn address_of(&self, family: Family) -> Option<IpAddr> {
        let addresses = self.addresses();
        match family {
            Family::Ipv4 => addresses.ipv4,
            Family::Ipv6 => addresses.ipv6,
        }
    }

    fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        self.enter(closure)
    }

    fn spawn(&self, command: Command) -> Result<Process> {
        self.spawn(command)
    }
}
