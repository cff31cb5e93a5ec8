//! One of the two, whose client dies and comes back.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::talking::SOON;
use e2e::{Person, Running};
use netsim::wire::Host;
use serde_json::Value;

/// Lines typed that have not been echoed yet: what a person's terminal would hold.
const AHEAD: usize = 8;
/// How long one looks at one screen before the other.
const GLANCE: Duration = Duration::from_millis(2);
/// For a command that only reads the disk; a long history takes a busy machine its time.
const READ: Duration = Duration::from_secs(60);
/// Messages that are looked at while it goes on: what the two can say between two looks, and what may wait at each.
const RECENT: &str = "3000";

pub(crate) struct Talker {
    person: Rc<Person<Host>>,
    to: Rc<Person<Host>>,
    pub(crate) lines: Vec<String>,
    /// Not echoed yet, in order.
    to_say: VecDeque<String>,
    typed: usize,
    pace: Duration,
    next_line: Instant,
    client: Option<Running>,
    back: Instant,
    /// The messages of which the screen said that they are on the other's device.
    pub(crate) told: BTreeSet<String>,
}

impl Talker {
    /// Has so many lines to say; between two of them is a pause, so that there is something to lose at every kill.
    pub(crate) fn new(person: Rc<Person<Host>>, to: Rc<Person<Host>>, count: usize, pace: Duration) -> Self {
        let lines: Vec<String> = (0..count).map(|n| format!("{} {n}", person.name())).collect();
        let to_say = lines.iter().cloned().collect();
        let now = Instant::now();
        let told = BTreeSet::new();
        Talker { person, to, lines, to_say, typed: 0, pace, next_line: now, client: None, back: now, told }
    }

    pub(crate) fn name(&self) -> &str {
        self.person.name()
    }

    /// Types on, and takes note of what the client has taken and what it says of it.
    pub(crate) fn step(&mut self) -> Result<()> {
        if self.client.is_none() && Instant::now() >= self.back {
            self.return_to_chat()?;
        }
        let Some(client) = &mut self.client else { return Ok(()) };
        // Waiting here for what comes is what keeps the story from spinning.
        while let Some(said) = client.next_line(GLANCE) {
            let event = said.event;
            if event["event"] == "message" && event["dir"] == "out" {
                assert_eq!(event["text"].as_str(), self.to_say.pop_front().as_deref(), "echoed in order");
                self.typed -= 1;
            }
            if event["event"] == "receipt" && is_there(&event) {
                self.told.insert(text(&event, "id"));
            }
        }
        if self.typed < AHEAD.min(self.to_say.len()) && Instant::now() >= self.next_line {
            client.say(&self.to_say[self.typed]);
            self.typed += 1;
            self.next_line = Instant::now() + self.pace;
        }
        Ok(())
    }

    /// What was typed and not taken is typed again, as whoever looks at the history would.
    fn return_to_chat(&mut self) -> Result<()> {
        let kept = match self.number_of(self.history(Part::Recent)?.iter().rfind(|message| message["dir"] == "out")) {
            Some(last) => last + 1,
            None => self.history(Part::All)?.iter().filter(|message| message["dir"] == "out").count(),
        };
        self.to_say = self.lines[kept..].iter().cloned().collect();
        self.typed = 0;
        self.client = Some(self.person.chat(&self.to)?);
        Ok(())
    }

    pub(crate) fn kill(&mut self, away: Duration) {
        if let Some(client) = self.client.take() {
            client.kill();
            self.back = Instant::now() + away;
        }
    }

    /// Which of this one's words that is.
    pub(crate) fn number_of(&self, message: Option<&Value>) -> Option<usize> {
        let number = message?["text"].as_str()?.strip_prefix(self.name())?.trim_start().parse().ok()?;
        (number < self.lines.len()).then_some(number)
    }

    /// What is on the disk now.
    pub(crate) fn history(&self, part: Part) -> Result<Vec<Value>> {
        let part: &[&str] = match part {
            Part::All => &["--all"],
            Part::Recent => &["--last", RECENT],
        };
        let mut history = self.person.start(&[&["history", self.to.name()], part].concat())?;
        assert_eq!(history.exit_code(READ), 0, "{}", history.transcript());
        Ok(history.said().iter().map(|said| said.event.clone()).collect())
    }

    pub(crate) fn has_said_all(&self) -> bool {
        self.to_say.is_empty()
    }

    /// Online, with nothing to say, and nothing waits for its receipt.
    pub(crate) fn is_done(&self) -> Result<bool> {
        if self.client.is_none() || !self.has_said_all() {
            return Ok(false);
        }
        let mut outbox = self.person.start(&["outbox"])?;
        assert_eq!(outbox.exit_code(SOON), 0, "{}", outbox.transcript());
        Ok(outbox.said().is_empty())
    }
}

/// How much of a history is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    All,
    Recent,
}

/// Does this say that a message has arrived at the other's device?
pub(crate) fn is_there(event: &Value) -> bool {
    ["device", "read"].iter().any(|state| event["state"] == *state)
}

pub(crate) fn text(event: &Value, field: &str) -> String {
    event[field].as_str().unwrap_or_default().to_owned()
}
