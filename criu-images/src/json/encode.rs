//! JSON to image, entry by entry.

use std::io::{BufRead, Write};

use super::base64;
use super::build::{Builder, Meaning, message};
use super::names::Names;
use super::parse::Parser;
use crate::error::{Defect, Error, JsonDefect, Place, Result};
use crate::header::{ByteOrder, Header, Version};
use crate::kind::Kind;
use crate::layout::Shape;
use crate::raw::{Form, LINE_LIMIT};
use crate::schema::{Message, Schema};
use crate::wire;
use crate::writer::ImageWriter;

/// Payload held in memory because it comes before the fields that tell its length, as
/// it does once keys are sorted.
const HELD: usize = 16 << 20;

pub(super) fn encode<R: BufRead, W: Write>(
    text: R,
    out: W,
    kind: Option<Kind>,
    names: Names,
) -> Result<Kind> {
    let mut json = Parser::new(text);
    let mut out = Some(out);
    let mut kind = kind;
    let mut header = Header::default();
    let mut empty = false;
    let mut writer = None;
    let mut key = Vec::new();
    let mut first = true;
    json.open(b'{', "an object")?;
    while json.key(&mut first, &mut key)? {
        match key.as_slice() {
            b"magic" => kind = Some(magic(&mut json, kind)?),
            // What the header needs is needed before it is written.
            b"version" | b"byte_order" | b"empty" if out.is_none() => {
                return Err(json.error(JsonDefect::MagicLater));
            }
            b"version" => {
                if json.integer()? == 1 {
                    header.version = Version::V1;
                }
            }
            b"byte_order" => {
                let mut order = Vec::new();
                json.string(&mut order, 16)?;
                if order == b"big" {
                    header.order = ByteOrder::Big;
                }
            }
            b"empty" => empty = json.literal()? == Some(true),
            b"entries" => {
                let (Some(kind), Some(out)) = (kind, out.take()) else {
                    return Err(json.error(JsonDefect::MagicLater));
                };
                let mut entries = Entries::new(kind, header, names, empty, out)?;
                json.open(b'[', "a list")?;
                let mut first = true;
                while json.more(&mut first, b']')? {
                    entries.entry(&mut json)?;
                }
                writer = Some(entries);
            }
            _ => json.skip(0)?,
        }
    }
    let Some(kind) = kind else {
        return Err(json.error(JsonDefect::MagicLater));
    };
    // Without "entries", each further line is one.
    if let Some(out) = out.take() {
        let mut entries = Entries::new(kind, header, names, empty, out)?;
        while json.token()?.is_some() {
            entries.entry(&mut json)?;
        }
        writer = Some(entries);
    }
    if json.token()?.is_some() {
        return Err(json.error(JsonDefect::Syntax {
            expected: "the end of the text",
        }));
    }
    if let Some(entries) = writer {
        entries.writer.finish()?;
    }
    Ok(kind)
}

/// The kind of a magic's name; a kind told by the caller goes before one that shares it.
fn magic<R: BufRead>(json: &mut Parser<R>, told: Option<Kind>) -> Result<Kind> {
    let mut name = Vec::new();
    json.string(&mut name, 64)?;
    let found = Kind::of_magic_name(&name);
    match (told, found) {
        (Some(told), Some(found)) if told == found => Ok(told),
        (Some(told), Some(found)) if told.magic() == found.magic() && !told.is_raw() => Ok(told),
        (None, Some(found)) => Ok(found),
        _ => Err(json.error(JsonDefect::UnknownMagic(
            String::from_utf8_lossy(&name).into_owned(),
        ))),
    }
}

struct Entries<W> {
    writer: ImageWriter<W>,
    meaning: Meaning,
    shape: Shape,
    raw: Option<Raw>,
    /// What errors call an entry of a raw image.
    name: &'static str,
}

/// What a raw image is made of.
enum Raw {
    Messages(Form),
    /// Text, and whether its last line has an end.
    Lines(bool),
}

/// What an `extra` becomes.
enum Piece {
    Record(Vec<u8>),
    Payload(Vec<u8>),
}

