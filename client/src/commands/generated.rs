//! `punchline completions` and `punchline man`: made out of the command line's own description.

use std::fs;
use std::path::Path;

use clap::CommandFactory;

use super::{Context, Stop};
use crate::cli::Cli;
use crate::exit::Failure;

pub(super) fn completions(context: &mut Context<'_>, shell: clap_complete::Shell) -> Result<(), Stop> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "punchline", &mut script);
    context.printer.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}

pub(super) fn man(context: &mut Context<'_>, folder: &Path) -> Result<(), Stop> {
    let failed = |error| Failure::other(format!("cannot write to {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed)?;
    context.printer.line(&format!("the manual is in {}; man -M takes the folder above", folder.display()))?;
    Ok(())
}
