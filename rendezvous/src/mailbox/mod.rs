//! Mail for those who are away: sealed envelopes, kept until the recipient says with its signature that it has them.
//!
//! # The life of a mail
//!
//! Alice deposits an envelope for Bob, who is not here. [`server`](crate::server) looks at nothing but rates, which are the same
//! whoever Bob is, and hands a [`Command`] to the mailbox, in a [`thread`] of its own. There Bob's account says whether he accepts
//! her capability, and the [quotas](quota) whether there is room. The envelope goes into the [`store`] with all else that has come
//! meanwhile, in one transaction, and only when that is on the disk is Alice told "stored", with the server's signature over the
//! envelope's digest. Refused, unknown and without a mailbox are one answer, by the same way.
//!
//! When Bob registers, his account is brought up to date and his mail is read from the disk, so much at a time as fits into his
//! [`window`]; what he has collected, by his signature, is removed and makes room for more. Of one who is here already, a deposit
//! opens the window at once. What nobody collects is removed when its time is over, and nothing ever is before. Its time is that in
//! which the mailbox was in service, so that neither a calendar that is set nor a server that was down for a month loses anything.
//!
//! # Pure and not
//!
//! [`Mailbox`] knows no clock, no thread and no connection: it runs commands and returns events. With a database in memory it
//! serves in virtual time as well. Only [`thread`] waits for anything.
//!
//! # Limits
//!
//! The server sees from whom to whom, when, and in which of a few sizes; all but the time is on its disk as long as the mail waits. What was
//! removed is overwritten in the file at once and in the log within a minute. The file does not become smaller, but what is free in it is
//! used again. A disk that says that it has written what it has not can lose what was acknowledged when the power fails.

pub mod quota;
pub mod schema;
pub mod store;
#[cfg(test)]
mod tests;
pub mod thread;
pub mod window;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use common::identity::{Identity, PeerId};
use common::introduction::{Collected, DepositOutcome, Mail, MailId, MailboxTerms, PublishPrekeys};
use common::pairing::Capability;
use common::prekey::{Bundle, ONE_TIMES, Prekey};
use common::receipt::StoredReceipt;
use common::seal;

use crate::limits::{
    ACCOUNT_DAYS, ACCOUNTS_OF_SOURCE, Bucket, Limits, MAIL_SWEEP, ONE_TIMES_REMEMBERED, ONE_TIMES_TO_ONE, Source,
    SourceBuckets,
};
use crate::server::ConnectionId;
use quota::Quotas;
use schema::MailboxError;
use store::{Account, KeptPrekey, Letter, Store};

/// Thousands of addresses share each of these, and sixteen addresses take sixteen of them.
const SLOTS: u64 = 4096;
const DAY_S: u64 = 24 * 3600;

/// Which connection asks, and in whose name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Where the answer goes.
    pub connection: ConnectionId,
    /// The key that it has proved to hold.
    pub peer: PeerId,
    /// The address or home that it comes from.
    pub source: Source,
}

/// What is asked of the mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The asker is here, and accepts these capabilities, which are sorted.
    Account(Asker, Box<[Capability]>),
    /// The asker's prekeys.
    Publish(Asker, PublishPrekeys),
    /// The asker wants to write to somebody.
    Fetch {
        /// Who.
        asker: Asker,
        /// Its number of this request.
        request: u32,
        /// To whom.
        peer: PeerId,
        /// The proof that this is welcome.
        capability: Capability,
    },
    /// The asker leaves an envelope for somebody.
    Deposit {
        /// Who.
        asker: Asker,
        /// Its number of this request.
        request: u32,
        /// For whom.
        peer: PeerId,
        /// The proof that this is welcome.
        capability: Capability,
        /// What.
        envelope: Vec<u8>,
    },
    /// There is room in the asker's window.
    Deliver {
        /// Who.
        asker: Asker,
        /// What it was sent last.
        after: MailId,
        /// For so many mails.
        mails: usize,
        /// And so many bytes of them.
        bytes: usize,
    },
    /// The asker has these.
    Collect(Asker, Collected),
}