impl<W: Write> Entries<W> {
    fn new(kind: Kind, header: Header, names: Names, empty: bool, out: W) -> Result<Self> {
        let mut writer = ImageWriter::new(kind, header, out)?;
        let raw = match (Form::of(kind), kind) {
            (Some(form), _) => {
                let magic = form.magic().filter(|_| !empty);
                if let Some(magic) = magic {
                    writer.payload(&header.order.put(magic))?;
                }
                Some(Raw::Messages(form))
            }
            (None, Kind::Iptables | Kind::Ip6tables | Kind::Nftables) => Some(Raw::Lines(true)),
            (None, kind) if kind.schema().is_none() => {
                return Err(Error::Malformed {
                    place: Place::default(),
                    defect: Defect::Raw(kind),
                });
            }
            (None, _) => None,
        };
        Ok(Self {
            writer,
            raw,
            name: kind.template(),
            meaning: Meaning {
                names,
                order: header.order,
            },
            shape: kind.shape(),
        })
    }

    /// An entry of a raw image; what is there for reading is passed over.
    fn raw_entry<R: BufRead>(&mut self, json: &mut Parser<R>) -> Result<()> {
        json.open(b'{', "an object")?;
        let mut first = true;
        let mut key = Vec::new();
        let mut bytes = Vec::new();
        while json.key(&mut first, &mut key)? {
            match (&self.raw, &key[..]) {
                (Some(Raw::Messages(_)), b"extra") => bytes = payload(json, self.name)?,
                (Some(Raw::Lines(_)), b"text") => json.string(&mut bytes, LINE_LIMIT)?,
                _ => json.skip(0)?,
            }
        }
        let order = self.meaning.order;
        let fits = match &mut self.raw {
            Some(Raw::Messages(form)) => form.is_message(order, &bytes),
            // A line that has no end is the last.
            Some(Raw::Lines(ended)) => {
                let after = std::mem::replace(ended, bytes.ends_with(b"\n"));
                after && !bytes.is_empty()
            }
            None => false,
        };
        match fits {
            true => self.writer.payload(&bytes),
            false => Err(extra(json, self.name)),
        }
    }

    fn entry<R: BufRead>(&mut self, json: &mut Parser<R>) -> Result<()> {
        if self.raw.is_some() {
            return self.raw_entry(json);
        }
        let Some(table) = self.writer.expects().map(Schema::table) else {
            return Err(json.error(JsonDefect::Syntax {
                expected: "no other entry after a file's content",
            }));
        };
        json.open(b'{', "an object")?;
        let mut first = true;
        let mut key = Vec::new();
        let mut builder = Some(Builder::default());
        let mut held = Vec::new();
        while json.key(&mut first, &mut key)? {
            if key != b"extra" {
                match &mut builder {
                    Some(builder) => builder.member(json, table, &key, self.meaning, 0)?,
                    None => return Err(json.error(JsonDefect::FieldAfterExtra)),
                }
                continue;
            }
            match builder.take() {
                None => return Err(json.error(JsonDefect::FieldAfterExtra)),
                // All fields are there, so the record can be written, and what is
                // next streamed.
                Some(some) => match self.try_record(json, table, some)? {
                    Ok(()) => self.stream(json, table)?,
                    Err(again) => {
                        builder = Some(again);
                        held = self.hold(json, table)?;
                    }
                },
            }
        }
        if let Some(builder) = builder {
            let record = builder.finish();
            self.record(json, table, &record)?;
            for piece in held {
                match piece {
                    Piece::Record(record) => self.writer.record(&record)?,
                    Piece::Payload(payload) => self.writer.payload(&payload)?,
                }
            }
        }
        if !self.writer.is_whole() {
            return Err(extra(json, table.name));
        }
        Ok(())
    }

    fn record<R: BufRead>(
        &mut self,
        json: &Parser<R>,
        table: &'static Message,
        record: &[u8],
    ) -> Result<()> {
        match wire::check_presence(table, record) {
            Ok(()) => self.writer.record(record),
            Err(defect) => Err(Error::Malformed {
                place: json.place(),
                defect,
            }),
        }
    }

    /// Writes the record if it is complete; gives it back otherwise.
    fn try_record<R: BufRead>(
        &mut self,
        json: &Parser<R>,
        table: &'static Message,
        builder: Builder,
    ) -> Result<Result<(), Builder>> {
        let record = builder.finish();
        if wire::check_presence(table, &record).is_err() {
            return Ok(Err(builder));
        }
        self.record(json, table, &record)?;
        Ok(Ok(()))
    }

