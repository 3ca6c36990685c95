//! `ckpt image core`: a task as a core file for a debugger.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use criu_images::CoreFile;
use serde_json::json;

use super::chain::Line;
use crate::cli::argument;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Core {
    #[command(flatten)]
    folder: Line,

    /// The task
    #[arg(value_parser = argument::pid)]
    pid: u32,

    /// The core file
    #[arg(short, value_name = "FILE")]
    output: PathBuf,

    /// Takes what only files have from those below this folder, as they are now; without
    /// it, a debugger looks for them
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,

    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Core {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let chain = self.folder.open()?;
        if !chain.tasks()?.contains(&self.pid) {
            return Err(self.folder.no_task(self.pid));
        }
        let mut core = CoreFile::open(chain, self.pid)?;
        if let Some(root) = &self.files {
            core = core.files(root);
        }
        let mut output = Output::open(Some(&self.output))?;
        let to_stdout = output.is_stdout();
        if to_stdout && self.json {
            return Err(Failure::Usage(
                "the core file and JSON cannot both go to standard output; see --help",
            ));
        }
        let written = core.write(&mut output);
        let (done, written) = match written {
            Ok(written) => (Ok(()), Some(written)),
            Err(error) => (Err(error.into()), None),
        };
        output.finish(done)?;
        let (Some(told), false) = (written, to_stdout) else {
            return Ok(());
        };
        let mut output = Output::stdout();
        let line = match self.json {
            true => json!({
                "file": self.output.to_string_lossy(),
                "threads": told.threads,
                "bytes": told.bytes,
                "zeros": told.zeros,
                "in_files": told.in_files,
                "absent": told.absent,
            })
            .to_string(),
            false => format!(
                "{} threads, {} bytes of memory, {} of zeros, {} left in files, {} absent",
                told.threads, told.bytes, told.zeros, told.in_files, told.absent
            ),
        };
        let told = writeln!(output, "{line}").map_err(Failure::Stdout);
        output.finish(told)
    }
}
