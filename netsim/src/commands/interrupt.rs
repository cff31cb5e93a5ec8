//! Ctrl-C: what was begun is taken down in order. A second one does not wait for that.

use std::io;
use std::process;
use std::thread;

use netsim::scenario::Interrupt;
use nix::sys::signal::{SigSet, Signal};

/// As shells have it for a program that Ctrl-C ended.
pub(crate) const STOPPED: u8 = 130;

/// Who is meant by Ctrl-C.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CtrlC {
    Us,
    /// The program in front of us on the same terminal.
    TheProgram,
}

/// From now on Ctrl-C (and being asked to end, and a terminal that goes away) raises this. To be called before there is a
/// second thread; programs that are started get their signals as ever.
pub(crate) fn on_signals(ctrl_c: CtrlC) -> io::Result<Interrupt> {
    let mut signals: SigSet = [Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    match ctrl_c {
        CtrlC::Us => signals.add(Signal::SIGINT),
        CtrlC::TheProgram => [Signal::SIGINT, Signal::SIGQUIT].into_iter().collect::<SigSet>().thread_block()?,
    }
    signals.thread_block()?;
    let interrupt = Interrupt::default();
    let raised = interrupt.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while signals.wait().is_ok() {
            if raised.is_raised() {
                // Namespaces and programs go with us; a temporary folder may stay.
                process::exit(i32::from(STOPPED));
            }
            raised.raise();
        }
    })?;
    Ok(interrupt)
}
