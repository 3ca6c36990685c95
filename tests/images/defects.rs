//! What pycriu 4.2 and go-criu (July 2026) get wrong, each by name. Their mistakes in
//! reading memory are tested where memory is read.

use std::io::Read as _;

use criu_images::{Defect, Header, Image, ImageWriter, Kind, Name, Pagemap, json, proto};
use prost_reflect::Cardinality;
use prost_reflect::prost::Message as _;

use crate::sample;

fn decode(kind: Kind, bytes: &[u8], format: &json::Format) -> criu_images::Result<String> {
    let image = Image::open(sample::name(kind), bytes)?;
    let mut text = Vec::new();
    json::decode(image, &mut text, format)?;
    Ok(String::from_utf8(text).unwrap())
}

fn plain(kind: Kind, bytes: &[u8]) -> String {
    decode(kind, bytes, &json::Format::new()).unwrap()
}

fn encode(text: &str) -> criu_images::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    json::encode(text.as_bytes(), &mut bytes)?;
    Ok(bytes)
}

fn image(kind: Kind, build: impl FnOnce(&mut ImageWriter<Vec<u8>>)) -> Vec<u8> {
    let mut writer = ImageWriter::new(kind, Header::default(), Vec::new()).unwrap();
    build(&mut writer);
    writer.finish().unwrap()
}

fn pipe(bytes: u32) -> proto::PipeDataEntry {
    proto::PipeDataEntry {
        pipe_id: 1,
        bytes,
        size: None,
    }
}

/// pycriu 1: it fails with a runtime of protocol buffers that tells labels by other
/// words. Here no runtime is asked: the tables have them, and say what the schema says.
#[test]
fn pycriu_1_labels_need_no_runtime() {
    for kind in sample::kinds() {
        let schema = kind.schema().unwrap();
        let whole = sample::filled(schema, 1);
        for field in schema.descriptor().fields() {
            let mut without = whole.clone();
            without.clear_field(&field);
            let record = without.encode_to_vec();
            let mut file = image(kind, |_| {});
            file.extend(u32::try_from(record.len()).unwrap().to_le_bytes());
            file.extend(&record);
            // A pagemap begins with a head, which is another message.
            if matches!(kind, Kind::Pagemap | Kind::ShmemPagemap) {
                continue;
            }
            let mut opened = Image::open(sample::name(kind), &file[..]).unwrap();
            let checked = match opened.next() {
                Ok(Some(record)) => record.check(),
                Ok(None) => panic!("{kind} without its record"),
                // What tells the length of a payload is missed at once.
                Err(error) => Err(error),
            };
            let required = field.cardinality() == Cardinality::Required;
            let missed = checked
                .is_err_and(|error| matches!(error.defect(), Some(Defect::MissingField { .. })));
            assert_eq!(missed, required, "{kind}: {}", field.name());
        }
    }
}

/// pycriu 2: `TypeError` on encoding shared memory and BPF maps.
#[test]
fn pycriu_2_payloads_of_shm_and_bpf_are_encoded() {
    for kind in [Kind::IpcnsShm, Kind::BpfmapData] {
        let bytes = sample::image(kind, Header::default());
        assert_eq!(encode(&plain(kind, &bytes)).unwrap(), bytes);
    }
}

fn desc(id: u32) -> proto::IpcDescEntry {
    proto::IpcDescEntry {
        id,
        ..proto::IpcDescEntry::default()
    }
}

/// pycriu 3, go-criu 7: the second segment is taken for content of the first.
#[test]
fn pycriu_3_segments_in_pagemaps_have_no_payload() {
    let bytes = image(Kind::IpcnsShm, |writer| {
        for id in [1, 2] {
            let shm = proto::IpcShmEntry {
                desc: desc(id),
                size: 4096,
                in_pagemaps: Some(true),
                hugetlb_flag: None,
            };
            writer.entry(&shm).unwrap();
        }
    });
    let image = Image::open(sample::name(Kind::IpcnsShm), &bytes[..]).unwrap();
    let ids: Vec<_> = image
        .entries::<proto::IpcShmEntry>()
        .map(|entry| entry.unwrap().desc.id)
        .collect();
    assert_eq!(ids, [1, 2]);
    assert!(!plain(Kind::IpcnsShm, &bytes).contains("extra"));
}

