//! What the driver of real packets costs: setting up, tearing down, packets, bytes, and delay. Some ten seconds.
//!
//! `cargo bench -p netsim --bench wire`

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures real sockets with a real clock")]

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("netsim carries real packets on Linux only");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use netsim::model::presets;
    use netsim::netns::enter_user_namespace_if_needed;
    use netsim::wire::{Host, Internet};
    use nix::sys::socket::setsockopt;
    use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce, UdpGsoSegment};

    type Result<T> = std::result::Result<T, Box<dyn Error>>;

    /// Long enough to be past the start.
    const RUN: Duration = Duration::from_secs(2);
    const ROUND_TRIPS: usize = 5000;

    pub(crate) fn main() -> Result<()> {
        enter_user_namespace_if_needed()?;
        for count in [100, 500] {
            set_up_and_tear_down(count)?;
        }
        round_trips()?;
        for (payload, burst) in [(64, 1), (1400, 1), (1400, 40)] {
            datagrams_as_fast_as_they_go(payload, burst)?;
        }
        for paced in [60_000, 80_000, 100_000] {
            datagrams_at(paced)?;
        }
        stream()
    }

    fn set_up_and_tear_down(count: usize) -> Result<()> {
        let started = Instant::now();
        let net = Internet::new(1)?;
        let homes: Vec<_> = (0..count / 2).map(|n| net.router(&format!("home{n}"), presets::home())).collect();
        let hosts: std::result::Result<Vec<Host>, _> =
            homes.iter().flat_map(|home| ["alice", "bob"].map(|name| home.host(name))).collect();
        let hosts = hosts?;
        let up = started.elapsed();
        let sockets: std::result::Result<Vec<UdpSocket>, _> = hosts.iter().map(|host| host.udp(4000)).collect();
        let started = Instant::now();
        drop((sockets?, hosts, homes, net));
        println!("{count} hosts: up in {up:.2?}, down in {:.2?}", started.elapsed());
        Ok(())
    }

    /// A server, and somebody behind a NAT.
    fn pair() -> Result<(Host, Host)> {
        let net = Internet::new(1)?;
        Ok((net.public_host("server")?, net.router("home", presets::home()).host("alice")?))
    }

    fn round_trips() -> Result<()> {
        let (server, alice) = pair()?;
        let through_nat = round_trip(&alice, &server)?;
        let within = round_trip(&server, &server)?;
        let added = through_nat.1.saturating_sub(within.1) / 2;
        println!("round trip through one NAT: median {:.1?}, p99 {:.1?}", through_nat.1, through_nat.2);
        println!("round trip within one host: median {:.1?}, p99 {:.1?}", within.1, within.2);
        println!("added delay, one way: median {added:.1?}");
        Ok(())
    }

    /// Least, median, and 99th percentile.
    fn round_trip(near: &Host, far: &Host) -> Result<(Duration, Duration, Duration)> {
        let (asks, answers) = (near.udp(0)?, far.udp(3478)?);
        let echo = answers.try_clone()?;
        let ended = thread::spawn(move || -> std::io::Result<()> {
            let mut buffer = [0; 64];
            for _ in 0..ROUND_TRIPS {
                let (length, from) = echo.recv_from(&mut buffer)?;
                echo.send_to(&buffer[..length], from)?;
            }
            Ok(())
        });
        let mut took = Vec::with_capacity(ROUND_TRIPS);
        for _ in 0..ROUND_TRIPS {
            let started = Instant::now();
            asks.send_to(b"who am I?", (far.address(), 3478))?;
            asks.recv_from(&mut [0; 64])?;
            took.push(started.elapsed());
        }
        ended.join().map_err(|_| "the far side panicked")??;
        took.sort_unstable();
        Ok((took[0], took[took.len() / 2], took[took.len() * 99 / 100]))
    }

    fn datagrams_as_fast_as_they_go(payload: usize, burst: usize) -> Result<()> {
        let (sent, got, took) = datagrams(payload, burst, None)?;
        println!(
            "UDP, {payload} bytes, {burst} a system call, unpaced: {:.0} kpps arrive, {:.2} Gb/s, of {:.0} kpps sent",
            per_second(got, took) / 1e3,
            per_second(got * (payload + 28) * 8, took) / 1e9,
            per_second(sent, took) / 1e3,
        );
        Ok(())
    }

    fn datagrams_at(rate: usize) -> Result<()> {
        let (sent, got, took) = datagrams(1400, 1, Some(rate))?;
        let lost = 100.0 * sent.saturating_sub(got) as f64 / sent as f64;
        println!("UDP, 1400 bytes, {:.0} kpps sent: {lost:.2} % lost", per_second(sent, took) / 1e3);
        Ok(())
    }

    fn per_second(count: usize, took: Duration) -> f64 {
        count as f64 / took.as_secs_f64()
    }

    /// From behind the NAT to the server: sent, arrived, and in which time.
    fn datagrams(payload: usize, burst: usize, rate: Option<usize>) -> Result<(usize, usize, Duration)> {
        let (server, alice) = pair()?;
        let (speaks, listens) = (alice.udp(4000)?, server.udp(3478)?);
        speaks.connect((server.address(), 3478))?;
        // Its own queue is not what is measured.
        setsockopt(&listens, RcvBuf, &(8 << 20))?;
        let _ = setsockopt(&listens, RcvBufForce, &(8 << 20));
        listens.set_read_timeout(Some(Duration::from_millis(50)))?;
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let counting = scope.spawn(|| {
                let (mut buffer, mut got) = ([0; 2048], 0_usize);
                loop {
                    match listens.recv(&mut buffer) {
                        Ok(_) => got += 1,
                        Err(late) if late.kind() == ErrorKind::WouldBlock && over.load(Ordering::Relaxed) => {
                            return got;
                        }
                        Err(_) => {}
                    }
                }
            });
            let (started, data) = (Instant::now(), vec![0; payload * burst]);
            if burst > 1 {
                setsockopt(&speaks, UdpGsoSegment, &i32::try_from(payload)?)?;
            }
            let mut sent = 0;
            while started.elapsed() < RUN {
                let due = rate.map_or(64, |rate| (started.elapsed().as_secs_f64() * rate as f64) as usize - sent);
                for _ in 0..due.min(64) {
                    speaks.send(&data)?;
                    sent += burst;
                }
                if due == 0 {
                    thread::sleep(Duration::from_micros(50));
                }
            }
            let took = started.elapsed();
            over.store(true, Ordering::Relaxed);
            let got = counting.join().map_err(|_| "the listener panicked")?;
            Ok((sent, got, took))
        })
    }

    fn stream() -> Result<()> {
        let (server, alice) = pair()?;
        let listener = server.enter(|| TcpListener::bind((server.address(), 443)))??;
        let counting = thread::spawn(move || -> std::io::Result<usize> {
            let (mut stream, mut buffer, mut got) = (listener.accept()?.0, vec![0; 1 << 20], 0);
            loop {
                match stream.read(&mut buffer)? {
                    0 => return Ok(got),
                    length => got += length,
                }
            }
        });
        let mut stream = alice.enter(|| TcpStream::connect((server.address(), 443)))??;
        let (started, data) = (Instant::now(), vec![0; 1 << 20]);
        while started.elapsed() < RUN {
            stream.write_all(&data)?;
        }
        drop(stream);
        let got = counting.join().map_err(|_| "the listener panicked")??;
        println!("TCP through one NAT: {:.2} Gb/s", per_second(got * 8, started.elapsed()) / 1e9);
        Ok(())
    }
}
