//! A line on standard error that shows how far something is, where somebody sits in front of it.

use std::fmt;
use std::io::{self, IsTerminal, Write};

/// Half a line of a narrow terminal.
const WIDTH: usize = 30;
/// Back to the beginning of the line, and nothing stays on it.
const CLEAR: &str = "\r\x1b[K";

/// The line. Without a terminal it says nothing.
pub struct Bar {
    out: Option<Box<dyn Write + Send>>,
    drawn: bool,
}

impl Bar {
    /// On standard error, if that is a terminal.
    pub fn standard() -> Self {
        let stderr = io::stderr();
        Bar::new(stderr.is_terminal().then(|| Box::new(stderr) as Box<dyn Write + Send>))
    }

    /// To anything, or nothing.
    pub fn new(out: Option<Box<dyn Write + Send>>) -> Self {
        Bar { out, drawn: false }
    }

    /// Does anybody see it?
    pub fn is_shown(&self) -> bool {
        self.out.is_some()
    }

    /// Draws it anew: what people wait for, how far it is, and how fast.
    pub fn draw(&mut self, what: &str, share: f64, mbps: Option<f64>) {
        let line = line(what, share, mbps);
        self.write(&format!("{CLEAR}{line}"), true);
    }

    /// Takes it away, so that something else may stand there.
    pub fn clear(&mut self) {
        if self.drawn {
            self.write(CLEAR, false);
        }
    }

    fn write(&mut self, text: &str, drawn: bool) {
        self.drawn = drawn;
        // A picture that cannot be shown is no reason to fail.
        let shown = self.out.as_mut().map(|out| write!(out, "{text}").and_then(|()| out.flush()));
        if let Some(Err(_)) = shown {
            self.out = None;
        }
    }
}

impl fmt::Debug for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bar").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

/// `[##########          ] up 412.3 Mb/s`
fn line(what: &str, share: f64, mbps: Option<f64>) -> String {
    let rate = mbps.map(|mbps| format!(" {mbps:.1} Mb/s")).unwrap_or_default();
    format!("[{}] {what}{rate}", filled(share))
}

fn filled(share: f64) -> String {
    let full = ((share.clamp(0.0, 1.0) * WIDTH as f64) as usize).min(WIDTH);
    format!("{}{}", "#".repeat(full), " ".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Terminal(Arc<Mutex<Vec<u8>>>);

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("alone").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_bar_grows_and_leaves_nothing_behind() {
        let terminal = Terminal::default();
        let mut bar = Bar::new(Some(Box::new(terminal.clone())));
        bar.clear();
        assert!(terminal.0.lock().expect("alone").is_empty(), "nothing stands there yet");
        bar.draw("up", 0.5, Some(412.34));
        bar.clear();
        let drawn = String::from_utf8(terminal.0.lock().expect("alone").clone()).expect("text");
        insta::assert_snapshot!(drawn.escape_debug(), @r"\r\u{1b}[K[###############               ] up 412.3 Mb/s\r\u{1b}[K");
    }

    #[test]
    fn a_share_beyond_all_is_full() {
        assert_eq!(line("idle", 7.0, None), format!("[{}] idle", "#".repeat(WIDTH)));
        assert_eq!(line("down", f64::NAN, None), format!("[{}] down", " ".repeat(WIDTH)));
    }
}
