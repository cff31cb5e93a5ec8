//! What the node's machine does with a port that the router gave us: it registers it, and tells those whom it is just being
//! introduced to.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use common::introduction::{MAX_ADDRESSES, Register};
use serde::{Deserialize, Serialize};

use super::api::NodeEvent;
use super::machine::Machine;

/// How a router was asked for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MappingProtocol {
    /// The Port Control Protocol (RFC 6887).
    Pcp,
    /// NAT-PMP (RFC 6886).
    NatPmp,
    /// UPnP's Internet Gateway Device.
    Upnp,
}

impl MappingProtocol {
    /// In the order in which they are asked.
    pub const ALL: [MappingProtocol; 3] = [MappingProtocol::Pcp, MappingProtocol::NatPmp, MappingProtocol::Upnp];
}

impl fmt::Display for MappingProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MappingProtocol::Pcp => "PCP",
            MappingProtocol::NatPmp => "NAT-PMP",
            MappingProtocol::Upnp => "UPnP",
        })
    }
}

/// How it is said that a port of the router's would lead nowhere.
pub const NAT_BEYOND: &str = "there is another NAT beyond it";

/// A port of the router that leads to our main socket, whoever sends to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// How it was got.
    pub protocol: MappingProtocol,
    /// Where others send to: the address at which the rendezvous sees us, with the port of the mapping.
    pub external: SocketAddr,
}

