//! What was read is written as it was.

use criu_images::{ByteOrder, Entry, Header, Image, ImageWriter, Kind, Run, Version, json, proto};

use crate::sample;

fn copy(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    let mut image = Image::open(sample::name(kind), bytes).unwrap();
    let mut writer = ImageWriter::new(image.kind(), image.header(), Vec::new()).unwrap();
    while let Some(mut record) = image.next().unwrap() {
        writer.copy(&mut record).unwrap();
    }
    writer.finish().unwrap()
}

fn headers() -> [Header; 4] {
    let header = |version, order| Header { version, order };
    [
        header(Version::V1, ByteOrder::Little),
        header(Version::V1, ByteOrder::Big),
        header(Version::V1_1, ByteOrder::Little),
        header(Version::V1_1, ByteOrder::Big),
    ]
}

#[test]
fn every_kind_is_copied_byte_for_byte() {
    for kind in sample::kinds() {
        for header in headers() {
            let bytes = sample::image(kind, header);
            assert_eq!(copy(kind, &bytes), bytes, "{kind} {header:?}");
        }
    }
}

#[test]
fn a_flat_ghost_is_copied_byte_for_byte() {
    for content in [&b""[..], b"x", &[9; 100_000]] {
        let bytes = sample::flat_ghost(content);
        assert_eq!(copy(Kind::GhostFile, &bytes), bytes);
    }
}

#[test]
fn padding_that_is_not_zero_is_copied() {
    let mut bytes = sample::image(Kind::IpcnsSem, Header::default());
    // One value, then six bytes of padding.
    let at = bytes
        .windows(8)
        .position(|w| w == [1, 2, 0, 0, 0, 0, 0, 0])
        .unwrap();
    bytes[at + 7] = 0xee;
    assert_eq!(copy(Kind::IpcnsSem, &bytes), bytes);
}

fn typed<T: Entry>(kind: Kind) {
    let bytes = sample::image(kind, Header::default());
    let image = Image::open(sample::name(kind), &bytes[..]).unwrap();
    let mut writer = ImageWriter::new(kind, Header::default(), Vec::new()).unwrap();
    for entry in image.entries::<T>() {
        writer.entry(&entry.unwrap()).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), bytes, "{kind}");
}

/// Typed, then written again: the fields are all set, so nothing can be lost.
#[test]
fn values_of_the_raw_layer_are_whole() {
    typed::<proto::InventoryEntry>(Kind::Inventory);
    typed::<proto::PstreeEntry>(Kind::Pstree);
    typed::<proto::CoreEntry>(Kind::Core);
    typed::<proto::MmEntry>(Kind::Mm);
    typed::<proto::FileEntry>(Kind::Files);
    typed::<proto::FdinfoEntry>(Kind::Fdinfo);
    typed::<proto::FsEntry>(Kind::Fs);
    typed::<proto::TaskKobjIdsEntry>(Kind::Ids);
    typed::<proto::CredsEntry>(Kind::Creds);
    typed::<proto::StatsEntry>(Kind::Stats);
    typed::<proto::CgroupEntry>(Kind::Cgroup);
    typed::<proto::MntEntry>(Kind::Mnts);
    typed::<proto::RemapFilePathEntry>(Kind::RemapFpath);
    typed::<proto::MemfdInodeEntry>(Kind::MemfdInode);
    typed::<proto::TtyInfoEntry>(Kind::TtyInfo);
    typed::<proto::UtsnsEntry>(Kind::Utsns);
    typed::<proto::NetnsEntry>(Kind::Netns);
    typed::<proto::NetDeviceEntry>(Kind::Netdev);
    typed::<proto::SeccompEntry>(Kind::Seccomp);
    typed::<proto::UsernsEntry>(Kind::Userns);
}

/// One field changes; one that no schema has stays.
#[test]
fn an_edit_keeps_what_it_does_not_know() {
    let mut record = vec![8, 1, 16, 2, 24, 3, 32, 4];
    record.extend([0xfa, 0x3f, 3, b'n', b'e', b'w']);
    let kind = Kind::Pstree;
    let mut writer = ImageWriter::new(kind, Header::default(), Vec::new()).unwrap();
    writer.record(&record).unwrap();
    let bytes = writer.finish().unwrap();

    let mut image = Image::open(sample::name(kind), &bytes[..]).unwrap();
    let mut edited = ImageWriter::new(kind, image.header(), Vec::new()).unwrap();
    let entry = image.next().unwrap().unwrap();
    let mut message = entry.dynamic().unwrap();
    message.set_field_by_name("ppid", prost_reflect::Value::U32(99));
    edited
        .record(&prost_reflect::prost::Message::encode_to_vec(&message))
        .unwrap();

    let mut wanted = bytes.clone();
    let at = bytes.len() - record.len() + 3;
    wanted[at] = 99;
    assert_eq!(edited.finish().unwrap(), wanted);
}

#[test]
fn runs_are_written_as_4_2_writes_them() {
    let run = Run {
        vaddr: 0x7000,
        pages: 3,
        flags: Run::PRESENT | Run::LAZY,
    };
    let kind = Kind::Pagemap;
    let mut writer = ImageWriter::new(kind, Header::default(), Vec::new()).unwrap();
    writer.entry(&proto::PagemapHead { pages_id: 5 }).unwrap();
    writer.entry(&proto::PagemapEntry::from(run)).unwrap();
    let bytes = writer.finish().unwrap();
    let image = Image::open(sample::name(kind), &bytes[..]).unwrap();
    let pagemap = criu_images::Pagemap::new(image).unwrap();
    assert_eq!(pagemap.pages_id(), 5);
    assert_eq!(pagemap.collect::<Result<Vec<_>, _>>().unwrap(), [run]);
}

/// Both JSON forms and the line form, of every kind and header.
#[test]
fn every_kind_survives_json() {
    for kind in sample::kinds() {
        for header in headers() {
            let bytes = sample::image(kind, header);
            for (pretty, lines) in [(false, false), (true, false), (false, true), (true, true)] {
                let format = json::Format::new().pretty(pretty).lines(lines);
                let image = Image::open(sample::name(kind), &bytes[..]).unwrap();
                let mut text = Vec::new();
                json::decode(image, &mut text, &format).unwrap();
                let mut back = Vec::new();
                json::encode_kind(Some(kind), json::Names::Right, &text[..], &mut back)
                    .unwrap_or_else(|e| panic!("{kind}: {e}"));
                assert_eq!(back, bytes, "{kind} {header:?} {pretty} {lines}");
            }
        }
    }
}
