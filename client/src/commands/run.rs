//! `punchline run`: online until somebody stops it. Everything worth printing is printed by the room.

use super::{Context, Online};
use crate::cli;
use crate::control::Command;
use crate::exit::Exit;
use crate::online::{End, Moment, Out, Room, Signal, Task};

pub(super) async fn execute(context: Context<'_>, arguments: &cli::Run) -> End {
    if arguments.detached {
        crate::system::leave_terminal();
    }
    Online::load(&context.data)?.be_online(context, Command::Watch).await
}

/// Hears everything until it is interrupted. `run` is the node, and its front end watches it.
#[derive(Debug)]
pub(crate) struct Watch;

impl Task for Watch {
    // A peer with a wrong key was shown and is refused; the others are still there, and whoever could provoke such a
    // refusal must not be able to end us with it. A wrong key of the rendezvous does end us: the engine sees to it.
    fn handle(&mut self, _: Signal<'_>, _: &mut Room, _: Moment, _: &mut Out) {}

    fn finish(&mut self, _: &mut Room, _: &mut Out) -> End {
        Ok(Exit::Done)
    }
}
