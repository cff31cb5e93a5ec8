//! Alice, Bob and a rendezvous with a mailbox, whose words can be tampered with on the way.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use common::identity::{Identity, PeerId};
use common::introduction::{
    DepositOutcome, FromServer, Mail, MailId, MailboxTerms, PublishPrekeys, Registered, StunEndpoints, ToServer,
};
use common::prekey::{Bundle, Keyring, Prekey, PrekeySecret};
use common::receipt::StoredReceipt;
use common::seal;
use common::session::{Content, MessageId, PeerFrame, Post, StreamId};

use crate::node::mail::{Deposited, PrekeySet};
use crate::node::{Config, ControlEvent, Machine, NodeCommand, NodeEvent, Output, Random};

/// What time it is, for all that have a clock.
pub(super) const NOW_S: u64 = 1_700_000_000;

pub(super) fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

pub(super) const ALICE: u8 = 1;
pub(super) const BOB: u8 = 2;
pub(super) const SERVER: u8 = 9;

pub(super) fn id(who: u8) -> PeerId {
    identity(who).peer_id()
}

pub(super) fn says(text: &str) -> Vec<PeerFrame> {
    let content = Content::Text { text: text.to_owned(), reply_to: None };
    vec![PeerFrame::Post(Post { id: MessageId([7; 16]), stream: StreamId(1), seq: 1, at_ms: 5, content })]
}

/// Of this number and owner, made this long ago.
pub(super) fn secret(n: u64, one_time: bool, ago_s: u64) -> PrekeySecret {
    PrekeySecret::new(n, [n as u8; 32], one_time, NOW_S - ago_s)
}

/// To which key an envelope is sealed; 0: the identity key.
pub(super) fn key_of(envelope: &[u8]) -> u64 {
    u64::from_be_bytes(envelope[..8].try_into().expect("an envelope"))
}

pub(super) fn terms(waiting: usize) -> MailboxTerms {
    MailboxTerms { keeps_s: 86_400, one_time_prekeys: 0, waiting: waiting as u32 }
}

pub(super) struct Side {
    pub(super) machine: Machine,
    pub(super) told: Vec<NodeEvent>,
}

impl Side {
    fn new(own: u8, contacts: Vec<PeerId>) -> Self {
        let mut count = u64::from(own) << 32;
        let machine = Machine::new(Config {
            identity: identity(own),
            rendezvous: id(SERVER),
            epoch: 1,
            contacts,
            birthday: false,
            relay_only: true,
            random: Random::new(move |bytes| {
                count += 1;
                bytes.fill(0);
                bytes[..8].copy_from_slice(&count.to_be_bytes());
                true
            }),
        });
        Side { machine, told: Vec::new() }
    }

    /// What became of each deposit, in order; what is told of all else goes.
    pub(super) fn outcomes(&mut self) -> Vec<(u64, Deposited)> {
        let told = std::mem::take(&mut self.told).into_iter();
        told.filter_map(|event| match event {
            NodeEvent::Deposited { token, outcome, .. } => Some((token, outcome)),
            _ => None,
        })
        .collect()
    }

    /// The mail that was told.
    pub(super) fn mails(&mut self) -> Vec<NodeEvent> {
        let told = std::mem::take(&mut self.told).into_iter();
        told.filter(|event| matches!(event, NodeEvent::Mail { .. } | NodeEvent::MailUnreadable { .. })).collect()
    }
}

/// Is this the receipt that counts?
pub(super) fn is_stored(outcome: &Deposited) -> bool {
    matches!(outcome, Deposited::Stored(_))
}

/// What becomes of a word of the server's to somebody.
type Tamper = Box<dyn FnMut(FromServer) -> Vec<FromServer>>;

pub(super) struct Town {
    pub(super) now: Instant,
    pub(super) alice: Side,
    pub(super) bob: Side,
    pub(super) tamper: Tamper,
    /// What the server hands out.
    pub(super) prekeys: BTreeMap<PeerId, (Prekey, VecDeque<Prekey>)>,
    /// What it holds, for whom.
    pub(super) mail: BTreeMap<MailId, (PeerId, Mail)>,
    /// All that it was asked, by whom.
    pub(super) asked: Vec<(u8, ToServer)>,
    next: u64,
}

