//! `proto/` against the descriptors compiled into the Python package that CRIU
//! is released with: every message, field and enum value, both ways.

#[path = "schema/images.rs"]
mod images;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};

/// What `proto/rpc.proto` has before any release does: CRIU's development
/// branch after 4.2.
const RPC_AHEAD: [&str; 4] = [
    "criu_image_io_mode",
    "criu_image_io_mode.IMAGE_IO_DIRECT",
    "criu_image_io_mode.IMAGE_IO_WRITEBACK",
    "criu_opts.image_io_mode",
];

/// Name of a message, field, enum or value; and all that is to be the same of it.
type Facts = BTreeMap<String, String>;

#[test]
#[ignore = "needs a provisioned CRIU: cargo xtask test"]
fn rpc_is_what_criu_was_released_with() {
    let folder = env::var_os("CRIU_DESCRIPTORS")
        .map(PathBuf::from)
        .expect("CRIU_DESCRIPTORS is the folder of pycriu: run `cargo xtask test`");
    let theirs = facts(&released(&folder.join("rpc_pb2.py")));
    let ours = facts(&compiled("rpc.proto"));
    // The comparison would be worth nothing if it looked at nothing.
    assert!(
        theirs.len() > 100,
        "only {} facts in {}",
        theirs.len(),
        folder.display()
    );
    assert_eq!(differences(&ours, &theirs, &RPC_AHEAD), [""; 0]);
}

/// The descriptor inside a module that protoc wrote.
fn released(path: &Path) -> FileDescriptorProto {
    let module =
        fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    let (_, literal) = module
        .split_once("AddSerializedFile(b'")
        .unwrap_or_else(|| panic!("{} has no serialized descriptor", path.display()));
    FileDescriptorProto::decode(&*unescape(literal))
        .unwrap_or_else(|e| panic!("the descriptor in {}: {e}", path.display()))
}

fn compiled(schema: &str) -> FileDescriptorProto {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let mut set = protox::compile([folder.join(schema)], [folder]).expect("proto/ compiles");
    set.file.pop().expect("one file is compiled")
}

/// The bytes of a Python literal, up to its closing quote.
fn unescape(literal: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = literal.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'\'' => return bytes,
            b'\\' => bytes.push(escape(&mut rest)),
            other => bytes.push(other),
        }
    }
    panic!("the literal does not end");
}

/// The byte that the characters after a backslash stand for.
fn escape(rest: &mut std::str::Bytes<'_>) -> u8 {
    let kind = rest.next().expect("a backslash escapes something");
    let (radix, digits) = match kind {
        b'n' => return b'\n',
        b'r' => return b'\r',
        b't' => return b'\t',
        b'\\' | b'\'' | b'"' => return kind,
        b'x' => (16, rest.take(2).collect()),
        b'0'..=b'3' => (
            8,
            [kind].into_iter().chain(rest.take(2)).collect::<Vec<_>>(),
        ),
        other => panic!("unknown escape \\{}", char::from(other)),
    };
    let digits = String::from_utf8(digits).expect("digits are ASCII");
    u8::from_str_radix(&digits, radix).unwrap_or_else(|e| panic!("\\{digits}: {e}"))
}

fn facts(file: &FileDescriptorProto) -> Facts {
    let mut facts = Facts::new();
    // An absent syntax is proto2.
    let syntax = file.syntax.as_deref().unwrap_or("proto2");
    facts.insert(
        "(file)".to_owned(),
        format!("{syntax}, package {:?}", file.package()),
    );
    assert!(
        file.extension.is_empty() && file.service.is_empty(),
        "neither is compared here"
    );
    for message in &file.message_type {
        message_facts("", message, &mut facts);
    }
    for choice in &file.enum_type {
        enum_facts("", choice, &mut facts);
    }
    facts
}

fn message_facts(scope: &str, message: &DescriptorProto, facts: &mut Facts) {
    let name = format!("{scope}{}", message.name());
    let scope = format!("{name}.");
    assert!(
        message.extension.is_empty(),
        "extensions are not compared here"
    );
    facts.insert(
        name,
        format!(
            "message {:?} {:?} {:?}",
            message.options, message.reserved_range, message.extension_range
        ),
    );
    for field in &message.field {
        let group = field.oneof_index.map(|index| {
            message.oneof_decl[usize::try_from(index).expect("an index is not negative")].name()
        });
        facts.insert(
            format!("{scope}{}", field.name()),
            field_facts(field, group),
        );
    }
    for nested in &message.nested_type {
        message_facts(&scope, nested, facts);
    }
    for nested in &message.enum_type {
        enum_facts(&scope, nested, facts);
    }
}

