//! A network with the programs that run in it, and what each step does there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::capture::Capture;
use super::lab::Lab;
use super::log::Found;
use super::names;
use super::plan::{Action, Check, Expectation, Plan, ProgramPlan, Saves};
use super::program::{LineFits, Program, in_words};
use super::tell::Error;
use super::template::Template;
use super::waiting::Interrupted;
use super::{Driver, Options, Scenario};

/// A program that is asked to end has so long to do it.
const ORDERLY_END: Duration = Duration::from_secs(20);

/// Whether a field is as it should be.
type ValueFits = Box<dyn Fn(&Value) -> bool>;

/// Why a step did not succeed.
pub(super) enum Trouble {
    Failed(String),
    Interrupted,
}

impl From<Interrupted> for Trouble {
    fn from(_: Interrupted) -> Trouble {
        Trouble::Interrupted
    }
}

impl From<crate::netns::Error> for Trouble {
    fn from(error: crate::netns::Error) -> Trouble {
        Trouble::Failed(with_cause(&error))
    }
}

/// Where a scenario is told.
pub(super) struct Stage<'a> {
    // The order is that of the end: the programs, then who listens to them, then the network, then the files.
    running: BTreeMap<String, Box<dyn Program>>,
    captures: Vec<Capture>,
    lab: Box<dyn Lab>,
    folder: TempDir,
    /// The folder of the scenario's file.
    here: String,
    saved: BTreeMap<String, String>,
    plan: &'a Plan,
    options: &'a Options,
}

