//! The steps of a file: each must be one action, with the fields of that action and no others.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use regex_lite::Regex;
use serde_json::Value;
use toml::Spanned;

use super::check::Checker;
use super::file::{Comparison, Name, Step};
use super::plan::{Action, Check, Expectation, Saves, StepPlan};
use super::problem::Problem;

/// What is expected comes so soon unless the file says otherwise: generous, since a machine may be busy.
const WITHIN: Duration = Duration::from_secs(20);
/// Nobody waits longer for one step.
const LONGEST: f64 = 3600.0;

/// The variables that a step gives values to.
pub(super) fn saves(checker: &Checker<'_>, step: &Step) -> Result<BTreeSet<String>, Problem> {
    let mut saved: BTreeSet<String> = step.save.iter().flat_map(|save| save.get_ref().keys().cloned()).collect();
    if let Some(pattern) = &step.matches {
        let pattern = regex(checker, pattern.get_ref(), pattern.span())?;
        saved.extend(pattern.capture_names().flatten().map(str::to_owned));
    }
    Ok(saved)
}

/// All steps, in their order.
pub(super) fn check(checker: &Checker<'_>, steps: Vec<Spanned<Step>>) -> Result<Vec<StepPlan>, Problem> {
    let (mut plans, mut latest) = (vec![], Duration::ZERO);
    let mut started = BTreeSet::new();
    for step in steps {
        let span = step.span();
        let step = step.into_inner();
        let at = step.at.as_ref().map(|at| seconds(checker, at)).transpose()?;
        if let (Some(time), Some(field)) = (at, &step.at) {
            if time < latest {
                return Err(checker.problem(field.span(), "earlier than the step before it"));
            }
            latest = time;
        }
        let plan =
            StepPlan { at_line: checker.source.line(span.start), at, action: action(checker, step, span.clone())? };
        remember_started(checker, &plan.action, &mut started, span)?;
        plans.push(plan);
    }
    Ok(plans)
}

/// Nothing can be asked of a program that no step has started.
fn remember_started(
    checker: &Checker<'_>,
    action: &Action,
    started: &mut BTreeSet<String>,
    at: Range<usize>,
) -> Result<(), Problem> {
    let used = match action {
        Action::Start(program) | Action::Run { program, .. } => {
            started.insert(program.clone());
            return Ok(());
        }
        Action::Send { to: program, .. }
        | Action::Close(program)
        | Action::Stop(program)
        | Action::Kill(program)
        | Action::Expect { program, .. }
        | Action::Exit { program, .. } => program,
        _ => return Ok(()),
    };
    if started.contains(used) {
        return Ok(());
    }
    Err(checker.problem(at, format!("no step before this one starts `{used}`")))
}

