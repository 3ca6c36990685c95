//! One message to JSON, straight from its bytes: nothing is decoded that is not printed.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::names::{self, Names};
use super::print::Printer;
use super::{Format, UNKNOWN, quoted};
use crate::error::Defect;
use crate::header::ByteOrder;
use crate::schema::{Field, Label, Message, Show, Type};
use crate::wire::{Fields, MAX_DEPTH, Value, WireField, varint};

/// How messages are shown.
pub(super) struct Messages {
    pretty: bool,
    names: Names,
    order: ByteOrder,
}

type Walk = Result<(), Defect>;

impl Messages {
    pub(super) fn new(format: &Format, order: ByteOrder) -> Self {
        Self {
            pretty: format.pretty,
            names: format.names,
            order,
        }
    }

    /// The members of a message, into an object that is open.
    pub(super) fn fields<W: Write>(
        &self,
        json: &mut Printer<W>,
        message: &'static Message,
        bytes: &[u8],
    ) -> Walk {
        self.members(json, message, bytes, false, 0)
    }

    fn members<W: Write>(
        &self,
        json: &mut Printer<W>,
        message: &'static Message,
        bytes: &[u8],
        hex: bool,
        depth: u32,
    ) -> Walk {
        if depth >= MAX_DEPTH {
            return Err(Defect::TooDeep { limit: MAX_DEPTH });
        }
        let sight = survey(message, bytes)?;
        if sight.ordered {
            self.ordered(json, message, bytes, hex, depth)?;
        } else {
            self.unordered(json, message, bytes, hex, depth)?;
        }
        if sight.unknown {
            let mut unknown = Vec::new();
            let mut fields = Fields::new(bytes);
            while let Some(found) = fields.next()? {
                if known(message, &found).is_none() {
                    unknown.extend(found.raw);
                }
            }
            json.key(UNKNOWN);
            json.base64(&unknown);
        }
        Ok(())
    }

    /// The message as CRIU writes it: by ascending number, nothing twice.
    fn ordered<W: Write>(
        &self,
        json: &mut Printer<W>,
        message: &'static Message,
        bytes: &[u8],
        hex: bool,
        depth: u32,
    ) -> Walk {
        let mut fields = Fields::new(bytes);
        let mut list = 0;
        loop {
            let rest = fields.rest();
            let Some(found) = fields.next()? else {
                return Ok(());
            };
            if found.number == list {
                continue;
            }
            let Some(field) = known(message, &found) else {
                continue;
            };
            json.key(field.name);
            if field.label == Label::Repeated {
                list = field.number;
                self.list(json, field, rest, hex, depth)?;
            } else {
                self.value(json, field, found.value, hex, depth)?;
            }
        }
    }

    /// Any other message: looked through once for each field. The last value of a field
    /// counts, and messages are merged, as every decoder does.
    fn unordered<W: Write>(
        &self,
        json: &mut Printer<W>,
        message: &'static Message,
        bytes: &[u8],
        hex: bool,
        depth: u32,
    ) -> Walk {
        for field in message.fields {
            let mut fields = Fields::new(bytes);
            let mut last = None;
            let mut merged = Vec::new();
            while let Some(found) = fields.next()? {
                if found.number != field.number || !found.fits(field.ty, field.label) {
                    continue;
                }
                if let (Type::Message(_), Value::Len(bytes)) = (field.ty, found.value)
                    && field.label != Label::Repeated
                {
                    merged.extend(bytes);
                }
                last = Some(found.value);
            }
            let Some(last) = last else { continue };
            json.key(field.name);
            match (field.label, field.ty) {
                (Label::Repeated, _) => self.list(json, field, bytes, hex, depth)?,
                (_, Type::Message(_)) => {
                    self.value(json, field, Value::Len(&merged), hex, depth)?;
                }
                _ => self.value(json, field, last, hex, depth)?,
            }
        }
        Ok(())
    }

    /// All values of a repeated field in `bytes`.
    fn list<W: Write>(
        &self,
        json: &mut Printer<W>,
        field: &'static Field,
        bytes: &[u8],
        hex: bool,
        depth: u32,
    ) -> Walk {
        json.open(b'[');
        if !(self.pretty && field.show == Show::Ip && self.address(json, field, bytes)?) {
            each(field, bytes, |value| {
                json.element();
                self.value(json, field, value, hex, depth)
            })?;
        }
        json.close(b']');
        Ok(())
    }

    /// One or four words as an address; other counts are none.
    fn address<W: Write>(
        &self,
        json: &mut Printer<W>,
        field: &'static Field,
        bytes: &[u8],
    ) -> Result<bool, Defect> {
        let mut octets = [0; 16];
        let mut count = 0;
        each(field, bytes, |value| {
            if let (Value::Varint(word), Some(room)) =
                (value, octets.get_mut(4 * count..4 * count + 4))
            {
                // The word is as the dumping machine had it in memory.
                room.copy_from_slice(&self.order.put(low(word)));
            }
            count += 1;
            Ok(())
        })?;
        let text = match count {
            1 => {
                let [a, b, c, d, ..] = octets;
                Ipv4Addr::new(a, b, c, d).to_string()
            }
            4 => Ipv6Addr::from(octets).to_string(),
            _ => return Ok(false),
        };
        json.element();
        json.plain(&text);
        Ok(true)
    }

