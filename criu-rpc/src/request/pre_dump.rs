//! `PreDump`: the memory of a running tree, before the dump that takes the rest.

use super::draft::Draft;
use super::{Dir, Prepared, Request, Sealed};
use crate::error::{Error, ProtocolError};
use crate::operation::Operation;
use crate::pid::Pid;
use crate::preflight::Pending;
use crate::program::Program;
use crate::reply::{Outcome, PreDumped};

/// Writes the memory of a tree that goes on running, and watches what it changes from then
/// on, so that a later [`Dump`](super::Dump) with this one as its
/// [parent](super::Dump::parent) has less to write while the tree is stopped
/// (`SINGLE_PRE_DUMP`, CRIU 3.17).
///
/// Needs a kernel with soft-dirty: [`Features::mem_track`](crate::Features::mem_track). CRIU
/// up to 4.2 also has to be root for it, for it opens `/proc/PID/clear_refs` to read.
#[derive(Debug)]
pub struct PreDump<'a>(pub(super) Draft<'a>);

impl<'a> PreDump<'a> {
    /// Writes the memory of the tree below `root` into a folder, which must exist.
    #[doc(alias = "images_dir_fd")]
    pub fn new(root: impl Into<Pid>, images: impl Into<Dir<'a>>) -> Self {
        let mut draft = Draft::new(images.into());
        draft.options.pid = Some(root.into().as_raw());
        // CRIU turns it on by itself, but only after it has checked that the kernel can: it
        // then ends in BUG at mem.c:46 instead of an error.
        draft.options.track_mem = Some(true);
        Self(draft)
    }
}

impl Request for PreDump<'_> {
    type Reply = PreDumped;
}

impl Sealed for PreDump<'_> {
    type Answer = PreDumped;

    fn preflight(&self, criu: &Program) -> Result<Pending, Error> {
        self.0.preflight(criu, Operation::PreDump)
    }

    fn prepare<'b>(self) -> Result<Prepared<'b>, Error>
    where
        Self: 'b,
    {
        self.0.prepare(Operation::PreDump)
    }

    fn answer(_: Outcome) -> Result<PreDumped, ProtocolError> {
        Ok(PreDumped {})
    }
}
