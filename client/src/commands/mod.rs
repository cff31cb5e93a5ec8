//! One file a command.

mod add;
mod backup;
mod chat;
mod contacts;
mod export;
mod generated;
mod history;
mod id;
mod join;
mod msg;
mod netcheck;
mod on;
mod online;
mod outbox;
mod passphrase;
mod ping;
mod read;
mod remark;
mod restore;
mod run;
mod search;
mod service;
mod speed;
mod status;
mod tail;
mod up;
mod why;

use online::{Online, request};
#[cfg(test)]
pub(crate) use {chat::Chat, msg::Msg, netcheck::Netcheck, ping::Ping, run::Watch, speed::Speed, tail::Tail, why::Why};

use std::str::FromStr;
use std::time::Instant;

use common::identity::{Identity, PeerId};
use common::link::Link;
use jiff::Timestamp;

use crate::cli::{Cli, Command};
use crate::control::{Command as Request, Greeting};
use crate::data::{Config, Contacts, DataDir};
use crate::exit::{Exit, Failure};
use crate::online::End;
use crate::output::{Direction, Event, Gone, Kept, Printer, Who};
use crate::store::{self, Message, Times};

/// What every command has at hand.
#[derive(Debug)]
pub struct Context<'a> {
    /// The data folder.
    pub data: DataDir,
    /// Where answers go.
    pub printer: &'a mut Printer,
    /// When the process started.
    pub started: Instant,
    /// Whether the router is asked for a port.
    pub port_mapping: bool,
    /// May hundreds of sockets be opened to guess a port?
    pub birthday: bool,
    /// May anything be sent to the LAN: are contacts looked for there?
    pub lan: bool,
    /// Is our address shown to the rendezvous alone?
    pub relay_only: bool,
    /// How much more is said on standard error.
    pub verbose: u8,
}

/// How a command that is carried out at once may end early.
enum Stop {
    Failure(Failure),
    Gone,
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Failure(error.into())
    }
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Stop::Gone
    }
}

impl Context<'_> {
    fn show(&mut self, event: &Event) -> Result<(), Gone> {
        self.printer.print(event, Timestamp::now())
    }

    /// May the node that is online be used for this command? Its options were chosen when it was started.
    fn fits(&self, greeting: &Greeting) -> Result<(), Failure> {
        if self.relay_only && !greeting.relay_only {
            return Err(Failure::usage(format!(
                "the punchline that is online (process {}) shows your address to contacts: it was started without \
                 --relay-only. Stop it first: punchline down",
                greeting.pid
            )));
        }
        Ok(())
    }
}

/// Carries out a command.
pub async fn execute(cli: Cli, started: Instant, printer: &mut Printer) -> End {
    let data = DataDir::locate(cli.global.data)?;
    let mut context = Context {
        data,
        printer,
        started,
        port_mapping: !cli.global.no_port_mapping,
        birthday: !cli.global.no_birthday,
        lan: !cli.global.no_lan && !cli.global.relay_only,
        relay_only: cli.global.relay_only,
        verbose: cli.global.verbose,
    };
    let stop = match cli.command {
        Command::Join(arguments) => join::execute(&mut context, &arguments),
        Command::Id => id::execute(&mut context),
        Command::Add(arguments) => add::execute(&mut context, &arguments),
        Command::Contacts(arguments) => contacts::execute(&mut context, &arguments),
        Command::History(arguments) => history::execute(&mut context, &arguments),
        Command::Search(arguments) => search::execute(&mut context, &arguments),
        Command::Outbox(arguments) => outbox::execute(&mut context, arguments),
        Command::Export(arguments) => export::execute(&mut context, &arguments),
        Command::Backup(arguments) => backup::execute(&mut context, &arguments),
        Command::Restore(arguments) => restore::execute(&mut context, &arguments),
        Command::Status => status::execute(&mut context),
        Command::Completions { shell } => generated::completions(&mut context, shell),
        Command::Man { folder } => generated::man(&mut context, &folder),
        Command::Service { install } => service::execute(&mut context, install),
        Command::Run(arguments) => return run::execute(context, &arguments).await,
        Command::Up => return up::up(context).await,
        Command::Down => return up::down(context).await,
        Command::Msg(arguments) => return msg::execute(context, arguments).await,
        Command::Reply(arguments) => return remark::execute(context, Request::Reply(arguments)).await,
        Command::Edit(arguments) => return remark::execute(context, Request::Edit(arguments)).await,
        Command::Delete(arguments) => return remark::execute(context, Request::Delete(arguments)).await,
        Command::React(arguments) => return remark::execute(context, Request::React(arguments)).await,
        Command::Read(arguments) => return read::execute(context, arguments).await,
        Command::Tail(arguments) => return tail::execute(context, arguments).await,
        Command::On(arguments) => return on::execute(context, arguments).await,
        Command::Chat(arguments) => return chat::execute(context, arguments).await,
        Command::Netcheck(arguments) => return netcheck::execute(context, arguments).await,
        Command::Ping(arguments) => return ping::execute(context, arguments).await,
        Command::Why(arguments) => return why::execute(context, arguments).await,
        Command::Speed(arguments) => return speed::execute(context, arguments).await,
    };
    match stop {
        Ok(()) | Err(Stop::Gone) => Ok(Exit::Done),
        Err(Stop::Failure(failure)) => Err(failure),
    }
}

