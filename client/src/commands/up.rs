//! `punchline up` and `down`: the node in the background.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{Context, Online};
use crate::control::{self, Front, Greeting};
use crate::data::Holder;
use crate::exit::{Exit, Failure};
use crate::online::End;
use crate::output::{Event, NodeChange};

/// How long the one in the background may take until it answers, on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
/// How long it may take to say goodbye to everybody.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
/// Where what goes wrong in the background is written.
const LOG: &str = "node.log";
/// What of it is shown when it does not start.
const SHOWN: u64 = 4096;

pub(super) async fn up(mut context: Context<'_>) -> End {
    // What is missing is said here, rather than in a log.
    Online::load(&context.data)?;
    context.data.messages()?;
    if let Some(greeting) = answers(&context).await? {
        if !greeting.stays {
            return Err(Failure::other(format!(
                "process {} is online for one command only, and ends with it; end it first, and then: punchline up",
                greeting.pid
            )));
        }
        context.fits(&greeting)?;
        return say(&mut context, NodeChange::Already, Some(greeting.pid));
    }
    let path = context.data.path().join(LOG);
    let mut options = OpenOptions::new();
    let log = crate::system::private(options.read(true).write(true).create(true).truncate(true)).open(&path);
    let mut log = log.map_err(|error| Failure::other(format!("cannot write {}: {error}", path.display())))?;
    let mut child = start(&context, &log)
        .map_err(|error| Failure::other(format!("cannot start punchline in the background: {error}")))?;
    let deadline = Instant::now() + STARTS_WITHIN;
    loop {
        if let Some(greeting) = answers(&context).await? {
            return say(&mut context, NodeChange::Started, Some(greeting.pid));
        }
        if let Ok(Some(status)) = child.try_wait() {
            let exit = status.code().and_then(|code| Exit::from_code(u8::try_from(code).ok()?));
            let exit = exit.filter(|exit| *exit != Exit::Done).unwrap_or(Exit::Other);
            let said = last_words(&mut log).unwrap_or_default();
            let said = said.trim().trim_start_matches("punchline: ").to_owned();
            let said = if said.is_empty() { format!("it ended at once ({status})") } else { said };
            return Err(Failure::new(exit, said));
        }
        if deadline < Instant::now() {
            let _ = child.kill();
            let _ = child.wait();
            let message = format!("it did not answer within {} s; see {}", STARTS_WITHIN.as_secs(), path.display());
            return Err(Failure::new(Exit::Timeout, message));
        }
        sleep(PAUSE).await;
    }
}

/// This very program, with the options that we have.
fn start(context: &Context<'_>, log: &File) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--detached", "--data"]).arg(context.data.path());
    let options = [
        ("--no-port-mapping", !context.port_mapping),
        ("--no-birthday", !context.birthday),
        ("--no-lan", !context.lan && !context.relay_only),
        ("--relay-only", context.relay_only),
    ];
    command.args(options.into_iter().filter(|(_, set)| *set).map(|(option, _)| option));
    command.args(std::iter::repeat_n("-v", usize::from(context.verbose)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone()?);
    crate::system::start_detached(&mut command)
}

fn last_words(log: &mut File) -> io::Result<String> {
    let length = log.seek(SeekFrom::End(0))?;
    log.seek(SeekFrom::Start(length.saturating_sub(SHOWN)))?;
    let mut words = Vec::new();
    log.read_to_end(&mut words)?;
    Ok(String::from_utf8_lossy(&words).into_owned())
}

pub(super) async fn down(mut context: Context<'_>) -> End {
    let Some(greeting) = answers(&context).await? else {
        return match context.data.holder()? {
            Holder::Nobody => say(&mut context, NodeChange::None, None),
            Holder::Process(pid) => Err(Failure::other(format!(
                "punchline{} is online and does not answer at its control socket; stop it with Ctrl-C or kill",
                pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
            ))),
        };
    };
    let Ok(stream) = control::connect(context.data.path()).await else {
        return say(&mut context, NodeChange::Stopped, Some(greeting.pid));
    };
    let front = Front::open(stream).await?;
    front.ask(&super::request(control::Command::Down, &context));
    let deadline = Instant::now() + ENDS_WITHIN;
    // It is gone when it has let go of the folder.
    while matches!(context.data.holder()?, Holder::Process(pid) if pid.is_none_or(|pid| pid == greeting.pid)) {
        if deadline < Instant::now() {
            return Err(Failure::new(
                Exit::Timeout,
                format!(
                    "process {} was asked to stop and is still there after {} s",
                    greeting.pid,
                    ENDS_WITHIN.as_secs()
                ),
            ));
        }
        sleep(PAUSE).await;
    }
    say(&mut context, NodeChange::Stopped, Some(greeting.pid))
}

/// What the node says of itself, if one is online.
async fn answers(context: &Context<'_>) -> Result<Option<Greeting>, Failure> {
    match control::connect(context.data.path()).await {
        Ok(stream) => Ok(Some(Front::open(stream).await?.greeting)),
        Err(_) => Ok(None),
    }
}

fn say(context: &mut Context<'_>, change: NodeChange, pid: Option<u32>) -> End {
    let _ = context.printer.print(&Event::Node { change, pid }, Timestamp::now());
    Ok(Exit::Done)
}
