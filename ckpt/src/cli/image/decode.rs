//! `ckpt image decode`: an image as JSON.

use std::io::{BufRead, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use criu_images::{Image, json};

use super::{Names, input};
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Decode {
    /// The image; standard input if there is none or it is -. A path may go on inside of
    /// a tar archive: backup.tar.gz/pstree.img
    #[arg(conflicts_with = "input")]
    file: Option<PathBuf>,

    /// The image, as crit takes it
    #[arg(short, long = "in", value_name = "FILE")]
    input: Option<PathBuf>,

    /// Where the JSON goes; standard output if there is none or it is -
    #[arg(short, long = "out", value_name = "FILE")]
    output: Option<PathBuf>,

    /// Several lines with indents; addresses in hexadecimal, flags, devices and states by
    /// name
    #[arg(long)]
    pretty: bool,

    /// One document a line: first the magic, then each entry
    #[arg(long)]
    ndjson: bool,

    #[command(flatten)]
    names: Names,
}

impl Decode {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let format = json::Format::new()
            .pretty(self.pretty)
            .lines(self.ndjson)
            .names(self.names.into());
        let path = self.input.as_deref().or(self.file.as_deref());
        convert(path, self.output.as_deref(), &format, !self.ndjson)
    }
}

/// Decodes from one place to another; as with `crit`, a newline at the end of a document
/// is for standard output.
pub(super) fn convert(
    from: Option<&Path>,
    to: Option<&Path>,
    format: &json::Format,
    newline: bool,
) -> Result<(), Failure> {
    input::image(from, |image| {
        let mut output = Output::open(to)?;
        let done = write(image, &mut output, format, newline);
        output.finish(done)
    })
}

fn write(
    image: Image<impl BufRead>,
    output: &mut Output,
    format: &json::Format,
    newline: bool,
) -> Result<(), Failure> {
    json::decode(image, &mut *output, format)?;
    if newline && output.is_stdout() {
        output.write_all(b"\n").map_err(Failure::Stdout)?;
    }
    Ok(())
}
