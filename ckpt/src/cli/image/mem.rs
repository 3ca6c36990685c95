//! `ckpt image mem`: bytes of a task's memory.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use criu_images::{AddrRange, VirtAddr};
use serde_json::json;

use super::chain::{Line, number, origin};
use crate::cli::argument;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// What is read at once.
const STEP: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(crate) struct Mem {
    #[command(flatten)]
    folder: Line,

    /// The task
    #[arg(value_parser = argument::pid)]
    pid: u32,

    /// The address of the first byte
    #[arg(value_parser = number)]
    addr: u64,

    /// How many bytes
    #[arg(value_parser = number)]
    len: u64,

    /// Where the bytes go; standard output if it is not said
    #[arg(short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// One JSON document instead: where the bytes are, piece by piece. With -o, both
    #[arg(long)]
    pub(super) json: bool,
}

impl Mem {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if self.json && self.output.as_deref().is_some_and(|path| path == "-") {
            return Err(Failure::Usage(
                "the bytes and JSON cannot both go to standard output; name a file with -o",
            ));
        }
        let memory = self.folder.task(self.pid)?;
        let end = self.addr.checked_add(self.len);
        let range = end.and_then(|end| AddrRange::new(self.addr, end));
        let range = range.ok_or(Failure::Usage(
            "the address and length go past all addresses; see --help",
        ))?;
        if !self.json || self.output.is_some() {
            let mut output = Output::open(self.output.as_deref())?;
            let done = self.write(&memory, &mut output);
            output.finish(done)?;
        }
        if !self.json {
            return Ok(());
        }
        let pieces = memory.pieces(range).map(|piece| {
            json!({
                "start": piece.range.start().get(),
                "end": piece.range.end().get(),
                "origin": origin(&memory, piece.origin),
            })
        });
        let pieces: Vec<_> = pieces.collect();
        let document = json!({
            "pid": self.pid,
            "start": self.addr,
            "bytes": self.len,
            "pieces": pieces,
        });
        let mut output = Output::stdout();
        let told = writeln!(output, "{document}").map_err(Failure::Stdout);
        output.finish(told)
    }

    fn write(&self, memory: &criu_images::Memory, output: &mut Output) -> Result<(), Failure> {
        let (mut at, mut left) = (self.addr, self.len);
        let mut buffer = Vec::new();
        while left > 0 {
            let step = left.min(STEP);
            buffer.resize(usize::try_from(step).unwrap_or(0), 0);
            memory.read(VirtAddr::new(at), &mut buffer)?;
            output
                .write_all(&buffer)
                .map_err(|source| match &self.output {
                    Some(path) => Failure::Output {
                        path: path.clone(),
                        source,
                    },
                    None => Failure::Stdout(source),
                })?;
            at = at.saturating_add(step);
            left -= step;
        }
        Ok(())
    }
}