/// What the mailbox says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The account is up to date. `None`: there is no room for one more.
    Account(ConnectionId, Option<MailboxTerms>),
    /// Prekeys were kept, or could not be.
    Published(ConnectionId),
    /// What somebody needs to write to somebody.
    Bundle {
        /// Who asked.
        connection: ConnectionId,
        /// With this number.
        request: u32,
        /// What for; `None` says nothing about the reason.
        bundle: Option<Box<Bundle>>,
    },
    /// What became of a deposit.
    Deposited {
        /// Who asked.
        connection: ConnectionId,
        /// With this number.
        request: u32,
        /// What it was for.
        peer: PeerId,
        /// What became of it.
        outcome: DepositOutcome,
    },
    /// Mail for somebody who has room for it.
    Mails {
        /// Whose connection.
        connection: ConnectionId,
        /// In order.
        mails: Vec<Mail>,
        /// Nothing waits behind these.
        all: bool,
    },
    /// Mail could not be read; it is still there.
    Unread(ConnectionId),
    /// These are gone, or never were this recipient's; in either case they are on their way no more.
    Collected(ConnectionId, Vec<MailId>),
    /// The signature under what was collected is not the recipient's.
    Forged(ConnectionId),
}

impl Command {
    /// Who asks.
    pub fn asker(&self) -> &Asker {
        match self {
            Command::Account(asker, _) | Command::Publish(asker, _) | Command::Collect(asker, _) => asker,
            Command::Fetch { asker, .. } | Command::Deposit { asker, .. } | Command::Deliver { asker, .. } => asker,
        }
    }

    /// What is said if nothing can be done, because there is no room or the disk fails.
    pub fn failed(&self) -> Event {
        let connection = self.asker().connection;
        match self {
            Command::Account(..) => Event::Account(connection, None),
            Command::Publish(..) => Event::Published(connection),
            Command::Fetch { request, .. } => Event::Bundle { connection, request: *request, bundle: None },
            Command::Deposit { request, peer, .. } => {
                let outcome = DepositOutcome::Full;
                Event::Deposited { connection, request: *request, peer: *peer, outcome }
            }
            Command::Deliver { .. } => Event::Unread(connection),
            // They are still there, and come again with the next registration.
            Command::Collect(_, collected) => Event::Collected(connection, collected.mails.clone()),
        }
    }
}

/// The mailbox, without its thread.
pub struct Mailbox {
    store: Store,
    server: Identity,
    quotas: Quotas,
    keeps_s: u32,
    accounts: u64,
    slots_key: u64,
    /// For how long it was in service before it was opened, and since when it is.
    served_s: u64,
    since: Option<Instant>,
    new_accounts: SourceBuckets,
    one_times: BTreeMap<(PeerId, PeerId), Bucket>,
    /// Something was removed that can still be read in the log.
    untidy: bool,
    /// The last command could not be run.
    failing: bool,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Mailbox {
    /// The one in this folder, made if it is not there. `slots_key` is a secret that is the same after a restart.
    pub fn open(folder: &Path, server: Identity, limits: &Limits, slots_key: u64) -> Result<Self, MailboxError> {
        let store = Store::new(schema::open(folder)?);
        let served_s = store.served().map_err(|error| MailboxError::of(folder, error))?;
        Ok(Mailbox { served_s, ..Mailbox::with(store, server, limits, slots_key) })
    }

    /// One that is forgotten when it is dropped.
    pub fn in_memory(server: Identity, limits: &Limits, slots_key: u64) -> Result<Self, MailboxError> {
        Ok(Mailbox::with(Store::new(schema::in_memory()?), server, limits, slots_key))
    }

    fn with(store: Store, server: Identity, limits: &Limits, slots_key: u64) -> Self {
        Mailbox {
            store,
            server,
            quotas: Quotas::new(limits),
            keeps_s: limits.mailbox_days.seconds(),
            accounts: limits.mailbox_accounts as u64,
            slots_key,
            served_s: 0,
            since: None,
            new_accounts: SourceBuckets::new(ACCOUNTS_OF_SOURCE, slots_key.rotate_left(32)),
            one_times: BTreeMap::new(),
            untidy: false,
            failing: false,
        }
    }

    /// All that waits.
    pub fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Runs these in their order and in one transaction. What the events say is on the disk by then.
    pub fn run(&mut self, commands: &[Command], now_s: u64, now: Instant) -> Vec<Event> {
        if let Ok(events) = self.transact(commands, now_s, now) {
            self.failing = false;
            return events;
        }
        // One of them fails, or there is no room for all of them: each by itself, then.
        let run = |command| match self.transact(std::slice::from_ref(command), now_s, now) {
            Ok(events) => events,
            Err(error) => {
                self.failed(&error);
                vec![command.failed()]
            }
        };
        commands.iter().flat_map(run).collect()
    }

    /// Says so once, until it works again.
    fn failed(&mut self, error: &rusqlite::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            match store::is_full(error) {
                true => tracing::warn!("the disk of the mailbox is full; until there is room, no mail is taken"),
                false => tracing::warn!(%error, "the mailbox cannot be used; look at its disk"),
            }
        }
    }

