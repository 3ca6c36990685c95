//! Protocol buffers as bytes: field after field, nothing copied, nothing trusted.

use crate::error::Defect;
use crate::schema::{Label, Message, Type};

/// Messages inside of messages that are followed, as the common decoders do.
/// Only `cgroup_dir_entry` and `aa_namespace` can nest without end.
pub(crate) const MAX_DEPTH: u32 = 100;

#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Len(&'a [u8]),
    Fixed32,
    Group,
}

impl Value<'_> {
    fn wire(&self) -> u8 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Len(_) => 2,
            Self::Group => 3,
            Self::Fixed32 => 5,
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct WireField<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
    /// Tag and value.
    pub(crate) raw: &'a [u8],
}

impl WireField<'_> {
    /// Whether the bytes can be a value of this type, alone or packed.
    pub(crate) fn fits(&self, ty: Type, label: Label) -> bool {
        let wire = self.value.wire();
        wire == ty.wire() || (wire == 2 && label == Label::Repeated && ty.wire() < 2)
    }
}

/// Iterates over the fields of one message; after an error, nothing more comes.
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// What was not walked yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<WireField<'a>>, Defect> {
        let rest = self.rest();
        let Some((&tag, tail)) = rest.split_first() else {
            return Ok(None);
        };
        // Nearly every field has a number below 16 and is a varint.
        if (8..0x80).contains(&tag)
            && tag & 7 == 0
            && let Some((value, used)) = varint(tail)
        {
            self.at += 1 + used;
            return Ok(Some(WireField {
                number: u32::from(tag >> 3),
                value: Value::Varint(value),
                raw: &rest[..=used],
            }));
        }
        self.any()
    }

    fn any(&mut self) -> Result<Option<WireField<'a>>, Defect> {
        let start = self.at;
        let found = self.field(start);
        if found.is_err() {
            self.at = self.bytes.len();
        }
        found.map(Some)
    }

    fn field(&mut self, start: usize) -> Result<WireField<'a>, Defect> {
        let (number, wire) = self.tag()?;
        let value = self.value(number, wire, 0)?;
        Ok(WireField {
            number,
            value,
            raw: &self.bytes[start..self.at],
        })
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), Defect> {
        let at = self.at;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        // 2^29-1 is the greatest number a tag may carry.
        if number == 0 || number > 0x1fff_ffff {
            return Err(Defect::Wire { at });
        }
        Ok((number, (tag & 7).try_into().unwrap_or(7)))
    }

    #[inline]
    fn value(&mut self, number: u32, wire: u8, depth: u32) -> Result<Value<'a>, Defect> {
        let at = self.at;
        match wire {
            0 => self.varint().map(Value::Varint),
            1 => {
                let raw = self.take(8)?;
                let mut le = [0; 8];
                le.copy_from_slice(raw);
                Ok(Value::Fixed64(u64::from_le_bytes(le)))
            }
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).map_err(|_| Defect::Wire { at })?;
                self.take(len).map(Value::Len)
            }
            3 if depth < MAX_DEPTH => loop {
                let (inner, wire) = self.tag()?;
                if wire == 4 {
                    break if inner == number {
                        Ok(Value::Group)
                    } else {
                        Err(Defect::Wire { at })
                    };
                }
                self.value(inner, wire, depth + 1)?;
            },
            5 => self.take(4).map(|_| Value::Fixed32),
            _ => Err(Defect::Wire { at }),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Defect> {
        let taken = self
            .at
            .checked_add(len)
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or(Defect::Wire { at: self.at })?;
        self.at += len;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Defect> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (value, used) = varint(rest).ok_or(Defect::Wire { at: self.at })?;
        self.at += used;
        Ok(value)
    }
}

/// The value and its length, unless the bytes end or 64 bits do not hold it.
#[inline]
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((first.into(), 1));
    }
    let mut value = u64::from(first & 0x7f);
    let mut shift = 7;
    for (i, &byte) in bytes.iter().enumerate().skip(1) {
        // The tenth byte holds the 64th bit, and no more.
        if i == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
        shift += 7;
    }
    None
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        // Seven bits are left, so the truncation loses nothing.
        let [low, ..] = (value & 0x7f).to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

pub(crate) fn put_tag(out: &mut Vec<u8>, number: u32, wire: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire));
}

/// Fails unless every required field is there, at every depth, and everything
/// can be walked. Decoders of Rust make up a zero instead.
pub(crate) fn check_presence(message: &'static Message, bytes: &[u8]) -> Result<(), Defect> {
    presence(message, bytes, 0)
}

fn presence(message: &'static Message, bytes: &[u8], depth: u32) -> Result<(), Defect> {
    if depth >= MAX_DEPTH {
        return Err(Defect::TooDeep { limit: MAX_DEPTH });
    }
    let mut seen = 0u64;
    let mut fields = Fields::new(bytes);
    while let Some(found) = fields.next()? {
        let Some(field) = message.by_number(found.number) else {
            continue;
        };
        if !found.fits(field.ty, field.label) {
            continue;
        }
        if let (Type::Message(inner), Value::Len(bytes)) = (field.ty, found.value) {
            presence(inner, bytes, depth + 1)?;
        }
        // No number in CRIU's schema reaches 64 (a test sees to it).
        seen |= 1u64.checked_shl(field.number).unwrap_or(0);
    }
    for field in message.fields {
        let bit = 1u64.checked_shl(field.number).unwrap_or(0);
        if field.label == Label::Required && seen & bit == 0 {
            return Err(Defect::MissingField {
                message: message.name,
                field: field.name,
            });
        }
    }
    Ok(())
}

/// Fails unless the bytes are fields, one after the other, to the end.
pub(crate) fn check_syntax(bytes: &[u8]) -> Result<(), Defect> {
    let mut fields = Fields::new(bytes);
    while fields.next()?.is_some() {}
    Ok(())
}

/// Value of a numeric field; of several the last counts.
pub(crate) fn number(bytes: &[u8], number: u32) -> Result<Option<u64>, Defect> {
    let mut last = None;
    let mut fields = Fields::new(bytes);
    while let Some(found) = fields.next()? {
        if let (true, Value::Varint(value)) = (found.number == number, found.value) {
            last = Some(value);
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_go_both_ways() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(varint(&out), Some((value, out.len())));
            assert_eq!(varint(&out[..out.len() - 1]), None);
        }
    }

    #[test]
    fn varint_past_64_bits_is_refused() {
        assert_eq!(varint(&[0xff; 11]), None);
        let mut ten = [0xff; 10];
        ten[9] = 2;
        assert_eq!(varint(&ten), None);
    }

    #[test]
    fn every_number_fits_the_presence_mask() {
        for schema in crate::proto::tables::ALL {
            for field in schema.fields {
                assert!(field.number < 64, "{}.{}", schema.name, field.name);
            }
        }
    }

    #[test]
    fn nested_groups_end_at_the_limit() {
        let bytes = vec![0x0b; 1 << 20];
        assert!(Fields::new(&bytes).next().is_err());
    }
}
