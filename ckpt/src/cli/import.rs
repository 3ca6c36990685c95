//! `ckpt import`: a file becomes a checkpoint.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ckpt::{CheckpointName, Error, Imported, NeededFiles, Placed};
use clap::Args;
use serde_json::json;

use super::argument;
use super::bytes::Bar;
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::progress::Loudness;
use super::words;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// What `ckpt export` wrote; - is standard input. An import that was cut off is taken up
    /// where it was
    file: PathBuf,

    /// What to call the checkpoint here
    #[arg(long, value_parser = argument::name)]
    name: Option<CheckpointName>,

    /// Refuses more than this when unpacked, such as 2G; what there is no room for is
    /// refused anyway
    #[arg(long, value_name = "BYTES", value_parser = argument::size)]
    max_size: Option<u64>,

    /// Puts the files that came along where they belong, below this folder (/ is this
    /// system), if they are not there; only from those you trust
    #[arg(long, value_name = "ROOT")]
    place_files: Option<PathBuf>,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    loudness: Loudness,

    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Import {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let store = self.place.open()?;
        let mut import = ckpt::Import::new(&store);
        if let Some(name) = &self.name {
            import = import.name(name.clone());
        }
        if let Some(bytes) = self.max_size {
            import = import.limit(bytes);
        }
        // Not only once everything has come.
        if let Some(root) = &self.place_files
            && !root.is_dir()
        {
            return Err(Failure::Usage(
                "--place-files: there is no such folder; make it first, or name / for this system",
            ));
        }
        let bar = Bar::new("import", self.loudness);
        let mut tell = |moved: ckpt::Moved<'_>| bar.tell(moved);
        let imported = if self.file == Path::new("-") {
            let label = Path::new("standard input");
            import.read_from(label, std::io::stdin().lock(), &mut tell)?
        } else {
            let failed = |source| Error::Path {
                path: self.file.clone(),
                source,
            };
            let file = File::open(&self.file).map_err(failed)?;
            if file.metadata().map_err(failed)?.is_dir() {
                return Err(Failure::Folder {
                    path: self.file.clone(),
                });
            }
            import.read_from(&self.file, file, &mut tell)?
        };
        drop(bar);
        let placed = match &self.place_files {
            Some(root) => Some(NeededFiles::place(&imported.checkpoint, root)?),
            None => None,
        };
        let mut output = Output::stdout();
        let told = self.told(&mut output, &imported, placed.as_ref());
        output.finish(told.map_err(Failure::Stdout))
    }

    fn told(
        &self,
        output: &mut Output,
        imported: &Imported,
        placed: Option<&Placed>,
    ) -> std::io::Result<()> {
        let manifest = imported.checkpoint.manifest();
        if self.json {
            let document = json!({
                "name": manifest.name,
                "id": manifest.id,
                "bytes": manifest.sizes.total,
                "added": imported.added,
                "present": imported.present,
                "resumed": imported.resumed,
                "has_files": NeededFiles::came_with(&imported.checkpoint),
                "placed": placed.map(|placed| &placed.added),
            });
            return writeln!(output, "{document}");
        }
        if self.loudness.quiet {
            return Ok(());
        }
        for name in &imported.present {
            writeln!(output, "{name}: is here already")?;
        }
        for name in &imported.added {
            writeln!(output, "{name}: imported")?;
        }
        if imported.resumed > 0 {
            let size = words::size(imported.resumed);
            writeln!(output, "{size} had come with an earlier import")?;
        }
        for path in placed.into_iter().flat_map(|placed| &placed.added) {
            writeln!(output, "{}: placed", ckpt::shown(path.as_bytes()))?;
        }
        if placed.is_none() && NeededFiles::came_with(&imported.checkpoint) {
            writeln!(
                output,
                "files came along; --place-files / puts them in place"
            )?;
        }
        Ok(())
    }
}
