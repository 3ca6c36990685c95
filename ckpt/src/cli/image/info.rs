//! `ckpt image info`: what an image is, and how many entries it has.

use std::io::{BufRead, Write as _};
use std::path::PathBuf;

use ckpt::Images;
use clap::Args;
use criu_images::source::Source as _;
use criu_images::{ByteOrder, Header, Image, Kind, Name, Version, json};
use serde_json::{Value, json};

use super::input::{self, Input};
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// An image, also one inside of a tar archive (backup.tar.gz/pstree.img); or a folder
    /// or archive of them; - is standard input
    file: PathBuf,

    /// One JSON document, with kind, version and byte order too
    #[arg(long)]
    pub(super) json: bool,
}

impl Info {
    pub(super) fn run(&self) -> Result<(), Failure> {
        input::any(&self.file, |input| {
            let mut output = Output::stdout();
            let done = match input {
                Input::One(one) => {
                    let label = one.label.clone();
                    one.image()
                        .and_then(|image| Ok(Told::of(image)?))
                        .and_then(|told| self.one(&mut output, &label, &told))
                }
                Input::Set(images) => self.set(&mut output, &images),
            };
            output.finish(done)
        })
    }

    /// As `crit info` does it.
    fn one(&self, output: &mut Output, label: &str, told: &Told) -> Result<(), Failure> {
        let written = if self.json {
            writeln!(output, "{}", told.json(label))
        } else {
            let (magic, count) = (told.kind.magic_name(), told.count);
            writeln!(
                output,
                "{{\n    \"magic\": \"{magic}\",\n    \"count\": {count}\n}}"
            )
        };
        written.map_err(Failure::Stdout)
    }

    /// Every image of a folder or archive, broken ones too.
    fn set(&self, output: &mut Output, images: &Images) -> Result<(), Failure> {
        let mut found = Vec::new();
        let visited = images.visit(&mut |file, content| {
            if let Some(name) = Name::parse(file) {
                found.push((name, Line::of(name, content)));
            }
            Ok(())
        });
        visited.map_err(|error| images.error(error))?;
        if found.is_empty() {
            return Err(Failure::NoImages {
                label: images.label().to_owned(),
            });
        }
        found.sort_by_key(|(name, _)| name.to_string());
        let written = match self.json {
            true => json_set(output, &found),
            false => text_set(output, &found),
        };
        written.map_err(Failure::Stdout)?;
        let is_broken = |(_, line): &&(Name, Line)| matches!(line, Line::Broken(_));
        match found.iter().filter(is_broken).count() {
            0 => Ok(()),
            broken => Err(Failure::Broken {
                images: images.label().to_owned(),
                broken,
                all: found.len(),
            }),
        }
    }
}

/// What there is to tell of an image.
struct Told {
    kind: Kind,
    header: Header,
    count: u64,
}

impl Told {
    fn of(image: Image<impl BufRead>) -> criu_images::Result<Self> {
        let (kind, header) = (image.kind(), image.header());
        let count = json::count(image)?;
        Ok(Self {
            kind,
            header,
            count,
        })
    }

    fn version(&self) -> &'static str {
        match self.header.version {
            Version::V1 => "1",
            Version::V1_1 => "1.1",
        }
    }

    fn json(&self, file: &str) -> Value {
        json!({
            "file": file,
            "kind": self.kind.template(),
            "magic": self.kind.magic_name(),
            "version": (!self.kind.is_raw()).then(|| self.version()),
            "byte_order": (!self.kind.is_raw()).then_some(match self.header.order {
                ByteOrder::Little => "little",
                ByteOrder::Big => "big",
            }),
            "count": self.count,
            "error": null,
        })
    }
}

/// One file of several.
enum Line {
    Image(Told),
    /// Pages, which have no entries.
    Pages,
    Broken(criu_images::Error),
}

impl Line {
    fn of(name: Name, content: &mut dyn BufRead) -> Self {
        if name.kind() == Kind::Pages {
            return Self::Pages;
        }
        match Image::buffered(name, content).and_then(Told::of) {
            Ok(told) => Self::Image(told),
            Err(error) => Self::Broken(error),
        }
    }
}

fn text_set(output: &mut Output, found: &[(Name, Line)]) -> std::io::Result<()> {
    writeln!(output, "{:<24} {:<14} COUNT", "FILE", "MAGIC")?;
    for (name, line) in found {
        let name = name.to_string();
        match line {
            Line::Image(told) => {
                let magic = told.kind.magic_name();
                writeln!(output, "{name:<24} {magic:<14} {}", told.count)?;
            }
            Line::Pages => writeln!(output, "{name:<24} {:<14} -", "-")?,
            Line::Broken(error) => writeln!(output, "{name:<24} broken: {error}")?,
        }
    }
    Ok(())
}

fn json_set(output: &mut Output, found: &[(Name, Line)]) -> std::io::Result<()> {
    let line = |(name, line): &(Name, Line)| {
        let file = name.to_string();
        let bare = |error: Value| {
            json!({
                "file": file,
                "kind": name.kind().template(),
                "magic": null,
                "version": null,
                "byte_order": null,
                "count": null,
                "error": error,
            })
        };
        match line {
            Line::Image(told) => told.json(&file),
            Line::Pages => bare(Value::Null),
            Line::Broken(error) => bare(error.to_string().into()),
        }
    };
    let images: Vec<_> = found.iter().map(line).collect();
    writeln!(output, "{}", json!({ "images": images }))
}
