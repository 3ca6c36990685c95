//! `Memory`: how the memory of a tree comes into its images.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use criu_rpc::Dump;

use crate::error::Result;
use crate::manifest::{FileRecord, Manifest};

/// A way to take memory. It is used for one dump, in the order of its methods; the same for
/// a tree that runs on and for one that is to end.
pub(super) trait Memory: Send {
    /// Adds what it needs to the request, right before that is sent.
    ///
    /// # Errors
    /// When it cannot begin. Nothing was asked of CRIU then.
    fn connect<'a>(&mut self, dump: Dump<'a>) -> Result<Dump<'a>>;

    /// Returns when all pages are in the folder of images, and tells the manifest of them;
    /// gives what is in files, if that is known. The tree runs on by now, or is stopped until
    /// this and the commit are done.
    ///
    /// # Errors
    /// When they are not: nothing is committed, and the tree runs on.
    fn settle(&mut self, manifest: &mut Manifest) -> Result<Vec<FileRecord>>;

    /// What to tell when CRIU failed: its own error, unless it failed for one of ours.
    ///
    /// # Errors
    /// That of ours.
    fn reason(&mut self, error: criu_rpc::Error) -> Result<criu_rpc::Error>;

    /// How far it is, if that is told by bytes.
    fn counts(&self) -> Option<Arc<Counts>> {
        None
    }
}

/// Bytes of pages that have come, and that have been written.
#[derive(Debug, Default)]
pub(super) struct Counts {
    taken: AtomicU64,
    written: AtomicU64,
}

impl Counts {
    pub(super) fn took(&self, bytes: usize) {
        add(&self.taken, bytes);
    }

    pub(super) fn wrote(&self, bytes: usize) {
        add(&self.written, bytes);
    }

    /// Taken, and written.
    pub(super) fn now(&self) -> (u64, u64) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (get(&self.taken), get(&self.written))
    }
}

fn add(count: &AtomicU64, bytes: usize) {
    count.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
}

/// CRIU writes pages itself, while the tree is stopped.
pub(super) struct Stock;

impl Memory for Stock {
    fn connect<'a>(&mut self, dump: Dump<'a>) -> Result<Dump<'a>> {
        Ok(dump)
    }

    fn settle(&mut self, _: &mut Manifest) -> Result<Vec<FileRecord>> {
        Ok(Vec::new())
    }

    fn reason(&mut self, error: criu_rpc::Error) -> Result<criu_rpc::Error> {
        Ok(error)
    }
}
