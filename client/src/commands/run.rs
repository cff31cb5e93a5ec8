//! `punchline run`: online until somebody stops it. Everything worth printing is printed by the room.

use super::{Context, Online};
use crate::exit::Exit;
use crate::online::{End, Moment, Out, Room, Signal, Task};

pub(super) async fn execute(context: Context<'_>) -> End {
    let online = Online::load(&context.data)?;
    online.stay(context, None, false, Run).await
}

#[derive(Debug)]
pub(crate) struct Run;

impl Task for Run {
    // A peer with a wrong key was shown and is refused; the others are still there, and whoever could provoke such a
    // refusal must not be able to end us with it. A wrong key of the rendezvous does end us: the engine sees to it.
    fn handle(&mut self, _: Signal<'_>, _: &mut Room, _: Moment, _: &mut Out) {}

    fn finish(&mut self, _: &mut Room, _: &mut Out) -> End {
        Ok(Exit::Done)
    }
}
