//! Reading by many threads.

use std::num::NonZeroUsize;
use std::panic;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{Memory, VirtAddr};
use crate::error::{Error, Result};

/// What a thread takes at once: long enough for the lock not to be felt, and short enough
/// for a second-level cache and for all threads to end at about the same time.
const PIECE: usize = 1 << 20;

impl Memory {
    /// As [`read`](Self::read), by up to this many threads, which end before it returns:
    /// one for each MiB at most, and this one among them.
    ///
    /// It pays where the content is in the page cache, or on a disk that answers many at
    /// once. Where no thread can be started, those that are there do the work.
    ///
    /// # Errors
    /// As [`read`](Self::read): the error is that of the first byte that cannot be read.
    pub fn read_parallel(
        &self,
        address: VirtAddr,
        out: &mut [u8],
        threads: NonZeroUsize,
    ) -> Result<()> {
        let threads = threads.get().min(out.len().div_ceil(PIECE)).max(1);
        if threads == 1 {
            return self.read(address, out);
        }
        let work = Mutex::new(out.chunks_mut(PIECE).enumerate());
        let work = || self.work(address, &work);
        let failed = thread::scope(|scope| {
            let others: Vec<_> = (1..threads)
                .map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect();
            let mut failed = work();
            for other in others {
                match other.join() {
                    Ok(None) => {}
                    Ok(Some(found)) if failed.as_ref().is_some_and(|first| first.0 < found.0) => {}
                    Ok(found) => failed = found,
                    Err(payload) => panic::resume_unwind(payload),
                }
            }
            failed
        });
        failed.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Reads pieces until there are none, or one fails. They are handed out in order, so
    /// that all before the first that fails are read by someone.
    fn work<'a>(
        &self,
        address: VirtAddr,
        work: &Mutex<impl Iterator<Item = (usize, &'a mut [u8])>>,
    ) -> Option<(usize, Error)> {
        loop {
            let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
            let (index, piece) = next?;
            let bytes = u64::try_from(index.saturating_mul(PIECE)).unwrap_or(u64::MAX);
            let start = VirtAddr::new(address.get().saturating_add(bytes));
            if let Err(error) = self.read(start, piece) {
                return Some((index, error));
            }
        }
    }
}
