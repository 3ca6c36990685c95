//! An image as a stream: header, then record after record, each with its payloads.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use crate::entry::{Entries, Entry};
use crate::error::{Defect, Error, Part, Result};
use crate::header::{Header, Identity, identify};
use crate::input::Input;
use crate::kind::Kind;
use crate::layout::{Extent, Layout, Trailer};
use crate::name::Name;
use crate::schema::Schema;
use crate::wire;

/// Greatest record that is read unless told otherwise.
///
/// CRIU has no limit. The greatest record it writes is `mm_entry`, which has some 45
/// bytes for each memory area: this much room is for 370 000 of them, five times what
/// Linux allows a process by default.
pub const RECORD_LIMIT: u32 = 16 << 20;

/// Reads one image file. Memory use is that of the greatest record.
#[derive(Debug)]
pub struct Image<R> {
    input: Input<R>,
    kind: Kind,
    header: Header,
    layout: Layout,
    limit: u32,
    record: Vec<u8>,
    schema: Option<Schema>,
    inside: bool,
    start: u64,
    records: u64,
    now: Option<Trailer>,
    then: Option<Trailer>,
    /// The payload `now` was handed out.
    lent: bool,
    /// The one after it was, too: it is what is read next.
    passed: bool,
    /// After the last payload read to its end.
    padding: Vec<u8>,
    done: bool,
}

impl<R: Read> Image<BufReader<R>> {
    /// Reads the header of an image whose file has this name.
    ///
    /// # Errors
    /// If reading fails, or the header is not that of the kind.
    pub fn open(name: Name, reader: R) -> Result<Self> {
        Self::buffered(name, BufReader::with_capacity(64 << 10, reader))
    }

    /// Reads the header of an image whose name is not known.
    ///
    /// Kinds that share a magic number are told as the first of them; a raw image
    /// cannot be read so.
    ///
    /// # Errors
    /// If reading fails, or the magic is none of CRIU 4.2's.
    pub fn open_unnamed(reader: R) -> Result<Self> {
        Self::new(None, None, BufReader::with_capacity(64 << 10, reader))
    }
}

impl<R: BufRead> Image<R> {
    /// As [`open`](Image::open), over a reader that has a buffer.
    ///
    /// # Errors
    /// As [`open`](Image::open).
    pub fn buffered(name: Name, reader: R) -> Result<Self> {
        let file = Arc::from(name.to_string());
        Self::new(Some(name.kind()), Some(file), reader)
    }

    /// Reads a file of this kind whatever it is called; errors tell it as `file`.
    ///
    /// # Errors
    /// As [`open`](Image::open).
    pub fn with_kind(kind: Kind, file: &str, reader: R) -> Result<Self> {
        Self::new(Some(kind), Some(Arc::from(file)), reader)
    }

    fn new(named: Option<Kind>, file: Option<Arc<str>>, reader: R) -> Result<Self> {
        let mut input = Input::new(reader, file);
        let mut head = Vec::new();
        if !named.is_some_and(Kind::is_raw) {
            input.append(&mut head, 4)?;
        }
        let mut identity = identify(named, &head);
        // Only a common magic makes the header longer, and asks for it.
        if let Err(Defect::Truncated { wanted: 8, .. }) = identity {
            input.append(&mut head, 4)?;
            identity = identify(named, &head);
        }
        let at_start = |defect| Error::Malformed {
            place: crate::error::Place {
                offset: 0,
                ..input.place()
            },
            defect,
        };
        let (kind, header) = match identity.map_err(at_start)? {
            Identity::Image { kind, header, .. } => (kind, header),
            Identity::Raw(kind) => (kind, Header::default()),
            Identity::Opaque { magic, .. } => return Err(at_start(Defect::UnknownMagic(magic))),
            Identity::Unknown => {
                let Some(magic) = head.first_chunk::<4>() else {
                    return Err(at_start(Defect::Truncated {
                        what: Part::Header,
                        wanted: 4,
                        found: u64::try_from(head.len()).unwrap_or(0),
                    }));
                };
                return Err(at_start(Defect::UnknownMagic(u32::from_le_bytes(*magic))));
            }
        };
        let layout = Layout::new(kind.shape(), kind.schema().map(Schema::table));
        Ok(Self {
            input,
            kind,
            header,
            now: layout.whole(),
            layout,
            limit: RECORD_LIMIT,
            record: Vec::new(),
            schema: None,
            inside: false,
            start: 0,
            records: 0,
            then: None,
            lent: false,
            passed: false,
            padding: Vec::new(),
            done: false,
        })
    }

