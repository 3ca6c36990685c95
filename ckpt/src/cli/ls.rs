//! `ckpt ls`: `docker checkpoint ls`.

use std::io::{self, Write as _};

use ckpt::{Checkpoint, Listing};
use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{Output, tell};
use super::place::Place;
use super::words;

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Nothing but names
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,

    #[command(flatten)]
    place: Place,

    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Ls {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let store = self.place.known()?;
        let listing = store.list()?;
        let mut output = Output::stdout();
        let told = if self.json {
            let path = store.path().to_string_lossy().into_owned();
            writeln!(output, "{}", document(&path, &listing))
        } else if self.quiet {
            let mut names = listing.checkpoints.iter().map(Checkpoint::name);
            names.try_for_each(|name| writeln!(output, "{name}"))
        } else {
            table(&mut output, &listing)
        };
        output.finish(told.map_err(Failure::Stdout))?;
        for (name, error) in &listing.broken {
            tell(format_args!("{name}: {error}"));
        }
        Ok(())
    }
}

fn document(store: &str, listing: &Listing) -> Value {
    let one = |checkpoint: &Checkpoint| {
        let manifest = checkpoint.manifest();
        json!({
            "name": manifest.name,
            "id": manifest.id,
            "created": humantime::format_rfc3339_micros(manifest.created).to_string(),
            "host": manifest.host,
            "criu": manifest.criu,
            "root": manifest.root,
            "tasks": manifest.tasks.len(),
            "sizes": manifest.sizes,
            "times": manifest.times,
            "parent": manifest.parent,
            "leave_running": manifest.options.leave_running,
            "compress": manifest.options.compress,
            "incremental": manifest.options.incremental,
        })
    };
    let broken = listing.broken.iter();
    json!({
        "store": store,
        "checkpoints": listing.checkpoints.iter().map(one).collect::<Vec<_>>(),
        "broken": broken
            .map(|(name, error)| json!({ "name": name, "error": error.to_string() }))
            .collect::<Vec<_>>(),
    })
}

fn table(output: &mut Output, listing: &Listing) -> io::Result<()> {
    let names = listing
        .checkpoints
        .iter()
        .map(|it| it.name().as_str().len());
    let width = names.max().unwrap_or(0).max("NAME".len());
    writeln!(
        output,
        "{:<width$}  {:<20}  {:>10}  {:>9}  COMMAND",
        "NAME", "CREATED", "SIZE", "PROCESSES"
    )?;
    for checkpoint in &listing.checkpoints {
        let manifest = checkpoint.manifest();
        writeln!(
            output,
            "{:<width$}  {:<20}  {:>10}  {:>9}  {}",
            manifest.name,
            words::time(manifest.created),
            words::size(manifest.sizes.total),
            manifest.tasks.len(),
            words::command(manifest),
        )?;
    }
    Ok(())
}
