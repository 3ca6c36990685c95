//! What the schema has: messages with their fields, enums with their values.

use std::collections::BTreeSet;
use std::path::Path;

use crate::failure::Failure;

#[derive(Debug)]
pub(super) struct Schema {
    pub(super) messages: Vec<Message>,
    pub(super) enums: Vec<Message>,
}

/// A message and its fields, or an enum and its values.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) number: i32,
    /// The message or enum that it holds.
    pub(super) holds: String,
}

impl Schema {
    pub(super) fn read(proto: &Path, file: &str) -> Result<Self, Failure> {
        let set = protox::compile([proto.join(file)], [proto])
            .map_err(|e| Failure::step(format!("proto/{file} does not compile: {e}")))?;
        let mut schema = Self {
            messages: Vec::new(),
            enums: Vec::new(),
        };
        for file in &set.file {
            schema
                .messages
                .extend(file.message_type.iter().map(|message| Message {
                    name: message.name().to_owned(),
                    fields: Message::in_order(message.field.iter().map(|field| Field {
                        name: field.name().to_owned(),
                        number: field.number(),
                        holds: field.type_name().trim_start_matches('.').to_owned(),
                    })),
                }));
            schema
                .enums
                .extend(file.enum_type.iter().map(|kind| Message {
                    name: kind.name().to_owned(),
                    fields: Message::in_order(kind.value.iter().map(|value| Field {
                        name: value.name().to_owned(),
                        number: value.number(),
                        holds: String::new(),
                    })),
                }));
        }
        Ok(schema)
    }

    /// A message or an enum.
    pub(super) fn one(&self, name: &str) -> Option<&Message> {
        let mut all = self.messages.iter().chain(&self.enums);
        all.find(|message| message.name == name)
    }

    /// The messages inside a message, however deep, but for those inside fields that are
    /// left out.
    pub(super) fn inside(
        &self,
        name: &str,
        left_out: impl Fn(&str) -> bool + Copy,
    ) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for field in self.one(name).map_or(&[][..], |message| &message.fields) {
            let full = format!("{name}.{}", field.name);
            if let Some(inner) = self.messages.iter().find(|other| other.name == field.holds)
                && !left_out(&full)
            {
                found.insert(&*inner.name);
                found.append(&mut self.inside(&inner.name, left_out));
            }
        }
        found
    }
}

impl Message {
    fn in_order(fields: impl Iterator<Item = Field>) -> Vec<Field> {
        let mut fields: Vec<_> = fields.collect();
        fields.sort_by_key(|field| field.number);
        fields
    }
}

/// The Rust name of a message, an enum or a value: `criu_cg_mode` is `CriuCgMode`.
pub(super) fn rust_name(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + &rest.to_lowercase()
    };
    name.split('_').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::{Schema, rust_name};

    #[test]
    fn names_are_those_of_the_generated_code() {
        assert_eq!(rust_name("criu_cg_mode"), "CriuCgMode");
        assert_eq!(rust_name("PAGE_SERVER_CHLD"), "PageServerChld");
        assert_eq!(rust_name("VM_READ"), "VmRead");
    }

    #[test]
    fn a_schema_is_read_by_number_with_what_is_inside_what() {
        let folder = tempfile::tempdir().unwrap();
        let text = "syntax = \"proto2\";\n\
                    enum mode { FULL = 2; NONE = 1; }\n\
                    message leaf { optional int32 x = 1; }\n\
                    message old { optional leaf y = 1; }\n\
                    message opts { optional old o = 7; optional leaf l = 3; optional mode m = 5; }\n";
        std::fs::write(folder.path().join("x.proto"), text).unwrap();
        let schema = Schema::read(folder.path(), "x.proto").unwrap();
        let opts = schema.one("opts").unwrap();
        let fields: Vec<_> = opts
            .fields
            .iter()
            .map(|f| (f.number, &*f.name, &*f.holds))
            .collect();
        assert_eq!(
            fields,
            [(3, "l", "leaf"), (5, "m", "mode"), (7, "o", "old")]
        );
        assert_eq!(schema.enums[0].fields[0].name, "NONE");
        let inside: Vec<_> = schema.inside("opts", |_| false).into_iter().collect();
        assert_eq!(inside, ["leaf", "old"]);
        let without: Vec<_> = schema
            .inside("opts", |field| field == "opts.o")
            .into_iter()
            .collect();
        assert_eq!(without, ["leaf"]);
    }
}
