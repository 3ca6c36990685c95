//! One message from JSON, to the bytes CRIU would write.

use std::io::BufRead;
use std::net::IpAddr;

use super::names::{self, Names};
use super::parse::Parser;
use super::{UNKNOWN, base64, quoted};
use crate::error::{JsonDefect, Result};
use crate::header::ByteOrder;
use crate::image::RECORD_LIMIT;
use crate::schema::{Field, Label, Message, Show, Type};
use crate::wire::{Fields, MAX_DEPTH, put_tag, put_varint};

/// Greatest text of one value; what is greater makes no record that is read back.
const TEXT_LIMIT: usize = 2 * (RECORD_LIMIT as usize);

/// What values stand for.
#[derive(Clone, Copy)]
pub(super) struct Meaning {
    pub(super) names: Names,
    pub(super) order: ByteOrder,
}

/// A message in the making: fields in the order they came.
#[derive(Default)]
pub(super) struct Builder {
    bytes: Vec<u8>,
    fields: Vec<Span>,
}

/// One field, which ends where the next begins.
#[derive(Clone, Copy)]
struct Span {
    number: u32,
    start: usize,
    /// Not one of the schema: there may be any number of them.
    unknown: bool,
}

impl Builder {
    /// Takes the value of `key`.
    pub(super) fn member<R: BufRead>(
        &mut self,
        json: &mut Parser<R>,
        message: &'static Message,
        key: &[u8],
        meaning: Meaning,
        depth: u32,
    ) -> Result<()> {
        if key == UNKNOWN.as_bytes() {
            return self.unknown(json, message);
        }
        let Some(field) = message.by_name(key) else {
            return Err(json.error(JsonDefect::UnknownField {
                message: message.name,
                field: String::from_utf8_lossy(key).into_owned(),
            }));
        };
        self.begin(field.number, false);
        let context = Context {
            message,
            field,
            meaning,
            depth,
        };
        if field.label == Label::Repeated {
            json.open(b'[', "a list")?;
            let mut first = true;
            while json.more(&mut first, b']')? {
                context.element(json, &mut self.bytes)?;
            }
        } else {
            context.value(json, &mut self.bytes)?;
        }
        if self.bytes.len() > TEXT_LIMIT {
            return Err(json.error(JsonDefect::TooLong {
                limit: RECORD_LIMIT.into(),
            }));
        }
        Ok(())
    }

    /// Fields the schema does not have, kept as they were.
    fn unknown<R: BufRead>(
        &mut self,
        json: &mut Parser<R>,
        message: &'static Message,
    ) -> Result<()> {
        let mut text = Vec::new();
        json.string(&mut text, TEXT_LIMIT)?;
        let wrong = |json: &Parser<R>| {
            json.error(JsonDefect::UnknownField {
                message: message.name,
                field: UNKNOWN.to_owned(),
            })
        };
        let Some(raw) = base64::decode(&text) else {
            return Err(wrong(json));
        };
        let mut fields = Fields::new(&raw);
        while let Some(field) = fields.next().map_err(|_| wrong(json))? {
            self.begin(field.number, true);
            self.bytes.extend(field.raw);
        }
        Ok(())
    }

    fn begin(&mut self, number: u32, unknown: bool) {
        let start = self.bytes.len();
        self.fields.push(Span {
            number,
            start,
            unknown,
        });
    }

    /// The message, its fields by ascending number as CRIU writes them. Of a key that
    /// came again the last value counts, as everywhere in JSON.
    pub(super) fn finish(&self) -> Vec<u8> {
        let ascends = |pair: &[Span]| pair[0].number < pair[1].number;
        if self.fields.windows(2).all(ascends) {
            return self.bytes.clone();
        }
        let ends = self.fields.iter().skip(1).map(|span| span.start);
        let ends = ends.chain([self.bytes.len()]);
        let mut spans: Vec<_> = self.fields.iter().copied().zip(ends).collect();
        spans.sort_by_key(|(span, _)| span.number);
        let mut last = None;
        let mut kept = Vec::with_capacity(spans.len());
        for (span, end) in spans.into_iter().rev() {
            if span.unknown || last != Some(span.number) {
                kept.push(span.start..end);
            }
            if !span.unknown {
                last = Some(span.number);
            }
        }
        let mut sorted = Vec::with_capacity(self.bytes.len());
        for span in kept.into_iter().rev() {
            sorted.extend_from_slice(&self.bytes[span]);
        }
        sorted
    }
}

/// An object as a message.
pub(super) fn message<R: BufRead>(
    json: &mut Parser<R>,
    message: &'static Message,
    meaning: Meaning,
    depth: u32,
) -> Result<Vec<u8>> {
    if depth >= MAX_DEPTH {
        return Err(json.error(JsonDefect::TooDeep { limit: MAX_DEPTH }));
    }
    json.open(b'{', "an object")?;
    let mut builder = Builder::default();
    let mut first = true;
    let mut key = Vec::new();
    while json.key(&mut first, &mut key)? {
        builder.member(json, message, &key, meaning, depth)?;
    }
    Ok(builder.finish())
}

