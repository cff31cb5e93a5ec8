//! The one thread that starts programs.
//!
//! `PR_SET_PDEATHSIG` kills a child when the *thread* that forked it ends, not when its process does. A test's thread
//! ends with the test, a scratch thread at once; this one lives as long as the process, so its children do at most that.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// Runs the closure on the spawning thread and returns what it returned.
pub(super) fn on_spawner_thread<T: Send + 'static>(
    closure: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (answer, answered) = mpsc::channel();
    let job: Job = Box::new(move || {
        // The asker waits for the answer; if it is gone nobody misses it.
        let _ = answer.send(closure());
    });
    let ended = || io::Error::other("the thread that starts programs has ended");
    spawner()?.send(job).map_err(|_| ended())?;
    answered.recv().map_err(|_| ended())?
}

fn spawner() -> io::Result<Sender<Job>> {
    static SPAWNER: OnceLock<Option<Sender<Job>>> = OnceLock::new();
    let start = || {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let thread = thread::Builder::new().name("netsim-spawner".to_owned());
        thread.spawn(move || inbox.into_iter().for_each(|job| job())).ok().map(|_| jobs)
    };
    SPAWNER.get_or_init(start).clone().ok_or_else(|| io::Error::other("cannot start the thread that starts programs"))
}
