//! `proto/images/` against the descriptors of `crit`.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use super::{Facts, differences, unescape};

/// What releases before 4.2 do not have, or have by another name: 4.2 made
/// `nr_pages` a field of 64 bits, and gave the old one a new name.
const SINCE_4_2: [&str; 3] = [
    "inventory_entry.allow_uprobes: only ours has it",
    "pagemap_entry.compat_nr_pages: only ours has it",
    "pagemap_entry.nr_pages: ours is Optional uint64 = 5, default None, options []; theirs is Required uint32 = 2, default None, options []",
];

#[test]
#[ignore = "needs a provisioned CRIU: cargo xtask test"]
fn images_are_what_criu_was_released_with() {
    let folder = env::var_os("CRIU_DESCRIPTORS")
        .map(PathBuf::from)
        .expect("CRIU_DESCRIPTORS is the folder of pycriu: run `cargo xtask test`");
    let theirs = facts(&released(&folder.join("images")));
    let ours = facts(&compiled());
    // The comparison would be worth nothing if it looked at nothing.
    assert!(theirs.len() > 1000, "only {} facts", theirs.len());
    assert!(
        theirs["vma_entry.prot"].contains("mmap.prot"),
        "options are not seen: {}",
        theirs["vma_entry.prot"]
    );
    let lines = differences(&ours, &theirs, &[]);
    if lines != SINCE_4_2 {
        assert_eq!(lines, [""; 0]);
    }
}

/// All of pycriu's modules, each after those it needs.
fn released(folder: &Path) -> DescriptorPool {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|e| panic!("cannot list {}: {e}", folder.display()));
    let mut waiting = BTreeMap::new();
    for entry in entries {
        let path = entry.expect("an entry of the folder").path();
        if path.to_string_lossy().ends_with("_pb2.py") {
            let module = fs::read_to_string(&path).expect("a module of pycriu");
            let (_, literal) = module
                .split_once("AddSerializedFile(b'")
                .unwrap_or_else(|| panic!("{} has no descriptor", path.display()));
            waiting.insert(path, unescape(literal));
        }
    }
    // The descriptor of descriptors comes with the library.
    let mut pool = DescriptorPool::global();
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|_, bytes| pool.decode_file_descriptor_proto(bytes.as_slice()).is_err());
        assert!(waiting.len() < before, "none of {:?}", waiting.keys());
    }
    pool
}

fn compiled() -> DescriptorPool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let files = fs::read_dir(root.join("images")).expect("proto/images");
    let files: Vec<_> = files
        .map(|entry| entry.expect("an entry of proto/images").path())
        .collect();
    let mut compiler = protox::Compiler::new([root]).expect("proto/ is a folder");
    compiler
        .include_imports(true)
        .open_files(files)
        .expect("proto/images compiles");
    compiler.descriptor_pool()
}

fn facts(pool: &DescriptorPool) -> Facts {
    let mut facts = Facts::new();
    let criu = |package: &str, name: &str| package.is_empty() && name != "CRIU_Opts";
    for message in pool.all_messages() {
        if criu(message.parent_file().package_name(), message.full_name()) {
            message_facts(&message, &mut facts);
        }
    }
    for choice in pool.all_enums() {
        if criu(choice.parent_file().package_name(), choice.full_name()) {
            enum_facts(&choice, &mut facts);
        }
    }
    facts
}

fn message_facts(message: &MessageDescriptor, facts: &mut Facts) {
    let name = message.full_name();
    facts.insert(name.to_owned(), "message".to_owned());
    for field in message.fields() {
        facts.insert(format!("{name}.{}", field.name()), field_facts(&field));
    }
}

fn field_facts(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(choice) => choice.full_name().to_owned(),
        scalar => format!("{scalar:?}"),
    };
    let mut options: Vec<_> = field
        .options()
        .extensions()
        .map(|(extension, value)| format!("{} {value}", extension.full_name()))
        .collect();
    options.sort();
    format!(
        "{:?} {kind} = {}, default {:?}, options {options:?}",
        field.cardinality(),
        field.number(),
        field.field_descriptor_proto().default_value,
    )
}

fn enum_facts(choice: &EnumDescriptor, facts: &mut Facts) {
    let name = choice.full_name();
    facts.insert(name.to_owned(), "enum".to_owned());
    for value in choice.values() {
        facts.insert(
            format!("{name}.{}", value.name()),
            value.number().to_string(),
        );
    }
}