    /// Removes some of what is over. Call it again at once if there is more of it.
    pub fn sweep(&mut self, now: Instant) -> rusqlite::Result<bool> {
        self.one_times.retain(|_, bucket| !bucket.is_full(now));
        let served_s = self.served_s(now);
        let before = day(served_s) - ACCOUNT_DAYS;
        let (mails, accounts) = self.store.transact(|store| {
            store.serve(served_s)?;
            Ok((store.expire(served_s, MAIL_SWEEP)?, store.forget(before, MAIL_SWEEP)?))
        })?;
        self.untidy |= mails + accounts > 0;
        Ok(mails.max(accounts) >= MAIL_SWEEP as usize)
    }

    /// Makes unreadable in the log what was removed since the last time.
    pub fn tidy(&mut self) -> rusqlite::Result<()> {
        if self.untidy {
            self.store.tidy()?;
            self.untidy = false;
        }
        Ok(())
    }

    fn served_s(&mut self, now: Instant) -> u64 {
        let since = *self.since.get_or_insert(now);
        self.served_s + now.saturating_duration_since(since).as_secs()
    }

    fn transact(&mut self, commands: &[Command], now_s: u64, now: Instant) -> rusqlite::Result<Vec<Event>> {
        let served_s = self.served_s(now);
        let Mailbox { store, server, quotas, keeps_s, accounts, slots_key, new_accounts, one_times, untidy, .. } = self;
        store.transact(|store| {
            let turn = &mut Turn {
                store,
                server,
                quotas,
                keeps_s: *keeps_s,
                accounts: *accounts,
                slots_key: *slots_key,
                new_accounts,
                one_times,
                untidy,
                served_s,
                now_s,
                now,
            };
            commands.iter().map(|command| turn.run(command)).collect()
        })
    }
}

/// One transaction of the mailbox.
struct Turn<'a> {
    store: &'a Store,
    server: &'a Identity,
    quotas: &'a Quotas,
    keeps_s: u32,
    accounts: u64,
    slots_key: u64,
    new_accounts: &'a mut SourceBuckets,
    one_times: &'a mut BTreeMap<(PeerId, PeerId), Bucket>,
    untidy: &'a mut bool,
    served_s: u64,
    now_s: u64,
    now: Instant,
}

