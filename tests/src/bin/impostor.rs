//! Bob's identity toward the rendezvous and in probes, Mallory's certificate toward peers: what somebody can do who has
//! stolen what the path is made of, but not the key that counts. It waits until its input ends.

use std::io::Read;

use anyhow::{Context, Result, bail};
use client::net::{Node, NodeConfig};
use client::node::{NodeCommand, NodeEvent};
use common::identity::{Identity, PeerId};
use common::link::Link;
use common::tls::Certificate;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, link, bob, mallory, victim] = arguments.as_slice() else {
        bail!("usage: impostor JOIN-LINK BOBS-SEED MALLORYS-SEED VICTIMS-ID");
    };
    let Link::Join(rendezvous) = link.parse()? else { bail!("not a link to join") };
    let (bob, mallory) = (identity(bob)?, identity(mallory)?);
    let victim: PeerId = victim.parse()?;
    let config = NodeConfig {
        certificate: Certificate::new(&mallory)?,
        identity: bob,
        rendezvous,
        name: "bob".into(),
        contacts: vec![victim],
        port_mapping: false,
        birthday: false,
        lan: false,
        relay_only: false,
    };
    tokio::runtime::Runtime::new()?.block_on(async move {
        let (node, mut events) = Node::start(config).await?;
        node.command(NodeCommand::Want(victim));
        let (over, mut is_over) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = over.send(());
        });
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    // The story looks for this: the impostor must not get that far.
                    Some(NodeEvent::Up { .. }) => println!("\"a session stands\""),
                    Some(_) => {}
                    None => return Ok(()),
                },
                _ = &mut is_over => return Ok(()),
            }
        }
    })
}

fn identity(seed: &str) -> Result<Identity> {
    Ok(e2e::numbered(seed.parse().context("a seed is a number")?))
}
