//! A program in virtual time, as a scenario holds it: waiting for it is what makes time pass.

use std::cell::RefCell;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::log::Found;
use super::program::{LineFits, Program};
use super::virtual_host::{Life, VirtualHost};
use super::waiting::{Interrupt, Interrupted};
use crate::model::HostId;
use crate::udp::Arguments;
use crate::virtual_net::VirtualNet;

/// The network, which everything on the stage shares.
pub(super) type Net = Rc<RefCell<VirtualNet<VirtualHost>>>;

/// The command line of the program that is built in, without its first word.
#[derive(Parser)]
#[command(name = "netsim udp", no_binary_name = true)]
struct CommandLine {
    #[command(flatten)]
    udp: Arguments,
}

/// A program that was started.
pub(super) struct VirtualProgram {
    net: Net,
    host: HostId,
    port: u16,
    life: Rc<RefCell<Life>>,
    started: Instant,
    closed: bool,
    interrupt: Interrupt,
}

impl VirtualProgram {
    /// Starts `netsim udp` with these arguments; if they are wrong it says so and ends, as the real one does.
    pub(super) fn start(net: &Net, host: HostId, arguments: &[String], interrupt: &Interrupt) -> VirtualProgram {
        let life = Rc::new(RefCell::new(Life::default()));
        let started = net.borrow().now();
        let port = match CommandLine::try_parse_from(arguments) {
            Ok(CommandLine { udp }) => {
                let port = udp.port;
                net.borrow_mut().act(host, |machine, now| machine.start(udp, &life, now));
                port
            }
            Err(error) => {
                life.borrow_mut().end_with(error.exit_code(), &error.to_string(), started);
                0
            }
        };
        VirtualProgram { net: net.clone(), host, port, life, started, closed: false, interrupt: interrupt.clone() }
    }

    fn end(&self, status: ExitStatus) {
        self.life.borrow_mut().status.get_or_insert(status);
    }

    /// Lets time pass until there is something to see, and not longer than this.
    fn pass<T>(
        &self,
        within: Duration,
        mut look: impl FnMut(&mut Life) -> Option<T>,
    ) -> Result<Option<T>, Interrupted> {
        let mut seen = None;
        let mut lines = None;
        self.net.borrow_mut().run_while(within, |_| {
            let mut life = self.life.borrow_mut();
            // A long log is looked through only when there is more of it.
            let now = (life.log.count(), life.status.is_some());
            if lines.replace(now) != Some(now) {
                seen = look(&mut life);
            }
            seen.is_none() && !self.interrupt.is_raised()
        });
        if self.interrupt.is_raised() { Err(Interrupted) } else { Ok(seen) }
    }
}

impl Program for VirtualProgram {
    fn find(&mut self, within: Duration, fits: &LineFits) -> Result<Found<Value>, Interrupted> {
        let look = |life: &mut Life| {
            let found = life.log.look_for(fits).map(Found::Yes);
            found.or_else(|| life.status.map(|_| Found::Ended))
        };
        Ok(self.pass(within, look)?.unwrap_or(Found::Late))
    }

    fn type_line(&mut self, text: &str) -> io::Result<()> {
        if self.closed || self.has_ended() {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "its input was closed"));
        }
        let (port, life) = (self.port, &self.life);
        self.net.borrow_mut().act(self.host, |machine, now| machine.type_line(text, port, life, now));
        Ok(())
    }

    fn close(&mut self) {
        self.closed = true;
        self.end(ExitStatus::from_raw(0));
    }

    fn has_ended(&mut self) -> bool {
        self.life.borrow().status.is_some()
    }

    fn terminate(&mut self) -> io::Result<()> {
        self.end(ExitStatus::from_raw(Signal::SIGTERM as i32));
        Ok(())
    }

    fn kill(&mut self) -> io::Result<()> {
        self.end(ExitStatus::from_raw(Signal::SIGKILL as i32));
        Ok(())
    }

    fn wait(&mut self, within: Duration) -> Result<Option<ExitStatus>, Interrupted> {
        self.pass(within, |life| life.status)
    }

    fn last_object(&self) -> Option<Value> {
        self.life.borrow().log.last_object()
    }

    fn transcript(&self) -> String {
        self.life.borrow().log.transcript(self.started)
    }
}

impl Drop for VirtualProgram {
    fn drop(&mut self) {
        self.end(ExitStatus::from_raw(Signal::SIGKILL as i32));
    }
}
