//! `Sink`: what becomes of pages.

mod buffer;
#[cfg(feature = "compress")]
mod compressed;
mod dedup;
mod files;
mod null;
mod set;
mod tee;

pub use buffer::Buffer;
#[cfg(feature = "compress")]
pub use compressed::Compressed;
pub use dedup::{Dedup, Saved};
pub use files::Files;
pub use null::Null;
pub use set::Written;
#[cfg(feature = "compress")]
pub(crate) use set::create;
pub use tee::{Observer, Tee};

use criu_images::PageSize;

use crate::batch::Batch;
use crate::error::{Error, Result};

/// What pages are received into at once, unless the sink says otherwise: no more than a
/// core's cache holds, since they are read again right away.
const BATCH: usize = 512 << 10;

/// Takes pages, batch after batch. Sinks are made of each other: what one does not keep, it
/// hands on.
pub trait Sink: Send {
    /// What there is to tell in the end.
    type Receipt: Send;

    /// Memory to receive into, once, before the first batch.
    ///
    /// # Errors
    /// When there is none.
    fn batch(&mut self, page: PageSize) -> Result<Batch> {
        Batch::new(page, BATCH)
    }

    /// Takes what is in the batch, which is emptied after this. A sink may exchange it for
    /// another, empty one.
    ///
    /// # Errors
    /// When it cannot be kept. Nothing is given to a sink after that.
    fn take(&mut self, batch: &mut Batch) -> Result<()>;

    /// The last batch was given. Returns when the pages are safe from the end of the task
    /// they come from: in memory, at least.
    ///
    /// # Errors
    /// When they are not.
    fn secure(&mut self) -> Result<()>;

    /// Nobody gives it anything any more, for whoever gave has gone. Why it failed itself, if it
    /// did and could not tell yet: that may be why the other has gone.
    fn failure(self) -> Option<Error>
    where
        Self: Sized,
    {
        None
    }

    /// Returns when everything is where it is to stay, on disk if that is a disk.
    ///
    /// # Errors
    /// When it is not.
    fn finish(self) -> Result<Self::Receipt>
    where
        Self: Sized;
}
