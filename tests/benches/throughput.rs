//! How much `punchline speed` carries over a direct path, beside a bare quinn that sends over the same link in the same run:
//! two namespaces without delay, the same shaped to 1 Gb/s (both the kernel's: veth, a bridge, tbf), and 80 ms of round trip through
//! the model. How long a message takes meanwhile.
//! `cargo bench -p e2e --bench throughput` prints the medians; docs/benchmarks.md keeps them. `-- NAME RUNS` tells one.

#[cfg(target_os = "linux")]
mod linux {
    use std::net::{IpAddr, SocketAddr, UdpSocket};
    use std::process::Command;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use anyhow::{Context, Result, ensure};
    use common::tls::{self, Certificate, SERVER_NAME};
    use e2e::{Computer, Person, World, numbered, start_rendezvous};
    use netsim::model::Line;
    use netsim::netns::enter_user_namespace_if_needed;
    use netsim::wire::Internet;
    use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
    use quinn::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
    use tokio::runtime::Runtime;

    const RUNS: usize = 5;
    /// How long bytes flow each way.
    const SECONDS: u64 = 5;
    const PATIENCE: Duration = Duration::from_secs(60);
    /// One way, from each house to the Internet: four of them are a round trip of 80 ms.
    const LONG: Duration = Duration::from_millis(20);
    const ALPN: &[u8] = b"bare";

    /// Figures of one run, by name.
    type Figures = Vec<(&'static str, f64)>;
    type Run = fn() -> Result<Figures>;

    const SERIES: [(&str, Run); 3] = [("plain", plain), ("gigabit", gigabit), ("long", long)];

    pub(super) fn main() -> Result<()> {
        enter_user_namespace_if_needed()?;
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        let (only, runs) = (arguments.next(), arguments.next().map_or(Ok(RUNS), |runs| runs.parse())?);
        for (name, run) in SERIES.into_iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
            println!("{name}");
            let mut all: Vec<Figures> = Vec::new();
            for number in 1..=runs {
                let figures = run().with_context(|| format!("{name}, run {number}"))?;
                println!("  {figures:.2?}");
                all.push(figures);
            }
            let names: Vec<_> = all.first().into_iter().flatten().map(|(name, _)| *name).collect();
            for figure in names {
                let of = |run: &Figures| run.iter().find(|(name, _)| *name == figure).map(|(_, value)| *value);
                let mut values: Vec<f64> = all.iter().filter_map(of).collect();
                values.sort_by(f64::total_cmp);
                let (least, most) = (values[0], values[values.len() - 1]);
                println!("  {figure:32} median {:.2}, least {least:.2}, most {most:.2}", values[values.len() / 2]);
            }
        }
        Ok(())
    }

    /// Two namespaces and a bridge.
    fn plain() -> Result<Figures> {
        kernel(None)
    }

    /// The same, where each may send a gigabit a second.
    fn gigabit() -> Result<Figures> {
        kernel(Some("1gbit"))
    }

    fn kernel(rate: Option<&str>) -> Result<Figures> {
        let world = World::new()?;
        let alice = world.alice(&world.net().public_host("alice")?)?;
        let bob = world.bob(&world.net().public_host("bob")?)?;
        world.acquaint(&alice, &bob)?;
        for person in [&alice, &bob] {
            if let Some(rate) = rate {
                shape(person.host(), rate)?;
            }
        }
        let socket = |person: &Person| person.host().udp(0);
        let at = IpAddr::V4(bob.host().address());
        figures(&alice, &bob, || Ok((socket(&alice)?, socket(&bob)?)), at)
    }