const JOIN_FIRST: &str = "you have not joined a rendezvous yet; get a link from whoever runs one, then: \
                          punchline join 'punchline://HOST:PORT/join#KEY' --name YOUR-NAME";

/// Who we are and where we register; both come from `join`.
fn joined(data: &DataDir) -> Result<(Identity, Config), Failure> {
    match (data.identity()?, data.config()?) {
        (Some(identity), Some(config)) => Ok((identity, config)),
        (None, Some(_)) => Err(Failure::other(format!(
            "{} is missing; bring it back from a copy, or make a new identity with `punchline join LINK`",
            data.path().join("identity.key").display()
        ))),
        (_, None) => Err(Failure::usage(JOIN_FIRST)),
    }
}

/// The contact that an argument names.
fn peer(contacts: &Contacts, own: PeerId, asked: &str) -> Result<Who, Failure> {
    let asked = match asked.trim().starts_with("punchline://") {
        true => match parse_link(asked)? {
            Link::Peer { peer, .. } => peer.to_string(),
            Link::Join(_) => return Err(Failure::usage("this link names a rendezvous, not a contact")),
        },
        false => asked.to_owned(),
    };
    if asked.parse() == Ok(own) {
        return Err(Failure::usage("this is your own id; name a contact"));
    }
    let contact = contacts.find(&asked)?;
    Ok(Who { peer: contact.id, name: Some(contact.name.clone()) })
}

/// With whom a conversation was: a contact, or by its id somebody who is none any more.
fn correspondent(data: &DataDir, asked: &str) -> Result<Who, Failure> {
    let contacts = data.contacts()?;
    match contacts.find(asked) {
        Ok(contact) => Ok(Who { peer: contact.id, name: Some(contact.name.clone()) }),
        Err(error) => match asked.trim().parse() {
            Ok(peer) => Ok(Who { peer, name: None }),
            Err(_) => Err(error.into()),
        },
    }
}

/// A peer as it is shown.
fn who(contacts: &Contacts, peer: PeerId) -> Who {
    Who { peer, name: contacts.name_of(peer).map(str::to_owned) }
}

/// A message of the store as it is shown.
fn kept(contacts: &Contacts, message: Message) -> Kept {
    let who = who(contacts, message.peer);
    let dir = match message.direction {
        store::Direction::Received => Direction::In,
        store::Direction::Sent => Direction::Out,
    };
    let Times { expires, server, device, read, ended } = message.times;
    let since = match message.state {
        store::State::Queued => None,
        store::State::AtServer => server,
        store::State::OnDevice => device,
        store::State::Read => read,
        store::State::Cancelled | store::State::Expired => ended,
    };
    Kept {
        place: message.place,
        dir,
        who,
        id: message.id.to_string(),
        text: message.text,
        at: message.at,
        state: message.state.word(),
        since,
        expires: expires.filter(|_| message.state.is_open()),
        host: message.host,
        reply_to: message.reply_to.map(|id| id.to_string()),
        edited: message.edited,
        deleted: message.deleted,
        unread: message.unread,
        missing_before: message.missing_before,
        own_reaction: message.own_reaction,
        peer_reaction: message.peer_reaction,
    }
}

fn parse_link(text: &str) -> Result<Link, Failure> {
    Link::from_str(text).map_err(|error| Failure::usage(error.to_string()))
}
