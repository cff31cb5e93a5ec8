//! `punchline on message --exec CMD`: runs a command for each message that comes, one at a time, and forgets none.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use common::identity::PeerId;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Context, Online, correspondent, request, who};
use crate::cli::{self, OnMessage, OnWhat};
use crate::control::{self, Front, Input, Said};
use crate::data::{DataDir, check_name};
use crate::exit::{Exit, Failure};
use crate::online::End;
use crate::output::{Event, Mode};

/// Before a command that failed is run again; twice as long each time, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// What of an entry decides whether the command is run.
#[derive(Deserialize)]
struct Seen {
    event: String,
    entry: Option<i64>,
    what: Option<String>,
    dir: Option<String>,
    peer: Option<PeerId>,
    id: Option<String>,
}

pub(super) async fn execute(context: Context<'_>, arguments: cli::On) -> End {
    let OnWhat::Message(arguments) = arguments.what;
    let online = Online::load(&context.data)?;
    let with = arguments.with.as_deref().map(|with| correspondent(&context.data, with)).transpose()?;
    if arguments.exec.trim().is_empty() {
        return Err(Failure::usage("say what to run: punchline on message --exec CMD"));
    }
    let bookmark = Bookmark::open(&context.data, &arguments.name)?;
    // From now on: what comes before the node is reached must not be left out.
    let since = match bookmark.read()? {
        Some(handled) => handled,
        None => bookmark.write(context.data.messages()?.newest()?)?,
    };
    let tail = cli::Tail { with: with.map(|who| who.peer.to_string()), since: Some(since) };
    let mut asked = request(control::Command::Tail(tail), &context);
    asked.show.form = control::Form::Json;
    let (front, host, context) = online.reach(context).await?;
    front.ask(&asked);
    let end = Follower { front, asked: asked.id, arguments, bookmark, context }.follow().await;
    if let Some(host) = host {
        let _ = host.stop().await;
    }
    end
}

struct Follower<'a> {
    front: Front,
    asked: u64,
    arguments: OnMessage,
    bookmark: Bookmark,
    context: Context<'a>,
}

impl Follower<'_> {
    async fn follow(mut self) -> End {
        let stop = crate::system::stop_requested()
            .map_err(|error| Failure::other(format!("cannot listen for signals: {error}")))?;
        tokio::pin!(stop);
        loop {
            let said = tokio::select! {
                biased;
                () = &mut stop => break,
                said = self.front.next() => said?,
            };
            let line = match said {
                Said::Line(line) => line,
                Said::Error(failure) => return Err(failure),
                Said::Done(_) => break,
                Said::Progress { .. } | Said::More(_) => continue,
            };
            let handled = tokio::select! {
                biased;
                () = &mut stop => break,
                handled = self.handle(&line) => handled?,
            };
            if handled.is_break() {
                break;
            }
        }
        self.front.input(self.asked, &Input::Interrupt);
        Ok(Exit::Done)
    }

    /// Runs the command until it succeeds or has had its tries.
    async fn handle(&mut self, line: &str) -> Result<std::ops::ControlFlow<()>, Failure> {
        use std::ops::ControlFlow::{Break, Continue};
        let seen: Seen = serde_json::from_str(line).map_err(|error| Failure::other(error.to_string()))?;
        if seen.event == "started" && self.context.printer.mode() == Mode::Json {
            return Ok(if self.context.printer.line(line).is_ok() { Continue(()) } else { Break(()) });
        }
        let Some(entry) = seen.entry.filter(|_| seen.event == "entry") else { return Ok(Continue(())) };
        let came = seen.what.as_deref() == Some("message") && seen.dir.as_deref() == Some("in");
        if let (true, Some(peer), Some(id)) = (came, seen.peer, seen.id) {
            let mut pause = FIRST;
            for attempt in 1..=self.arguments.tries {
                let status = self.run(line).await;
                let again = status != Some(0) && attempt < self.arguments.tries;
                let who = who(&self.context.data.contacts()?, peer);
                let ran = Event::Ran { entry, who, id: id.clone(), attempt, status, again };
                if !again {
                    // Before it is said: who hears that a message was handled need not fear that it is handled again.
                    self.bookmark.write(entry)?;
                }
                if self.context.show(&ran).is_err() {
                    return Ok(Break(()));
                }
                if !again {
                    break;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
        } else {
            self.bookmark.write(entry)?;
        }
        Ok(Continue(()))
    }

    /// Its exit code; `None` if there is none.
    async fn run(&self, line: &str) -> Option<i32> {
        let mut command = self.command()?;
        command.stdin(Stdio::piped()).kill_on_drop(true);
        if self.context.printer.mode() == Mode::Json {
            // Standard output is for our own lines.
            command.stdout(std::io::stderr());
        }
        let mut child =
            command.spawn().inspect_err(|error| tracing::warn!(%error, "the command does not start")).ok()?;
        if let Some(mut input) = child.stdin.take() {
            // A command that does not want to read it all is no trouble.
            let _ = input.write_all(format!("{line}\n").as_bytes()).await;
        }
        child.wait().await.ok()?.code()
    }

    fn command(&self) -> Option<Command> {
        if self.arguments.shell {
            return Some(crate::system::shell(&self.arguments.exec));
        }
        let mut words = self.arguments.exec.split_whitespace();
        let mut command = Command::new(words.next()?);
        command.args(words);
        Some(command)
    }
}

/// Up to where messages were handled: a number in a file, which one process at a time may have.
struct Bookmark {
    data: DataDir,
    file: PathBuf,
    name: String,
    _held: File,
}

impl Bookmark {
    fn open(data: &DataDir, name: &str) -> Result<Self, Failure> {
        check_name(name)?;
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            return Err(Failure::usage("a --name has letters, digits, - and _ only"));
        }
        let held = data.bookmark_lock(name)?.ok_or_else(|| {
            Failure::other(format!(
                "another `punchline on message` with the name {name} is running; give this one another --name"
            ))
        })?;
        Ok(Bookmark { data: data.clone(), file: data.bookmark_file(name), name: name.to_owned(), _held: held })
    }

    fn read(&self) -> Result<Option<i64>, Failure> {
        Ok(self.data.bookmark(&self.name)?)
    }

    /// Remembers it, and gives it back.
    fn write(&self, entry: i64) -> Result<i64, Failure> {
        self.data.save_bookmark(&self.file, entry)?;
        Ok(entry)
    }
}
