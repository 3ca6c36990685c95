//! File name ⇄ kind and id.

use std::fmt;

use crate::kind::Kind;

/// Name of an image file: its kind, and what the number in it says.
///
/// Two names of the same text are equal; [`Display`](fmt::Display) gives the text back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    kind: Kind,
    id: Id,
}

/// What stands for the variable part of a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// The kind has one file.
    None,
    /// A PID, an object's or a namespace's id, an inode number: see [`Kind`].
    Number(u64),
    /// `stats-dump`.
    Dump,
    /// `stats-restore`.
    Restore,
}

impl Name {
    /// The name of the one file of this kind.
    ///
    /// Gives nothing for a kind that has an id in its name.
    pub fn single(kind: Kind) -> Option<Self> {
        (!kind.template().contains('%')).then_some(Self { kind, id: Id::None })
    }

    /// The name of the file with this id.
    ///
    /// Gives nothing for a kind without a number in its name, or a number CRIU would
    /// not write there.
    pub fn numbered(kind: Kind, id: u64) -> Option<Self> {
        let (_, form, _) = split(kind.template());
        (id <= form?.greatest()).then_some(Self {
            kind,
            id: Id::Number(id),
        })
    }

    /// The kind and id a file of this name has. No folder may precede the name.
    ///
    /// Gives nothing for files CRIU's core does not write: logs, images of plugins, the
    /// `parent` link. `pages-N.img` is always [`Kind::Pages`], never [`Kind::PagesOld`].
    pub fn parse(file: &str) -> Option<Self> {
        Kind::all().find_map(|kind| {
            let (prefix, form, suffix) = split(kind.template());
            let middle = file.strip_prefix(prefix)?.strip_suffix(suffix)?;
            let id = match form {
                None if middle.is_empty() => Id::None,
                None => return None,
                Some(form) => form.parse(middle)?,
            };
            Some(Self { kind, id })
        })
    }

    /// The kind.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// The id.
    pub fn id(self) -> Id {
        self.id
    }

    /// The id if it is a number.
    pub fn number(self) -> Option<u64> {
        match self.id {
            Id::Number(number) => Some(number),
            _ => None,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, form, suffix) = split(self.kind.template());
        f.write_str(prefix)?;
        match (self.id, form) {
            (Id::None, _) => {}
            (Id::Number(number), Some(Form::Hex)) => write!(f, "{number:x}")?,
            (Id::Number(number), _) => write!(f, "{number}")?,
            (Id::Dump, _) => f.write_str("dump")?,
            (Id::Restore, _) => f.write_str("restore")?,
        }
        f.write_str(suffix)
    }
}

#[derive(Clone, Copy)]
enum Form {
    U32,
    Hex,
    Long,
    Word,
}

impl Form {
    fn greatest(self) -> u64 {
        match self {
            Self::U32 | Self::Hex => u32::MAX.into(),
            Self::Long => u64::MAX,
            Self::Word => 0,
        }
    }

    fn parse(self, text: &str) -> Option<Id> {
        let number = match self {
            Self::Word => {
                return match text {
                    "dump" => Some(Id::Dump),
                    "restore" => Some(Id::Restore),
                    _ => None,
                };
            }
            Self::Hex => u64::from_str_radix(text, 16).ok()?,
            Self::U32 | Self::Long => text.parse().ok()?,
        };
        // Only what printf would have written: no sign, no leading zero, no capital.
        let canonical = match self {
            Self::Hex => format!("{number:x}"),
            _ => number.to_string(),
        };
        (canonical == text && number <= self.greatest()).then_some(Id::Number(number))
    }
}

/// The template around its one conversion.
fn split(template: &'static str) -> (&'static str, Option<Form>, &'static str) {
    let Some((prefix, rest)) = template.split_once('%') else {
        return (template, None, "");
    };
    for (conversion, form) in [
        ("u", Form::U32),
        ("d", Form::U32),
        ("x", Form::Hex),
        ("lu", Form::Long),
        ("ld", Form::Long),
        ("s", Form::Word),
    ] {
        if let Some(suffix) = rest.strip_prefix(conversion) {
            return (prefix, Some(form), suffix);
        }
    }
    (template, None, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind's name comes back, save the one whose name is another's.
    #[test]
    fn every_kind_has_a_name_and_the_name_the_kind() {
        for kind in Kind::all() {
            let name = match kind {
                Kind::Stats => Name::parse("stats-restore").unwrap(),
                _ => Name::single(kind)
                    .or_else(|| Name::numbered(kind, 0x1a2b))
                    .unwrap(),
            };
            let text = name.to_string();
            let wanted = if kind == Kind::PagesOld {
                Kind::Pages
            } else {
                kind
            };
            assert_eq!(Name::parse(&text).map(Name::kind), Some(wanted), "{text}");
        }
    }

    #[test]
    fn hexadecimal_ids_are_read_as_such() {
        let name = Name::parse("ghost-file-1f.img").unwrap();
        assert_eq!(name.number(), Some(0x1f));
        assert_eq!(name.to_string(), "ghost-file-1f.img");
    }

    #[test]
    fn what_criu_would_not_write_has_no_kind() {
        for text in [
            "",
            ".img",
            "core-.img",
            "core-01.img",
            "core-+1.img",
            "core-4294967296.img",
            "ghost-file-1F.img",
            "inventory",
            "inventory.img.img",
            "stats-dump.img",
            "amdgpu-kfd-3.img",
            "parent",
            "x/core-1.img",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
