//! A folder of images and the ones before it, by their `parent` links.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::addr::PageSize;
use crate::error::{ChainDefect, Error, Place, Result};
use crate::kind::Kind;
use crate::name::Name;
use crate::source::{Folder, Source};

/// Name of the link to the folder of the dump before.
pub(crate) const PARENT: &str = "parent";

/// The folders of incremental dumps, the newest first.
#[derive(Debug, Clone)]
pub struct Chain {
    folders: Vec<PathBuf>,
    broken: Option<PathBuf>,
    page: Option<PageSize>,
    pub(super) opened: Arc<AtomicUsize>,
}

impl Chain {
    /// Follows the `parent` links of this folder. Each must be relative, and lead to a
    /// folder in the one that holds this folder: the layout CRIU's own pages recommend,
    /// and as far as images of unknown origin should be trusted.
    ///
    /// # Errors
    /// If a folder cannot be opened, or a link is absolute, leads elsewhere, or makes a
    /// circle. A link to nothing ends the chain: see [`broken`](Self::broken).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = real(path.as_ref())?;
        let root = path.parent().unwrap_or(&path).to_owned();
        Self::follow(path, &root, false)
    }

    /// As [`open`](Self::open), but links may be absolute, and lead anywhere below `root`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn within(path: impl AsRef<Path>, root: impl AsRef<Path>) -> Result<Self> {
        Self::follow(real(path.as_ref())?, &real(root.as_ref())?, true)
    }

    /// Takes this page size for what the images do not tell, and fails where they tell
    /// another.
    #[must_use]
    pub fn page_size(mut self, page: PageSize) -> Self {
        self.page = Some(page);
        self
    }

    /// The folders, the newest first, without links in their paths.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// The `parent` link that leads to nothing, if the chain ends with one.
    pub fn broken(&self) -> Option<&Path> {
        self.broken.as_deref()
    }

    /// PIDs of the tasks whose memory is in the newest folder, in order.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn tasks(&self) -> Result<Vec<u32>> {
        let ids = self.numbers(Kind::Pagemap)?;
        Ok(ids
            .into_iter()
            .filter_map(|id| id.try_into().ok())
            .collect())
    }

    /// Ids of the shared memory in the newest folder: anonymous, of memfds, and of System V.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn segments(&self) -> Result<Vec<u64>> {
        self.numbers(Kind::ShmemPagemap)
    }

    /// This folder alone, whatever its link says.
    pub(crate) fn alone(folder: &Path) -> Self {
        Self {
            folders: vec![folder.to_owned()],
            broken: None,
            page: None,
            opened: Arc::default(),
        }
    }

    pub(super) fn stated(&self) -> Option<PageSize> {
        self.page
    }

    fn numbers(&self, kind: Kind) -> Result<Vec<u64>> {
        let Some(newest) = self.folders.first() else {
            return Ok(Vec::new());
        };
        let mut numbers: Vec<_> = Folder::open(newest)?
            .names()?
            .iter()
            .filter_map(|name| Name::parse(name))
            .filter(|name| name.kind() == kind)
            .filter_map(Name::number)
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn follow(newest: PathBuf, root: &Path, absolute: bool) -> Result<Self> {
        let mut chain = Self {
            folders: Vec::new(),
            broken: None,
            page: None,
            opened: Arc::default(),
        };
        let mut met = BTreeSet::new();
        let mut next = Some(newest);
        while let Some(folder) = next {
            let stat = fs::metadata(&folder).map_err(|e| io(&folder, e))?;
            if !stat.is_dir() {
                return Err(io(&folder, ErrorKind::NotADirectory.into()));
            }
            if !met.insert((stat.dev(), stat.ino())) {
                return Err(defect(&folder, ChainDefect::Circle));
            }
            next = chain.parent(&folder, root, absolute)?;
            chain.folders.push(folder);
        }
        Ok(chain)
    }

    fn parent(&mut self, folder: &Path, root: &Path, absolute: bool) -> Result<Option<PathBuf>> {
        let link = folder.join(PARENT);
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            // CRIU opens whatever has this name.
            Err(e) if e.kind() == ErrorKind::InvalidInput => PathBuf::from(PARENT),
            Err(e) => return Err(io(&link, e)),
        };
        if target.is_absolute() && !absolute {
            return Err(defect(&link, ChainDefect::Absolute(target)));
        }
        let parent = match fs::canonicalize(folder.join(&target)) {
            Ok(parent) => parent,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                self.broken = Some(link);
                return Ok(None);
            }
            Err(e) => return Err(io(&link, e)),
        };
        if !parent.starts_with(root) {
            return Err(defect(&link, ChainDefect::Outside(target)));
        }
        Ok(Some(parent))
    }
}

fn real(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(|e| io(path, e))
}

fn place(path: &Path) -> Place {
    Place {
        file: Some(Arc::from(&*path.to_string_lossy())),
        ..Place::default()
    }
}

fn io(path: &Path, source: std::io::Error) -> Error {
    Error::Io {
        place: place(path),
        source,
    }
}

fn defect(path: &Path, defect: ChainDefect) -> Error {
    Error::Chain {
        place: place(path),
        defect,
    }
}
