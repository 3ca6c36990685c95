//! An image, written.

use std::io::{BufRead, Write};

use crate::entry::Entry;
use crate::error::{Defect, Error, Place, Result};
use crate::header::Header;
use crate::image::Record;
use crate::kind::Kind;
use crate::layout::{Extent, Layout, Trailer};
use crate::schema::Schema;

/// Writes one image file, and refuses what a reader would not read back.
///
/// Call [`finish`](Self::finish) at the end: only there is the last payload known to be
/// whole. Output is not buffered.
#[derive(Debug)]
pub struct ImageWriter<W> {
    out: W,
    kind: Kind,
    header: Header,
    layout: Layout,
    place: Place,
    announced: u64,
    now: Option<Trailer>,
    then: Option<Trailer>,
}

impl<W: Write> ImageWriter<W> {
    /// Begins an image with its header.
    ///
    /// # Errors
    /// If writing fails.
    pub fn new(kind: Kind, header: Header, out: W) -> Result<Self> {
        let layout = Layout::new(kind.shape(), kind.schema().map(Schema::table));
        let mut writer = Self {
            out,
            kind,
            header,
            now: layout.whole(),
            layout,
            place: Place::default(),
            announced: 0,
            then: None,
        };
        writer.put(&header.encode(kind))?;
        Ok(writer)
    }

    /// The message the next record must be, or none if there may be no other.
    pub fn expects(&self) -> Option<Schema> {
        self.layout.next().map(Schema)
    }

    /// Whether the next record belongs to the one before.
    pub(crate) fn inside(&self) -> bool {
        self.layout.inside()
    }

    /// Whether all is written that the records so far announce.
    pub(crate) fn is_whole(&self) -> bool {
        let left = |trailer: Option<Trailer>| {
            trailer.is_some_and(|t| !matches!(t.extent, Extent::Bytes(0) | Extent::ToEnd))
        };
        !self.inside() && !left(self.now) && !left(self.then)
    }

    /// Writes one record as it is.
    ///
    /// # Errors
    /// If writing fails, a payload of the record before is not whole, or the record does
    /// not tell the length of its payload.
    pub fn record(&mut self, record: &[u8]) -> Result<()> {
        self.end_payloads()?;
        if self.layout.next().is_none() {
            return Err(self.malformed(Defect::Raw(self.kind)));
        }
        self.place.record = Some(self.place.record.map_or(0, |n| n + 1));
        let length = u32::try_from(record.len()).map_err(|_| {
            self.malformed(Defect::TooLong {
                what: crate::error::Part::Record,
                length: u64::try_from(record.len()).unwrap_or(u64::MAX),
                limit: u32::MAX.into(),
            })
        })?;
        let trailers = self.layout.after(record);
        [self.now, self.then] = trailers.map_err(|defect| self.malformed(defect))?;
        self.announce();
        self.put(&self.header.order.put(length))?;
        self.put(record)
    }

    /// Writes a record of the raw layer.
    ///
    /// # Errors
    /// As [`record`](Self::record), or if another message is due.
    pub fn entry<T: Entry>(&mut self, entry: &T) -> Result<()> {
        match self.expects() {
            Some(schema) if schema == T::SCHEMA => self.record(&entry.encode_to_vec()),
            expected => Err(self.malformed(Defect::WrongMessage {
                wanted: expected.map_or("nothing", Schema::name),
                found: T::SCHEMA.name(),
            })),
        }
    }

    /// Writes payload of the last record, or a piece of it; of two, the second follows
    /// once the first is whole. Padding comes by itself.
    ///
    /// # Errors
    /// If writing fails, or the record does not announce so much.
    pub fn payload(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            self.pad()?;
            let Some(trailer) = &mut self.now else {
                let over = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                return Err(self.malformed(Defect::PayloadLength {
                    announced: self.announced,
                    written: self.announced.saturating_add(over),
                }));
            };
            let count = match &mut trailer.extent {
                Extent::ToEnd => bytes.len(),
                Extent::Bytes(left) => {
                    let count = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len());
                    *left -= u64::try_from(count).unwrap_or(0);
                    count
                }
            };
            let (piece, rest) = bytes.split_at(count);
            bytes = rest;
            self.put(piece)?;
        }
        Ok(())
    }

    /// Copies a record with its payloads.
    ///
    /// # Errors
    /// If reading or writing fails, or the record does not fit here.
    pub fn copy<R: BufRead>(&mut self, record: &mut Record<'_, R>) -> Result<()> {
        self.record(record.bytes())?;
        while let Some(payload) = record.payload() {
            payload.for_each(|piece| self.payload(piece))?;
            self.pad_with(record.padding())?;
        }
        Ok(())
    }

    /// Ends the image.
    ///
    /// # Errors
    /// If writing fails, or the last payload is not whole.
    pub fn finish(mut self) -> Result<W> {
        self.end_payloads()?;
        if self.layout.inside() {
            return Err(self.malformed(Defect::Truncated {
                what: crate::error::Part::NestedRecord,
                wanted: 1,
                found: 0,
            }));
        }
        self.out.flush().map_err(|e| self.io(e))?;
        Ok(self.out)
    }

    fn announce(&mut self) {
        self.announced = [self.now, self.then]
            .iter()
            .flatten()
            .map(|trailer| match trailer.extent {
                Extent::Bytes(length) => length,
                Extent::ToEnd => 0,
            })
            .fold(0, u64::saturating_add);
    }

    fn end_payloads(&mut self) -> Result<()> {
        while let Some(trailer) = self.now {
            match trailer.extent {
                Extent::Bytes(0) => self.pad()?,
                Extent::ToEnd => self.now = None,
                Extent::Bytes(left) => {
                    let left = match self.then.map(|t| t.extent) {
                        Some(Extent::Bytes(more)) => left.saturating_add(more),
                        _ => left,
                    };
                    return Err(self.malformed(Defect::PayloadLength {
                        announced: self.announced,
                        written: self.announced.saturating_sub(left),
                    }));
                }
            }
        }
        Ok(())
    }

    /// Pads a payload that is whole, and goes to the next one.
    fn pad(&mut self) -> Result<()> {
        while let Some(Trailer {
            extent: Extent::Bytes(0),
            padding,
        }) = self.now
        {
            self.put(&[0; 8][..usize::from(padding.min(8))])?;
            self.now = self.then.take();
        }
        Ok(())
    }

    /// Pads a payload that is whole with what padded it before.
    fn pad_with(&mut self, padding: &[u8]) -> Result<()> {
        if self.now.is_some_and(|t| t.extent == Extent::Bytes(0)) {
            self.put(padding)?;
            self.now = self.then.take();
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|e| self.io(e))?;
        self.place.offset += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    fn io(&self, source: std::io::Error) -> Error {
        Error::Io {
            place: self.place.clone(),
            source,
        }
    }

    fn malformed(&self, defect: Defect) -> Error {
        Error::Malformed {
            place: self.place.clone(),
            defect,
        }
    }
}
