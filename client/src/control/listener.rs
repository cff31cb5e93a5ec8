//! Who may connect: processes of the same user, and not too many at a time.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::connection::{ConnectionId, Wires, serve};
use super::{Greeting, MAX_CONNECTIONS, answer, place};
use crate::exit::Failure;
use crate::output::Event;
use crate::system::{ControlListener, ControlStream};

/// After a connection that could not be accepted: there are too few descriptors, and there may be more later.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens at the socket of this data folder until the task is aborted. Only for who holds its lock.
pub(crate) fn listen(data: &Path, greeting: Greeting, wires: Wires) -> io::Result<JoinHandle<()>> {
    let listener = place::bind(data)?;
    Ok(tokio::spawn(accept(listener, greeting, wires)))
}

async fn accept(listener: ControlListener, greeting: Greeting, wires: Wires) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // 0 is the front end of our own process.
    for id in 1.. {
        let (stream, ours) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a front end could not be let in");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if !ours {
            tracing::warn!("a process of another user asked for the control socket and was refused");
            refuse(stream, "only processes of the user who runs punchline may use this socket").await;
            continue;
        }
        match Arc::clone(&places).try_acquire_owned() {
            Ok(permit) => serve(ConnectionId(id), stream, greeting.clone(), wires.clone(), Some(permit)).await,
            Err(_) => {
                refuse(stream, &format!("there are {MAX_CONNECTIONS} connections already; end one of them")).await
            }
        }
    }
}

/// Says why; a new connection has room for that much, and whoever does not read it has no answer.
async fn refuse(mut stream: ControlStream, why: &str) {
    let failure = Failure::other(why);
    let line = answer(None, &crate::output::json(&Event::error(&failure))) + "\n";
    let _ = tokio::time::timeout(PAUSE, stream.write_all(line.as_bytes())).await;
}
