//! `ckpt image x`: what the images of a checkpoint tell together.

mod fds;
mod mems;
mod ps;
mod rss;

use std::io::Write as _;
use std::path::PathBuf;

use ckpt::{Explorer, FileRef};
use clap::{Args, ValueEnum};
use criu_images::Kind;
use serde_json::{Value, json};

use super::input;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(crate) struct X {
    /// A folder of images, or a tar archive of one, which is not unpacked; the path may
    /// go on inside of it; - is an archive on standard input
    dir: PathBuf,

    #[arg(value_enum)]
    what: What,

    /// Size of a page on the machine dumped on, in bytes (for rss)
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = page)]
    page_size: u64,

    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Process tree
    Ps,
    /// Open files
    Fds,
    /// Memory areas
    Mems,
    /// Pages that are in the images, and the areas they are in
    Rss,
}

/// Whether people or programs read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

impl X {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let images = input::set(&self.dir)?.gather(self.what.kinds())?;
        let mut explorer = Explorer::new(&images)?;
        let mut output = Output::stdout();
        let form = match self.json {
            true => Form::Json,
            false => Form::Text,
        };
        let done = match self.what {
            What::Ps => ps::show(&explorer, &mut output, form),
            What::Fds => fds::show(&explorer, &mut output, form),
            What::Mems => mems::show(&mut explorer, &mut output, form),
            What::Rss => rss::show(&explorer, &mut output, form, self.page_size),
        };
        output.finish(done)
    }
}

impl What {
    /// The images that are looked at.
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Ps => &[Kind::Pstree, Kind::Core],
            // All but pagemaps, the greatest of them.
            Self::Fds | Self::Mems => &Explorer::KINDS[..Explorer::KINDS.len() - 1],
            Self::Rss => &Explorer::KINDS,
        }
    }
}

fn page(text: &str) -> Result<u64, &'static str> {
    match text.parse::<u64>() {
        Ok(size) if size.is_power_of_two() && size <= 1 << 30 => Ok(size),
        _ => Err("a power of two is wanted"),
    }
}

/// A JSON document of a list, written element by element.
struct List<'o> {
    output: &'o mut Output,
    some: bool,
    close: &'static str,
}

impl<'o> List<'o> {
    fn begin(output: &'o mut Output, open: &str, close: &'static str) -> Result<Self, Failure> {
        output.write_all(open.as_bytes()).map_err(Failure::Stdout)?;
        Ok(Self {
            output,
            some: false,
            close,
        })
    }

    /// Where the next element goes.
    fn next(&mut self) -> Result<&mut Output, Failure> {
        if std::mem::replace(&mut self.some, true) {
            self.output.write_all(b",").map_err(Failure::Stdout)?;
        }
        Ok(self.output)
    }

    fn push(&mut self, element: &Value) -> Result<(), Failure> {
        write!(self.next()?, "{element}").map_err(Failure::Stdout)
    }

    fn end(self) -> Result<(), Failure> {
        self.output
            .write_all(self.close.as_bytes())
            .map_err(Failure::Stdout)
    }
}

/// The list of all processes, which is what each view is.
fn processes(output: &mut Output) -> Result<List<'_>, Failure> {
    List::begin(output, "{\"processes\":[", "]}\n")
}

fn file(file: &FileRef) -> Value {
    json!({
        "type": file.type_name(),
        "id": file.id,
        "file": text(file),
    })
}

/// As it is shown, but with a path as it is; what is no UTF-8 in it is replaced.
fn text(file: &FileRef) -> String {
    match file.path() {
        Some(path) => String::from_utf8_lossy(path).into_owned(),
        None => file.to_string(),
    }
}
