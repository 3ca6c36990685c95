//! Headers out of a socket, one after the other, and how long they are.

use std::io;

use crate::error::{Error, PeerDefect, Result};
use crate::inlet::Inlet;
use crate::wire::{HeaderSize, LONGEST};

/// What came on a connection so far.
#[derive(Debug)]
pub(crate) struct Messages {
    headers: Option<HeaderSize>,
    count: u64,
}

impl Messages {
    /// Headers have this size, if that is known; else the first one tells.
    pub(crate) fn new(headers: Option<HeaderSize>) -> Self {
        Self { headers, count: 0 }
    }

    /// How many came.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// How long they are, once one came.
    pub(crate) fn headers(&self) -> Option<HeaderSize> {
        self.headers
    }

    /// The next header.
    pub(crate) fn next(&mut self, inlet: &mut Inlet) -> Result<([u8; LONGEST], HeaderSize)> {
        let mut bytes = [0; LONGEST];
        let first = self.count == 0;
        let size = self.headers.map_or(LONGEST, HeaderSize::bytes);
        let known = if first { 24 } else { size };
        let count = inlet.header(&mut bytes[..known]);
        let mut count = count.map_err(|e| self.socket("read a header", e))?;
        self.count += 1;
        if count < known {
            return Err(self.defect(PeerDefect::Cut));
        }
        if first {
            let start = bytes.first_chunk().unwrap_or(&[0; 24]);
            let size = self.settle(HeaderSize::told_by(start), inlet)?;
            let rest = inlet.header(&mut bytes[known..size.bytes()]);
            count += rest.map_err(|e| self.socket("read a header", e))?;
            if count < size.bytes() {
                return Err(self.defect(PeerDefect::Cut));
            }
        }
        Ok((bytes, self.headers.unwrap_or(HeaderSize::Wide)))
    }

    /// The size of headers, by what is known and what the first one tells.
    fn settle(&mut self, found: Option<HeaderSize>, inlet: &Inlet) -> Result<HeaderSize> {
        let size = match (self.headers, found) {
            (Some(stated), Some(found)) if stated != found => {
                return Err(self.defect(PeerDefect::OtherSize { found, stated }));
            }
            (Some(size), _) | (None, Some(size)) => size,
            // It does not tell. A wide one is sent whole, so its rest is there.
            (None, None) => match inlet.has_more() {
                Ok(true) => HeaderSize::Wide,
                Ok(false) => HeaderSize::Narrow,
                Err(error) => return Err(self.socket("read a header", error)),
            },
        };
        self.headers = Some(size);
        Ok(size)
    }

    /// What is wrong with the last one.
    pub(crate) fn defect(&self, defect: PeerDefect) -> Error {
        Error::Peer {
            message: self.count,
            defect,
        }
    }

    /// What cannot be done after the last one.
    pub(crate) fn socket(&self, what: &'static str, source: io::Error) -> Error {
        Error::Socket {
            what,
            messages: self.count,
            source,
        }
    }
}
