//! `ckpt check`: what this machine can do, and how to make it do more.

use std::io::Write;

use ckpt::{Check as Checked, Level};
use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::Output;

/// How wide the name of a question is at most.
const NAME: usize = 18;

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Check {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let checked = Checked::run();
        let mut output = Output::stdout();
        let written = match self.json {
            true => writeln!(output, "{}", json(&checked)),
            false => text(&mut output, &checked),
        };
        output.finish(written.map_err(Failure::Stdout))?;
        let red = checked
            .findings
            .iter()
            .filter(|one| one.level == Level::Red);
        match red.map(|one| one.name).next() {
            None => Ok(()),
            Some(first) => Err(Failure::Unusable { first }),
        }
    }
}

fn text(output: &mut impl Write, checked: &Checked) -> std::io::Result<()> {
    for one in &checked.findings {
        let (level, name) = (one.level.word(), one.name);
        write!(output, "{level:<6}  {name:<NAME$}  {}", one.finding)?;
        match &one.remedy {
            Some(remedy) => writeln!(output, "; {remedy}")?,
            None => writeln!(output)?,
        }
    }
    Ok(())
}

fn json(checked: &Checked) -> Value {
    let machine = &checked.machine;
    let findings: Vec<_> = checked
        .findings
        .iter()
        .map(|one| {
            json!({
                "name": one.name,
                "level": one.level.word(),
                "finding": one.finding,
                "remedy": one.remedy,
            })
        })
        .collect();
    let criu = checked.criu.as_ref().map(|criu| {
        json!({
            "path": criu.path.to_string_lossy(),
            "version": criu.version.as_ref().ok().map(ToString::to_string),
            "mem_track": criu.mem_track,
            "lazy_pages": criu.lazy_pages,
            "pidfd_store": criu.pidfd_store,
        })
    });
    json!({
        "usable": checked.is_usable(),
        "host": {
            "name": machine.name,
            "kernel": machine.kernel,
            "architecture": machine.architecture,
            "page_size": machine.page_size,
        },
        "criu": criu,
        "findings": findings,
    })
}
