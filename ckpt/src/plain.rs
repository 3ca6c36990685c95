//! `Plain`: a chain of images whose pages can be read as CRIU keeps them.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use criu_images::{Chain, Finding};
use rustix::fs::{Access, access};

use crate::error::Result;
use crate::expanded::{self, Content, Expanded, Line};
use crate::store::is_store;

/// A chain of images; those with compressed pages are expanded, in a place of their own, for
/// as long as this lives.
///
/// ```no_run
/// # fn main() -> ckpt::Result<()> {
/// let chain = criu_images::Chain::open("/var/lib/ckpt/web/images")?;
/// let plain = ckpt::Plain::of(chain)?;
/// let memory = plain.task(42)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Plain {
    chain: Chain,
    /// Until nobody reads it any more.
    _view: Option<Expanded>,
}

impl Plain {
    /// Expands what is compressed: into the store that it is in, or where temporary files go
    /// ([`temp_dir`](std::env::temp_dir)) if it is in none that can be written to.
    ///
    /// # Errors
    /// [`Error::Room`](crate::Error::Room) if there is not enough; if files cannot be read or
    /// written.
    pub fn of(chain: Chain) -> Result<Self> {
        let (line, place) = (Line::linked(&chain), place(&chain));
        Self::in_place(&line, &place, chain)
    }

    /// Expands what is compressed of a line, below this folder; the chain is that line's.
    pub(crate) fn in_place(line: &Line, place: &Path, chain: Chain) -> Result<Self> {
        let view = match line.is_compressed()? {
            true => Some(line.expand(place, Content::Pages)?),
            false => None,
        };
        let chain = match &view {
            Some(view) => Chain::within(view.images(), view.root())?,
            None => chain,
        };
        Ok(Self { chain, _view: view })
    }
}

impl Deref for Plain {
    type Target = Chain;

    fn deref(&self) -> &Chain {
        &self.chain
    }
}

/// Looks whether the images of a folder are a whole set, as [`criu_images::verify`] does; also
/// those with compressed pages, whose content is not read.
///
/// # Errors
/// As [`criu_images::verify`].
pub fn verify_images(folder: &Path, root: Option<&Path>) -> Result<Vec<Finding>> {
    let chain = match root {
        Some(root) => Chain::within(folder, root),
        None => Chain::open(folder),
    };
    // What is wrong with the chain is among the findings.
    if let Ok(chain) = chain {
        let line = Line::linked(&chain);
        if line.is_compressed()? {
            return expanded::verify(&line, &place(&chain));
        }
    }
    Ok(match root {
        Some(root) => criu_images::verify_within(folder, root)?,
        None => criu_images::verify(folder)?,
    })
}

/// Where to expand it.
fn place(chain: &Chain) -> PathBuf {
    let store = chain.folders().first().and_then(|it| it.ancestors().nth(2));
    let store = store.filter(|it| is_store(it) && access(*it, Access::WRITE_OK).is_ok());
    store.map_or_else(std::env::temp_dir, Path::to_owned)
}
