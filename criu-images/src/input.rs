//! Bytes in, with the place they came from.

use std::io::{self, BufRead};
use std::sync::Arc;

use crate::error::{Defect, Error, Part, Place, Result};

/// How much memory is taken at once on the word of a length alone.
const STEP: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Input<R> {
    inner: R,
    place: Place,
}

impl<R: BufRead> Input<R> {
    pub(crate) fn new(inner: R, file: Option<Arc<str>>) -> Self {
        Self {
            inner,
            place: Place {
                file,
                record: None,
                offset: 0,
            },
        }
    }

    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    pub(crate) fn offset(&self) -> u64 {
        self.place.offset
    }

    pub(crate) fn set_record(&mut self, record: u64) {
        self.place.record = Some(record);
    }

    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    pub(crate) fn malformed(&self, defect: Defect) -> Error {
        Error::Malformed {
            place: self.place.clone(),
            defect,
        }
    }

    /// What is buffered; empty only at the end.
    #[inline]
    pub(crate) fn fill(&mut self) -> Result<&[u8]> {
        loop {
            match self.inner.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::Io {
                        place: self.place.clone(),
                        source,
                    });
                }
                Ok(_) => break,
            }
        }
        // The buffer is filled, so this reads nothing; borrowing it above and
        // returning it from the loop is more than the borrow checker follows.
        self.inner.fill_buf().map_err(|source| Error::Io {
            place: self.place.clone(),
            source,
        })
    }

    /// As [`fill`](Self::fill), but interrupted reads are for the next call to try again,
    /// and give nothing.
    #[inline]
    pub(crate) fn buffered(&mut self) -> Result<&[u8]> {
        match self.inner.fill_buf() {
            Ok(buffer) => Ok(buffer),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            Err(source) => Err(Error::Io {
                place: self.place.clone(),
                source,
            }),
        }
    }

    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        self.place.offset += u64::try_from(count).unwrap_or(0);
    }

    /// Replaces `out` by the next `length` bytes. Memory grows with what is there,
    /// not with what is claimed.
    #[inline]
    pub(crate) fn take(&mut self, out: &mut Vec<u8>, length: usize, what: Part) -> Result<()> {
        out.clear();
        // Most records are small, and wholly buffered.
        if let Some(whole) = self.fill()?.get(..length) {
            out.extend_from_slice(whole);
            self.consume(length);
            return Ok(());
        }
        let found = self.append(out, length)?;
        if found < length {
            return Err(self.short(what, length, found));
        }
        Ok(())
    }

    /// Up to `length` more bytes; fewer only at the end.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, length: usize) -> Result<usize> {
        let mut found = 0;
        while found < length {
            let buffer = self.fill()?;
            if buffer.is_empty() {
                break;
            }
            let count = buffer.len().min(length - found);
            if out.capacity() < out.len() + count {
                let more = out.len().max(STEP).min(length - found);
                out.reserve_exact(more.max(count));
            }
            out.extend_from_slice(&buffer[..count]);
            self.consume(count);
            found += count;
        }
        Ok(found)
    }

    /// Four bytes, or none at the end.
    #[inline]
    pub(crate) fn word(&mut self, what: Part) -> Result<Option<[u8; 4]>> {
        let buffer = self.fill()?;
        if let Some(word) = buffer.first_chunk::<4>() {
            let word = *word;
            self.consume(4);
            return Ok(Some(word));
        }
        // The four bytes lie across two fillings of the buffer, or are not there.
        let mut word = [0; 4];
        let mut found = 0;
        while found < 4 {
            let buffer = self.fill()?;
            let Some(byte) = buffer.first() else { break };
            word[found] = *byte;
            found += 1;
            self.consume(1);
        }
        match found {
            0 => Ok(None),
            4 => Ok(Some(word)),
            _ => Err(self.short(what, 4, found)),
        }
    }

    pub(crate) fn short(&self, what: Part, wanted: usize, found: usize) -> Error {
        self.malformed(Defect::Truncated {
            what,
            wanted: u64::try_from(wanted).unwrap_or(u64::MAX),
            found: u64::try_from(found).unwrap_or(u64::MAX),
        })
    }
}
