//! What every command that needs the node does: it uses the one that is online, or else goes online itself.

use std::time::Duration;

use common::identity::{Identity, PeerId};
use common::session::{Content, MessageId};
use common::tls::Certificate;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::time::{Instant, sleep};

use super::{Context, chat, joined, msg, netcheck, peer, ping, read, remark, run, speed, tail, why};
use crate::cli::{Delete, Edit, Msg, Patience, React, Reply};
use crate::control::{self, Command, Form, Front, Request, Show, attend};
use crate::data::{Config, Contacts, DataDir, DataError, Lock, Status};
use crate::exit::Failure;
use crate::net::NodeConfig;
use crate::online::{End, Host, Making, Room, Setup, Task};
use crate::output::{Mode, Who};

/// A node that has just started, or is about to end, does not answer for a moment.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Everything that an online command needs before it starts.
pub(super) struct Online {
    identity: Identity,
    config: Config,
    contacts: Contacts,
}

impl Online {
    pub(super) fn load(data: &DataDir) -> Result<Self, Failure> {
        let (identity, config) = joined(data)?;
        Ok(Online { identity, config, contacts: data.contacts()? })
    }

    pub(super) fn peer(&self, asked: &str) -> Result<Who, Failure> {
        peer(&self.contacts, self.identity.peer_id(), asked)
    }

    /// Has the command carried out, by the node that is online or one of our own.
    pub(super) async fn stay(self, context: Context<'_>, command: Command) -> End {
        let request = request(command, &context);
        let (front, host, context) = self.reach(context).await?;
        let end = attend(front, request, context.printer).await;
        if let Some(host) = host {
            // How the command ended counts.
            let _ = host.stop().await;
        }
        end
    }

    /// Is the node, and carries out this command on it. Another one that is online is in the way.
    pub(super) async fn be_online(self, context: Context<'_>, command: Command) -> End {
        let lock = context.data.lock()?;
        let request = request(command, &context);
        let (front, host) = self.start(&context, lock, true).await?;
        let end = attend(front, request, context.printer).await;
        host.stop().await.and(end)
    }

    /// The node that is online, or our own, which is to be stopped at the end.
    pub(super) async fn reach<'a>(self, context: Context<'a>) -> Result<(Front, Option<Host>, Context<'a>), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(stream) = control::connect(context.data.path()).await {
                let front = Front::open(stream).await?;
                context.fits(&front.greeting)?;
                return Ok((front, None, context));
            }
            let lock = match context.data.lock() {
                Ok(lock) => lock,
                Err(DataError::InUse { .. }) if Instant::now() < deadline => {
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let (front, host) = self.start(&context, lock, false).await?;
            if context.printer.mode() == Mode::Text {
                context
                    .printer
                    .remark("none is online in the background (`punchline up`), so this command goes online itself");
            }
            return Ok((front, Some(host), context));
        }
    }

    async fn start(self, context: &Context<'_>, lock: Lock, stays: bool) -> Result<(Front, Host), Failure> {
        let mut status = Status::new(std::process::id(), Timestamp::now());
        status.relay_only = context.relay_only;
        let certificate = Certificate::new(&self.identity).map_err(|error| Failure::other(error.to_string()))?;
        let room = Room::new(self.identity.clone(), self.contacts.clone(), status);
        let config = NodeConfig {
            certificate,
            identity: self.identity,
            rendezvous: self.config.rendezvous,
            name: self.config.name,
            contacts: self.contacts.ids(),
            port_mapping: context.port_mapping,
            birthday: context.birthday,
            lan: context.lan,
            relay_only: context.relay_only,
        };
        let setup = Setup {
            store: context.data.messages()?,
            data: context.data.clone(),
            status_file: context.data.status_file(&lock),
            lock,
            config,
            stays,
            make,
        };
        let (host, stream) = Host::start(setup, room).await?;
        Ok((Front::open(stream).await?, host))
    }
}

/// What we ask for: answers as they are printed here.
pub(super) fn request(command: Command, context: &Context<'_>) -> Request {
    let form = match context.printer.mode() {
        Mode::Text => Form::Text,
        Mode::Json => Form::Json,
    };
    let zone = TimeZone::system().iana_name().map(str::to_owned);
    let age_ms = u32::try_from(context.started.elapsed().as_millis()).unwrap_or(u32::MAX);
    Request { id: 1, command, show: Show { form, zone, progress: false, age_ms } }
}

/// On the node's side: what a command becomes.
fn make(making: Making<'_>) -> Result<(Option<Who>, Box<dyn Task>), Failure> {
    let Making { front, request, id, own, lan, room, store } = making;
    let mut said = None;
    let who = match remark::about(&request.command)? {
        Some(about) => {
            let (with, content) = about.find(store, None)?;
            said = Some(content);
            Some(peer(room.contacts(), own, &with.to_string())?)
        }
        None => request.command.peer().map(|asked| peer(room.contacts(), own, asked)).transpose()?,
    };
    let with = who.as_ref().map_or(own, |who| who.peer);
    let relay_only = room.status().relay_only;
    let task: Box<dyn Task> = match &request.command {
        Command::Chat(arguments) => {
            Box::new(chat::Chat::new(with, arguments.wait, store.unread_of(with, chat::CAUGHT_UP)?))
        }
        Command::Msg(Msg { words, .. }) => {
            let text = words.text.clone().ok_or_else(|| Failure::usage(remark::NEEDS_TEXT))?;
            let content = Content::Text { text, reply_to: None };
            Box::new(msg::Msg::new(with, id, content, words.patience).expiring(words.expire))
        }
        Command::Reply(Reply { words, .. }) => said_about(with, id, said, words.patience, words.expire)?,
        Command::Edit(Edit { patience, .. })
        | Command::Delete(Delete { patience, .. })
        | Command::React(React { patience, .. }) => said_about(with, id, said, *patience, None)?,
        Command::Read(_) => Box::new(read::Read::new(room.who(with), store)?),
        Command::Ping(arguments) => Box::new(ping::Ping::new(with, front, request.show.age(), arguments)),
        Command::Why(arguments) => Box::new(why::Why::new(with, arguments.timeout)),
        Command::Speed(_) if relay_only => return Err(Failure::usage(speed::ONLY_RELAYED)),
        Command::Speed(arguments) => Box::new(speed::Speed::new(with, arguments)),
        Command::Netcheck(arguments) => Box::new(netcheck::Netcheck::new(arguments, lan, relay_only)),
        Command::Tail(arguments) => {
            let only = arguments.with.as_deref().map(|asked| correspondent(room.contacts(), asked)).transpose()?;
            Box::new(tail::Tail::new(only, arguments.since))
        }
        Command::Watch => Box::new(run::Watch),
        Command::Down => return Err(Failure::other("this node cannot be stopped in this way")),
    };
    Ok((who, task))
}

fn said_about(
    peer: PeerId,
    id: MessageId,
    content: Option<Content>,
    patience: Patience,
    life: Option<Duration>,
) -> Result<Box<dyn Task>, Failure> {
    let content = content.ok_or_else(|| Failure::other(remark::ABOUT_NOTHING))?;
    Ok(Box::new(msg::Msg::new(peer, id, content, patience).expiring(life)))
}

/// A contact, or by its id somebody who is none any more.
fn correspondent(contacts: &Contacts, asked: &str) -> Result<PeerId, Failure> {
    match contacts.find(asked) {
        Ok(contact) => Ok(contact.id),
        Err(error) => asked.trim().parse().map_err(|_| error.into()),
    }
}
