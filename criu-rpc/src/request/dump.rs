//! `Dump`: a tree becomes images.

use super::draft::Draft;
use super::{Dir, Prepared, Request, Sealed, SelfDump};
use crate::error::{Error, ProtocolError};
use crate::operation::Operation;
use crate::pid::Pid;
use crate::preflight::Pending;
use crate::program::Program;
use crate::reply::{Dumped, Outcome};

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

    /// Dumps this process itself, which is another kind of request.
    pub fn this_process(images: impl Into<Dir<'a>>) -> SelfDump<'a> {
        SelfDump::new(images)
    }
}

impl Request for Dump<'_> {
    type Reply = Dumped;
}

impl Sealed for Dump<'_> {
    type Answer = Dumped;

    fn preflight(&self, criu: &Program) -> Result<Pending, Error> {
        self.0.preflight(criu, Operation::Dump)
    }

    fn prepare<'b>(self) -> Result<Prepared<'b>, Error>
    where
        Self: 'b,
    {
        self.0.prepare(Operation::Dump)
    }

    fn answer(outcome: Outcome) -> Result<Dumped, ProtocolError> {
        // Success was once reported without a dump (CRIU issue 2846).
        if outcome.has_inventory {
            Ok(Dumped {})
        } else {
            Err(ProtocolError::NoInventory)
        }
    }
}
