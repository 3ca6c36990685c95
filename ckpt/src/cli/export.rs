//! `ckpt export`: a checkpoint becomes one file.

use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use ckpt::{CheckpointName, Compression, Exported, NeededFiles, NotTaken};
use clap::Args;
use serde_json::json;

use super::argument;
use super::bytes::Bar;
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::progress::Loudness;
use super::whole::Whole;
use super::words;

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The checkpoint; what it builds on goes along
    #[arg(value_parser = argument::name)]
    name: CheckpointName,

    /// The file, which appears once it is whole; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// zstd, zstd:LEVEL (1 to 19) or none
    #[arg(long, value_name = "HOW", default_value = "zstd")]
    compress: Compression,

    /// Takes programs, libraries and other files along that it has open or mapped and that
    /// are not in the images
    #[arg(long)]
    with_files: bool,

    /// Takes files along that have changed since, as they are now, and does without those
    /// that are gone
    #[arg(long, requires = "with_files")]
    changed_files: bool,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    loudness: Loudness,

    /// One JSON document; not with -o -
    #[arg(long)]
    pub(super) json: bool,
}

impl Export {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let to_stdout = self.output == Path::new("-");
        if to_stdout && self.json {
            return Err(Failure::Usage(
                "--json and the archive cannot both go to standard output; name a file with -o",
            ));
        }
        if to_stdout && std::io::stdout().is_terminal() {
            return Err(Failure::Usage(
                "an archive is nothing for a terminal; name a file with -o, or pipe it on",
            ));
        }
        let checkpoint = self.place.open()?.get(&self.name)?;
        let mut export = ckpt::Export::new(&checkpoint).compression(self.compress);
        let mut not_taken = Vec::new();
        if self.with_files {
            let needed = NeededFiles::of(&checkpoint, self.changed_files)?;
            if !self.changed_files
                && let Some(first) = needed.lost().next()
            {
                return Err(Failure::LostFiles {
                    first: ckpt::shown(first.as_bytes()),
                    all: needed.lost().count(),
                });
            }
            not_taken.clone_from(&needed.not_taken);
            export = export.with_files(needed);
        }
        let bar = Bar::new("export", self.loudness);
        let exported = if to_stdout {
            let label = Path::new("standard output");
            let stdout = BufWriter::new(std::io::stdout().lock());
            export.write_to(label, stdout, &mut |moved| bar.tell(moved))?
        } else {
            let failed = |source| Failure::Output {
                path: self.output.clone(),
                source,
            };
            let whole = Whole::create(&self.output).map_err(failed)?;
            let file = BufWriter::new(whole.file());
            let exported = export.write_to(&self.output, file, &mut |moved| bar.tell(moved))?;
            whole.finish().map_err(failed)?;
            exported
        };
        drop(bar);
        if to_stdout {
            return Ok(());
        }
        let mut output = Output::stdout();
        let told = self.told(&mut output, &exported, &not_taken);
        output.finish(told.map_err(Failure::Stdout))
    }

    fn told(
        &self,
        output: &mut Output,
        exported: &Exported,
        not_taken: &[NotTaken],
    ) -> std::io::Result<()> {
        if self.json {
            let left: Vec<_> = not_taken.iter().map(ToString::to_string).collect();
            let document = json!({
                "name": self.name,
                "file": self.output.to_string_lossy(),
                "checkpoints": exported.checkpoints,
                "bytes": exported.bytes,
                "packed": exported.packed,
                "not_taken": left,
            });
            return writeln!(output, "{document}");
        }
        if self.loudness.quiet {
            return Ok(());
        }
        for file in not_taken {
            writeln!(output, "left out: {file}")?;
        }
        writeln!(
            output,
            "{}: {} in {}, {} unpacked",
            self.name,
            words::size(exported.packed),
            self.output.display(),
            words::size(exported.bytes),
        )
    }
}
