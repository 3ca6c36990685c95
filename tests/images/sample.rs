//! One image of each kind with records, made by the crate's own writer: every field of
//! every message is set, so that nothing is tested on zeros alone.

use criu_images::{Header, ImageWriter, Kind, Name, Schema};
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind as Type, ReflectMessage as _, Value};

/// Every kind that has records.
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    Kind::all().filter(|kind| kind.schema().is_some())
}

/// A name for a file of this kind.
pub(crate) fn name(kind: Kind) -> Name {
    match kind {
        Kind::Stats => Name::parse("stats-dump"),
        _ => Name::single(kind).or_else(|| Name::numbered(kind, 7)),
    }
    .expect("a kind has a name")
}

/// The bytes of an image of this kind.
pub(crate) fn image(kind: Kind, header: Header) -> Vec<u8> {
    let schema = kind.schema().expect("a kind with records");
    let mut writer = ImageWriter::new(kind, header, Vec::new()).unwrap();
    for seed in [1, 200] {
        match kind {
            Kind::Pagemap | Kind::ShmemPagemap if seed == 1 => {
                let head = writer.expects().expect("a head");
                writer.record(&filled(head, seed).encode_to_vec()).unwrap();
                writer
                    .record(&filled(schema, seed).encode_to_vec())
                    .unwrap();
            }
            Kind::GhostFile if seed == 1 => ghost(&mut writer, schema),
            Kind::GhostFile => {}
            Kind::IpcnsMsg => queue(&mut writer, schema, seed),
            _ => with_payload(&mut writer, kind, filled(schema, seed), seed),
        }
    }
    writer.finish().unwrap()
}

fn with_payload(
    writer: &mut ImageWriter<Vec<u8>>,
    kind: Kind,
    mut record: DynamicMessage,
    seed: u32,
) {
    let mut payload = Vec::new();
    if kind == Kind::IpcnsShm {
        record.set_field_by_name("in_pagemaps", Value::Bool(seed == 1));
    }
    let mut set = |name: &str, count: u32, width: u32| {
        let value = match record.descriptor().get_field_by_name(name) {
            Some(field) if field.kind() == Type::Uint64 => Value::U64(count.into()),
            _ => Value::U32(count),
        };
        record.set_field_by_name(name, value);
        payload.extend((0..count * width).map(|i| u8::try_from((i + seed) % 256).unwrap()));
    };
    match kind {
        Kind::PipesData | Kind::FifoData => set("bytes", seed, 1),
        Kind::SkQueues => set("length", seed - 1, 1),
        Kind::TcpStream => {
            set("inq_len", seed, 1);
            set("outq_len", 3, 1);
        }
        Kind::BpfmapData => {
            set("keys_bytes", 8, 1);
            set("values_bytes", seed, 1);
        }
        Kind::IpcnsSem => set("nsems", seed, 2),
        Kind::IpcnsShm if seed > 1 => set("size", seed + 1, 1),
        _ => {}
    }
    writer.record(&record.encode_to_vec()).unwrap();
    writer.payload(&payload).unwrap();
}

fn queue(writer: &mut ImageWriter<Vec<u8>>, schema: Schema, seed: u32) {
    let sizes = [0, 1, 7, 8, seed];
    let mut queue = filled(schema, seed);
    queue.set_field_by_name("qnum", Value::U32(5));
    writer.record(&queue.encode_to_vec()).unwrap();
    for size in sizes {
        let mut message = filled(writer.expects().expect("a message"), seed);
        message.set_field_by_name("msize", Value::U32(size));
        writer.record(&message.encode_to_vec()).unwrap();
        writer
            .payload(&vec![0x5a; usize::try_from(size).unwrap()])
            .unwrap();
    }
}

/// In chunks; [`flat_ghost`] is the other form.
fn ghost(writer: &mut ImageWriter<Vec<u8>>, schema: Schema) {
    writer.record(&filled(schema, 1).encode_to_vec()).unwrap();
    for (off, len) in [(0, 5), (4096, 300)] {
        let mut chunk = filled(writer.expects().expect("a chunk"), 1);
        chunk.set_field_by_name("len", Value::U64(len));
        chunk.set_field_by_name("off", Value::U64(off));
        writer.record(&chunk.encode_to_vec()).unwrap();
        writer
            .payload(&vec![7; usize::try_from(len).unwrap()])
            .unwrap();
    }
}

pub(crate) fn flat_ghost(content: &[u8]) -> Vec<u8> {
    let kind = Kind::GhostFile;
    let mut writer = ImageWriter::new(kind, Header::default(), Vec::new()).unwrap();
    let mut record = filled(kind.schema().unwrap(), 1);
    record.clear_field_by_name("chunks");
    writer.record(&record.encode_to_vec()).unwrap();
    writer.payload(content).unwrap();
    writer.finish().unwrap()
}

/// A message with every field set.
pub(crate) fn filled(schema: Schema, seed: u32) -> DynamicMessage {
    fill(&schema.descriptor(), seed, 0)
}

fn fill(descriptor: &prost_reflect::MessageDescriptor, seed: u32, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        // Groups of cgroups and of AppArmor hold each other.
        let again = matches!(field.kind(), Type::Message(ref inner) if inner == descriptor);
        if again && depth > 3 {
            continue;
        }
        let value = if field.is_list() {
            // Four words are an address, where one is meant; more than one of what is
            // great would only take time.
            let count = match field.kind() {
                Type::Message(_) if again || depth > 0 => 1,
                Type::Message(_) => 2,
                _ => 4,
            };
            Value::List((0..count).map(|i| value(&field, seed + i, depth)).collect())
        } else {
            value(&field, seed, depth)
        };
        message.set_field(&field, value);
    }
    message
}

fn value(field: &FieldDescriptor, seed: u32, depth: u32) -> Value {
    match field.kind() {
        Type::Message(inner) => Value::Message(fill(&inner, seed, depth + 1)),
        Type::Enum(choice) => {
            let values: Vec<_> = choice.values().collect();
            let index = usize::try_from(seed).unwrap() % values.len();
            Value::EnumNumber(values[index].number())
        }
        Type::Bool => Value::Bool(true),
        Type::Bytes => Value::Bytes(format!("a \"b\"\\ é\n{seed}").into_bytes().into()),
        // The second record has nearly every bit, so that each flag is seen by its name.
        Type::Uint32 if seed >= 200 => Value::U32(u32::MAX - seed),
        Type::Uint32 => Value::U32(seed * 0x0101),
        Type::Uint64 | Type::Fixed64 => Value::U64(u64::from(seed) << 40),
        Type::Int32 | Type::Sint32 => Value::I32(-1),
        Type::Int64 | Type::Sint64 => Value::I64(i64::MIN),
        other => panic!("CRIU uses no {other:?}"),
    }
}
