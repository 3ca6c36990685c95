//! `Memory`: how the memory of a tree comes into its images.

use criu_rpc::Dump;

use crate::error::Result;
use crate::manifest::Manifest;

/// A way to take memory. It is used for one dump, in the order of its methods; the same for
/// a tree that runs on and for one that is to end.
pub(super) trait Memory: Send {
    /// Adds what it needs to the request, right before that is sent.
    ///
    /// # Errors
    /// When it cannot begin. Nothing was asked of CRIU then.
    fn connect<'a>(&mut self, dump: Dump<'a>) -> Result<Dump<'a>>;

    /// Returns when all pages are in the folder of images, and tells the manifest of them.
    /// The tree runs on by now, or is stopped until this and the commit are done.
    ///
    /// # Errors
    /// When they are not: nothing is committed, and the tree runs on.
    fn settle(&mut self, manifest: &mut Manifest) -> Result<()>;

    /// What to tell when CRIU failed: its own error, unless it failed for one of ours.
    ///
    /// # Errors
    /// That of ours.
    fn reason(&mut self, error: criu_rpc::Error) -> Result<criu_rpc::Error>;
}

/// CRIU writes pages itself, while the tree is stopped.
pub(super) struct Stock;

impl Memory for Stock {
    fn connect<'a>(&mut self, dump: Dump<'a>) -> Result<Dump<'a>> {
        Ok(dump)
    }

    fn settle(&mut self, _: &mut Manifest) -> Result<()> {
        Ok(())
    }

    fn reason(&mut self, error: criu_rpc::Error) -> Result<criu_rpc::Error> {
        Ok(error)
    }
}