fn field_facts(field: &FieldDescriptorProto, group: Option<&str>) -> String {
    let label = match field.label() {
        Label::Optional => "optional",
        Label::Required => "required",
        Label::Repeated => "repeated",
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => field.type_name().to_owned(),
        scalar => scalar.as_str_name().to_owned(),
    };
    format!(
        "{label} {kind} = {}, default {:?}, oneof {group:?}, options {:?}",
        field.number(),
        field.default_value,
        field.options
    )
}

fn enum_facts(scope: &str, choice: &EnumDescriptorProto, facts: &mut Facts) {
    let name = format!("{scope}{}", choice.name());
    for value in &choice.value {
        facts.insert(
            format!("{name}.{}", value.name()),
            format!("{}, options {:?}", value.number(), value.options),
        );
    }
    facts.insert(name, format!("enum {:?}", choice.options));
}

/// One line for each thing that is not the same. What is `ahead` may be
/// missing on their side, but has to be on ours.
fn differences(ours: &Facts, theirs: &Facts, ahead: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, fact) in ours {
        match theirs.get(name) {
            Some(same) if same == fact => {}
            Some(other) => lines.push(format!("{name}: ours is {fact}; theirs is {other}")),
            None if ahead.contains(&&**name) => {}
            None => lines.push(format!("{name}: only ours has it")),
        }
    }
    let missing = theirs
        .keys()
        .map(String::as_str)
        .chain(ahead.iter().copied());
    for name in missing.filter(|name| !ours.contains_key(*name)) {
        lines.push(format!("{name}: ours does not have it"));
    }
    lines
}

#[test]
fn python_literals() {
    assert_eq!(
        unescape(r#"\n\tO\x15\x63r\'\"\\\r \xff\001\377' more'"#),
        *b"\n\tO\x15cr'\"\\\r \xff\x01\xff"
    );
}

#[test]
#[should_panic(expected = "does not end")]
fn an_open_literal() {
    unescape(r"ab\'");
}

#[test]
fn every_kind_of_difference_shows() {
    let file = |text: &str| {
        let text = format!("syntax = \"proto2\"; {text}");
        let folder = tempfile::tempdir().expect("a scratch folder");
        fs::write(folder.path().join("x.proto"), text).expect("the scratch folder is writable");
        let set = protox::compile(["x.proto"], [folder.path()]).expect("it compiles");
        facts(&set.file[0])
    };
    let base = file("message m { optional int32 a = 1 [default = 1]; } enum e { X = 0; }");
    assert_eq!(differences(&base, &base, &[]), [""; 0]);
    for changed in [
        "message m { optional int32 b = 1 [default = 1]; } enum e { X = 0; }",
        "message m { optional int32 a = 2 [default = 1]; } enum e { X = 0; }",
        "message m { optional sint32 a = 1 [default = 1]; } enum e { X = 0; }",
        "message m { repeated int32 a = 1; } enum e { X = 0; }",
        "message m { required int32 a = 1 [default = 1]; } enum e { X = 0; }",
        "message m { optional int32 a = 1 [default = 2]; } enum e { X = 0; }",
        "message m { optional int32 a = 1; } enum e { X = 0; }",
        "message m { optional e a = 1; } enum e { X = 0; }",
        "message m { oneof o { int32 a = 1 [default = 1]; } } enum e { X = 0; }",
        "message m { } enum e { X = 0; }",
        "message m { optional int32 a = 1 [default = 1]; } enum e { X = 1; }",
        "message m { optional int32 a = 1 [default = 1]; } enum e { Y = 0; }",
        "message m { optional int32 a = 1 [default = 1]; } enum e { X = 0; Y = 1; }",
        "message m { optional int32 a = 1 [default = 1]; }",
    ] {
        let other = file(changed);
        assert_ne!(differences(&base, &other, &[]), [""; 0], "{changed}");
        assert_ne!(differences(&other, &base, &[]), [""; 0], "{changed}");
    }
    // A name that is ahead is excused when they lack it, and only then.
    let ahead = ["m.a"];
    assert_eq!(
        differences(&base, &file("message m { } enum e { X = 0; }"), &ahead),
        [""; 0]
    );
    let other = file("message m { optional int32 a = 2; } enum e { X = 0; }");
    assert_ne!(differences(&base, &other, &ahead), [""; 0]);
    assert_eq!(
        differences(&base, &base, &["m.gone"]),
        ["m.gone: ours does not have it"]
    );
}