    /// Writes `extra` as it comes.
    fn stream<R: BufRead>(&mut self, json: &mut Parser<R>, table: &'static Message) -> Result<()> {
        match self.shape {
            Shape::Tcp | Shape::Sem | Shape::Msg => {
                let mut first = true;
                match self.shape {
                    Shape::Msg => {
                        json.open(b'[', "a list")?;
                        let mut turn = 0;
                        while json.more(&mut first, b']')? {
                            let piece = self.queued(json, turn)?;
                            turn += 1;
                            self.put(json, table, piece)?;
                        }
                    }
                    _ => {
                        for piece in self.hold(json, table)? {
                            self.put(json, table, piece)?;
                        }
                    }
                }
                Ok(())
            }
            _ => {
                let mut decoder = base64::Decoder::default();
                let mut bytes = Vec::new();
                let mut valid = true;
                let writer = &mut self.writer;
                json.pieces(|piece| {
                    bytes.clear();
                    valid &= decoder.push(piece, &mut bytes).is_some();
                    if valid {
                        writer.payload(&bytes)?;
                    }
                    Ok(valid)
                })?;
                bytes.clear();
                if !valid || decoder.finish(&mut bytes).is_none() {
                    return Err(extra(json, table.name));
                }
                self.writer.payload(&bytes)
            }
        }
    }

    fn put<R: BufRead>(
        &mut self,
        json: &Parser<R>,
        table: &'static Message,
        piece: Piece,
    ) -> Result<()> {
        match piece {
            Piece::Record(_) if !self.writer.inside() => Err(extra(json, table.name)),
            Piece::Record(record) => self.writer.record(&record),
            Piece::Payload(payload) => self.writer.payload(&payload),
        }
    }

    /// Reads `extra` into memory.
    fn hold<R: BufRead>(
        &self,
        json: &mut Parser<R>,
        table: &'static Message,
    ) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut first = true;
        match self.shape {
            Shape::Tcp => {
                json.open(b'{', "an object")?;
                let mut key = Vec::new();
                let mut queues = [Vec::new(), Vec::new()];
                while json.key(&mut first, &mut key)? {
                    let index = match key.as_slice() {
                        b"inq" => 0,
                        b"outq" => 1,
                        _ => return Err(extra(json, table.name)),
                    };
                    queues[index] = payload(json, table.name)?;
                }
                pieces.extend(queues.map(Piece::Payload));
            }
            Shape::Sem => {
                json.open(b'[', "a list")?;
                let mut values = Vec::new();
                while json.more(&mut first, b']')? {
                    let value = u16::try_from(json.integer()?);
                    let value = value.map_err(|_| extra(json, table.name))?;
                    values.extend(self.meaning.order.put16(value));
                    limit(json, values.len())?;
                }
                pieces.push(Piece::Payload(values));
            }
            Shape::Msg => {
                json.open(b'[', "a list")?;
                let mut size = 0;
                while json.more(&mut first, b']')? {
                    let piece = self.queued(json, pieces.len())?;
                    let (Piece::Record(bytes) | Piece::Payload(bytes)) = &piece;
                    size += bytes.len();
                    limit(json, size)?;
                    pieces.push(piece);
                }
            }
            _ => pieces.push(Piece::Payload(payload(json, table.name)?)),
        }
        Ok(pieces)
    }

    /// A message of a queue, or its bytes, by turns.
    fn queued<R: BufRead>(&self, json: &mut Parser<R>, turn: usize) -> Result<Piece> {
        let table = &crate::proto::tables::IPC_MSG;
        if turn.is_multiple_of(2) {
            message(json, table, self.meaning, 0).map(Piece::Record)
        } else {
            payload(json, table.name).map(Piece::Payload)
        }
    }
}

fn payload<R: BufRead>(json: &mut Parser<R>, message: &'static str) -> Result<Vec<u8>> {
    let mut decoder = base64::Decoder::default();
    let mut bytes = Vec::new();
    let mut valid = true;
    json.pieces(|piece| {
        valid &= decoder.push(piece, &mut bytes).is_some();
        Ok(valid && bytes.len() <= HELD)
    })?;
    limit(json, bytes.len())?;
    if !valid || decoder.finish(&mut bytes).is_none() {
        return Err(extra(json, message));
    }
    Ok(bytes)
}

fn limit<R: BufRead>(json: &Parser<R>, length: usize) -> Result<()> {
    if length > HELD {
        return Err(json.error(JsonDefect::TooLong {
            limit: u64::try_from(HELD).unwrap_or(u64::MAX),
        }));
    }
    Ok(())
}

fn extra<R: BufRead>(json: &Parser<R>, message: &'static str) -> Error {
    json.error(JsonDefect::Extra { message })
}