/// pycriu 4, go-criu 8: a payload cut short is taken, or filled up with zeros.
#[test]
fn pycriu_4_payload_cut_short_is_an_error() {
    let whole = image(Kind::PipesData, |writer| {
        writer.entry(&pipe(5)).unwrap();
        writer.payload(b"hello").unwrap();
    });
    for missing in 1..=5 {
        let cut = &whole[..whole.len() - missing];
        let error = decode(Kind::PipesData, cut, &json::Format::new()).unwrap_err();
        assert!(matches!(error.defect(), Some(Defect::Truncated { .. })));
        assert_eq!(error.place().record, Some(0));
    }
}

/// pycriu 4: a record that ends before its required fields is taken.
#[test]
fn pycriu_4_record_cut_short_is_an_error() {
    let mut bytes = sample::image(Kind::Pagemap, Header::default());
    let last = bytes.pop().unwrap();
    decode(Kind::Pagemap, &bytes, &json::Format::new()).unwrap_err();
    bytes.push(last);
    // A record of the right length, with a field too few.
    bytes.extend([2, 0, 0, 0, 8, 1]);
    let image = Image::open(sample::name(Kind::Pagemap), &bytes[..]).unwrap();
    let runs: Result<Vec<_>, _> = Pagemap::new(image).unwrap().collect();
    assert!(matches!(
        runs.unwrap_err().defect(),
        Some(Defect::MissingField {
            field: "compat_nr_pages",
            ..
        })
    ));
}

/// pycriu 5: `info` counts payloads as records.
#[test]
fn pycriu_5_entries_are_counted_right() {
    let bytes = image(Kind::PipesData, |writer| {
        for content in [&b"a"[..], b"bcd", b""] {
            writer
                .entry(&pipe(content.len().try_into().unwrap()))
                .unwrap();
            writer.payload(content).unwrap();
        }
    });
    let count = |kind, bytes: &[u8]| json::count(Image::open(sample::name(kind), bytes).unwrap());
    assert_eq!(count(Kind::PipesData, &bytes).unwrap(), 3);
    let queues = sample::image(Kind::IpcnsMsg, Header::default());
    assert_eq!(count(Kind::IpcnsMsg, &queues).unwrap(), 2);
    let pagemap = sample::image(Kind::Pagemap, Header::default());
    assert_eq!(count(Kind::Pagemap, &pagemap).unwrap(), 2);
}

/// pycriu 6: unknown fields are lost, unknown values of an enumeration end it.
#[test]
fn pycriu_6_what_is_unknown_survives_json() {
    // remap_type 77, and field 1000 with "new".
    let record = [8, 1, 16, 2, 24, 77, 0xc2, 0x3e, 3, b'n', b'e', b'w'];
    let bytes = image(Kind::RemapFpath, |writer| writer.record(&record).unwrap());
    let text = plain(Kind::RemapFpath, &bytes);
    assert!(text.contains("\"remap_type\": 77"), "{text}");
    assert!(text.contains("\"$unknown\""), "{text}");
    assert_eq!(encode(&text).unwrap(), bytes);
}

/// pycriu 7: a stopped task is shown as a zombie and the other way round.
#[test]
fn pycriu_7_task_states_have_their_names() {
    for (state, right, crit) in [
        (1, "\"Alive\"", "\"Alive\""),
        (2, "\"Dead\"", "2"),
        (3, "\"Stopped\"", "\"Zombie\""),
        (6, "\"Zombie\"", "\"Stopped\""),
    ] {
        let bytes = image(Kind::Core, |writer| {
            let tc = proto::TaskCoreEntry {
                task_state: state,
                ..proto::TaskCoreEntry::default()
            };
            let core = proto::CoreEntry {
                tc: Some(tc),
                ..proto::CoreEntry::default()
            };
            writer.entry(&core).unwrap();
        });
        for (names, word) in [(json::Names::Right, right), (json::Names::Crit, crit)] {
            let format = json::Format::new().pretty(true).names(names);
            let text = decode(Kind::Core, &bytes, &format).unwrap();
            assert!(text.contains(&format!("\"task_state\": {word},")), "{text}");
            let mut back = Vec::new();
            json::encode_kind(None, names, text.as_bytes(), &mut back).unwrap();
            assert_eq!(back, bytes);
        }
    }
}

