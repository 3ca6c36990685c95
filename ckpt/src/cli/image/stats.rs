//! `ckpt image stats`: how many pages of a set are zeros, or copies of others.

use std::io::Write as _;

use clap::Args;
use criu_images::{Holder, PageCounts, statistics};
use serde_json::{Value, json};

use super::chain::Line;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// Counts the pages of each task and shared memory, wherever in the chain they lie. All of
/// them are read. Zeros and duplicates are what another way to keep them would save: the
/// first page of each content is no duplicate, those after it are, whosever they are
#[derive(Debug, Args)]
pub(crate) struct Stats {
    #[command(flatten)]
    folder: Line,

    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Stats {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let told = statistics(self.folder.open()?)?;
        let mut output = Output::stdout();
        let written = if self.json {
            let holders: Vec<_> = told.holders.iter().map(holder).collect();
            let document = json!({
                "page_size": told.page_size,
                "holders": holders,
                "total": counts(told.total),
            });
            writeln!(output, "{document}")
        } else {
            let holders = told.holders.iter().map(|(holder, counts)| {
                let name = match holder {
                    Holder::Shared(id) => format!("shared {id}"),
                    Holder::Task(pid) => pid.to_string(),
                    other => format!("{other:?}"),
                };
                (name, *counts)
            });
            let total = ("total".to_owned(), told.total);
            holders
                .chain([total])
                .try_for_each(|(name, counts)| writeln!(output, "{name} {}", text(counts)))
        };
        output.finish(written.map_err(Failure::Stdout))
    }
}

fn text(counts: PageCounts) -> String {
    let PageCounts {
        stored,
        zero,
        duplicate,
        in_parent,
        absent,
        ..
    } = counts;
    format!(
        "stored {stored}, zero {zero}, duplicate {duplicate}, in parents {in_parent}, absent {absent}"
    )
}

fn counts(counts: PageCounts) -> Value {
    json!({
        "stored": counts.stored,
        "zero": counts.zero,
        "duplicate": counts.duplicate,
        "in_parent": counts.in_parent,
        "absent": counts.absent,
    })
}

fn holder((holder, pages): &(Holder, PageCounts)) -> Value {
    let (pid, shmid) = match holder {
        Holder::Task(pid) => (Some(*pid), None),
        Holder::Shared(id) => (None, Some(*id)),
        _ => (None, None),
    };
    json!({ "pid": pid, "shmid": shmid, "pages": counts(*pages) })
}