impl Machine {
    /// The router gave us a port, or there is none (any more), for this reason.
    pub fn handle_port_mapping(&mut self, mapping: Result<PortMapping, String>, now: Instant) {
        let mapped = mapping.as_ref().ok().map(|mapping| mapping.external).filter(|_| !self.home.relay_only);
        let before = std::mem::replace(&mut self.home.mapped, mapped);
        self.home.tell(NodeEvent::PortMapping(mapping));
        if before == mapped {
            return;
        }
        let observed = self.register.reflexive.iter().copied().filter(|address| Some(*address) != before);
        let reflexive = mapped.into_iter().chain(observed.filter(|address| Some(*address) != mapped));
        let reflexive = reflexive.take(MAX_ADDRESSES).collect();
        self.registers(Register { reflexive, ..self.register.clone() });
        if mapped.is_some() {
            self.peers.values_mut().for_each(|peer| peer.tell_mapped(now, &mut self.home));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::candidate::{Contents, unpack};
    use common::identity::Identity;
    use common::introduction::{
        FromServer, Introduction, IntroductionId, Registered, Role, StunEndpoints, ToServer, Trickle,
    };
    use common::nat::NatProfile;
    use common::pairing::{Pairing, SealNonce};

    use super::*;
    use crate::node::home::{Random, request_context, trickle_context};
    use crate::node::{Config, ControlEvent, NodeCommand, Output};

    const INTRODUCTION: IntroductionId = IntroductionId(7);

    fn identity(seed: u8) -> Identity {
        Identity::from_seed(&[seed; 32])
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn mapping() -> Result<PortMapping, String> {
        Ok(PortMapping { protocol: MappingProtocol::Pcp, external: address("11.1.1.7:5353") })
    }

    /// Alice, registered, who wants Bob.
    fn alice(now: Instant) -> Machine {
        let mut machine = Machine::new(Config {
            identity: identity(1),
            rendezvous: identity(9).peer_id(),
            epoch: 1,
            contacts: vec![identity(2).peer_id()],
            birthday: true,
            relay_only: false,
            random: Random::new(|bytes| {
                bytes.fill(5);
                true
            }),
        });
        let (server, rtt) = (address("11.1.1.1:3478"), Duration::from_millis(20));
        machine.handle_control(ControlEvent::Connected { server, remote: server, rtt }, now);
        let stun = StunEndpoints { alternate_port: 3479, alternate: None };
        let registered = Registered { observed: address("11.1.1.7:4000"), stun, now_s: 0 };
        machine.handle_control(ControlEvent::Message(FromServer::Registered(registered)), now);
        machine.handle_command(NodeCommand::Want(identity(2).peer_id()), now);
        machine
    }

    fn introduce(machine: &mut Machine, sealed: Vec<u8>, role: Role, now: Instant) {
        let introduction = Introduction {
            id: INTRODUCTION,
            peer: identity(2).peer_id(),
            role,
            addresses: vec![address("11.1.1.8:4000")],
            profile: NatProfile::default(),
            sealed,
            envelope: Vec::new(),
            relay: None,
            hint: None,
        };
        machine.handle_control(ControlEvent::Message(FromServer::Introduction(introduction)), now);
    }

    fn outputs(machine: &mut Machine) -> Vec<Output> {
        std::iter::from_fn(|| machine.poll_output()).collect()
    }

    /// The mapped ports in what was trickled, as Bob reads it.
    fn trickled(outputs: &[Output]) -> Vec<Option<SocketAddr>> {
        let bob = Pairing::new(&identity(2), identity(1).peer_id()).expect("two");
        let boxes = outputs.iter().filter_map(|output| match output {
            Output::Ask(ToServer::Trickle(trickle)) => Some(&trickle.sealed),
            _ => None,
        });
        let opened = boxes.map(|sealed| bob.open(&trickle_context(INTRODUCTION), sealed).expect("it opens"));
        opened.map(|plain| unpack(&plain).expect("a list").mapped).collect()
    }

    fn sealed_by_bob(context: &[u8], mapped: &str) -> Vec<u8> {
        let bob = Pairing::new(&identity(2), identity(1).peer_id()).expect("two");
        let nonce: SealNonce = [3; 24];
        bob.seal(
            context,
            &common::candidate::pack(Contents { mapped: Some(address(mapped)), ..Contents::default() }),
            nonce,
        )
    }

    fn probed(machine: &mut Machine) -> Vec<SocketAddr> {
        let sent = outputs(machine).into_iter().filter_map(|output| match output {
            Output::Transmit { destination, .. } => Some(destination),
            _ => None,
        });
        sent.collect()
    }

    #[test]
    fn a_mapped_port_is_registered_before_the_others_and_taken_back() {
        let now = Instant::now();
        let mut alice = alice(now);
        alice.handle_discovery(common::discovery::Event::Reflexive(address("11.1.1.7:4001")));
        alice.handle_port_mapping(mapping(), now);
        assert_eq!(alice.registration().reflexive, [address("11.1.1.7:5353"), address("11.1.1.7:4001")]);
        alice.handle_port_mapping(Err("PCP: no answer".to_owned()), now);
        assert_eq!(alice.registration().reflexive, [address("11.1.1.7:4001")]);
        let told =
            outputs(&mut alice).into_iter().filter(|output| matches!(output, Output::Tell(NodeEvent::PortMapping(_))));
        assert_eq!(told.count(), 2);
    }

    #[test]
    fn a_port_that_comes_during_an_introduction_is_trickled_into_it() {
        let now = Instant::now();
        let mut alice = alice(now);
        introduce(&mut alice, Vec::new(), Role::Requester { request: 1 }, now);
        assert_eq!(trickled(&outputs(&mut alice)), []);
        alice.handle_port_mapping(mapping(), now);
        assert_eq!(trickled(&outputs(&mut alice)), [Some(address("11.1.1.7:5353"))]);
        alice.handle_port_mapping(mapping(), now);
        assert_eq!(trickled(&outputs(&mut alice)), [], "once");
    }

    #[test]
    fn a_port_that_comes_while_the_request_is_out_follows_the_answer() {
        let now = Instant::now();
        let mut alice = alice(now);
        alice.handle_port_mapping(mapping(), now);
        introduce(&mut alice, Vec::new(), Role::Requester { request: 1 }, now);
        assert_eq!(trickled(&outputs(&mut alice)), [Some(address("11.1.1.7:5353"))]);
    }

    #[test]
    fn the_peers_mapped_port_is_probed_where_the_rendezvous_sees_the_peer_and_nowhere_else() {
        for (mapped, counts) in [("11.1.1.8:5353", true), ("11.1.1.9:5353", false), ("192.168.1.1:22", false)] {
            let now = Instant::now();
            let mut requested = alice(now);
            let context = request_context(identity(9).peer_id());
            introduce(&mut requested, sealed_by_bob(&context, mapped), Role::Responder, now);
            assert_eq!(probed(&mut requested).contains(&address(mapped)), counts, "{mapped} in a request");

            let mut trickling = alice(now);
            introduce(&mut trickling, Vec::new(), Role::Requester { request: 1 }, now);
            outputs(&mut trickling);
            let sealed = sealed_by_bob(&trickle_context(INTRODUCTION), mapped);
            let trickle = Trickle { introduction: INTRODUCTION, sealed };
            trickling.handle_control(ControlEvent::Message(FromServer::Trickle(trickle)), now);
            assert_eq!(probed(&mut trickling).contains(&address(mapped)), counts, "{mapped} trickled");
        }
    }
}
