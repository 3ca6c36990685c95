//! `ckpt prune`: what the cron script removes.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use ckpt::{CheckpointName, KeptFor, Pruned};
use clap::Args;
use serde_json::{Value, json};

use super::argument;
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::progress::Loudness;
use super::words;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("rule").required(true).multiple(true))]
pub(crate) struct Prune {
    /// Keeps the newest, so many of them, however old they are
    #[arg(long, value_name = "N", group = "rule", value_parser = argument::count::<usize>)]
    keep: Option<usize>,

    /// Removes only what is older than this, such as 7days or 36h
    #[arg(long, value_name = "TIME", group = "rule", value_parser = argument::time)]
    older_than: Option<Duration>,

    /// Looks only at checkpoints whose name begins so
    #[arg(long, value_name = "P", value_parser = argument::name)]
    prefix: Option<CheckpointName>,

    /// Allows to remove every checkpoint there is
    #[arg(long, conflicts_with = "prefix")]
    all: bool,

    /// Makes checkpoints that build on what goes whole first; without it, what they build on
    /// is kept
    #[arg(long)]
    flatten: bool,

    /// Tells what would go, and removes nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    loudness: Loudness,

    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Prune {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let empties = match (self.keep, self.older_than) {
            (Some(keep), _) if keep > 0 => false,
            (_, Some(age)) => age.is_zero(),
            _ => true,
        };
        if empties && self.prefix.is_none() && !self.all && !self.dry_run {
            return Err(Failure::Usage(
                "this removes every checkpoint there is; say so with --all, or name some with --prefix",
            ));
        }
        let store = self.place.known()?;
        let mut prune = match (self.older_than, self.keep) {
            (Some(age), Some(keep)) => ckpt::Prune::older_than(age).and_keep(keep),
            (Some(age), None) => ckpt::Prune::older_than(age),
            // clap asks for one of them.
            (None, keep) => ckpt::Prune::keep(keep.unwrap_or(usize::MAX)),
        };
        prune = prune.flatten(self.flatten);
        if let Some(prefix) = &self.prefix {
            prune = prune.prefix(prefix.as_str());
        }
        let pruned = if self.dry_run {
            let listing = store.list()?;
            let chosen = prune.choose(&listing.checkpoints, SystemTime::now());
            let mut pruned = Pruned::default();
            pruned.removed = chosen.iter().map(|one| one.name().clone()).collect();
            pruned.bytes = chosen.iter().map(|one| one.manifest().sizes.total).sum();
            pruned
        } else {
            prune.run(&store)?
        };
        let mut output = Output::stdout();
        let told = if self.json {
            writeln!(output, "{}", document(&pruned))
        } else {
            self.text(&mut output, &pruned)
        };
        output.finish(told.map_err(Failure::Stdout))
    }

    fn text(&self, output: &mut Output, pruned: &Pruned) -> std::io::Result<()> {
        if self.loudness.quiet {
            return Ok(());
        }
        for name in &pruned.flattened {
            writeln!(output, "{name}: has its own memory now")?;
        }
        for (name, why) in &pruned.kept {
            writeln!(output, "{name}: kept, {}", reason(why))?;
        }
        for name in &pruned.removed {
            writeln!(output, "{name}")?;
        }
        let freed = match self.dry_run {
            true => "would be freed",
            false => "freed",
        };
        writeln!(output, "{} {freed}", words::size(pruned.bytes))
    }
}

/// Why a checkpoint stays.
pub(super) fn reason(why: &KeptFor) -> String {
    match why {
        KeptFor::Child(child) => format!("{child} builds on it"),
        _ => "it is in use".to_owned(),
    }
}

pub(super) fn document(pruned: &Pruned) -> Value {
    let kept: Vec<_> = pruned
        .kept
        .iter()
        .map(|(name, why)| json!({ "name": name, "reason": reason(why) }))
        .collect();
    json!({
        "removed": pruned.removed,
        "kept": kept,
        "flattened": pruned.flattened,
        "bytes": pruned.bytes,
    })
}
