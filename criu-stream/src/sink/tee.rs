use criu_images::PageSize;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::sink::Sink;

/// Gives pages to two sinks, the first of which only looks at them: it must leave the batch
/// as it is, and so cannot be a [`Buffer`](crate::Buffer) or a [`Dedup`](crate::Dedup).
#[derive(Debug)]
pub struct Tee<A, B>(A, B);

/// A sink that leaves batches as they are.
pub trait Observer: Sink {}

impl<A: Observer, B: Sink> Tee<A, B> {
    /// To `first`, then to `second`, whose memory it is.
    pub fn new(first: A, second: B) -> Self {
        Self(first, second)
    }
}

impl<A: Observer, B: Sink> Sink for Tee<A, B> {
    type Receipt = (A::Receipt, B::Receipt);

    fn batch(&mut self, page: PageSize) -> Result<Batch> {
        self.1.batch(page)
    }

    fn take(&mut self, batch: &mut Batch) -> Result<()> {
        self.0.take(batch)?;
        self.1.take(batch)
    }

    fn secure(&mut self) -> Result<()> {
        self.0.secure()?;
        self.1.secure()
    }

    fn failure(self) -> Option<Error> {
        self.0.failure().or_else(|| self.1.failure())
    }

    fn finish(self) -> Result<Self::Receipt> {
        Ok((self.0.finish()?, self.1.finish()?))
    }
}
