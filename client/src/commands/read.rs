//! `punchline read PEER`: all that the contact has said counts as read. A node that is online tells the contact at once.

use common::identity::PeerId;
use common::session::StreamId;

use super::{Context, Online, request};
use crate::cli;
use crate::control::{self, Command, Front, attend};
use crate::exit::{Exit, Failure};
use crate::online::{End, Moment, Out, Room, Signal, Task};
use crate::output::{Event, Who};
use crate::store::Store;

pub(super) async fn execute(context: Context<'_>, mut arguments: cli::Read) -> End {
    let online = Online::load(&context.data)?;
    let who = online.peer(&arguments.peer)?;
    if let Ok(stream) = control::connect(context.data.path()).await {
        let front = Front::open(stream).await?;
        arguments.peer = who.peer.to_string();
        let request = request(Command::Read(arguments), &context);
        return attend(front, request, context.printer).await;
    }
    // Nobody need go online for it: the next one to do so tells the contact.
    let Marked { messages, .. } = mark(&mut context.data.messages()?, who.peer)?;
    let mut context = context;
    // Whoever has closed the output does not want to know.
    let _ = context.show(&Event::MarkedRead { who, messages });
    Ok(Exit::Done)
}

/// What was marked in the store.
#[derive(Debug)]
struct Marked {
    messages: usize,
    /// In the stream in which the contact speaks now.
    up_to: Option<(StreamId, u64)>,
}

fn mark(store: &mut Store, peer: PeerId) -> Result<Marked, Failure> {
    let messages = store.mark_read(peer, i64::MAX)?;
    Ok(Marked { messages, up_to: store.read_up_to(peer)? })
}

/// Tells the contact what the store knows by now.
#[derive(Debug)]
pub(crate) struct Read {
    who: Who,
    marked: Marked,
}

impl Read {
    pub(super) fn new(who: Who, store: &mut Store) -> Result<Self, Failure> {
        let marked = mark(store, who.peer)?;
        Ok(Read { who, marked })
    }
}

impl Task for Read {
    fn handle(&mut self, signal: Signal<'_>, room: &mut Room, now: Moment, out: &mut Out) {
        if !matches!(signal, Signal::Started) {
            return;
        }
        if let Some(up_to) = self.marked.up_to {
            room.read(self.who.peer, up_to, now, out);
        }
        out.tell(Event::MarkedRead { who: self.who.clone(), messages: self.marked.messages });
        out.end(Ok(Exit::Done));
    }

    fn finish(&mut self, _: &mut Room, _: &mut Out) -> End {
        Ok(Exit::Done)
    }

    fn listens(&self) -> bool {
        false
    }
}
