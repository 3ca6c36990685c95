//! `ckpt image search`: bytes or a pattern in the memory of tasks.

use std::io::Write as _;

use clap::Args;
use criu_images::{AddrRange, Search as Pattern};
use serde_json::{Value, json};

use super::chain::Line;
use crate::cli::argument;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Search {
    #[command(flatten)]
    folder: Line,

    /// What to look for: text, as it is
    pattern: String,

    /// It is a regular expression of bytes
    #[arg(long, conflicts_with = "hex")]
    regex: bool,

    /// It is bytes in hexadecimal: 7f454c46
    #[arg(long)]
    hex: bool,

    /// Only in this task
    #[arg(long, value_parser = argument::pid)]
    pid: Option<u32>,

    /// Bytes a match of a regular expression may have; longer ones are told as cut
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = argument::count::<usize>)]
    longest: usize,

    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Search {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let search = self.search()?;
        let chain = self.folder.open()?;
        let pids = match self.pid {
            Some(pid) => vec![pid],
            None => chain.tasks()?,
        };
        let mut output = Output::stdout();
        let mut tasks = Vec::new();
        let mut told = Ok(());
        for pid in pids {
            let memory = self.folder.task(pid)?;
            let mut matches: Vec<Value> = Vec::new();
            let searched = search.run(&memory, AddrRange::ALL, |found| {
                let (address, cut) = (found.address.get(), found.cut);
                if self.json {
                    let text = String::from_utf8_lossy(found.bytes);
                    matches.push(json!({ "address": address, "text": text, "cut": cut }));
                } else if told.is_ok() {
                    let more = if cut { "..." } else { "" };
                    let text = found.bytes.escape_ascii();
                    told = writeln!(output, "{pid} {address:#x} {text}{more}");
                }
                Ok(())
            })?;
            tasks.push(json!({
                "pid": pid,
                "bytes": searched.bytes,
                "unread": searched.unread,
                "matches": matches,
            }));
        }
        if self.json {
            told = writeln!(output, "{}", json!({ "tasks": tasks }));
        }
        output.finish(told.map_err(Failure::Stdout))
    }

    fn search(&self) -> Result<Pattern, Failure> {
        if self.regex {
            let pattern = Pattern::pattern(&self.pattern);
            let pattern = pattern.map_err(|error| Failure::Pattern(error.to_string()))?;
            return Ok(pattern.longest(self.longest));
        }
        let bytes = match self.hex {
            true => bytes(&self.pattern).ok_or(Failure::Usage(
                "the pattern is not bytes in hexadecimal; see --help",
            ))?,
            false => self.pattern.as_bytes().to_vec(),
        };
        if bytes.is_empty() {
            return Err(Failure::Usage("there is nothing to look for; see --help"));
        }
        Pattern::bytes(&bytes).map_err(|error| Failure::Pattern(error.to_string()))
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<_>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    let pairs = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]);
    pairs.map(|byte| u8::try_from(byte).ok()).collect()
}
