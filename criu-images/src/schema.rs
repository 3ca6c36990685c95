//! The messages of CRIU 4.2 as tables: what the wire and JSON walkers steer by.

use std::fmt;

/// Name and shape of one message of CRIU's schema.
#[derive(Clone, Copy)]
pub struct Schema(pub(crate) &'static Message);

impl Schema {
    /// CRIU's name of the message, such as `core_entry`.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    pub(crate) fn table(self) -> &'static Message {
        self.0
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Schema {}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.0.name).finish()
    }
}

pub(crate) struct Message {
    pub(crate) name: &'static str,
    /// Ascending by number, which is the order CRIU and `crit` write them in.
    pub(crate) fields: &'static [Field],
}

impl Message {
    pub(crate) fn by_number(&self, number: u32) -> Option<&'static Field> {
        // Most messages number their fields from 1 without a gap.
        let guess = usize::try_from(number).ok()?.checked_sub(1)?;
        match self.fields.get(guess) {
            Some(field) if field.number == number => Some(field),
            _ => self
                .fields
                .binary_search_by_key(&number, |f| f.number)
                .ok()
                .map(|i| &self.fields[i]),
        }
    }

    pub(crate) fn by_name(&self, name: &[u8]) -> Option<&'static Field> {
        self.fields.iter().find(|f| f.name.as_bytes() == name)
    }
}

pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    pub(crate) label: Label,
    pub(crate) ty: Type,
    pub(crate) show: Show,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    Optional,
    Required,
    Repeated,
}

/// The types CRIU uses; a schema that needs another does not compile.
#[derive(Clone, Copy)]
pub(crate) enum Type {
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed64,
    Bool,
    String,
    Bytes,
    Enum(&'static Enum),
    Message(&'static Message),
}

impl Type {
    /// Wire type of one value.
    pub(crate) fn wire(self) -> u8 {
        match self {
            Self::Fixed64 => 1,
            Self::String | Self::Bytes | Self::Message(_) => 2,
            _ => 0,
        }
    }
}

/// CRIT's option of a field: how `--pretty` shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Plain,
    Hex,
    Ip,
    Dev,
    Odev,
    Flags(&'static str),
    Dict(&'static str),
    UnixName,
}

pub(crate) struct Enum {
    pub(crate) values: &'static [(i32, &'static str)],
}

impl Enum {
    pub(crate) fn name(&self, value: i32) -> Option<&'static str> {
        self.values
            .iter()
            .find(|(number, _)| *number == value)
            .map(|(_, name)| *name)
    }

    pub(crate) fn value(&self, name: &[u8]) -> Option<i32> {
        self.values
            .iter()
            .find(|(_, text)| text.as_bytes() == name)
            .map(|(number, _)| *number)
    }
}

pub(crate) const fn field(
    number: u32,
    name: &'static str,
    label: Label,
    ty: Type,
    show: Show,
) -> Field {
    Field {
        number,
        name,
        label,
        ty,
        show,
    }
}
