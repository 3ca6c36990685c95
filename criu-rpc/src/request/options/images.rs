//! How images relate to earlier ones, and how they are read and written.

use crate::proto;
use crate::request::setters::setters;
use crate::request::{Dump, PageServer, PreDump, Restore, SelfDump};

/// How CRIU reads and writes the pages images (`criu_image_io_mode`, after CRIU 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageIo {
    /// Through the page cache: CRIU's default.
    Writeback,
    /// Past the page cache (`O_DIRECT`).
    Direct,
}

setters! { Dump, SelfDump, PreDump => {
    /// The folder of the dump or pre-dump before this one, relative to the images folder,
    /// such as `../1`. Pages that did not change since are left out
    /// (together with [`track_mem`](Dump::track_mem)).
    #[doc(alias = "parent_img")]
    fn parent(draft, path: impl Into<String>) {
        draft.options.parent_img = Some(path.into());
    }
}}

setters! { Dump, SelfDump, PreDump, Restore, PageServer => {
    /// Punches those pages out of earlier images that later ones replace; on restore, those
    /// that were read. The earlier images are no longer whole by themselves.
    fn auto_dedup(draft, on: bool) {
        draft.options.auto_dedup = Some(on);
    }

    /// How the pages images are read and written. Needs a CRIU after 4.2.
    fn image_io_mode(draft, mode: ImageIo) {
        let mode = match mode {
            ImageIo::Writeback => proto::CriuImageIoMode::ImageIoWriteback,
            ImageIo::Direct => proto::CriuImageIoMode::ImageIoDirect,
        };
        draft.options.image_io_mode = Some(mode.into());
    }
}}
