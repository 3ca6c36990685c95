//! `ckpt show`: what is known of a checkpoint.

use std::io::{self, Write as _};

use ckpt::{Checkpoint, CheckpointName, shown};
use clap::Args;
use serde_json::{Value, json};

use super::argument;
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::words;

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The checkpoint
    #[arg(value_parser = argument::name)]
    name: CheckpointName,

    #[command(flatten)]
    place: Place,

    /// One JSON document: its folder and its manifest
    #[arg(long)]
    pub(super) json: bool,
}

/// A checkpoint in JSON: its folder, and its manifest as it is there.
pub(super) fn document(checkpoint: &Checkpoint) -> Value {
    json!({
        "path": checkpoint.path().to_string_lossy(),
        "manifest": checkpoint.manifest(),
    })
}

impl Show {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let checkpoint = self.place.open()?.get(&self.name)?;
        let mut output = Output::stdout();
        let told = match self.json {
            true => writeln!(output, "{}", document(&checkpoint)),
            false => text(&mut output, &checkpoint),
        };
        output.finish(told.map_err(Failure::Stdout))
    }
}

fn text(output: &mut Output, checkpoint: &Checkpoint) -> io::Result<()> {
    let manifest = checkpoint.manifest();
    let mut line = |name: &str, value: String| writeln!(output, "{name:<12}{value}");
    line("name", manifest.name.to_string())?;
    line(
        "folder",
        shown(checkpoint.path().as_os_str().as_encoded_bytes()),
    )?;
    line("created", words::time(manifest.created))?;
    let host = &manifest.host;
    let on = format!("{}, Linux {}, {}", host.name, host.kernel, host.arch);
    line("on", shown(on.as_bytes()))?;
    if let Some(criu) = &manifest.criu {
        line("by", format!("CRIU {}", shown(criu.as_bytes())))?;
    }
    line("command", words::command(manifest))?;
    let mut root = manifest.root.pid.to_string();
    if let Some(started) = manifest.root.started {
        root += &format!(", started {}", words::time(started));
    }
    line("process", root)?;
    for task in manifest.tasks.iter().skip(1) {
        let name = shown(task.name.as_bytes());
        line("", format!("{} {name}, child of {}", task.pid, task.parent))?;
    }
    let sizes = manifest.sizes;
    let (total, pages) = (words::size(sizes.total), words::size(sizes.pages));
    let files = words::count(manifest.files.len(), "file", "files");
    line("size", format!("{total} in {files}, {pages} of memory"))?;
    if let Some(raw) = sizes.raw {
        let mut told = words::size(raw);
        for (pages, what) in [
            (sizes.zero_pages, "zeros"),
            (sizes.parent_pages, "as in the parent"),
        ] {
            if let Some(pages @ 1..) = pages {
                told += &format!(", {} pages {what}", pages);
            }
        }
        line("memory", told)?;
    }
    if let Some(parent) = &manifest.parent {
        line("parent", parent.name.to_string())?;
    }
    let times = &manifest.times;
    if let Some(dump) = times.dump {
        let mut told = words::duration(dump);
        if let Some(frozen) = times.frozen {
            told += &format!(", stopped for {}", words::duration(frozen));
        }
        line("took", told)?;
    }
    if let Some(copied) = &manifest.pre_copy {
        line("pre-copy", words::rounds(copied))?;
        let rounds = copied.rounds.iter().filter(|_| copied.ahead().is_none());
        for (number, round) in (1..).zip(rounds) {
            let (bytes, left) = (words::size(round.bytes), words::size(round.remaining));
            let mut told = format!("round {number}: {bytes}, {left} written meanwhile");
            if let Some(frozen) = round.frozen {
                told += &format!(", stopped for {}", words::duration(frozen));
            }
            line("", told)?;
        }
    }
    let options = serde_json::to_value(&manifest.options).unwrap_or_default();
    for (name, value) in options.as_object().into_iter().flatten() {
        let name = name.replace('_', "-");
        match value {
            Value::Bool(true) => line("option", format!("--{name}"))?,
            Value::Array(all) => {
                for value in all.iter().filter_map(Value::as_str) {
                    line("option", format!("--{name} {}", shown(value.as_bytes())))?;
                }
            }
            Value::Number(_) => line("option", format!("--{name} {value}"))?,
            Value::String(text) => {
                line("option", format!("--{name} {}", shown(text.as_bytes())))?;
            }
            _ => {}
        }
    }
    Ok(())
}