    /// Sets the greatest record that is read, in bytes.
    #[must_use]
    pub fn record_limit(mut self, bytes: u32) -> Self {
        self.limit = bytes;
        self
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Version and byte order.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The next record, or none at the end. What was not read of a payload is skipped.
    ///
    /// After an error, and after the end, there is none.
    ///
    /// # Errors
    /// If reading fails, or the file ends inside of a record or payload.
    #[allow(clippy::should_implement_trait)] // it lends
    pub fn next(&mut self) -> Result<Option<Record<'_, R>>> {
        if self.done {
            return Ok(None);
        }
        match self.advance() {
            Ok(true) => Ok(Some(Record { image: self })),
            Ok(false) => {
                self.done = true;
                Ok(None)
            }
            Err(error) => {
                self.done = true;
                Err(error)
            }
        }
    }

    /// Gives the next record to `read` where it lies, if it is one that nothing follows and
    /// is wholly buffered, and counts it as read; otherwise none, and [`next`](Self::next)
    /// is to be asked.
    #[inline]
    pub(crate) fn next_in_place<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        if self.done || !self.layout.is_plain() {
            return Ok(None);
        }
        let order = self.header.order;
        let buffer = self.input.buffered()?;
        let Some((word, rest)) = buffer.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = order.get(*word);
        let record = usize::try_from(length).ok().and_then(|n| rest.get(..n));
        let Some(record) = record.filter(|_| length <= self.limit) else {
            return Ok(None);
        };
        let (count, value) = (4 + record.len(), read(record));
        self.start = self.input.offset();
        self.input.set_record(self.records);
        self.input.consume(count);
        self.records += 1;
        Ok(Some(value))
    }

    fn advance(&mut self) -> Result<bool> {
        self.passed = false;
        while self.now.is_some() {
            self.skip()?;
        }
        let Some(message) = self.layout.next() else {
            return Ok(false);
        };
        self.input.set_record(self.records);
        self.start = self.input.offset();
        let Some(word) = self.input.word(Part::Length)? else {
            if self.layout.inside() {
                return Err(self.input.short(Part::NestedRecord, 4, 0));
            }
            return Ok(false);
        };
        let length = self.header.order.get(word);
        if length > self.limit {
            return Err(self.input.malformed(Defect::TooLong {
                what: Part::Record,
                length: length.into(),
                limit: self.limit.into(),
            }));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.input.take(&mut self.record, length, Part::Record)?;
        self.inside = self.layout.inside();
        self.schema = Some(Schema(message));
        let trailers = self.layout.after(&self.record);
        [self.now, self.then] = trailers.map_err(|defect| self.input.malformed(defect))?;
        self.lent = false;
        self.records += 1;
        Ok(true)
    }

    /// All bytes of a raw image, or those after the header of one that has no records.
    pub fn whole(&mut self) -> Option<Payload<'_, R>> {
        self.layout.whole()?;
        Some(Payload { image: self })
    }

    /// The records as values of one type; payloads are skipped.
    ///
    /// Fits every kind but pagemaps, queues and ghost files in chunks, which have
    /// records of two types: there, an error comes instead of the second.
    pub fn entries<T: Entry>(self) -> Entries<T, R> {
        Entries::new(self)
    }

    pub(crate) fn malformed(&self, defect: Defect) -> Error {
        self.input.malformed(defect)
    }

    /// What is not read yet, and what errors call it.
    pub(crate) fn into_input(self) -> (R, String) {
        let file = self.input.place().file;
        let file = file.as_deref().unwrap_or("image").to_owned();
        (self.input.into_inner(), file)
    }

    fn skip(&mut self) -> Result<()> {
        while self.chunk()?.is_some_and(|length| {
            self.input.consume(length);
            true
        }) {}
        Ok(())
    }

    /// Comes to the payload that was handed out last.
    fn settle(&mut self) -> Result<()> {
        if std::mem::take(&mut self.passed) {
            self.skip()?;
            self.lent = true;
        }
        Ok(())
    }

    /// Bytes of the payload that are buffered and not consumed, or none at its end.
    fn chunk(&mut self) -> Result<Option<usize>> {
        let Some(trailer) = &mut self.now else {
            return Ok(None);
        };
        let length = self.input.fill()?.len();
        let count = match &mut trailer.extent {
            Extent::ToEnd if length == 0 => 0,
            Extent::ToEnd => length,
            Extent::Bytes(0) => 0,
            Extent::Bytes(left) => {
                if length == 0 {
                    let defect = Defect::Truncated {
                        what: Part::Payload,
                        wanted: *left,
                        found: 0,
                    };
                    return Err(self.input.malformed(defect));
                }
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(length);
                *left -= u64::try_from(count).unwrap_or(*left);
                count
            }
        };
        if count > 0 {
            return Ok(Some(count));
        }
        self.pad()?;
        Ok(None)
    }

    /// Reads the padding of a payload that is at its end, and goes to the next payload.
    fn pad(&mut self) -> Result<()> {
        if let Some(trailer) = self.now {
            let length = usize::from(trailer.padding);
            self.input.take(&mut self.padding, length, Part::Padding)?;
        }
        self.now = self.then.take();
        self.lent = false;
        Ok(())
    }
}

/// One record, and access to what follows it.
#[derive(Debug)]
pub struct Record<'a, R> {
    image: &'a mut Image<R>,
}

