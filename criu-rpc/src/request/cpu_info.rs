//! What CPU a set of images needs.

use super::draft::Draft;
use super::{Dir, Prepared, Request, Sealed};
use crate::error::{Error, ProtocolError};
use crate::operation::Operation;
use crate::preflight::Pending;
use crate::program::Program;
use crate::reply::Outcome;

/// Writes what this host's CPU can do into `cpuinfo.img` (`CPUINFO_DUMP`, CRIU 1.4).
#[derive(Debug)]
pub struct CpuInfoDump<'a>(pub(super) Draft<'a>);

/// Compares this host's CPU with the `cpuinfo.img` of another: success means that what ran
/// there can run here (`CPUINFO_CHECK`, CRIU 1.4).
#[derive(Debug)]
pub struct CpuInfoCheck<'a>(pub(super) Draft<'a>);

impl<'a> CpuInfoDump<'a> {
    /// Writes into this folder.
    #[doc(alias = "images_dir_fd")]
    pub fn new(images: impl Into<Dir<'a>>) -> Self {
        Self(Draft::new(images.into()))
    }
}

impl<'a> CpuInfoCheck<'a> {
    /// Compares with the one in this folder.
    #[doc(alias = "images_dir_fd")]
    pub fn new(images: impl Into<Dir<'a>>) -> Self {
        Self(Draft::new(images.into()))
    }
}

impl Request for CpuInfoDump<'_> {
    type Reply = ();
}

impl Sealed for CpuInfoDump<'_> {
    type Answer = ();

    fn preflight(&self, criu: &Program) -> Result<Pending, Error> {
        self.0.preflight(criu, Operation::CpuInfoDump)
    }

    fn prepare<'b>(self) -> Result<Prepared<'b>, Error>
    where
        Self: 'b,
    {
        self.0.prepare(Operation::CpuInfoDump)
    }

    fn answer(_: Outcome) -> Result<(), ProtocolError> {
        Ok(())
    }
}

impl Request for CpuInfoCheck<'_> {
    type Reply = ();
}

impl Sealed for CpuInfoCheck<'_> {
    type Answer = ();

    fn preflight(&self, criu: &Program) -> Result<Pending, Error> {
        self.0.preflight(criu, Operation::CpuInfoCheck)
    }

    fn prepare<'b>(self) -> Result<Prepared<'b>, Error>
    where
        Self: 'b,
    {
        self.0.prepare(Operation::CpuInfoCheck)
    }

    fn answer(_: Outcome) -> Result<(), ProtocolError> {
        Ok(())
    }
}