impl<'a> Stage<'a> {
    /// Builds the network; nothing runs in it yet.
    pub(super) fn build(scenario: &'a Scenario, driver: Driver, options: &'a Options) -> Result<Stage<'a>, Error> {
        let plan = &scenario.plan;
        let folder = tempfile::Builder::new().prefix("netsim-").tempdir().map_err(Error::Files)?;
        let mut lab = driver.lab(options)?;
        for (name, router) in &plan.routers {
            lab.add_router(name, router)?;
        }
        for (name, host) in &plan.hosts {
            lab.add_host(name, host)?;
        }
        let mut captures = vec![];
        if let Some(folder) = &options.pcap {
            std::fs::create_dir_all(folder).map_err(Error::Files)?;
            let hosts = plan.hosts.keys().map(|name| (name, false));
            for (place, is_router) in hosts.chain(plan.routers.iter().map(|(name, _)| (name, true))) {
                captures.push(Capture::start(&*lab, place, is_router, folder).map_err(Error::Files)?);
            }
        }
        let here = scenario.here().map_err(Error::Files)?;
        Ok(Stage { running: BTreeMap::new(), captures, lab, folder, here, saved: BTreeMap::new(), plan, options })
    }

    /// The network.
    pub(super) fn lab(&self) -> &dyn Lab {
        &*self.lab
    }

    /// Does one step.
    pub(super) fn act(&mut self, action: &Action) -> Result<(), Trouble> {
        match action {
            Action::Start(program) => self.start(program),
            Action::Run { program, exit, within, save } => {
                self.start(program)?;
                self.running(program)?.close();
                self.ends_with(program, *exit, *within)?;
                let said = self.running(program)?.last_object();
                self.save(save, said.as_ref().unwrap_or(&Value::Null))
            }
            Action::Send { text, to } => {
                let text = self.fill(text)?;
                let typed = self.running(to)?.type_line(&text);
                typed.map_err(|error| Trouble::Failed(format!("{to} does not read: {error}")))
            }
            Action::Close(program) => {
                self.running(program)?.close();
                Ok(())
            }
            Action::Stop(program) => {
                let running = self.running(program)?;
                running.terminate().map_err(cannot("stop", program))?;
                match running.wait(ORDERLY_END)? {
                    Some(_) => Ok(()),
                    None => Err(Trouble::Failed(format!("{program} did not end when asked to (SIGTERM)"))),
                }
            }
            Action::Kill(program) => {
                self.running(program)?.kill().map_err(cannot("kill", program))?;
                Ok(())
            }
            Action::Roam { host, behind } => Ok(self.lab.roam(host, behind.as_deref())?),
            Action::Reboot(router) => Ok(self.lab.reboot(router)?),
            Action::Renumber(router) => Ok(self.lab.renumber(router)?),
            Action::Cut { place, cut } => Ok(self.lab.cut(place, *cut)?),
            Action::Plug { host, plugged } => Ok(self.lab.plug(host, *plugged)?),
            Action::Change { place, line } => Ok(self.lab.change_line(place, *line)?),
            Action::Wait(time) => self.wait_until(self.lab.now() + *time),
            Action::Expect { program, what, within, absent, save } => {
                self.expect(program, what, *within, *absent, save)
            }
            Action::Exit { program, code, within } => self.ends_with(program, *code, *within),
        }
    }

    /// Nothing happens until then.
    pub(super) fn wait_until(&self, deadline: Instant) -> Result<(), Trouble> {
        Ok(self.lab.wait_until(deadline, &self.options.interrupt)?)
    }

    /// What those programs said last whom a step is about; all of them if it is about none.
    pub(super) fn transcripts(&self, action: &Action) -> String {
        let about = match action {
            Action::Start(program)
            | Action::Run { program, .. }
            | Action::Send { to: program, .. }
            | Action::Close(program)
            | Action::Stop(program)
            | Action::Kill(program)
            | Action::Expect { program, .. }
            | Action::Exit { program, .. } => Some(program),
            _ => None,
        };
        let mut text = String::new();
        for (name, running) in &self.running {
            if about.is_none_or(|about| about == name) {
                text += &format!("--- {name} said last (! on standard error)\n{}", running.transcript());
            }
        }
        text
    }

    /// A command of the scenario's with its names filled in.
    pub(super) fn command(&self, words: &[Template]) -> Result<Command, Trouble> {
        let words = words.iter().map(|word| self.fill(word)).collect::<Result<Vec<_>, _>>()?;
        let Some((program, arguments)) = words.split_first() else {
            return Err(Trouble::Failed("a command without words".to_owned()));
        };
        let named = self.options.binaries.get(program).cloned();
        let mut command = Command::new(named.unwrap_or_else(|| PathBuf::from(program)));
        command.args(arguments);
        Ok(command)
    }

    fn start(&mut self, name: &str) -> Result<(), Trouble> {
        let ProgramPlan { host, command, env, .. } = &self.plan.programs[name];
        if self.running.get_mut(name).is_some_and(|running| !running.has_ended()) {
            return Err(Trouble::Failed(format!("{name} runs already: stop or kill it first")));
        }
        let mut command = self.command(command)?;
        command.current_dir(self.folder.path());
        for (variable, value) in env {
            command.env(variable, self.fill(value)?);
        }
        let running = self.lab.start(host, command, &self.options.interrupt)?;
        self.running.insert(name.to_owned(), running);
        Ok(())
    }

    fn running(&mut self, program: &str) -> Result<&mut Box<dyn Program>, Trouble> {
        self.running.get_mut(program).ok_or_else(|| Trouble::Failed(format!("{program} was not started")))
    }

    fn ends_with(&mut self, program: &str, code: i32, within: Duration) -> Result<(), Trouble> {
        match self.running(program)?.wait(within)? {
            Some(status) if status.code() == Some(code) => Ok(()),
            Some(status) => Err(Trouble::Failed(format!("{program} ended with {}, not {code}", in_words(status)))),
            None => Err(Trouble::Failed(format!("{program} still runs after {} s", within.as_secs_f64()))),
        }
    }

    fn expect(
        &mut self,
        program: &str,
        what: &Expectation,
        within: Duration,
        absent: bool,
        save: &Saves,
    ) -> Result<(), Trouble> {
        let fits: Box<LineFits> = match what {
            Expectation::Says(text) => {
                let text = self.fill(text)?;
                Box::new(move |line| line.contains(&text).then_some(Value::Null))
            }
            Expectation::Matches(pattern) => {
                let pattern = pattern.clone();
                Box::new(move |line| {
                    let captures = pattern.captures(line)?;
                    let named = pattern.capture_names().flatten();
                    Some(named.filter_map(|n| Some((n.to_owned(), Value::from(captures.name(n)?.as_str())))).collect())
                })
            }
            Expectation::Event { event, fields } => {
                let event = event.clone();
                let checks = fields.iter().map(|(path, check)| Ok((path.clone(), self.check(check)?)));
                let checks = checks.collect::<Result<Vec<_>, Trouble>>()?;
                Box::new(move |line| {
                    let object: Value = serde_json::from_str(line).ok().filter(Value::is_object)?;
                    let named = event.as_ref().is_none_or(|event| object["event"] == event.as_str());
                    let fits = |(path, check): &(String, ValueFits)| field(&object, path).is_some_and(&**check);
                    (named && checks.iter().all(fits)).then_some(object)
                })
            }
        };
        let found = self.running(program)?.find(within, &*fits)?;
        let seconds = within.as_secs_f64();
        match (found, absent) {
            (Found::Yes(_), true) => Err(Trouble::Failed(format!("{program} said {what} all the same"))),
            (Found::Late | Found::Ended, true) => Ok(()),
            (Found::Late, false) => Err(Trouble::Failed(format!("{program} did not say {what} within {seconds} s"))),
            (Found::Ended, false) => Err(Trouble::Failed(format!("{program} ended and never said {what}"))),
            (Found::Yes(captures), false) if matches!(what, Expectation::Matches(_)) => {
                let named: Saves =
                    captures.as_object().into_iter().flatten().map(|(n, _)| (n.clone(), n.clone())).collect();
                self.save(&named, &captures)
            }
            (Found::Yes(object), false) => self.save(save, &object),
        }
    }

    /// Fills in a comparison once, before lines come.
    fn check(&self, check: &Check) -> Result<ValueFits, Trouble> {
        Ok(match check {
            Check::Equal(wanted) => {
                let wanted = wanted.clone();
                Box::new(move |value| equal(value, &wanted))
            }
            Check::EqualText(text) => {
                let text = self.fill(text)?;
                Box::new(move |value| *value == text.as_str())
            }
            Check::Not(unwanted) => {
                let unwanted = unwanted.clone();
                Box::new(move |value| !equal(value, &unwanted))
            }
            &Check::Below(bound) => Box::new(move |value| value.as_f64().is_some_and(|number| number < bound)),
            &Check::Above(bound) => Box::new(move |value| value.as_f64().is_some_and(|number| number > bound)),
            Check::Contains(text) => {
                let text = self.fill(text)?;
                Box::new(move |value| in_text(value).contains(&text))
            }
            Check::Matches(pattern) => {
                let pattern = pattern.clone();
                Box::new(move |value| pattern.is_match(&in_text(value)))
            }
        })
    }

    fn save(&mut self, save: &Saves, object: &Value) -> Result<(), Trouble> {
        for (variable, path) in save {
            let Some(value) = field(object, path).filter(|value| !value.is_null()) else {
                return Err(Trouble::Failed(format!("there is no field `{path}` to save in {object}")));
            };
            self.saved.insert(variable.clone(), in_text(value));
        }
        Ok(())
    }

    fn fill(&self, template: &Template) -> Result<String, Trouble> {
        let value = |name: &str| match name {
            names::FOLDER => Some(self.folder.path().display().to_string()),
            names::HERE => Some(self.here.clone()),
            names::SEED => Some(self.options.seed.to_string()),
            _ => self.saved.get(name).cloned().or_else(|| names::address(name, |place| self.lab.addresses(place))),
        };
        template.fill(value).map_err(|name| Trouble::Failed(format!("{{{name}}} has no value yet")))
    }

    /// Ends everything, captures last, and waits for it; gives what is to be said about them.
    pub(super) fn clear(mut self) -> Vec<String> {
        self.running.clear();
        self.captures.drain(..).filter_map(Capture::finish).collect()
    }

    /// Names that a command from outside may use, for messages.
    pub(super) fn known_places(&self) -> BTreeSet<&str> {
        let routers = self.plan.routers.iter().map(|(name, _)| name.as_str());
        self.plan.hosts.keys().map(String::as_str).chain(routers).collect()
    }
}

/// A field by its path: `profile.mapping`.
fn field<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(object, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        other => other.get(key),
    })
}

/// A file's 1 is a program's 1.0.
fn equal(one: &Value, other: &Value) -> bool {
    one == other || one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| one == other)
}

fn in_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn cannot(verb: &str, program: &str) -> impl FnOnce(io::Error) -> Trouble {
    let words = format!("cannot {verb} {program}");
    move |error| Trouble::Failed(format!("{words}: {error}"))
}

pub(super) fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
