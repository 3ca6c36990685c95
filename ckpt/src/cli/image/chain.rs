//! What the words about memory have in common: a folder, and those of the dumps before it.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use ckpt::Plain;
use clap::Args;
use criu_images::source::{Folder, Source as _};
use criu_images::{Chain, Memory, Name, Origin};
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::verify::images_in;

#[derive(Debug, Args)]
pub(super) struct Line {
    /// A folder of images; those of the dumps before it are found by its parent link
    dir: PathBuf,

    #[command(flatten)]
    parents: Parents,

    /// Opened once: what is compressed is expanded for that.
    #[arg(skip)]
    chain: OnceCell<Plain>,
}

#[derive(Debug, Args)]
pub(super) struct Parents {
    /// Where parents may be: links may be absolute, and lead anywhere below it. Without it,
    /// beside the folder
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl Line {
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    pub(super) fn parents(&self) -> &Parents {
        &self.parents
    }

    pub(super) fn open(&self) -> Result<&Plain, Failure> {
        match self.chain.get() {
            Some(chain) => Ok(chain),
            None => {
                let chain = self.parents.open(&self.dir)?;
                Ok(self.chain.get_or_init(|| chain))
            }
        }
    }

    /// The memory of a task.
    pub(super) fn task(&self, pid: u32) -> Result<Memory, Failure> {
        self.open()?.task(pid)?.ok_or_else(|| self.no_task(pid))
    }

    pub(super) fn no_task(&self, pid: u32) -> Failure {
        let images = self.dir.display().to_string();
        Failure::NoTask { images, pid }
    }
}

impl Parents {
    /// The chain that ends with a folder of images, or with that in a checkpoint's.
    pub(super) fn open(&self, folder: &Path) -> Result<Plain, Failure> {
        let images = images_in(folder);
        let chain = match &self.root {
            Some(root) => Chain::within(&images, root)?,
            None => Chain::open(&images)?,
        };
        let names = Folder::open(&images)?.names()?;
        if names.iter().all(|name| Name::parse(name).is_none()) {
            let label = folder.display().to_string();
            return Err(Failure::NoImages { label });
        }
        Ok(Plain::of(chain)?)
    }

    pub(super) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }
}

/// A number of bytes or an address: decimal, or hexadecimal after `0x`.
pub(super) fn number(text: &str) -> Result<u64, &'static str> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a number is wanted, decimal or hexadecimal (0x…)")
}

/// Where memory is, for programs.
pub(super) fn origin(memory: &Memory, origin: Origin) -> Value {
    match origin {
        Origin::Stored {
            folder,
            pages_id,
            offset,
        } => {
            json!({ "kind": "stored", "folder": folder, "pages_id": pages_id, "offset": offset })
        }
        Origin::Zero => json!({ "kind": "zero" }),
        Origin::Lazy { folder } => json!({ "kind": "lazy", "folder": folder }),
        Origin::File { id, offset, shared } => {
            let path = memory.path(id).map(String::from_utf8_lossy);
            json!({ "kind": "file", "file": path, "offset": offset, "shared": shared })
        }
        Origin::Guard => json!({ "kind": "guard" }),
        Origin::Lost(_) => json!({ "kind": "lost" }),
        _ => json!({ "kind": "elsewhere" }),
    }
}
