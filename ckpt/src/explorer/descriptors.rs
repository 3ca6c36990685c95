//! The files a process has open.

use criu_images::{Kind, proto};

use super::files::FileRef;
use super::{Explorer, numbered};
use crate::error::Result;

/// The files a process has open; none at all of one that was dead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptors {
    /// Its descriptors, in the order of the image.
    pub open: Vec<Descriptor>,
    /// Its working folder.
    pub cwd: Option<FileRef>,
    /// Its root.
    pub root: Option<FileRef>,
}

/// A file descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptor {
    /// Its number.
    pub fd: u32,
    /// What it is of.
    pub file: FileRef,
}

impl Explorer<'_> {
    /// The files a process has open.
    ///
    /// # Errors
    /// If an image cannot be read; if `ids` or `fs` is missing of a process that lived.
    pub fn descriptors(&self, pid: u32) -> Result<Descriptors> {
        let files = self.files()?;
        let mut open = Vec::new();
        if let Some(ids) = self.of_living::<proto::TaskKobjIdsEntry>(Kind::Ids, pid)? {
            // Without a descriptor CRIU writes no image.
            let name = numbered(Kind::Fdinfo, ids.files_id);
            let entries = self.images.entries::<proto::FdinfoEntry>(name)?;
            for entry in entries.into_iter().flatten() {
                let entry = entry?;
                open.push(Descriptor {
                    fd: entry.fd,
                    file: files.find(entry.r#type, entry.id.into()),
                });
            }
        }
        let fs = self.of_living::<proto::FsEntry>(Kind::Fs, pid)?;
        Ok(Descriptors {
            open,
            cwd: fs.as_ref().map(|fs| files.regular(fs.cwd_id.into())),
            root: fs.as_ref().map(|fs| files.regular(fs.root_id.into())),
        })
    }
}
