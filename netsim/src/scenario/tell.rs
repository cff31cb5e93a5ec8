//! From the first step to the last, or to the one that fails.

use std::io;
use std::time::{Duration, Instant};

use super::report::{Outcome, Report, StepReport};
use super::stage::{Stage, Trouble};
use super::{Driver, Options, Problem, Scenario};
use crate::netns;

/// Why a scenario could not be told at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The driver cannot do what the file asks for.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The network could not be built.
    #[error("the network could not be built")]
    Network(#[from] netns::Error),
    /// Files could not be written.
    #[error("files for the scenario could not be made")]
    Files(#[source] io::Error),
}

/// What happens while a scenario is told.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A step begins.
    Begins {
        /// From 0.
        step: usize,
        /// What it does.
        what: &'a str,
    },
    /// A step is over.
    Over(&'a StepReport),
    /// Something to know about what was written, after the last step.
    Note(&'a str),
}

impl Scenario {
    /// Builds the network, does the steps until one fails, and takes everything down.
    pub fn tell(
        &self,
        driver: Driver,
        options: &Options,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Report, Error> {
        driver.check(self)?;
        let began = Instant::now();
        let mut stage = Stage::build(self, driver, options)?;
        // Virtual networks are there at once, so that one seed gives one report.
        let built = if driver == Driver::Virtual { Duration::ZERO } else { began.elapsed() };
        let first = stage.lab().now();
        let mut steps: Vec<StepReport> = vec![];
        for (number, step) in self.plan.steps.iter().enumerate() {
            let what = step.action.to_string();
            progress(Progress::Begins { step: number, what: &what });
            let waited = step.at.map_or(Ok(()), |at| stage.wait_until(first + at));
            let begins = stage.lab().now();
            let outcome = match waited.and_then(|()| stage.act(&step.action)) {
                Ok(()) => Outcome::Passed,
                Err(Trouble::Interrupted) => Outcome::Interrupted,
                Err(Trouble::Failed(reason)) => Outcome::Failed { reason, transcript: stage.transcripts(&step.action) },
            };
            let over = outcome != Outcome::Passed;
            let (at, took) = (begins - first, stage.lab().now() - begins);
            let report = StepReport { line: step.at_line, what, at, took, outcome };
            progress(Progress::Over(&report));
            steps.push(report);
            if over {
                break;
            }
        }
        let took = stage.lab().now() - first;
        for note in stage.clear() {
            progress(Progress::Note(&note));
        }
        let not_reached = self.plan.steps.iter().skip(steps.len()).map(|step| StepReport {
            line: step.at_line,
            what: step.action.to_string(),
            at: took,
            took: Duration::ZERO,
            outcome: Outcome::NotReached,
        });
        let steps = steps.iter().cloned().chain(not_reached).collect();
        Ok(Report {
            file: self.file.clone(),
            title: self.title.clone(),
            driver,
            seed: options.seed,
            built,
            took,
            steps,
        })
    }
}
