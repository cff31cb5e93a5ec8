//! What came of a scenario, for people and for other programs.

use std::fmt::{self, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::Driver;

/// What came of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Not so.
    Failed {
        /// What was wrong.
        reason: String,
        /// What the programs in question said last.
        transcript: String,
    },
    /// Somebody stopped it.
    Interrupted,
    /// An earlier one failed.
    NotReached,
}

/// One step.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// Where it stands in the file.
    pub line: usize,
    /// What it does.
    pub what: String,
    /// When it began, after the first.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// A whole scenario.
#[derive(Debug, Clone)]
pub struct Report {
    /// The file.
    pub file: String,
    /// What it is called.
    pub title: String,
    /// Who carried the packets.
    pub driver: Driver,
    /// The seed of the network's luck.
    pub seed: u64,
    /// How long it took to build the network.
    pub built: Duration,
    /// How long all steps took together.
    pub took: Duration,
    /// All steps, also those not reached.
    pub steps: Vec<StepReport>,
}

impl StepReport {
    /// For programs.
    pub fn json(&self) -> Value {
        let mut value = json!({
            "event": "step", "line": self.line, "what": self.what,
            "at_ms": milliseconds(self.at), "took_ms": milliseconds(self.took),
        });
        if let (Some(value), Ok(Value::Object(outcome))) = (value.as_object_mut(), serde_json::to_value(&self.outcome))
        {
            value.extend(outcome);
        }
        value
    }
}

impl Report {
    /// Did every step pass?
    pub fn passed(&self) -> bool {
        self.steps.iter().all(|step| step.outcome == Outcome::Passed)
    }

    /// Did somebody stop it?
    pub fn interrupted(&self) -> bool {
        self.steps.iter().any(|step| step.outcome == Outcome::Interrupted)
    }

    /// For programs: the end of a scenario; its steps have been told one by one.
    pub fn json(&self) -> Value {
        json!({
            "event": "scenario", "file": self.file, "title": self.title, "driver": self.driver.to_string(),
            "seed": self.seed, "passed": self.passed(), "interrupted": self.interrupted(),
            "steps": self.steps.len(), "built_ms": milliseconds(self.built), "took_ms": milliseconds(self.took),
        })
    }

    fn word(&self) -> &'static str {
        match (self.passed(), self.interrupted()) {
            (true, _) => "passed",
            (_, true) => "STOPPED",
            _ => "FAILED",
        }
    }
}

impl fmt::Display for Report {
    /// A table of the steps; what went wrong stands below its step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { file, title, driver, seed, .. } = self;
        let (built, took) = (self.built.as_secs_f64(), self.took.as_secs_f64());
        writeln!(
            f,
            "{}: {title} ({file}; {driver}, seed {seed}, built in {built:.3} s, told in {took:.3} s)",
            self.word()
        )?;
        writeln!(f, "  {:>4} {:>9} {:>9}  STEP", "LINE", "AT", "TOOK")?;
        for step in &self.steps {
            let (at, took) = (step.at.as_secs_f64(), step.took.as_secs_f64());
            let StepReport { line, what, .. } = step;
            match &step.outcome {
                Outcome::Passed => writeln!(f, "  {line:>4} {at:>7.3} s {took:>7.3} s  {what}")?,
                Outcome::NotReached => writeln!(f, "  {line:>4} {:>9} {:>9}  {what}", "-", "-")?,
                Outcome::Interrupted => writeln!(f, "  {line:>4} {at:>7.3} s {took:>7.3} s  {what}: STOPPED")?,
                Outcome::Failed { reason, transcript } => {
                    writeln!(f, "  {line:>4} {at:>7.3} s {took:>7.3} s  {what}: FAILED")?;
                    for line in reason.lines().chain(transcript.lines()) {
                        writeln!(f, "       {}", printable(line))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// All scenarios in the form that continuous integration reads: one suite for each, one case for each step.
pub fn junit(reports: &[Report]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for report in reports {
        let count = |wanted: fn(&Outcome) -> bool| report.steps.iter().filter(|step| wanted(&step.outcome)).count();
        let failures = count(|outcome| matches!(outcome, Outcome::Failed { .. } | Outcome::Interrupted));
        let skipped = count(|outcome| matches!(outcome, Outcome::NotReached));
        // Writing to a string does not fail.
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}\" file=\"{}\" tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\" time=\"{:.3}\">",
            escaped(&report.title),
            escaped(&report.file),
            report.steps.len(),
            report.took.as_secs_f64()
        );
        for step in &report.steps {
            let name = escaped(&format!("line {}: {}", step.line, step.what));
            let time = step.took.as_secs_f64();
            let inside = match &step.outcome {
                Outcome::Passed => String::new(),
                Outcome::NotReached => "<skipped/>".to_owned(),
                Outcome::Interrupted => "<failure message=\"stopped\"/>".to_owned(),
                Outcome::Failed { reason, transcript } => {
                    format!("<failure message=\"{}\">{}</failure>", escaped(reason), escaped(transcript))
                }
            };
            let class = escaped(&report.title);
            let _ = writeln!(
                xml,
                "    <testcase classname=\"{class}\" name=\"{name}\" time=\"{time:.3}\">{inside}</testcase>"
            );
        }
        xml += "  </testsuite>\n";
    }
    xml + "</testsuites>\n"
}

/// Programs may say what a terminal would obey, and what XML cannot hold.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in printable(text).chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