/// The fields of a step that are there.
struct Fields {
    there: Vec<(&'static str, Range<usize>)>,
}

impl Fields {
    fn of(step: &Step) -> Fields {
        let mut there = vec![];
        macro_rules! look {
            ($($field:ident as $name:literal),*) => {
                $(if let Some(value) = &step.$field { there.push(($name, value.span())); })*
            };
        }
        look!(
            start as "start", run as "run", send as "send", close as "close", stop as "stop", kill as "kill",
            roam as "roam", reboot as "reboot", renumber as "renumber", cut as "cut", restore as "restore",
            unplug as "unplug", plug as "plug", change as "change", wait as "wait", expect as "expect", to as "to",
            behind as "behind", line as "line", says as "says", matches as "matches", event as "event",
            fields as "where", exit as "exit", within as "within", absent as "absent", save as "save"
        );
        Fields { there }
    }
}

/// The actions, each with the fields that may stand beside it.
const ACTIONS: [(&str, &[&str]); 16] = [
    ("start", &[]),
    ("run", &["exit", "within", "save"]),
    ("send", &["to"]),
    ("close", &[]),
    ("stop", &[]),
    ("kill", &[]),
    ("roam", &["behind"]),
    ("reboot", &[]),
    ("renumber", &[]),
    ("cut", &[]),
    ("restore", &[]),
    ("unplug", &[]),
    ("plug", &[]),
    ("change", &["line"]),
    ("wait", &[]),
    ("expect", &["says", "matches", "event", "where", "exit", "within", "absent", "save"]),
];

fn action(checker: &Checker<'_>, step: Step, at: Range<usize>) -> Result<Action, Problem> {
    let fields = Fields::of(&step);
    let mut actions = fields.there.iter().filter_map(|(field, _)| ACTIONS.iter().find(|(action, _)| action == field));
    let Some((name, companions)) = actions.next() else {
        let all: Vec<&str> = ACTIONS.iter().map(|(action, _)| *action).collect();
        return Err(checker.problem(at, format!("a step without an action; write one of {}", all.join(", "))));
    };
    if let Some((field, span)) = fields.there.iter().find(|(field, _)| field != name && !companions.contains(field)) {
        let message = match companions {
            [] => format!("`{field}` cannot stand beside `{name}`, which stands alone"),
            _ => format!("`{field}` cannot stand beside `{name}`, which goes with {}", companions.join(", ")),
        };
        return Err(checker.problem(span.clone(), message));
    }
    let program = |name: &Name| checker.one_of(name, "program", &checker.programs);
    let router = |name: &Name| checker.one_of(name, "router", &checker.routers);
    let host = |name: &Name| checker.one_of(name, "host", &checker.hosts);
    let place =
        |name: &Name| checker.one_of(name, "host or router", &checker.hosts.union(&checker.routers).cloned().collect());
    let missing = |field: &str| checker.problem(at.clone(), format!("`{name}` needs `{field}` beside it"));
    let within = || step.within.as_ref().map_or(Ok(WITHIN), |within| seconds(checker, within));
    let save = || step.save.as_ref().map(|save| save.get_ref().clone()).unwrap_or_default();

    Ok(if let Some(name) = &step.start {
        Action::Start(program(name)?)
    } else if let Some(name) = &step.run {
        let exit = step.exit.as_ref().map_or(0, |code| *code.get_ref());
        Action::Run { program: program(name)?, exit, within: within()?, save: save() }
    } else if let Some(text) = &step.send {
        let to = step.to.as_ref().ok_or_else(|| missing("to"))?;
        Action::Send { text: checker.template(text)?, to: program(to)? }
    } else if let Some(name) = &step.close {
        Action::Close(program(name)?)
    } else if let Some(name) = &step.stop {
        Action::Stop(program(name)?)
    } else if let Some(name) = &step.kill {
        Action::Kill(program(name)?)
    } else if let Some(name) = &step.roam {
        let behind = step.behind.as_ref().ok_or_else(|| missing("behind"))?;
        Action::Roam { host: host(name)?, behind: checker.behind(behind)? }
    } else if let Some(name) = &step.reboot {
        Action::Reboot(router(name)?)
    } else if let Some(name) = &step.renumber {
        Action::Renumber(router(name)?)
    } else if let Some(name) = &step.cut {
        Action::Cut { place: place(name)?, cut: true }
    } else if let Some(name) = &step.restore {
        Action::Cut { place: place(name)?, cut: false }
    } else if let Some(name) = &step.unplug {
        Action::Plug { host: host(name)?, plugged: false }
    } else if let Some(name) = &step.plug {
        Action::Plug { host: host(name)?, plugged: true }
    } else if let Some(name) = &step.change {
        let line = step.line.as_ref().ok_or_else(|| missing("line"))?;
        Action::Change { place: place(name)?, line: checker.line(Some(line))? }
    } else if let Some(time) = &step.wait {
        Action::Wait(seconds(checker, time)?)
    } else if let Some(name) = &step.expect {
        expect(checker, &step, program(name)?, within()?, save(), at)?
    } else {
        return Err(checker.problem(at, "a step without an action"));
    })
}

fn expect(
    checker: &Checker<'_>,
    step: &Step,
    program: String,
    within: Duration,
    save: Saves,
    at: Range<usize>,
) -> Result<Action, Problem> {
    let absent = step.absent.as_ref().is_some_and(|absent| *absent.get_ref());
    let json = step.event.is_some() || step.fields.is_some();
    let ways = [step.says.is_some(), step.matches.is_some(), json, step.exit.is_some()];
    if ways.iter().filter(|way| **way).count() != 1 {
        let message = "`expect` needs one of `says` (text in a line), `matches` (a regular expression), `event` or \
                       `where` (a JSON line), `exit` (a code)";
        return Err(checker.problem(at, message));
    }
    let what = if let Some(text) = &step.says {
        Expectation::Says(checker.template(text)?)
    } else if let Some(pattern) = &step.matches {
        Expectation::Matches(regex(checker, pattern.get_ref(), pattern.span())?)
    } else if let Some(code) = &step.exit {
        if let Some(beside) = step.absent.as_ref().map(Spanned::span).or(step.save.as_ref().map(Spanned::span)) {
            return Err(checker.problem(beside, "cannot stand beside `exit`"));
        }
        return Ok(Action::Exit { program, code: *code.get_ref(), within });
    } else {
        let event = step.event.as_ref().map(|event| event.get_ref().clone());
        let mut fields = vec![];
        for (path, comparison) in step.fields.iter().flat_map(|fields| fields.get_ref()) {
            for check in checks(checker, comparison)? {
                fields.push((path.clone(), check));
            }
        }
        Expectation::Event { event, fields }
    };
    if let (Some(save), false) = (&step.save, json && !absent) {
        return Err(checker
            .problem(save.span(), "`save` takes fields of a JSON line that was seen: it needs `event` or `where`"));
    }
    Ok(Action::Expect { program, what, within, absent, save })
}

fn checks(checker: &Checker<'_>, comparison: &Spanned<Comparison>) -> Result<Vec<Check>, Problem> {
    let at = || comparison.span();
    Ok(match comparison.get_ref() {
        Comparison::Equal(Value::String(text)) => vec![Check::EqualText(checker.template_at(text, at())?)],
        Comparison::Equal(Value::Object(_)) => {
            return Err(checker.problem(at(), "compare with `below`, `above`, `contains`, `matches` or `not`"));
        }
        Comparison::Equal(value) => vec![Check::Equal(value.clone())],
        Comparison::Compare(compare) => {
            let mut checks = vec![];
            checks.extend(compare.below.map(Check::Below));
            checks.extend(compare.above.map(Check::Above));
            checks.extend(compare.not.clone().map(Check::Not));
            if let Some(text) = &compare.contains {
                checks.push(Check::Contains(checker.template_at(text, at())?));
            }
            if let Some(pattern) = &compare.matches {
                checks.push(Check::Matches(regex(checker, pattern, at())?));
            }
            checks
        }
    })
}

fn regex(checker: &Checker<'_>, pattern: &str, at: Range<usize>) -> Result<Regex, Problem> {
    Regex::new(pattern).map_err(|error| checker.problem(at, format!("no regular expression: {error}")))
}

fn seconds(checker: &Checker<'_>, time: &Spanned<f64>) -> Result<Duration, Problem> {
    let within_reason = Some(*time.get_ref()).filter(|seconds| (0.0..=LONGEST).contains(seconds));
    let duration = within_reason.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| checker.problem(time.span(), format!("a time is 0 to {LONGEST} seconds")))
}
