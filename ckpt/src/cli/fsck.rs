//! `ckpt fsck`: clears away what a crash left, and looks all checkpoints over.

use std::io::{self, Write as _};

use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::progress::Loudness;
use super::words;

#[derive(Debug, Args)]
pub(crate) struct Fsck {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    loudness: Loudness,

    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Fsck {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let done = self.place.known()?.fsck()?;
        let mut output = Output::stdout();
        let told = match self.json {
            true => writeln!(output, "{}", document(&done)),
            false => text(&mut output, &done, self.loudness.quiet),
        };
        output.finish(told.map_err(Failure::Stdout))?;
        match done.problems.len() {
            0 => Ok(()),
            broken => Err(Failure::Damaged { broken }),
        }
    }
}

fn document(done: &ckpt::Fsck) -> Value {
    let cleared = done.cleared.iter();
    let problems = done.problems.iter();
    json!({
        "whole": done.whole,
        "cleared": cleared
            .map(|it| json!({ "path": it.path.to_string_lossy(), "bytes": it.bytes }))
            .collect::<Vec<_>>(),
        "in_use": done.in_use.iter().map(|it| it.to_string_lossy()).collect::<Vec<_>>(),
        "problems": problems
            .map(|it| json!({ "name": it.name, "error": it.error.to_string() }))
            .collect::<Vec<_>>(),
    })
}

fn text(output: &mut Output, done: &ckpt::Fsck, quiet: bool) -> io::Result<()> {
    for problem in &done.problems {
        writeln!(output, "{}: {}", problem.name, problem.error)?;
    }
    if quiet {
        return Ok(());
    }
    for cleared in &done.cleared {
        let (path, size) = (cleared.path.display(), words::size(cleared.bytes));
        writeln!(output, "cleared {path}, {size}")?;
    }
    for path in &done.in_use {
        writeln!(output, "in use {}", path.display())?;
    }
    let whole = words::count(done.whole, "checkpoint", "checkpoints");
    writeln!(output, "{whole} as they should be")
}
