//! `punchline tail`: what is said and what becomes of it, out of the store's journal: first what was there, then what comes.

use common::identity::PeerId;

use super::{Context, Online, correspondent, kept};
use crate::cli;
use crate::control::Command;
use crate::exit::Exit;
use crate::online::{End, Moment, Out, PAGE, Reading, Room, Signal, Task};
use crate::output::Event;
use crate::store::Entry;

pub(super) async fn execute(context: Context<'_>, mut arguments: cli::Tail) -> End {
    let online = Online::load(&context.data)?;
    if let Some(with) = &mut arguments.with {
        *with = correspondent(&context.data, with)?.peer.to_string();
    }
    online.stay(context, Command::Tail(arguments)).await
}

/// Reads on page by page, each when its front end has taken the one before: what it has not taken waits in the store.
#[derive(Debug)]
pub(crate) struct Tail {
    peer: Option<PeerId>,
    /// Behind which entry it goes on; `None`: behind the last one there is.
    after: Option<i64>,
    asked: bool,
    /// Something was kept since it asked.
    behind: bool,
}

impl Tail {
    pub(crate) fn new(peer: Option<PeerId>, since: Option<i64>) -> Self {
        Tail { peer, after: since, asked: false, behind: false }
    }

    fn ask(&mut self, out: &mut Out) {
        if std::mem::replace(&mut self.asked, true) {
            self.behind = true;
            return;
        }
        self.behind = false;
        out.read(Reading { after: self.after, peer: self.peer });
    }
}

fn told(room: &Room, entry: &Entry) -> Event {
    let mut kept = kept(room.contacts(), entry.message.clone());
    kept.state = entry.state.word();
    Event::Entry { entry: entry.number, what: entry.what.word(), kept: Box::new(kept) }
}

impl Task for Tail {
    fn handle(&mut self, signal: Signal<'_>, room: &mut Room, _: Moment, out: &mut Out) {
        match signal {
            Signal::Started | Signal::Kept | Signal::OutboxChanged => self.ask(out),
            Signal::Entries { entries, up_to } => {
                entries.iter().for_each(|entry| out.tell(told(room, entry)));
                (self.after, self.asked) = (Some(up_to), false);
                if self.behind || entries.len() == PAGE {
                    self.ask(out);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Room, _: &mut Out) -> End {
        Ok(Exit::Done)
    }

    fn listens(&self) -> bool {
        false
    }
}
