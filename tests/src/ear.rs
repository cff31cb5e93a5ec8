//! Everything that a computer sends and receives, as its kernel sees it: for stories about what must not be there.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};
use netsim::netns::Host;
use socket2::{Domain, Protocol, Socket, Type};

/// linux/if_ether.h
const ETH_P_ALL: u16 = 3;
/// What may wait while the listener is not running.
const QUEUE: usize = 4 << 20;
/// How often the listener looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// The next header of an IPv6 packet that is the kernel's own: ICMPv6, by which it finds its neighbours and its routers.
const ICMPV6: u8 = 58;

/// An IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// 17 is UDP.
    pub protocol: u8,
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} (protocol {})", self.source, self.destination, self.protocol)
    }
}

/// Hears from when it is made until it is asked.
pub struct Ear {
    stop: Arc<AtomicBool>,
    listener: JoinHandle<Vec<Packet>>,
}

impl Ear {
    /// At all interfaces of this host.
    pub fn at(host: &Host) -> Result<Ear> {
        let mut socket = host.enter(open)??;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let listener = thread::spawn(move || {
            let (mut heard, mut bytes) = (Vec::new(), vec![0; 65_536]);
            loop {
                // Whatever was sent before the end was asked for is waiting by then.
                let last = stopping.load(Ordering::SeqCst);
                match socket.read(&mut bytes) {
                    Ok(length) => heard.extend(parse(&bytes[..length])),
                    Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) && last => {
                        return heard;
                    }
                    Err(_) => {}
                }
            }
        });
        Ok(Ear { stop, listener })
    }

    /// What was heard, between this computer and others.
    pub fn heard(self) -> Result<Vec<Packet>> {
        self.stop.store(true, Ordering::SeqCst);
        let heard = self.listener.join().map_err(|_| anyhow!("the listener failed"))?;
        Ok(heard.into_iter().filter(|packet| !packet.source.is_loopback() && packet.protocol != ICMPV6).collect())
    }
}

fn open() -> std::io::Result<Socket> {
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
    socket.set_recv_buffer_size(QUEUE)?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

/// From the IP header on; what is not IP (ARP) is nothing.
fn parse(bytes: &[u8]) -> Option<Packet> {
    match bytes.first()? >> 4 {
        4 => {
            let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?).into());
            Some(Packet { source: address(12)?, destination: address(16)?, protocol: *bytes.get(9)? })
        }
        6 => {
            let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?).into());
            Some(Packet { source: address(8)?, destination: address(24)?, protocol: *bytes.get(6)? })
        }
        _ => None,
    }
}
