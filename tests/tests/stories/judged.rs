//! Outside judges: coturn's tools ask our rendezvous from behind a router whose behaviour is known.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use e2e::{Computer, Person, RendezvousOptions, World, router_of, start_rendezvous};
use netsim::model::behaviour::{Filtering, Mapping};
use netsim::model::{self, Access, Behaviour, Families, Family, Line, Observed, Survey, presets};
use netsim::netns::{Process, Router, in_namespaces, kernel_routers, kernel_site};
use netsim::wire::Internet;

/// `turnutils_natdiscovery` waits for answers that a filter keeps from it.
const JUDGING: Duration = Duration::from_secs(30);

#[test]
fn coturn_sees_the_mapped_address_that_the_router_gave() {
    in_namespaces(|| {
        let world = World::new()?;
        let home = router_of(&world, "home", Router::home())?;
        let host = home.host("judge")?;
        let Some(verdict) = judge(&host, "turnutils_stunclient", &[&world.server().address().to_string()])? else {
            return Ok(());
        };
        assert!(verdict.contains(&format!("UDP reflexive addr: {}:", home.wan_address())), "{verdict}");
        Ok(())
    });
}

#[test]
fn netcheck_and_coturn_agree_on_every_cell_and_every_preset_of_the_wire() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("rendezvous")?;
        let folder = tempfile::tempdir()?;
        let addresses = [server.address(), server.add_address()?];
        let listen = addresses.map(|address| format!("{address}:3478"));
        let (_rendezvous, join) = start_rendezvous(&server, &listen, folder.path())?;
        let presets = presets::all().into_iter().map(|preset| (preset.name.to_owned(), preset.access));
        let cells = cells().map(|(name, mapping, filtering)| {
            let routers = vec![model::Router::ipv4(Behaviour::nat(mapping, filtering))];
            (name, Access { families: Families::Ipv4, routers })
        });
        let mut cases = vec![];
        for (name, access) in cells.chain(presets) {
            // What coturn says where nothing is translated, or nothing passes, is not in these words.
            let survey = Survey::of(&access, Family::Ipv4);
            let Some(truth) = survey.as_ref().and_then(Survey::observed).filter(|seen| seen.translated) else {
                continue;
            };
            cases.push(Case { host: net.site(&name, &access, Line::default()).host(&name)?, truth: *truth, name });
        }
        assert_eq!(cases.len(), 9 + 14, "all presets but open, udp_blocked and ipv6_firewall");
        let theirs = net.public_host("coturn")?;
        let Some(coturn) = Coturn::start(&theirs, [theirs.address(), theirs.add_address()?])? else { return Ok(()) };
        agree(addresses[0], &coturn, &join, folder.path(), cases)?;
        Ok(())
    });
}

#[test]
fn netcheck_and_coturn_agree_on_every_cell_and_every_preset_that_the_kernel_can_be() {
    in_namespaces(|| {
        let world = World::with(RendezvousOptions { two_addresses: true })?;
        let cells = cells().map(|(name, mapping, filtering)| (name, vec![Router::cell(mapping, filtering)]));
        let carried = ("a home behind a carrier".to_owned(), vec![Router::home(), Router::carrier()]);
        let presets = presets::all().into_iter().filter_map(|preset| {
            let routers = kernel_routers(&preset.access).ok().filter(|routers| !routers.is_empty())?;
            Some((preset.name.to_owned(), routers))
        });
        let mut cases = vec![];
        for (name, routers) in cells.chain([carried]).chain(presets) {
            let chain: Vec<Behaviour> = routers.iter().map(Router::behaviour).collect();
            let survey = Survey::of_chain(&chain.iter().collect::<Vec<_>>());
            let truth = *survey.observed().context("UDP passes")?;
            let host = kernel_site(world.net(), &routers)?(&format!("host-{}", cases.len()))?;
            cases.push(Case { name, host, truth });
        }
        assert!(cases.len() >= 9 + 1 + 11, "{}", cases.len());
        let theirs = world.net().public_host("coturn")?;
        let addresses = [theirs.address().into(), theirs.add_address()?.into()];
        let Some(coturn) = Coturn::start(&theirs, addresses)? else { return Ok(()) };
        agree(world.server().address().into(), &coturn, world.join_link(), world.folder(), cases)?;
        Ok(())
    });
}

fn cells() -> impl Iterator<Item = (String, Mapping, Filtering)> {
    Mapping::ALL
        .into_iter()
        .flat_map(|mapping| Filtering::ALL.map(|filtering| (format!("{mapping} x {filtering}"), mapping, filtering)))
}

