//! Sinks that fail, and what they must not leave.

use std::path::Path;

use criu_images::PageSize;
use criu_stream::{Batch, Error, Observer, Result, Sink};

/// Fails at the batch with this number, from 0; then, or when it is to secure them.
pub(crate) struct Failing<S> {
    sink: S,
    at: u64,
    what: Box<dyn FnMut() + Send>,
}

impl<S: Sink> Failing<S> {
    /// It calls this before it fails.
    pub(crate) fn new(sink: S, at: u64, what: impl FnMut() + Send + 'static) -> Self {
        Self {
            sink,
            at,
            what: Box::new(what),
        }
    }

    fn step(&mut self) -> Result<()> {
        if self.at == 0 {
            (self.what)();
            return Err(Error::File {
                path: "a disk".into(),
                source: std::io::ErrorKind::StorageFull.into(),
            });
        }
        self.at -= 1;
        Ok(())
    }
}

impl<S: Sink> Sink for Failing<S> {
    type Receipt = S::Receipt;

    /// The smallest there is, so that there are many.
    fn batch(&mut self, page: PageSize) -> Result<Batch> {
        Batch::new(page, 1)
    }

    fn take(&mut self, batch: &mut Batch) -> Result<()> {
        self.step()?;
        self.sink.take(batch)
    }

    fn secure(&mut self) -> Result<()> {
        self.step()?;
        self.sink.secure()
    }

    fn finish(self) -> Result<S::Receipt> {
        if self.at == 0 {
            return Err(Error::Failed);
        }
        self.sink.finish()
    }
}

impl<S: Observer> Observer for Failing<S> {}

/// The names of pagemaps and of files with pages, whole and half.
pub(crate) fn of_pages(images: &Path) -> Vec<String> {
    let names = images.read_dir().unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("page")).collect();
    names.sort();
    names
}

impl<S> std::fmt::Debug for Failing<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Failing")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
