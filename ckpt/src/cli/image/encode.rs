//! `ckpt image encode`: JSON as an image.

use std::path::PathBuf;

use clap::Args;
use criu_images::json;

use super::{Names, input};
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Encode {
    /// The JSON, pretty or not, or one document a line; standard input if there is none
    /// or it is -
    #[arg(conflicts_with = "input")]
    file: Option<PathBuf>,

    /// The JSON, as crit takes it
    #[arg(short, long = "in", value_name = "FILE")]
    input: Option<PathBuf>,

    /// Where the image goes; standard output if there is none or it is -
    #[arg(short, long = "out", value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    names: Names,
}

impl Encode {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let path = self.input.as_deref().or(self.file.as_deref());
        input::one(path, |text| {
            let mut output = Output::open(self.output.as_deref())?;
            let done = json::encode_kind(None, self.names.into(), text.reader, &mut output)
                .map(drop)
                .map_err(|error| input::named(error, &text.label).into());
            output.finish(done)
        })
    }
}