impl Turn<'_> {
    fn run(&mut self, command: &Command) -> rusqlite::Result<Event> {
        let connection = command.asker().connection;
        Ok(match command {
            Command::Account(asker, capabilities) => Event::Account(connection, self.account(asker, capabilities)?),
            Command::Publish(asker, prekeys) => {
                self.publish(asker, prekeys)?;
                Event::Published(connection)
            }
            Command::Fetch { asker, request, peer, capability } => {
                let bundle = self.bundle(asker, peer, capability)?;
                Event::Bundle { connection, request: *request, bundle }
            }
            Command::Deposit { asker, request, peer, capability, envelope } => {
                let outcome = self.deposit(asker, peer, capability, envelope)?;
                Event::Deposited { connection, request: *request, peer: *peer, outcome }
            }
            Command::Deliver { asker, after, mails, bytes } => {
                let account = self.store.account(&asker.peer)?;
                let waiting = |account| self.store.waiting(account, after.0, *mails, *bytes);
                let (mails, all) = account.map(waiting).transpose()?.unwrap_or((Vec::new(), true));
                let mail =
                    |mail: store::Waiting| Mail { id: MailId(mail.id), sender: mail.sender, envelope: mail.envelope };
                Event::Mails { connection, mails: mails.into_iter().map(mail).collect(), all }
            }
            Command::Collect(asker, collected) => match collected.verify(asker.peer, self.server.peer_id()) {
                Err(_) => Event::Forged(connection),
                Ok(()) => {
                    if let Some(account) = self.store.account(&asker.peer)? {
                        *self.untidy |= self.store.collect(account, collected.mails.iter().map(|id| id.0))? > 0;
                    }
                    Event::Collected(connection, collected.mails.clone())
                }
            },
        })
    }

    fn account(&mut self, asker: &Asker, capabilities: &[Capability]) -> rusqlite::Result<Option<MailboxTerms>> {
        let account = match self.store.account(&asker.peer)? {
            Some(account) => account,
            None if self.store.accounts()? >= self.accounts => {
                tracing::debug!("all mailbox accounts are taken (limits.mailbox-accounts)");
                return Ok(None);
            }
            None if !self.new_accounts.take(asker.source, self.now) => return Ok(None),
            None => self.store.open_account(&asker.peer, day(self.served_s))?,
        };
        self.store.consent(account, capabilities, day(self.served_s))?;
        let (one_times, waiting) = self.store.held(account, self.now_s)?;
        Ok(Some(MailboxTerms {
            keeps_s: self.keeps_s,
            one_time_prekeys: u16::try_from(one_times).unwrap_or(u16::MAX),
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
        }))
    }

    /// Whether they are what they say they are, those find out who use them.
    fn publish(&mut self, asker: &Asker, prekeys: &PublishPrekeys) -> rusqlite::Result<()> {
        let Some(account) = self.store.account(&asker.peer)? else { return Ok(()) };
        let kept = |prekey: &Prekey| {
            let bytes = postcard::to_stdvec(prekey).ok()?;
            Some(KeptPrekey { id: prekey.id.0, expires_s: prekey.expires_s, bytes })
        };
        let Some(signed) = kept(&prekeys.signed) else { return Ok(()) };
        let one_times: Vec<_> = prekeys.one_time.iter().filter_map(kept).collect();
        self.store.publish(account, &signed.bytes, &one_times, ONE_TIMES)
    }

    fn bundle(
        &mut self,
        asker: &Asker,
        peer: &PeerId,
        capability: &Capability,
    ) -> rusqlite::Result<Option<Box<Bundle>>> {
        let Some(account) = self.accepting(asker, peer, capability)? else { return Ok(None) };
        let Some(signed) = self.store.signed_prekey(account)? else { return Ok(None) };
        let one_time = match self.may_take_one_time(asker.peer, *peer) {
            true => self.store.take_one_time_prekey(account, self.now_s)?,
            false => None,
        };
        let read = |bytes: Vec<u8>| postcard::from_bytes::<Prekey>(&bytes).ok();
        Ok(read(signed).map(|signed| Box::new(Bundle { signed, one_time: one_time.and_then(read) })))
    }

    /// Only for those who consented: who is refused anyway must cost no memory.
    fn may_take_one_time(&mut self, sender: PeerId, recipient: PeerId) -> bool {
        let known = self.one_times.contains_key(&(sender, recipient));
        if !known && self.one_times.len() >= ONE_TIMES_REMEMBERED {
            return false;
        }
        self.one_times.entry((sender, recipient)).or_default().take(ONE_TIMES_TO_ONE, self.now)
    }

    fn deposit(
        &mut self,
        asker: &Asker,
        peer: &PeerId,
        capability: &Capability,
        envelope: &[u8],
    ) -> rusqlite::Result<DepositOutcome> {
        let Some(account) = self.accepting(asker, peer, capability)? else { return Ok(DepositOutcome::Refused) };
        let (sender, slot) = (asker.peer, asker.source.hash(self.slots_key) % SLOTS);
        if !self.quotas.admits(&self.store.standing(account, &sender, slot)?, envelope.len()) {
            return Ok(DepositOutcome::Full);
        }
        let keeps_s = u64::from(self.keeps_s);
        self.store.deposit(account, &Letter { sender, slot, over_s: self.served_s + keeps_s, envelope })?;
        let (digest, until_s) = (seal::digest(envelope), self.now_s + keeps_s);
        Ok(DepositOutcome::Stored(StoredReceipt::sign(self.server, sender, *peer, digest, until_s)))
    }

    fn accepting(&self, asker: &Asker, peer: &PeerId, capability: &Capability) -> rusqlite::Result<Option<Account>> {
        let account = self.store.accepting(peer, capability)?;
        Ok(account.filter(|_| *peer != asker.peer))
    }
}

/// Days in service.
fn day(served_s: u64) -> i64 {
    i64::try_from(served_s / DAY_S).unwrap_or(i64::MAX)
}
