//! `proto/images/` to the raw layer, the tables and the descriptors of `criu-images`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use prost::Message as _;
use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor,
};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

use super::{banner, compile, rustfmt, structs};
use crate::failure::Failure;

const SCHEMA: &str = "proto/images/";

/// What is made, and where it belongs.
pub(super) fn outputs(root: &Path) -> Result<[(&'static str, Vec<u8>); 3], Failure> {
    let folder = root.join(SCHEMA);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|e| Failure::file("list", &folder, &e))? {
        let name = entry
            .map_err(|e| Failure::file("list", &folder, &e))?
            .file_name();
        files.push(Path::new("images").join(name));
    }
    files.sort();
    let compiler = compile(root, &files, true)?;

    let mut set = compiler.file_descriptor_set();
    set.file.retain(|file| ours(file.name()));
    for file in &mut set.file {
        file.dependency.retain(|name| name != "images/opts.proto");
        file.message_type.iter_mut().for_each(strings_to_bytes);
    }
    let mut types = format!("{}{}", banner(SCHEMA), structs(set.clone())?);
    for file in &mut set.file {
        file.source_code_info = None;
    }
    let pool = compiler.descriptor_pool();
    for message in pool.all_messages().filter(|m| ours(m.parent_file().name())) {
        let _ = writeln!(
            types,
            "impl crate::entry::Entry for {} {{ const SCHEMA: crate::schema::Schema = crate::schema::Schema(&super::tables::{}); }}",
            camel(message.name()),
            constant(message.full_name()),
        );
    }
    let tables = tables(&pool);
    Ok([
        (
            "criu-images/src/proto/messages.rs",
            rustfmt(root, &types)?.into_bytes(),
        ),
        (
            "criu-images/src/proto/tables.rs",
            rustfmt(root, &tables)?.into_bytes(),
        ),
        ("criu-images/src/proto/descriptors.bin", encode(&set)),
    ])
}

fn ours(file: &str) -> bool {
    file.starts_with("images/") && file != "images/opts.proto"
}

fn encode(set: &FileDescriptorSet) -> Vec<u8> {
    set.encode_to_vec()
}

/// CRIU puts paths, host names and command names into `string` fields as the
/// kernel gives them, and the kernel does not promise UTF-8. On the wire the two
/// types are the same.
fn strings_to_bytes(message: &mut DescriptorProto) {
    for field in &mut message.field {
        // The CRIT options are in the tables; here they would name an extension
        // that the set does not hold.
        field.options = None;
        if field.r#type() == Type::String {
            field.set_type(Type::Bytes);
        }
    }
    message.nested_type.iter_mut().for_each(strings_to_bytes);
}

fn tables(pool: &DescriptorPool) -> String {
    let mut out = banner(SCHEMA);
    out.push_str(
        "use crate::schema::Label::{Optional, Repeated, Required};\n\
         use crate::schema::Show::*;\n\
         use crate::schema::{Enum, Message, Type, field};\n\n",
    );
    let mut enums: Vec<_> = pool
        .all_enums()
        .filter(|e| ours(e.parent_file().name()))
        .collect();
    enums.sort_by(|a, b| a.full_name().cmp(b.full_name()));
    for e in &enums {
        table_of_enum(&mut out, e);
    }
    let mut messages: Vec<_> = pool
        .all_messages()
        .filter(|m| ours(m.parent_file().name()))
        .collect();
    messages.sort_by(|a, b| a.full_name().cmp(b.full_name()));
    for m in &messages {
        table_of_message(&mut out, m);
    }
    out.push_str("pub(crate) static ALL: &[&Message] = &[");
    for m in &messages {
        let _ = write!(out, "&{},", constant(m.full_name()));
    }
    out.push_str("];\n");
    out
}

fn table_of_enum(out: &mut String, e: &EnumDescriptor) {
    let mut text = format!(
        "pub(crate) static {}: Enum = Enum {{ values: &[",
        constant(e.full_name())
    );
    for value in e.values() {
        // Writing to a String cannot fail.
        let _ = write!(text, "({}, {:?}),", value.number(), value.name());
    }
    let _ = writeln!(out, "{text}] }};\n");
}

fn table_of_message(out: &mut String, m: &MessageDescriptor) {
    let mut text = format!(
        "pub(crate) static {}: Message = Message {{ name: {:?}, fields: &[",
        constant(m.full_name()),
        m.full_name()
    );
    let mut fields: Vec<_> = m.fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    for f in fields {
        let label = match f.cardinality() {
            Cardinality::Optional => "Optional",
            Cardinality::Required => "Required",
            Cardinality::Repeated => "Repeated",
        };
        let _ = write!(
            text,
            "field({}, {:?}, {label}, Type::{}, {}),",
            f.number(),
            f.name(),
            kind(&f.kind()),
            show(&f)
        );
    }
    let _ = writeln!(out, "{text}] }};\n");
}

fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Message(m) => format!("Message(&{})", constant(m.full_name())),
        Kind::Enum(e) => format!("Enum(&{})", constant(e.full_name())),
        scalar => camel(&format!("{scalar:?}")),
    }
}

/// Of the CRIT options the one that decides.
fn show(f: &FieldDescriptor) -> String {
    let options = f.options();
    let Some(criu) = options
        .extensions()
        .find(|(extension, _)| extension.full_name() == "criu")
    else {
        return "Plain".to_owned();
    };
    let Some(criu) = criu.1.as_message() else {
        return "Plain".to_owned();
    };
    let set = |name: &str| {
        criu.get_field_by_name(name)
            .and_then(|v| v.as_bool())
            .unwrap_or(false)
    };
    let text = |name: &str| {
        criu.get_field_by_name(name)
            .and_then(|v| v.as_str().map(ToOwned::to_owned))
            .filter(|s| !s.is_empty())
    };
    if set("hex") {
        "Hex".to_owned()
    } else if set("ipadd") {
        "Ip".to_owned()
    } else if set("odev") {
        "Odev".to_owned()
    } else if set("dev") {
        "Dev".to_owned()
    } else if let Some(table) = text("flags") {
        format!("Flags({table:?})")
    } else if let Some(table) = text("dict") {
        format!("Dict({table:?})")
    } else if text("conv").as_deref() == Some("unix_name") {
        "UnixName".to_owned()
    } else {
        "Plain".to_owned()
    }
}

fn constant(full_name: &str) -> String {
    full_name.replace('.', "_").to_uppercase()
}

/// As prost-build names a message.
fn camel(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            format!("{}{rest}", first.to_uppercase())
        })
        .collect()
}
