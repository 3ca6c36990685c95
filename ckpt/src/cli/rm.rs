//! `ckpt rm`: `docker checkpoint rm`.

use std::io::Write as _;

use ckpt::{CheckpointName, Children};
use clap::Args;
use serde_json::json;

use super::argument;
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::progress::Loudness;
use super::words;

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The checkpoints: all of them are removed, or none
    #[arg(required = true, value_parser = argument::name)]
    names: Vec<CheckpointName>,

    /// Makes checkpoints that build on one of these whole first; without it, such are kept
    #[arg(long)]
    flatten: bool,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    loudness: Loudness,

    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Rm {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let children = match self.flatten {
            true => Children::Flatten,
            false => Children::Refuse,
        };
        let done = self.place.open()?.remove(&self.names, children)?;
        let mut output = Output::stdout();
        let told = if self.json {
            let document = json!({
                "removed": done.removed,
                "flattened": done.flattened,
                "bytes": done.bytes,
            });
            writeln!(output, "{document}")
        } else if self.loudness.quiet {
            Ok(())
        } else {
            let flattened = done.flattened.iter();
            let lines = flattened.map(|name| format!("{name}: has its own memory now"));
            let removed = done.removed.iter().map(ToString::to_string);
            let mut lines = lines.chain(removed);
            lines
                .try_for_each(|line| writeln!(output, "{line}"))
                .and_then(|()| writeln!(output, "{} freed", words::size(done.bytes)))
        };
        output.finish(told.map_err(Failure::Stdout))
    }
}
