//! `Restore`: images become a tree.

use std::os::fd::BorrowedFd;

use super::draft::Draft;
use super::{Dir, Prepared, Request, Sealed};
use crate::error::{Error, ProtocolError};
use crate::operation::Operation;
use crate::preflight::Pending;
use crate::program::Program;
use crate::reply::{Outcome, Restored};

/// Makes a tree out of images (`RESTORE`), with the pids it had.
///
/// The tree becomes a child of init, or of the nearest subreaper, unless
/// [`as_child`](Self::as_child) is set. If the restore fails, nothing of it stays.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use criu_rpc::{Criu, Restore};
/// let tree = Criu::find()?.run(Restore::new("images").as_child(true))?;
/// println!("{} {}", tree.pid(), tree.wait()?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Restore<'a>(pub(super) Draft<'a>);

impl<'a> Restore<'a> {
    /// Restores the tree whose images are in a folder. CRIU writes its log there too,
    /// unless [`work_dir`](Self::work_dir) says otherwise.
    #[doc(alias = "images_dir_fd")]
    pub fn new(images: impl Into<Dir<'a>>) -> Self {
        Self(Draft::new(images.into()))
    }

    /// Makes the root of the tree a child of this process, which then can
    /// [wait](Restored::wait) for it, and has to.
    #[doc(alias = "rst_sibling")]
    #[must_use]
    pub fn as_child(mut self, on: bool) -> Self {
        self.0.options.rst_sibling = on.then_some(true);
        self
    }

    /// Leaves the restored tree stopped (`SIGSTOP`). CRIU 3.19.
    #[must_use]
    pub fn leave_stopped(mut self, on: bool) -> Self {
        self.0.options.leave_stopped = on.then_some(true);
        self
    }

    /// Gives a tree that was dumped as a shell job this terminal, which becomes CRIU's
    /// standard input. CRIU then stays in this process group, so `^C` there reaches it.
    #[must_use]
    pub fn shell_job(mut self, terminal: BorrowedFd<'a>) -> Self {
        self.0.options.shell_job = Some(true);
        self.0.terminal = Some(terminal);
        self
    }
}

impl Request for Restore<'_> {
    type Reply = Restored;
}

impl Sealed for Restore<'_> {
    type Answer = Restored;

    fn preflight(&self, criu: &Program) -> Result<Pending, Error> {
        self.0.preflight(criu, Operation::Restore)
    }

    fn prepare<'b>(self) -> Result<Prepared<'b>, Error>
    where
        Self: 'b,
    {
        self.0.prepare(Operation::Restore)
    }

    fn answer(outcome: Outcome) -> Result<Restored, ProtocolError> {
        outcome.restored.ok_or(ProtocolError::Missing {
            field: "restore.pid",
        })
    }
}