#[derive(Clone, Copy)]
struct Context {
    message: &'static Message,
    field: &'static Field,
    meaning: Meaning,
    depth: u32,
}

impl Context {
    /// One element of a list: a value, or an address that is several.
    fn element<R: BufRead>(self, json: &mut Parser<R>, out: &mut Vec<u8>) -> Result<()> {
        if self.field.show != Show::Ip || json.next()? != b'"' {
            return self.value(json, out);
        }
        let text = self.text(json)?;
        let octets = match text.parse() {
            Ok(IpAddr::V4(address)) => address.octets().to_vec(),
            Ok(IpAddr::V6(address)) => address.octets().to_vec(),
            Err(_) => return Err(self.wrong(json)),
        };
        for word in octets.chunks_exact(4) {
            let mut room = [0; 4];
            room.copy_from_slice(word);
            self.put(out, self.meaning.order.get(room).into());
        }
        Ok(())
    }

    fn value<R: BufRead>(self, json: &mut Parser<R>, out: &mut Vec<u8>) -> Result<()> {
        let bytes = match self.field.ty {
            Type::Message(inner) => message(json, inner, self.meaning, self.depth + 1)?,
            Type::String => self.bytes(json)?,
            Type::Bytes => {
                let text = self.bytes(json)?;
                if self.field.show == Show::UnixName {
                    quoted::decode(&text)
                } else {
                    base64::decode(&text).ok_or_else(|| self.wrong(json))?
                }
            }
            _ => {
                let value = self.number(json)?;
                self.put(out, value);
                return Ok(());
            }
        };
        put_tag(out, self.field.number, 2);
        put_varint(out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        out.extend_from_slice(&bytes);
        Ok(())
    }

    /// A number as the wire has it.
    fn number<R: BufRead>(self, json: &mut Parser<R>) -> Result<u64> {
        let value = match json.next()? {
            b'"' => {
                let text = self.text(json)?;
                self.named(&text).ok_or_else(|| self.wrong(json))?
            }
            b't' | b'f' if matches!(self.field.ty, Type::Bool) => {
                i128::from(json.literal()? == Some(true))
            }
            _ => json.integer()?,
        };
        self.wire(value).ok_or_else(|| self.wrong(json))
    }

    /// What a text in the place of a number means.
    fn named(self, text: &str) -> Option<i128> {
        let glibc = self.field.show == Show::Odev;
        match (self.field.ty, self.field.show) {
            (Type::Enum(table), _) => table.value(text.as_bytes()).map(i128::from),
            (_, Show::Dev | Show::Odev) if text.contains(':') => {
                names::device_number(text, glibc).map(i128::from)
            }
            (_, Show::Flags(table)) => match names::flags(table) {
                Some(table) => names::split(text, table).map(i128::from),
                None => names::integer(text),
            },
            (_, Show::Dict(table)) => {
                let table = names::dict(table, self.field.name, self.meaning.names);
                match table.iter().find(|(name, _)| *name == text) {
                    Some((_, value)) => Some(i128::from(*value)),
                    None => names::integer(text),
                }
            }
            _ => names::integer(text),
        }
    }

    /// The value as a varint or word, if the type has it.
    fn wire(self, value: i128) -> Option<u64> {
        match self.field.ty {
            Type::Bool => u64::try_from(value).ok().filter(|v| *v < 2),
            Type::Uint32 => u32::try_from(value).ok().map(u64::from),
            Type::Uint64 | Type::Fixed64 => u64::try_from(value).ok(),
            // Negative numbers of 32 bits are ten bytes long, as if they had 64.
            Type::Int32 | Type::Enum(_) => {
                let value = i32::try_from(value).ok()?;
                Some(i64::from(value).cast_unsigned())
            }
            Type::Int64 => Some(i64::try_from(value).ok()?.cast_unsigned()),
            Type::Sint32 => Some(zigzag(i32::try_from(value).ok()?.into())),
            Type::Sint64 => Some(zigzag(i64::try_from(value).ok()?)),
            Type::String | Type::Bytes | Type::Message(_) => None,
        }
    }

    fn put(self, out: &mut Vec<u8>, value: u64) {
        let wire = self.field.ty.wire();
        put_tag(out, self.field.number, wire);
        if wire == 1 {
            out.extend(value.to_le_bytes());
        } else {
            put_varint(out, value);
        }
    }

    fn bytes<R: BufRead>(self, json: &mut Parser<R>) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        json.string(&mut text, TEXT_LIMIT)?;
        Ok(text)
    }

    fn text<R: BufRead>(self, json: &mut Parser<R>) -> Result<String> {
        let bytes = self.bytes(json)?;
        String::from_utf8(bytes).map_err(|_| self.wrong(json))
    }

    fn wrong<R: BufRead>(self, json: &Parser<R>) -> crate::error::Error {
        json.error(JsonDefect::Value {
            message: self.message.name,
            field: self.field.name,
        })
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}