    fn value<W: Write>(
        &self,
        json: &mut Printer<W>,
        field: &'static Field,
        value: Value<'_>,
        hex: bool,
        depth: u32,
    ) -> Walk {
        let hex = hex || field.show == Show::Hex;
        match (field.ty, value) {
            (Type::Message(inner), Value::Len(bytes)) => {
                json.open(b'{');
                self.members(json, inner, bytes, hex, depth + 1)?;
                json.close(b'}');
            }
            (Type::Bytes, Value::Len(bytes)) if field.show == Show::UnixName => {
                let mut text = Vec::new();
                quoted::encode(&mut text, bytes);
                json.string(&text);
            }
            (Type::Bytes, Value::Len(bytes)) => json.base64(bytes),
            (Type::String, Value::Len(bytes)) => json.string(bytes),
            (Type::Bool, Value::Varint(v)) => json.raw(if v == 0 { "false" } else { "true" }),
            (Type::Enum(table), Value::Varint(v)) => {
                let number = low(v).cast_signed();
                match table.name(number) {
                    Some(name) => json.plain(name),
                    None => json.signed(number.into()),
                }
            }
            (Type::Int32, Value::Varint(v)) => {
                self.signed(json, low(v).cast_signed().into(), hex);
            }
            (Type::Int64, Value::Varint(v)) => self.signed(json, v.cast_signed(), hex),
            (Type::Sint32, Value::Varint(v)) => {
                let v = u64::from(low(v));
                self.signed(json, zigzag(v), hex);
            }
            (Type::Sint64, Value::Varint(v)) => self.signed(json, zigzag(v), hex),
            (Type::Uint32, Value::Varint(v)) => self.unsigned(json, field, low(v).into(), hex),
            (Type::Uint64, Value::Varint(v)) | (Type::Fixed64, Value::Fixed64(v)) => {
                self.unsigned(json, field, v, hex);
            }
            // `known` and `each` let nothing else through.
            _ => json.raw("null"),
        }
        Ok(())
    }

    fn signed<W: Write>(&self, json: &mut Printer<W>, value: i64, hex: bool) {
        if !(self.pretty && hex) {
            json.signed(value);
            return;
        }
        let sign = if value < 0 { "-" } else { "" };
        json.plain(&format!("{sign}{:#x}", value.unsigned_abs()));
    }

    #[inline]
    fn unsigned<W: Write>(&self, json: &mut Printer<W>, field: &Field, value: u64, hex: bool) {
        if !self.pretty {
            json.unsigned(value);
        } else if hex {
            json.plain(&format!("{value:#x}"));
        } else {
            match field.show {
                Show::Dev => json.plain(&names::device(value, false)),
                Show::Odev => json.plain(&names::device(value, true)),
                Show::Flags(table) => match names::flags(table) {
                    Some(table) => json.plain(&names::join(value, table, self.names)),
                    None => json.plain(&format!("{value:#x}")),
                },
                Show::Dict(table) => {
                    let table = names::dict(table, field.name, self.names);
                    match table.iter().find(|(_, number)| *number == value) {
                        Some((name, _)) => json.plain(name),
                        None => json.unsigned(value),
                    }
                }
                _ => json.unsigned(value),
            }
        }
    }
}

/// The field, if the schema has it and the bytes can be one.
#[inline]
fn known(message: &'static Message, found: &WireField<'_>) -> Option<&'static Field> {
    message
        .by_number(found.number)
        .filter(|field| found.fits(field.ty, field.label))
}

struct Sight {
    ordered: bool,
    unknown: bool,
}

/// Walks a message once, to know how to walk it.
fn survey(message: &'static Message, bytes: &[u8]) -> Result<Sight, Defect> {
    let mut sight = Sight {
        ordered: true,
        unknown: false,
    };
    let mut last = 0;
    let mut fields = Fields::new(bytes);
    while let Some(found) = fields.next()? {
        match known(message, &found) {
            None => sight.unknown = true,
            Some(field) => {
                let again = field.number == last && field.label != Label::Repeated;
                sight.ordered &= field.number >= last && !again;
                last = field.number;
            }
        }
    }
    Ok(sight)
}

/// Every value of a repeated field, packed or not.
fn each<'a>(
    field: &'static Field,
    bytes: &'a [u8],
    mut give: impl FnMut(Value<'a>) -> Walk,
) -> Walk {
    let mut fields = Fields::new(bytes);
    while let Some(found) = fields.next()? {
        if found.number != field.number || !found.fits(field.ty, field.label) {
            continue;
        }
        match (found.value, field.ty.wire()) {
            (Value::Len(mut packed), 0) => {
                while !packed.is_empty() {
                    let (value, used) = varint(packed).ok_or(Defect::Wire { at: 0 })?;
                    give(Value::Varint(value))?;
                    packed = &packed[used..];
                }
            }
            (Value::Len(packed), 1) => {
                let words = packed.chunks(8);
                for word in words {
                    let word = word.try_into().map_err(|_| Defect::Wire { at: 0 })?;
                    give(Value::Fixed64(u64::from_le_bytes(word)))?;
                }
            }
            (value, _) => give(value)?,
        }
    }
    Ok(())
}

/// What a field of 32 bits takes of a varint.
fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}

fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
