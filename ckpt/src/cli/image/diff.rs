//! `ckpt image diff`: what changed in memory from one dump to another.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use criu_images::{Change, Difference, diff};
use serde_json::{Value, json};

use super::chain::Parents;
use crate::cli::argument;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The folder of the earlier dump
    before: PathBuf,

    /// The folder of the later one
    after: PathBuf,

    #[command(flatten)]
    parents: Parents,

    /// Only this task
    #[arg(long, value_parser = argument::pid)]
    pid: Option<u32>,

    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Diff {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let before = self.parents.open(&self.before)?;
        let after = self.parents.open(&self.after)?;
        let mut pids: BTreeSet<u32> = before.tasks()?.into_iter().collect();
        pids.extend(after.tasks()?);
        if let Some(pid) = self.pid {
            pids.retain(|other| *other == pid);
            if pids.is_empty() {
                let images = self.after.display().to_string();
                return Err(Failure::NoTask { images, pid });
            }
        }
        let mut tasks = Vec::new();
        let mut output = Output::stdout();
        let mut told = Ok(());
        for pid in pids {
            let (old, new) = (before.task(pid)?, after.task(pid)?);
            let (Some(old), Some(new)) = (old, new) else {
                let change = match after.task(pid)?.is_some() {
                    true => "added",
                    false => "gone",
                };
                tasks.push(json!({ "pid": pid, "change": change }));
                told = told.and_then(|()| writeln!(output, "{pid} {change}"));
                continue;
            };
            let page = new.page_size().bytes();
            let mut ranges: Vec<Value> = Vec::new();
            let mut lines = Vec::new();
            let mut pages: BTreeMap<&str, u64> = BTreeMap::new();
            diff(&old, &new, |Difference { range, change, .. }| {
                let (change, count) = (name(change), range.bytes() / page);
                *pages.entry(change).or_default() += count;
                match self.json {
                    true => ranges.push(json!({
                        "start": range.start().get(),
                        "end": range.end().get(),
                        "pages": count,
                        "change": change,
                    })),
                    false => lines.push(format!("\t{range} {change} {count}")),
                }
                Ok(())
            })?;
            let sums: Vec<_> = pages
                .iter()
                .map(|(name, n)| format!("{name} {n}"))
                .collect();
            tasks.push(json!({
                "pid": pid, "change": null, "page_size": page, "pages": pages, "ranges": ranges,
            }));
            if !self.json {
                told = told.and_then(|()| writeln!(output, "{pid} {}", sums.join(", ")));
                for line in lines {
                    told = told.and_then(|()| writeln!(output, "{line}"));
                }
            }
        }
        if self.json {
            told = writeln!(output, "{}", json!({ "tasks": tasks }));
        }
        output.finish(told.map_err(Failure::Stdout))
    }
}

fn name(change: Change) -> &'static str {
    match change {
        Change::Same => "same",
        Change::Zero => "zero",
        Change::Changed => "changed",
        Change::Added => "added",
        Change::Gone => "gone",
        _ => "unknown",
    }
}
