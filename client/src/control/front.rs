//! The side of the front end: asks, shows what comes, hands input on.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Greeting, Input, Request, VERSION};
use crate::exit::{Exit, Failure};
use crate::online::{End, lines};
use crate::output::{Bar, Printer};

/// The node is on the same machine; one that says nothing for so long hangs.
const GREETS_WITHIN: Duration = Duration::from_secs(5);
/// Answers read ahead.
const AHEAD: usize = 256;
/// How long a command may take for its last words after Ctrl-C.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A connection with a node, for one command.
#[derive(Debug)]
pub(crate) struct Front {
    /// What the node says of itself.
    pub(crate) greeting: Greeting,
    answers: mpsc::Receiver<String>,
    /// Never more than a window of lines.
    outgoing: mpsc::UnboundedSender<String>,
    _wire: JoinSet<io::Result<()>>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// To be shown as it is.
    Line(String),
    /// A picture for people who wait.
    Progress { what: String, share: f64, mbps: Option<f64> },
    /// So many more lines of input may go.
    More(usize),
    /// The command has failed; `done` follows.
    Error(Failure),
    /// It is over.
    Done(u8),
}

/// What of an answer is looked at.
#[derive(Deserialize)]
struct Answer {
    event: Option<String>,
    text: Option<String>,
    code: Option<u8>,
    message: Option<String>,
    lines: Option<usize>,
    what: Option<String>,
    share: Option<f64>,
    mbps: Option<f64>,
}

impl Front {
    /// Greets the node at the other end.
    pub(crate) async fn open<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S) -> Result<Self, Failure> {
        let (input, mut output) = tokio::io::split(stream);
        let (outgoing, mut waiting) = mpsc::unbounded_channel::<String>();
        let (said, mut answers) = mpsc::channel(AHEAD);
        let mut wire = JoinSet::new();
        wire.spawn(async move {
            while let Some(mut line) = waiting.recv().await {
                line.push('\n');
                output.write_all(line.as_bytes()).await?;
            }
            Ok(())
        });
        wire.spawn(async move {
            let mut input = BufReader::new(input).lines();
            while let Some(line) = input.next_line().await? {
                if said.send(line).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        let first = tokio::time::timeout(GREETS_WITHIN, answers.recv()).await;
        let first =
            first.map_err(|_| Failure::other("the punchline that is online does not answer; stop its process"))?;
        let greeting = greeting(first)?;
        Ok(Front { greeting, answers, outgoing, _wire: wire })
    }

    /// Asks for something.
    pub(crate) fn ask(&self, request: &Request) {
        // What cannot be said is noticed by the silence that follows: the answers end.
        let _ = serde_json::to_string(request).map(|line| self.outgoing.send(line));
    }

    /// Says something to the request of this number.
    pub(crate) fn input(&self, re: u64, input: &Input) {
        let _ = self.outgoing.send(input.to_line(re));
    }

    /// The next answer; may be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Said, Failure> {
        loop {
            let line = self.answers.recv().await.ok_or_else(|| {
                Failure::other(
                    "the punchline that was online has ended, or has dropped this command because it did not read",
                )
            })?;
            if let Some(said) = understand(&line)? {
                return Ok(said);
            }
        }
    }
}

fn greeting(line: Option<String>) -> Result<Greeting, Failure> {
    let line = line.ok_or_else(|| Failure::other("the punchline that is online is ending; try again"))?;
    if let Ok(greeting) = serde_json::from_str::<Greeting>(&line) {
        return match greeting.punchline <= VERSION {
            true => Ok(greeting),
            false => Err(Failure::other(format!(
                "the punchline that is online is newer (version {}) and speaks otherwise; update this one",
                greeting.version
            ))),
        };
    }
    match understand(&line)? {
        Some(Said::Error(failure)) => Err(failure),
        _ => Err(Failure::other("what listens at the control socket is no punchline")),
    }
}

fn understand(line: &str) -> Result<Option<Said>, Failure> {
    let answer: Answer = serde_json::from_str(line)
        .map_err(|error| Failure::other(format!("the punchline that is online speaks otherwise: {error}")))?;
    let said = match (answer.event.as_deref(), answer.text) {
        (None, Some(text)) => Said::Line(text),
        (None, None) => return Ok(None),
        (Some("done"), _) => Said::Done(answer.code.unwrap_or(Exit::Other.code())),
        (Some("more"), _) => Said::More(answer.lines.unwrap_or_default()),
        (Some("error"), _) => {
            let exit = answer.code.and_then(Exit::from_code).unwrap_or(Exit::Other);
            Said::Error(Failure::new(exit, answer.message.unwrap_or_default()))
        }
        (Some("progress"), _) => Said::Progress {
            what: answer.what.unwrap_or_default(),
            share: answer.share.unwrap_or_default(),
            mbps: answer.mbps,
        },
        // As it would have been printed without a node in between.
        (Some(_), _) => match line.strip_prefix("{\"re\":").and_then(|line| line.split_once(',')) {
            Some((_, rest)) => Said::Line(format!("{{{rest}")),
            None => Said::Line(line.to_owned()),
        },
    };
    Ok(Some(said))
}

/// Has a command carried out, and shows its answers until it is over.
pub(crate) async fn attend(mut front: Front, mut request: Request, printer: &mut Printer) -> End {
    let stop = crate::system::stop_requested()
        .map_err(|error| Failure::other(format!("cannot listen for signals: {error}")))?;
    tokio::pin!(stop);
    let mut bar = Bar::standard();
    request.show.progress = bar.is_shown();
    let re = request.id;
    let mut input = match request.command.reads_input() {
        true => Some(lines().map_err(|error| Failure::other(format!("cannot read the input: {error}")))?),
        false => None,
    };
    let (mut room, mut failure, mut give_up) = (0, None, None);
    front.ask(&request);
    loop {
        let said = tokio::select! {
            biased;
            said = front.next() => said,
            () = &mut stop, if give_up.is_none() => {
                front.input(re, &Input::Interrupt);
                give_up = Some(tokio::time::Instant::now() + LAST_WORDS);
                continue;
            }
            () = tokio::time::sleep_until(give_up.unwrap_or_else(tokio::time::Instant::now)), if give_up.is_some() => {
                return Err(Failure::other("interrupted; the punchline that is online did not answer to that"));
            }
            line = next_line(&mut input), if room > 0 => {
                match line {
                    Some(line) => {
                        room -= 1;
                        front.input(re, &Input::Line(line));
                    }
                    None => {
                        input = None;
                        front.input(re, &Input::Eof);
                    }
                }
                continue;
            }
        };
        match said {
            Ok(Said::Progress { what, share, mbps }) => bar.draw(&what, share, mbps),
            Ok(Said::More(lines)) => room += lines,
            Ok(Said::Error(said)) => failure = Some(said),
            Ok(Said::Done(code)) => {
                bar.clear();
                return match failure {
                    Some(failure) => Err(failure),
                    None => Ok(Exit::from_code(code).unwrap_or(Exit::Other)),
                };
            }
            Ok(Said::Line(line)) => {
                bar.clear();
                // Nobody reads what we print any more: `punchline run | head` ends like every other program.
                if printer.line(&line).is_err() {
                    return Ok(Exit::Done);
                }
            }
            Err(gone) => {
                bar.clear();
                return Err(failure.unwrap_or(gone));
            }
        }
    }
}

async fn next_line(input: &mut Option<mpsc::Receiver<crate::online::Line>>) -> Option<crate::online::Line> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}
