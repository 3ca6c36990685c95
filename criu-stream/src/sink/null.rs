use crate::batch::{Batch, Item};
use crate::error::Result;
use crate::sink::Sink;
use crate::sink::tee::Observer;

/// Drops pages, and counts them.
#[derive(Debug, Default)]
pub struct Null {
    bytes: u64,
}

impl Null {
    /// One that has dropped nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Sink for Null {
    /// Bytes of pages.
    type Receipt = u64;

    fn take(&mut self, batch: &mut Batch) -> Result<()> {
        for item in batch.items() {
            if let Item::Run(_, content) = item {
                self.bytes += u64::try_from(content.len()).unwrap_or(0);
            }
        }
        Ok(())
    }

    fn secure(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(self) -> Result<u64> {
        Ok(self.bytes)
    }
}

impl Observer for Null {}
