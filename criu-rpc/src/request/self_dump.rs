//! `SelfDump`: this process becomes images.

use super::draft::Draft;
use super::{Dir, Prepared};
use crate::error::Error;
use crate::operation::Operation;

/// Writes this process and all its descendants into images (`DUMP` without a pid).
///
/// [`Criu::dump_this_process`](crate::Criu::dump_this_process) returns once in the process
/// that goes on, and once more in each that is restored from the images. It takes no hook:
/// this process is stopped at every stage, and could not answer.
///
/// The folders are named by path, since a descriptor would be dumped along with this
/// process. CRIU 3.19.
///
/// ```no_run
/// # fn main() -> Result<(), criu_rpc::Error> {
/// use criu_rpc::{Criu, SelfDump, SelfDumped};
/// let dump = SelfDump::new("images").leave_running(true);
/// match Criu::find()?.dump_this_process(dump)? {
///     SelfDumped::Running => println!("a checkpoint was made"),
///     SelfDumped::Restored => println!("back again"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SelfDump<'a>(pub(super) Draft<'a>);

impl<'a> SelfDump<'a> {
    /// Dumps this process into a folder, which must exist and should have mode 0700.
    #[doc(alias = "images_dir")]
    pub fn new(images: impl Into<Dir<'a>>) -> Self {
        Self(Draft::new(images.into()))
    }

    pub(crate) fn prepare(self) -> Result<Prepared<'a>, Error> {
        self.0.prepare(Operation::SelfDump)
    }
}
