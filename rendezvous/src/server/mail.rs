//! The mailbox as the clients see it: who may ask how much at a time, and what goes to whom when. What is kept is decided in
//! [`crate::mailbox`], which takes [`Command`]s from here and gives [`Event`]s back, later.

use std::time::Instant;

use common::introduction::{
    Collected, Deposit, DepositOutcome, FetchPrekeys, FromServer, MAX_COLLECTED, MailboxTerms, PublishPrekeys,
};
use common::prekey::ONE_TIMES;
use common::seal::MAX_ENVELOPE;

use super::{ConnectionId, Fault, Server, at_most};
use crate::limits::{
    CONSENTS_OF_SOURCE, DEPOSITS_OF_SOURCE, MAILBOX_DEPOSITS_OF_ONE, MAILBOX_REQUESTS, Source, SourceBuckets,
};
use crate::mailbox::window::Window;
use crate::mailbox::{Asker, Command, Event};

/// What all connections share.
#[derive(Debug)]
pub(super) struct PostOffice {
    deposits: SourceBuckets,
    consents: SourceBuckets,
}

/// What one connection has to do with the mailbox.
#[derive(Debug)]
pub(super) struct Correspondence {
    /// Where it comes from.
    pub(super) source: Source,
    account: Account,
    /// It knows that there is a mailbox.
    told: bool,
    deposits: u32,
    requests: u32,
    window: Window,
}

/// Does the mailbox know what this client accepts?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Account {
    Known,
    Changed,
    Asked,
    AskedAndChanged,
}

impl Correspondence {
    pub(super) fn new(source: Source) -> Self {
        Correspondence {
            source,
            account: Account::Known,
            told: false,
            deposits: 0,
            requests: 0,
            window: Window::default(),
        }
    }
}

impl Server {
    /// Mail is kept for those who are away. `key` is random.
    pub fn with_mailbox(mut self, key: u64) -> Self {
        self.post_office = Some(PostOffice {
            deposits: SourceBuckets::new(DEPOSITS_OF_SOURCE, key),
            consents: SourceBuckets::new(CONSENTS_OF_SOURCE, key.rotate_left(32)),
        });
        self
    }

    /// What to ask the mailbox, in this order. Each is followed by one [`Server::handle_mailbox`], or by a
    /// [`Server::handle_mailbox_busy`].
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The mailbox has no time for this.
    pub fn handle_mailbox_busy(&mut self, command: Command, now: Instant) {
        let connection = command.asker().connection;
        match command {
            Command::Account(..) => {
                // Again in a second.
                if let Some(state) = self.connections.get_mut(&connection) {
                    state.mail.account = Account::Changed;
                }
            }
            Command::Deposit { .. } | Command::Deliver { .. } => self.handle_mailbox(command.failed(), now),
            Command::Publish(..) | Command::Fetch { .. } | Command::Collect(..) => {
                if self.connections.contains_key(&connection) {
                    self.fail(connection, Fault::Full, now);
                }
            }
        }
    }

    /// What the mailbox says to a command. Of a connection that has gone nothing is to be done: what waits is still there.
    pub fn handle_mailbox(&mut self, event: Event, now: Instant) {
        match event {
            Event::Account(connection, terms) => self.account_known(connection, terms, now),
            Event::Published(connection) => self.answered(connection, None),
            Event::Bundle { connection, request, bundle } => {
                self.answered(connection, Some(FromServer::Prekeys { request, bundle }));
            }
            Event::Deposited { connection, request, peer, outcome } => {
                let stored = matches!(outcome, DepositOutcome::Stored(_));
                if let Some(state) = self.connections.get_mut(&connection) {
                    state.mail.deposits = state.mail.deposits.saturating_sub(1);
                    self.send(connection, FromServer::Deposited { request, outcome });
                }
                let recipient = self.registry.get(&peer).map(|registration| registration.connection);
                if let Some(recipient) = recipient.filter(|_| stored) {
                    self.with_window(recipient, Window::news);
                }
            }
            Event::Mails { connection, mails, all } => {
                if self.connections.contains_key(&connection) {
                    self.with_window(connection, |window| window.read(&mails, all));
                    mails.into_iter().for_each(|mail| self.send(connection, FromServer::Mail(mail)));
                }
            }
            Event::Unread(connection) => {
                if let Some(state) = self.connections.get_mut(&connection) {
                    state.mail.window.postpone();
                }
            }
            Event::Collected(connection, mails) => {
                self.answered(connection, None);
                self.with_window(connection, |window| window.collected(&mails));
            }
            Event::Forged(connection) => {
                if self.connections.contains_key(&connection) {
                    self.fail(
                        connection,
                        Fault::Protocol("what was collected is not signed by its recipient".into()),
                        now,
                    );
                }
            }
        }
    }

    /// A client has come, or accepts others than before.
    pub(super) fn account_changed(&mut self, connection: ConnectionId, now: Instant) {
        let Some(state) = self.connections.get_mut(&connection) else { return };
        state.mail.account = match state.mail.account {
            Account::Known | Account::Changed => Account::Changed,
            Account::Asked | Account::AskedAndChanged => Account::AskedAndChanged,
        };
        self.settle_account(connection, now);
    }

    /// For those for whom there was no time before.
    pub(super) fn catch_up(&mut self, now: Instant) {
        if self.post_office.is_none() {
            return;
        }
        let with = |wanted: fn(&Correspondence) -> bool| -> Vec<ConnectionId> {
            self.connections.iter().filter(|(_, state)| wanted(&state.mail)).map(|(id, _)| *id).collect()
        };
        let (changed, unread) =
            (with(|mail| mail.account == Account::Changed), with(|mail| mail.window.is_postponed()));
        changed.into_iter().for_each(|id| self.settle_account(id, now));
        unread.into_iter().for_each(|id| self.with_window(id, |_| {}));
    }