/// Asks coturn's tool and ours from each of these computers, side by side: it waits six seconds for what a filter keeps out.
/// Prints what both say as a table.
fn agree<C: Computer + Send>(
    server: IpAddr,
    coturn: &Coturn,
    join: &str,
    folder: &Path,
    cases: Vec<Case<C>>,
) -> anyhow::Result<()> {
    let rows: Vec<Row> = thread::scope(|scope| {
        let asked: Vec<_> = cases
            .into_iter()
            .enumerate()
            .map(|(number, case)| scope.spawn(move || row(server, coturn.address, join, folder, number, &case)))
            .collect();
        asked
            .into_iter()
            .map(|asked| asked.join().map_err(|_| anyhow::anyhow!("a judgement broke off"))?)
            .collect::<anyhow::Result<_>>()
    })?;
    println!("| kind | natdiscovery: mapping | filtering | netcheck: mapping | filtering |\n|---|---|---|---|---|");
    for Row { name, coturn, ours, .. } in &rows {
        println!("| {name} | {} | {} | {} | {} |", coturn[0], coturn[1], ours[0], ours[1]);
    }
    for Row { name, coturn, ours, truth, of_our_server } in &rows {
        assert_eq!((coturn, ours), (truth, truth), "{name}");
        // What it takes for a third address is the OTHER-ADDRESS of the second answer. That leads back to the first address where a
        // server keeps to RFC 5780 (section 6.1, figure 1); coturn's does not, and what its tool calls "dependent on the port" is
        // then all that depends on the address.
        let misled = truth[0] == "address dependent" && of_our_server == "address and port dependent";
        assert!(misled || *of_our_server == truth[0], "{name}: {of_our_server}");
    }
    Ok(())
}

/// A computer behind routers of which everything is known.
struct Case<C> {
    name: String,
    host: C,
    truth: Observed,
}

/// What both say of mapping and filtering, in RFC 4787's words, and what is so.
struct Row {
    name: String,
    coturn: [String; 2],
    ours: [String; 2],
    truth: [String; 2],
    /// Of mapping, what coturn's tool says after asking our server.
    of_our_server: String,
}

fn row(
    server: IpAddr,
    coturn: IpAddr,
    join: &str,
    folder: &Path,
    number: usize,
    Case { name, host, truth }: &Case<impl Computer>,
) -> anyhow::Result<Row> {
    let says = |question: &str, what: &str, server: IpAddr| {
        let said =
            judge(host, "turnutils_natdiscovery", &[question, &server.to_string()])?.context("coturn is there")?;
        let verdict = said.lines().rfind(|line| line.contains("NAT with")).unwrap_or(&said).trim();
        let verdict = verdict.strip_prefix("NAT with ").and_then(|verdict| verdict.strip_suffix(what));
        anyhow::Ok(verdict.with_context(|| format!("{name}: {said}"))?.to_lowercase())
    };
    let of_our_server = says("-m", " Mapping!", server)?;
    let coturn = [says("-m", " Mapping!", coturn)?, says("-f", " Filtering!", server)?];
    let person = Person::new(&format!("judge-{number}"), host, folder, join)?;
    let checked = person.command(&["netcheck"])?;
    let profile = &checked["profile"];
    assert_eq!(profile["translated"], true, "{name}: {checked}");
    assert_eq!(profile["hairpinning"], serde_json::json!(truth.hairpinning), "{name}: {checked}");
    let truth = [truth.mapping.to_string(), truth.filtering.to_string()].map(|word| word.replace('-', " "));
    let ours = ["mapping", "filtering"].map(|what| profile[what].as_str().unwrap_or("null").replace('_', " "));
    Ok(Row { name: name.clone(), coturn, ours, truth, of_our_server })
}

/// Coturn's own server.
struct Coturn {
    address: IpAddr,
    _process: Process,
}

impl Coturn {
    /// On both addresses of this host; `None`, with a word about it, where it is not installed.
    fn start(host: &impl Computer, addresses: [IpAddr; 2]) -> anyhow::Result<Option<Coturn>> {
        let [first, second] = addresses.map(|address| address.to_string());
        let mut command = Command::new("turnserver");
        command
            .args(["-n", "-S", "--no-cli", "--no-tls", "--no-dtls", "--no-auth", "--pidfile", "/dev/null"])
            .args(["--log-file", "stdout", "-p", "3478", "--alt-listening-port", "3479", "-L", &first, "-L", &second])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if !is_installed("turnserver") {
            return Ok(None);
        }
        let process = host.start(command)?;
        let started = Instant::now();
        while !judge(host, "timeout", &["1", "turnutils_stunclient", &first])?
            .is_some_and(|said| said.contains("UDP reflexive addr"))
        {
            anyhow::ensure!(started.elapsed() < JUDGING, "coturn does not answer");
        }
        Ok(Some(Coturn { address: addresses[0], _process: process }))
    }
}

fn is_installed(tool: &str) -> bool {
    let missing = Command::new("which").arg(tool).stdout(Stdio::null()).status().is_ok_and(|status| !status.success());
    if missing {
        println!("not judged: {tool} is not installed (Debian package coturn)");
    }
    !missing
}

/// What the judge says; `None`, with a word about it, where coturn is not installed.
fn judge(host: &impl Computer, tool: &str, arguments: &[&str]) -> anyhow::Result<Option<String>> {
    if !is_installed(tool) {
        return Ok(None);
    }
    let log = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::null()).stdout(log.reopen()?).stderr(log.reopen()?);
    host.start(command)?.wait_timeout(JUDGING)?;
    Ok(Some(std::fs::read_to_string(log.path())?))
}
