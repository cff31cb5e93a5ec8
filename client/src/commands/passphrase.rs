//! A passphrase: from the terminal without echo, or from a file; never from the command line, which others may read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::exit::Failure;

/// Letters of one that is chosen. Each guess costs whoever guesses a tenth of a second and 64 MiB.
const SHORTEST: usize = 8;
/// Bytes that are read of a file.
const LONGEST: u64 = 4096;

/// One to make a backup with.
pub(super) fn choose(file: Option<&Path>) -> Result<String, Failure> {
    let chosen = match file {
        Some(file) => read(file)?,
        None => {
            let chosen = ask("Passphrase for the backup: ")?;
            if ask("Again: ")? != chosen {
                return Err(Failure::usage("the two are not the same; nothing was written"));
            }
            chosen
        }
    };
    if chosen.chars().count() < SHORTEST {
        return Err(Failure::usage(format!(
            "a passphrase for a backup has at least {SHORTEST} letters; four or more random words are good ones"
        )));
    }
    Ok(chosen)
}

/// The one that a backup was made with.
pub(super) fn enter(file: Option<&Path>) -> Result<String, Failure> {
    file.map_or_else(|| ask("Passphrase of the backup: "), read)
}

fn ask(prompt: &str) -> Result<String, Failure> {
    rpassword::prompt_password(prompt).map_err(|error| {
        Failure::usage(format!(
            "there is no terminal to ask for the passphrase ({error}); give it with --passphrase-file FILE, or - for \
             standard input"
        ))
    })
}

/// The first line.
fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::other(format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        File::open(path).map_err(failed)?.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    }
    let text = String::from_utf8(bytes).map_err(|_| Failure::usage("the passphrase is not text in UTF-8"))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::usage("the passphrase is empty; it is the first line of the file"));
    }
    Ok(line.to_owned())
}