    fn settle_account(&mut self, connection: ConnectionId, now: Instant) {
        let Some(asker) = self.asker(connection) else { return };
        let (Some(post_office), Some(state)) = (&mut self.post_office, self.connections.get_mut(&connection)) else {
            return;
        };
        let registration = self.registry.get(&asker.peer).filter(|_| state.mail.account == Account::Changed);
        // Else again in a second.
        if let Some(registration) = registration.filter(|_| post_office.consents.take(asker.source, now)) {
            state.mail.account = Account::Asked;
            self.commands.push_back(Command::Account(asker, registration.capabilities().into()));
        }
    }

    fn account_known(&mut self, connection: ConnectionId, terms: Option<MailboxTerms>, now: Instant) {
        let Some(state) = self.connections.get_mut(&connection) else { return };
        state.mail.account = match state.mail.account {
            Account::AskedAndChanged | Account::Changed => Account::Changed,
            Account::Asked | Account::Known => Account::Known,
        };
        let terms = terms.filter(|_| !state.mail.told);
        if let Some(terms) = terms {
            state.mail.told = true;
            self.send(connection, FromServer::Mailbox(terms));
            let news = |window: &mut Window| {
                if terms.waiting > 0 {
                    window.news()
                }
            };
            self.with_window(connection, news);
        }
        self.settle_account(connection, now);
    }

    /// A request other than a deposit has its answer.
    fn answered(&mut self, connection: ConnectionId, answer: Option<FromServer>) {
        let Some(state) = self.connections.get_mut(&connection) else { return };
        state.mail.requests = state.mail.requests.saturating_sub(1);
        if let Some(answer) = answer {
            self.send(connection, answer);
        }
    }

    /// Changes the window, and has read what it has room for now.
    fn with_window(&mut self, connection: ConnectionId, change: impl FnOnce(&mut Window)) {
        let Some(asker) = self.asker(connection) else { return };
        let Some(state) = self.connections.get_mut(&connection) else { return };
        change(&mut state.mail.window);
        // Until it knows of the mailbox it gets nothing from it.
        if state.mail.told
            && let Some(room) = state.mail.window.open()
        {
            let (after, mails, bytes) = (room.after, room.mails, room.bytes);
            self.commands.push_back(Command::Deliver { asker, after, mails, bytes });
        }
    }

    pub(super) fn publish(&mut self, connection: ConnectionId, prekeys: PublishPrekeys) -> Result<(), Fault> {
        if prekeys.one_time.len() > ONE_TIMES {
            return Err(Fault::Protocol(format!("there are at most {ONE_TIMES} one-time prekeys")));
        }
        if prekeys.signed.one_time || prekeys.one_time.iter().any(|prekey| !prekey.one_time) {
            return Err(Fault::Protocol("a prekey says that it is of the other kind".into()));
        }
        self.request(connection, |asker| Command::Publish(asker, prekeys))
    }

    pub(super) fn fetch(&mut self, connection: ConnectionId, fetch: FetchPrekeys) -> Result<(), Fault> {
        let FetchPrekeys { request, peer, capability } = fetch;
        if self.post_office.is_none() {
            self.send(connection, FromServer::Prekeys { request, bundle: None });
            return Ok(());
        }
        self.request(connection, |asker| Command::Fetch { asker, request, peer, capability })
    }

    pub(super) fn collected(&mut self, connection: ConnectionId, collected: Collected) -> Result<(), Fault> {
        if collected.mails.len() > MAX_COLLECTED {
            return Err(Fault::Protocol(format!("at most {MAX_COLLECTED} mails are collected at once")));
        }
        self.request(connection, |asker| Command::Collect(asker, collected))
    }

    pub(super) fn deposit(&mut self, connection: ConnectionId, deposit: Deposit, now: Instant) -> Result<(), Fault> {
        let Deposit { request, peer, capability, envelope } = deposit;
        at_most(MAX_ENVELOPE, "an envelope", &envelope)?;
        let Some(asker) = self.asker(connection) else { return Ok(()) };
        let Some(post_office) = &mut self.post_office else {
            self.send(connection, FromServer::Deposited { request, outcome: DepositOutcome::Refused });
            return Ok(());
        };
        let waiting = self.connections.get(&connection).map_or(0, |state| state.mail.deposits);
        // Whoever the recipient is, and whether there is one: this is the same.
        if waiting >= MAILBOX_DEPOSITS_OF_ONE || !post_office.deposits.take(asker.source, now) {
            self.send(connection, FromServer::Deposited { request, outcome: DepositOutcome::Full });
            return Ok(());
        }
        if let Some(state) = self.connections.get_mut(&connection) {
            state.mail.deposits += 1;
        }
        self.commands.push_back(Command::Deposit { asker, request, peer, capability, envelope });
        Ok(())
    }

    fn request(&mut self, connection: ConnectionId, command: impl FnOnce(Asker) -> Command) -> Result<(), Fault> {
        let Some(asker) = self.asker(connection).filter(|_| self.post_office.is_some()) else { return Ok(()) };
        if let Some(state) = self.connections.get_mut(&connection) {
            if state.mail.requests >= MAILBOX_REQUESTS {
                return Err(Fault::RateLimited("too many requests to the mailbox at a time"));
            }
            state.mail.requests += 1;
        }
        self.commands.push_back(command(asker));
        Ok(())
    }

    fn asker(&self, connection: ConnectionId) -> Option<Asker> {
        let state = self.connections.get(&connection)?;
        Some(Asker { connection, peer: state.peer, source: state.mail.source })
    }
}