    /// The kernel's token bucket: 5 ms of queue, as a home router may have.
    fn shape(host: &netsim::netns::Host, rate: &str) -> Result<()> {
        let mut tc = Command::new("tc");
        tc.args(["qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "128kb", "latency", "5ms"]);
        let status = host.spawn(tc)?.wait()?;
        ensure!(status.success(), "tc does not shape: {status}");
        Ok(())
    }

    /// Two public hosts of the model, far from each other.
    fn long() -> Result<Figures> {
        let net = Internet::new(1)?;
        let server = net.public_host("rendezvous")?;
        let folder = tempfile::tempdir()?;
        let (_rendezvous, join) = start_rendezvous(&server, &[format!("{}:3478", server.address())], folder.path())?;
        let person = |name: &str| {
            let host = net.public_host(name)?;
            host.set_line(Line { delay: LONG, ..Line::default() });
            Person::new(name, &host, folder.path(), &join)
        };
        let (alice, bob) = (person("alice")?, person("bob")?);
        alice.add(&bob)?;
        bob.add(&alice)?;
        let at = bob.host().address();
        figures(&alice, &bob, || Ok((alice.host().udp(0)?, bob.host().udp(0)?)), at)
    }

    /// Bare quinn, Alice's command, bare quinn: what changes on the machine meanwhile touches both.
    fn figures<C: Computer>(
        alice: &Person<C>,
        bob: &Person<C>,
        sockets: impl Fn() -> Result<(UdpSocket, UdpSocket)>,
        bob_at: IpAddr,
    ) -> Result<Figures> {
        let before = bare(sockets()?, bob_at)?;
        let mut bobs = bob.run()?;
        bobs.expect("registered", PATIENCE);
        let mut alices = alice.start(&["speed", bob.name(), "--seconds", &SECONDS.to_string()])?;
        let speed = alices.expect("speed", PATIENCE).event;
        ensure!(alices.exit_code(PATIENCE) == 0, "{}", alices.transcript());
        let (memory, worked) = (bobs.memory() as f64 / 1e6, bobs.processor_time().as_secs_f64());
        bobs.kill();
        let bare = (before + bare(sockets()?, bob_at)?) / 2.0;
        let figure = |name: &str| speed[name].as_f64().with_context(|| format!("no {name} in {speed}"));
        let (up, down) = (figure("up_mbps")?, figure("down_mbps")?);
        Ok(vec![
            ("bare quinn, Mb/s", bare),
            ("up, Mb/s", up),
            ("down, Mb/s", down),
            ("up, of bare quinn", up / bare),
            ("down, of bare quinn", down / bare),
            ("idle round trip, ms", figure("idle_rtt_ms")?),
            ("loaded round trip, ms", figure("loaded_rtt_ms")?),
            ("Bob's memory, MB", memory),
            ("Bob's processor time, s", worked),
        ])
    }

    /// A quinn without anything of ours, as it comes: one stream, for as long. In megabits a second, as they arrive.
    fn bare((near, far): (UdpSocket, UdpSocket), far_at: IpAddr) -> Result<f64> {
        let to = SocketAddr::new(far_at, far.local_addr()?.port());
        let (alice, bob) = (numbered(1), numbered(2));
        let (server, _) = tls::server_config(&Certificate::new(&bob)?, Some(alice.peer_id()), ALPN)?;
        let server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
        let (client, _) = tls::client_config(&Certificate::new(&alice)?, bob.peer_id(), ALPN)?;
        let client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
        let (sends, receives) = (Runtime::new()?, Runtime::new()?);
        let endpoint =
            |socket, config| Endpoint::new(EndpointConfig::default(), config, socket, Arc::new(TokioRuntime));
        let arrives = receives.spawn(async move {
            let endpoint = endpoint(far, Some(server))?;
            let connection = endpoint.accept().await.context("a connection")?.await?;
            let mut stream = connection.accept_uni().await?;
            let mut pieces = std::array::from_fn::<_, 64, _>(|_| Default::default());
            let (mut bytes, begun) = (0, Instant::now());
            let mut last = begun;
            while let Ok(Some(filled)) = stream.read_chunks(&mut pieces).await {
                bytes += pieces[..filled].iter().map(|piece| piece.len()).sum::<usize>();
                last = Instant::now();
            }
            anyhow::Ok(bytes as f64 * 8e-6 / (last - begun).as_secs_f64())
        });
        let sent = sends.spawn(async move {
            let connection = endpoint(near, None)?.connect_with(client, to, SERVER_NAME)?.await?;
            let mut stream = connection.open_uni().await?;
            let piece = vec![0; 64 * 1024].into();
            let flow = async { while stream.write_chunk(Clone::clone(&piece)).await.is_ok() {} };
            let _ = tokio::time::timeout(Duration::from_secs(SECONDS), flow).await;
            stream.reset(0u8.into())?;
            connection.closed().await;
            anyhow::Ok(())
        });
        let rate = receives.block_on(async { tokio::time::timeout(PATIENCE, arrives).await })???;
        receives.shutdown_background();
        sent.abort();
        sends.shutdown_background();
        Ok(rate)
    }
}

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("needs Linux network namespaces");
}