impl<R: BufRead> Record<'_, R> {
    /// The message, as it is in the file.
    pub fn bytes(&self) -> &[u8] {
        &self.image.record
    }

    /// Which message it is.
    pub fn schema(&self) -> Schema {
        match self.image.schema {
            Some(schema) => schema,
            None => unreachable!("a record is only lent once it is read"),
        }
    }

    /// Whether it belongs to the record before, as messages do to their queue.
    pub fn is_nested(&self) -> bool {
        self.image.inside
    }

    /// Its place among all records of the file, from 0.
    pub fn index(&self) -> u64 {
        self.image.records.saturating_sub(1)
    }

    /// Where its length begins, in bytes from the start of the file.
    pub fn offset(&self) -> u64 {
        self.image.start
    }

    /// The record as a value of the raw layer.
    ///
    /// # Errors
    /// If it is another message, or not a valid one, or a required field is missing.
    pub fn decode<T: Entry>(&self) -> Result<T> {
        T::from_record(self.schema(), self.bytes()).map_err(|defect| self.malformed(defect))
    }

    /// The next payload of the record, or none if there is no other. What was not read
    /// of the one before is skipped.
    ///
    /// A `tcp_stream_entry` has two, the receive queue first.
    pub fn payload(&mut self) -> Option<Payload<'_, R>> {
        self.image.now?;
        if self.image.lent {
            // Of the one before nothing more is wanted; but only reading can fail.
            self.image.then.filter(|_| !self.image.passed)?;
            self.image.passed = true;
        }
        self.image.lent = true;
        Some(Payload { image: self.image })
    }

    pub(crate) fn malformed(&self, defect: Defect) -> Error {
        self.image.input.malformed(defect)
    }

    /// What filled up the payload that was just read to its end.
    pub(crate) fn padding(&self) -> &[u8] {
        &self.image.padding
    }

    /// Fails unless every required field is there.
    ///
    /// # Errors
    /// [`Defect::MissingField`], or [`Defect::Wire`] if it is no message at all.
    pub fn check(&self) -> Result<()> {
        wire::check_presence(self.schema().table(), self.bytes())
            .map_err(|defect| self.malformed(defect))
    }
}

/// Bytes that follow a record. Read it to its end to come to the next one.
#[derive(Debug)]
pub struct Payload<'a, R> {
    image: &'a mut Image<R>,
}

impl<R: BufRead> Payload<'_, R> {
    /// Bytes left; unknown for one that goes to the end of the file.
    pub fn left(&self) -> Option<u64> {
        let trailer = match self.image.passed {
            true => self.image.then,
            false => self.image.now,
        };
        match trailer?.extent {
            Extent::Bytes(left) => Some(left),
            Extent::ToEnd => None,
        }
    }

    /// Gives the payload piece by piece to `each`, to its end, without copying it.
    ///
    /// # Errors
    /// If reading fails, the file ends early, or `each` fails.
    pub fn for_each(self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.image.settle()?;
        while let Some(length) = self.image.chunk()? {
            let piece = self.image.input.fill()?;
            each(&piece[..length])?;
            self.image.input.consume(length);
        }
        Ok(())
    }

    /// The payload, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// [`Defect::TooLong`] if it has more; if reading fails or the file ends early.
    pub fn read(self, limit: u64) -> Result<Vec<u8>> {
        let too_long = |length| Defect::TooLong {
            what: Part::Payload,
            length,
            limit,
        };
        if let Some(length) = self.left().filter(|length| *length > limit) {
            return Err(self.image.input.malformed(too_long(length)));
        }
        let place = self.image.input.place();
        let mut out = Vec::new();
        self.for_each(|piece| {
            out.extend_from_slice(piece);
            match u64::try_from(out.len()) {
                Ok(length) if length <= limit => Ok(()),
                length => Err(Error::Malformed {
                    place: place.clone(),
                    defect: too_long(length.unwrap_or(u64::MAX)),
                }),
            }
        })?;
        Ok(out)
    }
}

impl<R: BufRead> Read for Payload<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        self.image.settle()?;
        let Some(trailer) = &mut self.image.now else {
            return Ok(0);
        };
        // `chunk` would take the whole buffer.
        let want = match trailer.extent {
            Extent::Bytes(left) => out.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
            Extent::ToEnd => out.len(),
        };
        let piece = self.image.input.fill()?;
        let count = piece.len().min(want);
        out[..count].copy_from_slice(&piece[..count]);
        let truncated = count == 0 && want > 0;
        if let Extent::Bytes(left) = &mut trailer.extent {
            if truncated {
                let wanted = *left;
                return Err(self
                    .image
                    .input
                    .malformed(Defect::Truncated {
                        what: Part::Payload,
                        wanted,
                        found: 0,
                    })
                    .into());
            }
            *left -= u64::try_from(count).unwrap_or(*left);
        }
        self.image.input.consume(count);
        if count == 0 {
            self.image.pad()?;
        }
        Ok(count)
    }
}
