//! Rounds of pre-dumps, the dump that ends them, and the restore.

use std::path::{Path, PathBuf};

use criu_images::{Chain, Memory};
use criu_rpc::{Criu, Dump, Error, PidfdStore, PreDump, PreDumpChain, PreDumpMode, Restore};
use criu_rs_tests::{Scratch, real_criu};

use crate::scribe::Scribe;

pub(crate) fn criu() -> Criu {
    Criu::at(real_criu()).unwrap()
}

/// A chain, one folder a round, from `0` on.
#[derive(Debug)]
pub(crate) struct Rounds<'a> {
    folder: PathBuf,
    count: usize,
    chain: Option<PreDumpChain>,
    mode: PreDumpMode,
    store: Option<&'a PidfdStore>,
}

impl<'a> Rounds<'a> {
    pub(crate) fn new(scratch: &Scratch) -> Self {
        Self::by(scratch, PreDumpMode::Splice)
    }

    pub(crate) fn by(scratch: &Scratch, mode: PreDumpMode) -> Self {
        let folder = scratch.join("rounds");
        std::fs::create_dir_all(&folder).unwrap();
        Self::below(folder, mode)
    }

    /// With its folders in this one.
    pub(crate) fn below(folder: PathBuf, mode: PreDumpMode) -> Self {
        Self {
            folder,
            count: 0,
            chain: Some(criu().pre_dump_chain()),
            mode,
            store: None,
        }
    }

    /// With handles on the tasks kept from round to round.
    pub(crate) fn with_store(mut self, store: &'a PidfdStore) -> Self {
        self.store = Some(store);
        self
    }

    pub(crate) fn folder(&self, round: usize) -> PathBuf {
        self.folder.join(round.to_string())
    }

    fn begin(&mut self) -> (PathBuf, Option<String>) {
        let folder = self.folder(self.count);
        std::fs::create_dir(&folder).unwrap();
        let parent = self.count.checked_sub(1).map(|last| format!("../{last}"));
        self.count += 1;
        (folder, parent)
    }

    /// One more pre-dump.
    #[track_caller]
    pub(crate) fn pre_dump(&mut self, scribe: &Scribe) -> PathBuf {
        self.try_pre_dump(scribe).unwrap()
    }

    /// The same; an error ends the chain.
    pub(crate) fn try_pre_dump(&mut self, scribe: &Scribe) -> Result<PathBuf, Error> {
        let (folder, parent) = self.begin();
        let mut round = PreDump::new(scribe.pid(), &*folder).mode(self.mode);
        if let Some(parent) = parent {
            round = round.parent(parent);
        }
        if let Some(store) = self.store {
            round = round.pidfd_store(store);
        }
        let chain = self.chain.take().unwrap();
        self.chain = Some(chain.pre_dump(round)?);
        Ok(folder)
    }

    /// The dump that ends the chain, and the tree.
    #[track_caller]
    pub(crate) fn dump(&mut self, scribe: &Scribe) -> PathBuf {
        let folder = self.try_dump(scribe).unwrap();
        scribe.wait_end();
        folder
    }

    /// The same, which ends the tree only if it succeeds.
    pub(crate) fn try_dump(&mut self, scribe: &Scribe) -> Result<PathBuf, Error> {
        let (folder, parent) = self.begin();
        let mut dump = Dump::new(scribe.pid(), &*folder);
        if let Some(parent) = parent {
            dump = dump.parent(parent);
        }
        if let Some(store) = self.store {
            dump = dump.pidfd_store(store);
        }
        self.chain.take().unwrap().dump(dump)?;
        Ok(folder)
    }
}

/// Restores what was dumped from it, which goes on where it was.
pub(crate) fn restore(images: &Path, scribe: &mut Scribe) {
    let tree = criu().run(Restore::new(images)).unwrap();
    assert_eq!(tree.pid(), scribe.pid());
    scribe.adopt();
}

/// What the images say its memory is.
pub(crate) fn memory(images: &Path, scribe: &Scribe) -> Memory {
    let pid = u32::try_from(scribe.raw_pid()).unwrap();
    Chain::open(images).unwrap().task(pid).unwrap().unwrap()
}
