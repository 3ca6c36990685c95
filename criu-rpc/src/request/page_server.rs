//! `PageServer`: a CRIU that takes the pages of a dump elsewhere.

use super::draft::Draft;
use super::{Dir, Prepared};
use crate::error::Error;
use crate::operation::Operation;

/// Starts a CRIU that listens for the pages of one dump and writes them into a folder
/// (`PAGE_SERVER_CHLD`, CRIU 3.7); see [`Criu::page_server`](crate::Criu::page_server).
#[derive(Debug)]
pub struct PageServer<'a>(pub(super) Draft<'a>);

impl<'a> PageServer<'a> {
    /// Writes into this folder. The port is the kernel's choice unless it is
    /// [set](Self::listen).
    #[doc(alias = "images_dir_fd")]
    pub fn new(images: impl Into<Dir<'a>>) -> Self {
        let mut draft = Draft::new(images.into());
        draft.options.ps = Some(crate::proto::CriuPageServerInfo::default());
        Self(draft)
    }

    /// Where to listen. An address is one of this host's; port 0 lets the kernel choose.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>, port: u16) -> Self {
        self.0.options.ps = Some(crate::proto::CriuPageServerInfo {
            address: Some(address.into()),
            port: Some(port.into()),
            ..Default::default()
        });
        self
    }

    pub(crate) fn prepare(self) -> Result<Prepared<'a>, Error> {
        let mut prepared = self.0.prepare(Operation::PageServer)?;
        // WAIT_PID follows.
        prepared.message.keep_open = Some(true);
        Ok(prepared)
    }
}