impl Town {
    /// Nobody is connected.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let mut town = Town {
            now,
            alice: Side::new(ALICE, vec![id(BOB)]),
            bob: Side::new(BOB, vec![id(ALICE)]),
            tamper: Box::new(|word| vec![word]),
            prekeys: BTreeMap::new(),
            mail: BTreeMap::new(),
            asked: Vec::new(),
            next: 0,
        };
        [ALICE, BOB].into_iter().for_each(|who| town.side(who).machine.handle_clock(NOW_S, now));
        town
    }

    /// With a signed prekey and so many one-time ones of Bob's (numbers from 10), and Alice connected.
    pub(super) fn with_prekeys(one_times: u64) -> Self {
        let mut town = Town::new();
        town.give_prekeys(1, 10..10 + one_times);
        town.connect(BOB);
        town.connect(ALICE);
        town.disconnect(BOB);
        town.asked.clear();
        town
    }

    /// Bob has made these.
    pub(super) fn give_prekeys(&mut self, signed: u64, one_times: std::ops::Range<u64>) {
        let signed = secret(signed, false, 0);
        let one_times: Vec<_> = one_times.map(|n| secret(n, true, 0)).collect();
        let one_time = one_times.iter().map(|secret| secret.public(&identity(BOB))).collect();
        let publish = Some(PublishPrekeys { signed: signed.public(&identity(BOB)), one_time });
        let keyring = Keyring::new(one_times.into_iter().chain([signed]));
        self.command(BOB, NodeCommand::Prekeys(Box::new(PrekeySet { keyring, publish })));
    }

    pub(super) fn side(&mut self, who: u8) -> &mut Side {
        if who == ALICE { &mut self.alice } else { &mut self.bob }
    }

    pub(super) fn command(&mut self, who: u8, command: NodeCommand) {
        let now = self.now;
        self.side(who).machine.handle_command(command, now);
        self.carry();
    }

    /// Alice wants this kept for Bob.
    pub(super) fn deposit(&mut self, token: u64, text: &str) {
        self.command(ALICE, NodeCommand::Deposit { peer: id(BOB), token, frames: says(text) });
    }

    pub(super) fn control(&mut self, who: u8, event: ControlEvent) {
        let now = self.now;
        self.side(who).machine.handle_control(event, now);
        self.carry();
    }

    pub(super) fn message(&mut self, who: u8, message: FromServer) {
        self.control(who, ControlEvent::Message(message));
    }

    /// Registers somebody with a rendezvous without a mailbox.
    pub(super) fn register(&mut self, who: u8) {
        let server = "11.1.1.1:3478".parse().expect("an address");
        self.control(who, ControlEvent::Connected { server, remote: server, rtt: Duration::from_millis(20) });
        let stun = StunEndpoints { alternate_port: 3479, alternate: None };
        let registered = Registered { observed: "11.1.1.7:4000".parse().expect("an address"), stun, now_s: NOW_S };
        self.message(who, FromServer::Registered(registered));
    }

    /// With one that has one, which pushes what waits.
    pub(super) fn connect(&mut self, who: u8) {
        self.register(who);
        let waiting: Vec<_> = self.mail.values().filter(|(to, _)| *to == id(who)).cloned().collect();
        self.message(who, FromServer::Mailbox(terms(waiting.len())));
        for (_, mail) in waiting {
            self.push(who, mail);
        }
    }

    pub(super) fn disconnect(&mut self, who: u8) {
        self.control(who, ControlEvent::Lost { reason: "the cable".to_owned() });
    }

    fn push(&mut self, who: u8, mail: Mail) {
        for word in (self.tamper)(FromServer::Mail(mail)) {
            self.message(who, word);
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        for who in [ALICE, BOB] {
            while let Some(at) = self.side(who).machine.poll_wakeup().filter(|at| *at <= end) {
                self.now = self.now.max(at);
                let now = self.now;
                self.side(who).machine.handle_timeout(now);
                self.carry();
            }
        }
        self.now = end;
    }

    /// All that is asked is answered.
    fn carry(&mut self) {
        for who in [ALICE, BOB] {
            while let Some(output) = self.side(who).machine.poll_output() {
                match output {
                    Output::Tell(event) => self.side(who).told.push(event),
                    Output::Ask(message) => self.ask(who, message),
                    _ => {}
                }
            }
        }
    }

    fn ask(&mut self, who: u8, message: ToServer) {
        self.asked.push((who, message.clone()));
        for word in self.answer(who, message).into_iter().flat_map(&mut self.tamper).collect::<Vec<_>>() {
            let now = self.now;
            self.side(who).machine.handle_control(ControlEvent::Message(word), now);
        }
    }

    fn answer(&mut self, who: u8, message: ToServer) -> Option<FromServer> {
        match message {
            ToServer::Prekeys(publish) => {
                let (signed, one_times) =
                    self.prekeys.entry(id(who)).or_insert_with(|| (publish.signed, VecDeque::new()));
                *signed = publish.signed;
                one_times.extend(publish.one_time);
                None
            }
            ToServer::FetchPrekeys(fetch) => {
                let bundle = self
                    .prekeys
                    .get_mut(&fetch.peer)
                    .map(|(signed, one_times)| Box::new(Bundle { signed: *signed, one_time: one_times.pop_front() }));
                Some(FromServer::Prekeys { request: fetch.request, bundle })
            }
            ToServer::Deposit(deposit) => {
                self.next += 1;
                let digest = seal::digest(&deposit.envelope);
                let receipt = StoredReceipt::sign(&identity(SERVER), id(who), deposit.peer, digest, NOW_S + 86_400);
                let mail = Mail { id: MailId(self.next), sender: id(who), envelope: deposit.envelope };
                self.mail.insert(mail.id, (deposit.peer, mail));
                let outcome = DepositOutcome::Stored(receipt);
                Some(FromServer::Deposited { request: deposit.request, outcome })
            }
            ToServer::Collected(collected) => {
                assert_eq!(collected.verify(id(who), id(SERVER)), Ok(()));
                collected.mails.iter().for_each(|mail| drop(self.mail.remove(mail)));
                None
            }
            _ => None,
        }
    }

    /// The envelopes that were deposited, in order.
    pub(super) fn envelopes(&self) -> Vec<Vec<u8>> {
        let deposits = self.asked.iter().filter_map(|(_, asked)| match asked {
            ToServer::Deposit(deposit) => Some(deposit.envelope.clone()),
            _ => None,
        });
        deposits.collect()
    }

    /// What Bob has signed for, in order.
    pub(super) fn signed_for(&self) -> Vec<MailId> {
        let collected = self.asked.iter().filter_map(|(_, asked)| match asked {
            ToServer::Collected(collected) => Some(collected.mails.clone()),
            _ => None,
        });
        collected.flatten().collect()
    }
}