/// pycriu 8, go-criu 2: pagemaps of the other release have no pages.
#[test]
fn pycriu_8_pagemaps_of_both_releases_have_pages() {
    let entry = |old, new| proto::PagemapEntry {
        vaddr: 0x1000,
        compat_nr_pages: old,
        in_parent: None,
        flags: None,
        nr_pages: new,
    };
    let bytes = image(Kind::Pagemap, |writer| {
        writer.entry(&proto::PagemapHead { pages_id: 1 }).unwrap();
        writer.entry(&entry(3, None)).unwrap();
        writer.entry(&entry(0, Some(4))).unwrap();
    });
    let image = Image::open(sample::name(Kind::Pagemap), &bytes[..]).unwrap();
    let pages: Vec<_> = Pagemap::new(image)
        .unwrap()
        .map(|run| run.unwrap().pages)
        .collect();
    assert_eq!(pages, [3, 4]);
}

/// pycriu 9: `show --nopl` ends in an error on BPF maps.
#[test]
fn pycriu_9_payloads_can_be_left_out_everywhere() {
    for kind in sample::kinds() {
        let bytes = sample::image(kind, Header::default());
        let format = json::Format::new().payloads(false);
        let text = decode(kind, &bytes, &format).unwrap();
        if kind == Kind::BpfmapData {
            assert!(text.contains("\"extra\": \"... <208B>\""), "{text}");
        }
    }
}

/// pycriu 10: guard areas have no name.
#[test]
fn pycriu_10_guard_areas_have_their_name() {
    let bytes = image(Kind::Vmas, |writer| {
        let vma = proto::VmaEntry {
            status: 1 << 16 | 1,
            ..proto::VmaEntry::default()
        };
        writer.entry(&vma).unwrap();
    });
    let format = json::Format::new().pretty(true);
    let text = decode(Kind::Vmas, &bytes, &format).unwrap();
    assert!(text.contains("VMA_AREA_REGULAR | VMA_AREA_GUARD"), "{text}");
    assert_eq!(encode(&text).unwrap(), bytes);
    let text = decode(Kind::Vmas, &bytes, &format.names(json::Names::Crit)).unwrap();
    assert!(text.contains("VMA_AREA_REGULAR | 0x10000"), "{text}");
}

/// crit of both releases: `UnicodeDecodeError` on a path that is not UTF-8, which Linux
/// allows.
#[test]
fn pycriu_11_paths_need_not_be_utf_8() {
    let name = b"/tmp/latin-\xe9 and \xc3\xa9".to_vec();
    let bytes = image(Kind::RegFiles, |writer| {
        let file = proto::RegFileEntry {
            name: name.clone(),
            ..proto::RegFileEntry::default()
        };
        writer.entry(&file).unwrap();
    });
    let text = plain(Kind::RegFiles, &bytes);
    assert!(text.contains("/tmp/latin-\\udce9 and \\u00e9"), "{text}");
    assert_eq!(encode(&text).unwrap(), bytes);
    let image = Image::open(sample::name(Kind::RegFiles), &bytes[..]).unwrap();
    let file = image.entries::<proto::RegFileEntry>().next().unwrap();
    assert_eq!(file.unwrap().name, name);
}

