//! A person in a host of a scenario.

use std::process::ExitStatus;
use std::time::Duration;

use super::plan::Plan;
use super::stage::{Stage, Trouble};
use super::template::Template;
use super::{Driver, Error, Options, Scenario};

/// Between two looks whether somebody wants us to end.
const LOOK: Duration = Duration::from_millis(100);

/// Why there is no shell.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The network could not be built.
    #[error(transparent)]
    Stage(#[from] Error),
    /// The host is none of the file's.
    #[error("there is no host `{host}`; there are: {known}")]
    NoSuchHost {
        /// As it was given.
        host: String,
        /// Those there are.
        known: String,
    },
    /// The command could not be started.
    #[error("{0}")]
    Command(String),
}

impl Scenario {
    /// Builds the network and runs a command in a host, on our own terminal, until it ends; then everything goes.
    /// `about` is told who has which address.
    pub fn shell(
        &self,
        driver: Driver,
        options: &Options,
        host: &str,
        command: &[String],
        about: &mut dyn FnMut(&str),
    ) -> Result<ExitStatus, ShellError> {
        let Plan { hosts, .. } = &self.plan;
        if !hosts.contains_key(host) {
            let known = hosts.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(ShellError::NoSuchHost { host: host.to_owned(), known });
        }
        if driver == Driver::Virtual {
            let message = "no command can run in virtual time: use --driver wire or netns";
            return Err(ShellError::Command(message.to_owned()));
        }
        driver.check(self).map_err(Error::from)?;
        let stage = Stage::build(self, driver, options)?;
        for place in stage.known_places() {
            let addresses: Vec<String> = stage.lab().addresses(place).iter().map(ToString::to_string).collect();
            about(&format!("{place:<16} {}", addresses.join(" ")));
        }
        let words = command.iter().map(|word| Template::parse(word)).collect::<Result<Vec<_>, _>>();
        let words = words.map_err(ShellError::Command)?;
        let failed = |trouble| match trouble {
            Trouble::Failed(reason) => ShellError::Command(reason),
            Trouble::Interrupted => ShellError::Command("stopped".to_owned()),
        };
        let mut command = stage.command(&words).map_err(failed)?;
        command.env("NETSIM_HOST", host);
        let mut running = stage.lab().spawn(host, command).map_err(|error| failed(error.into()))?;
        let ended = loop {
            // Somebody who wants us to end means the shell as well.
            let ended =
                if options.interrupt.is_raised() { running.kill().map(Some) } else { running.wait_timeout(LOOK) };
            match ended {
                Ok(None) => {}
                Ok(Some(status)) => break Ok(status),
                Err(error) => break Err(ShellError::Command(error.to_string())),
            }
        };
        stage.clear();
        ended
    }
}
