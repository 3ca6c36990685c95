//! `Digests`: of the content of memory, taken while it is at hand, so that it is not read
//! again from where it was written.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use criu_images::proto::PagemapHead;
use criu_images::source::{Folder, Source as _};
use criu_stream::{Batch, Item, Target};

use crate::error::Result;
use crate::manifest::{FileRecord, Hasher};

/// A digest for each pagemap's pages, as CRIU keeps them: one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Digests(Arc<Mutex<Vec<(Target, Hasher)>>>);

impl Digests {
    pub(super) fn take(&self, batch: &Batch) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut content = batch.content();
        // What lies between two pagemaps is in one piece.
        let mut length = 0;
        for item in batch.items() {
            match item {
                Item::Run(_, pages) => length += pages.len(),
                Item::Open(target) => {
                    content = update(&mut all, content, length);
                    length = 0;
                    all.push((target, Hasher::default()));
                }
            }
        }
        update(&mut all, content, length);
    }

    /// What is in the pages images of this folder, which has that name in its checkpoint.
    ///
    /// # Errors
    /// When a pagemap cannot be read.
    pub(super) fn records(&self, images: &Path, name: &str) -> Result<Vec<FileRecord>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = Folder::open(images)?;
        let mut records = Vec::new();
        for (target, hasher) in all.drain(..) {
            let Some(mut image) = folder.image(target.pagemap())? else {
                continue;
            };
            let head = image.next()?.map(|record| record.decode::<PagemapHead>());
            let Some(head) = head.transpose()? else {
                continue;
            };
            let (blake3, bytes) = hasher.finish();
            records.push(FileRecord {
                path: format!("{name}/pages-{}.img", head.pages_id),
                bytes,
                blake3,
            });
        }
        Ok(records)
    }
}

/// Goes on with the digest of the last; gives what is left of the content.
fn update<'a>(all: &mut [(Target, Hasher)], content: &'a [u8], length: usize) -> &'a [u8] {
    let (now, rest) = content.split_at(length.min(content.len()));
    if let Some((_, hasher)) = all.last_mut() {
        hasher.update(now);
    }
    rest
}
