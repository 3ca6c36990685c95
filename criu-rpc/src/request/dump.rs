//! `Dump`: a tree becomes images.

use super::draft::Draft;
use super::{Dir, Operation, Prepared, Request, Sealed};
use crate::error::{Error, ProtocolError};
use crate::pid::Pid;
use crate::reply::Dumped;
use crate::session::Outcome;

/// Writes a process and all its descendants into images (`DUMP`).
///
/// Without [`leave_running`](Self::leave_running) or [`leave_stopped`](Self::leave_stopped)
/// the tree is killed once the images are written. If the dump fails, it runs on.
///
/// ```no_run
/// # fn main() -> Result<(), criu_rpc::Error> {
/// use criu_rpc::{Criu, Dump};
/// # let server = std::process::Command::new("sleep").arg("9").spawn().unwrap();
/// Criu::find()?.run(Dump::new(&server, "images").leave_running(true).file_locks(true))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[doc(alias = "checkpoint")]
pub struct Dump<'a>(pub(super) Draft<'a>);

impl<'a> Dump<'a> {
    /// Dumps the tree below `root` into a folder, which must exist and should have mode
    /// 0700: the images hold the memory of the tree.
    #[doc(alias = "images_dir_fd")]
    pub fn new(root: impl Into<Pid>, images: impl Into<Dir<'a>>) -> Self {
        let mut draft = Draft::new(images.into());
        draft.options.pid = Some(root.into().as_raw());
        Self(draft)
    }

    /// Lets the tree go on after the dump, instead of killing it.
    #[must_use]
    pub fn leave_running(mut self, on: bool) -> Self {
        self.0.options.leave_running = on.then_some(true);
        self
    }

    /// Leaves the tree stopped (`SIGSTOP`) after the dump, instead of killing it. CRIU 3.19.
    #[must_use]
    pub fn leave_stopped(mut self, on: bool) -> Self {
        self.0.options.leave_stopped = on.then_some(true);
        self
    }

    /// Allows a tree whose terminal and session leader are outside it.
    #[must_use]
    pub fn shell_job(mut self, on: bool) -> Self {
        self.0.options.shell_job = Some(on);
        self
    }
}

impl Request for Dump<'_> {
    type Reply = Dumped;
}

impl Sealed for Dump<'_> {
    type Answer = Dumped;

    fn prepare<'b>(self) -> Result<Prepared<'b>, Error>
    where
        Self: 'b,
    {
        let options = &self.0.options;
        if options.leave_running.is_some() && options.leave_stopped.is_some() {
            return Err(Error::Option {
                operation: Operation::Dump,
                option: "leave_stopped",
                value: true.to_string(),
                reason: "leave_running is set too; a tree cannot be left both ways",
            });
        }
        self.0.prepare(Operation::Dump)
    }

    fn answer(outcome: Outcome) -> Result<Dumped, ProtocolError> {
        // Success was once reported without a dump (CRIU issue 2846).
        if outcome.has_inventory() {
            Ok(Dumped {})
        } else {
            Err(ProtocolError::NoInventory)
        }
    }
}