/// go-criu 4: all chunks have the content of the last.
#[test]
fn go_criu_4_chunks_of_a_ghost_are_their_own() {
    let chunk = |off, len| proto::GhostChunkEntry { len, off };
    let head = proto::GhostFileEntry {
        chunks: Some(true),
        size: Some(8192),
        ..proto::GhostFileEntry::default()
    };
    let bytes = image(Kind::GhostFile, |writer| {
        writer.entry(&head).unwrap();
        writer.entry(&chunk(0, 3)).unwrap();
        writer.payload(b"one").unwrap();
        writer.entry(&chunk(4096, 5)).unwrap();
        writer.payload(b"three").unwrap();
    });
    let mut image = Image::open(sample::name(Kind::GhostFile), &bytes[..]).unwrap();
    let mut found = Vec::new();
    while let Some(mut record) = image.next().unwrap() {
        if let Some(payload) = record.payload() {
            found.push(payload.read(100).unwrap());
        }
    }
    assert_eq!(found, [b"one".to_vec(), b"three".to_vec()]);
    assert_eq!(encode(&plain(Kind::GhostFile, &bytes)).unwrap(), bytes);
}

/// go-criu 5: eight bytes are added to the content.
#[test]
fn go_criu_5_a_flat_ghost_has_its_own_length() {
    let bytes = sample::flat_ghost(b"content");
    let mut image = Image::open(sample::name(Kind::GhostFile), &bytes[..]).unwrap();
    let mut record = image.next().unwrap().unwrap();
    assert_eq!(record.payload().unwrap().read(100).unwrap(), b"content");
    assert_eq!(encode(&plain(Kind::GhostFile, &bytes)).unwrap(), bytes);
}

/// go-criu 6: payloads that need no padding get some.
#[test]
fn go_criu_6_multiples_of_eight_are_not_padded() {
    for nsems in [1, 4, 8] {
        let bytes = image(Kind::IpcnsSem, |writer| {
            for id in [1, 2] {
                let set = proto::IpcSemEntry {
                    desc: desc(id),
                    nsems,
                };
                writer.entry(&set).unwrap();
                let values: Vec<_> = (0..nsems)
                    .flat_map(|_| [id.try_into().unwrap(), 0])
                    .collect();
                writer.payload(&values).unwrap();
            }
        });
        let text = plain(Kind::IpcnsSem, &bytes);
        assert!(text.contains("\"extra\": [2"), "{text}");
        assert_eq!(encode(&text).unwrap(), bytes);
    }
}

/// go-criu 7: a TCP connection gives JSON that is none; pidfds have no kind.
#[test]
fn go_criu_7_tcp_and_pidfd_are_decoded() {
    for kind in [Kind::TcpStream, Kind::Pidfd] {
        let bytes = sample::image(kind, Header::default());
        assert_eq!(encode(&plain(kind, &bytes)).unwrap(), bytes);
    }
}

/// go-criu 8: what is missing of a payload is zeros.
#[test]
fn go_criu_8_what_is_missing_is_not_zeros() {
    let whole = image(Kind::PipesData, |writer| {
        writer.entry(&pipe(5)).unwrap();
        writer.payload(b"hello").unwrap();
    });
    let cut = &whole[..whole.len() - 2];
    let mut image = Image::open(sample::name(Kind::PipesData), cut).unwrap();
    let mut record = image.next().unwrap().unwrap();
    let mut read = [0xff; 5];
    let error = record.payload().unwrap().read_exact(&mut read).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(read, *b"hel\xff\xff");
}

/// crit has no handler for these kinds.
#[test]
fn kinds_without_a_handler_elsewhere_are_decoded() {
    for kind in [
        Kind::Signal,
        Kind::Psignal,
        Kind::BinfmtMisc,
        Kind::BinfmtMiscOld,
    ] {
        let bytes = sample::image(kind, Header::default());
        let mut back = Vec::new();
        let text = plain(kind, &bytes);
        json::encode_kind(Some(kind), json::Names::Right, text.as_bytes(), &mut back).unwrap();
        assert_eq!(back, bytes);
    }
}

/// A file that looks like one CRIU wrote, of a kind it does not have.
#[test]
fn images_of_a_newer_criu_are_told_as_such() {
    let mut bytes = 0x5456_4319_u32.to_le_bytes().to_vec();
    bytes.extend(0x1122_3344_u32.to_le_bytes());
    let error = Image::open_unnamed(&bytes[..]).unwrap_err();
    assert_eq!(error.defect(), Some(&Defect::UnknownMagic(0x1122_3344)));
    assert_eq!(Name::parse("amdgpu-kfd-1.img"), None);
}
