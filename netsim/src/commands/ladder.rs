//! `netsim ladder`: who sent what when, as a picture.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use netsim::ladder::{Capture, Ladder};

/// Draw who sent what when, from captures of several hosts, as SVG
///
/// Each file is a column, named like the file; `netsim run --pcap DIR` writes
/// such files. A packet is found again at its receiver by what is in it, so a
/// NAT between them does not matter. What was sent and arrived nowhere is red.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// pcap or pcapng files, one for each host
    #[arg(required = true, value_name = "PCAP")]
    files: Vec<PathBuf>,

    /// Where to write the picture; standard output if not given
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Draws it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut captures = vec![];
    for path in &arguments.files {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        captures.push(Capture::read(&name, &bytes).with_context(|| path.display().to_string())?);
    }
    let ladder = Ladder::of(&captures);
    if ladder.is_empty() {
        bail!("no IP packet in {} files", captures.len());
    }
    let svg = ladder.svg();
    match &arguments.out {
        Some(path) => fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?,
        None => io::stdout().lock().write_all(svg.as_bytes())?,
    }
    eprintln!("{}", ladder.summary());
    Ok(ExitCode::SUCCESS)
}
