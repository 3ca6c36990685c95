//! Bytes cut short, lengths at their extremes, magics with a bit flipped: an error that
//! says where, or the tolerance that is documented; never a panic, and no memory taken on
//! the word of a length.

use criu_images::{Defect, Error, Header, Image, Kind, Name, Result, json};

use crate::memory::Peak;
use crate::sample;

/// Reads all there is to read.
fn read(name: Name, bytes: &[u8]) -> Result<u64> {
    let mut image = Image::open(name, bytes)?;
    let mut records = 0;
    while let Some(mut record) = image.next()? {
        record.check()?;
        while let Some(payload) = record.payload() {
            payload.for_each(|_| Ok(()))?;
        }
        records += 1;
    }
    Ok(records)
}

fn to_json(name: Name, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    json::decode(
        Image::open(name, bytes)?,
        &mut text,
        &json::Format::new().pretty(true),
    )?;
    Ok(text)
}

/// The ends of the records, where a shorter file is a whole one: the format has neither
/// a count nor an end mark.
fn borders(kind: Kind, bytes: &[u8]) -> Vec<usize> {
    let mut image = Image::open(sample::name(kind), bytes).unwrap();
    let mut borders = Vec::new();
    while let Some(record) = image.next().unwrap() {
        if !record.is_nested() {
            borders.push(usize::try_from(record.offset()).unwrap());
        }
    }
    borders
}

#[test]
fn every_kind_cut_at_every_byte() {
    for kind in sample::kinds() {
        let bytes = sample::image(kind, Header::default());
        let borders = borders(kind, &bytes);
        let name = sample::name(kind);
        for cut in 0..bytes.len() {
            let whole = borders.contains(&cut);
            for result in [
                read(name, &bytes[..cut]).map(drop),
                to_json(name, &bytes[..cut]).map(drop),
            ] {
                match result {
                    Ok(()) => assert!(whole, "{kind} cut at {cut} is not noticed"),
                    Err(Error::Malformed { place, defect }) => {
                        assert!(!whole, "{kind} cut at {cut}: {defect}");
                        assert!(matches!(defect, Defect::Truncated { .. }), "{defect}");
                        assert_eq!(place.file.as_deref(), Some(&*name.to_string()));
                        assert!(place.offset <= u64::try_from(cut).unwrap());
                    }
                    Err(other) => panic!("{kind} cut at {cut}: {other}"),
                }
            }
        }
    }
}

/// The length before each record, at its extremes.
#[test]
fn every_record_length_at_its_extremes() {
    for kind in sample::kinds() {
        let bytes = sample::image(kind, Header::default());
        for at in borders(kind, &bytes) {
            for length in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX - 3, u32::MAX] {
                let mut bad = bytes.clone();
                bad[at..at + 4].copy_from_slice(&length.to_le_bytes());
                let peak = Peak::start();
                let result = read(sample::name(kind), &bad);
                drop(to_json(sample::name(kind), &bad));
                assert!(peak.taken() < 16 << 20, "{kind}: {} bytes", peak.taken());
                if length > 1 {
                    assert!(result.is_err(), "{kind}: length {length:#x} at {at}");
                }
            }
        }
    }
}

/// Every byte of a small image at its extremes: lengths of payloads, counts, tags.
#[test]
fn every_byte_at_its_extremes() {
    for kind in sample::kinds() {
        let bytes = sample::image(kind, Header::default());
        let peak = Peak::start();
        for at in 0..bytes.len().min(600) {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[at] = value;
                drop(read(sample::name(kind), &bad));
                drop(to_json(sample::name(kind), &bad));
            }
        }
        assert!(peak.taken() < 16 << 20, "{kind}: {} bytes", peak.taken());
    }
}

/// Payload lengths that no memory holds.
#[test]
fn payload_lengths_take_no_memory() {
    let mut shm = vec![0x19, 0x43, 0x56, 0x54, 0x44, 0x30, 0x28, 0x46];
    // desc with its seven fields, then a size of 2^64-1.
    let mut record = vec![10, 14, 8, 1, 16, 1, 24, 1, 32, 1, 40, 1, 48, 1, 56, 1, 16];
    record.extend([0xff; 9]);
    record.push(1);
    shm.extend(u32::try_from(record.len()).unwrap().to_le_bytes());
    shm.extend(record);
    let peak = Peak::start();
    let error = read(sample::name(Kind::IpcnsShm), &shm).unwrap_err();
    assert!(matches!(
        error.defect(),
        Some(Defect::Truncated {
            wanted: u64::MAX,
            ..
        })
    ));
    assert!(peak.taken() < 1 << 20);
}

#[test]
fn messages_nested_without_end() {
    // A folder of cgroups in a folder of cgroups, and so on, is a message of a few
    // thousand bytes that would be a stack of any size.
    let mut record = Vec::new();
    for _ in 0..2000 {
        let mut outer = vec![10, 1, b'd', 18];
        varint(&mut outer, record.len());
        outer.extend(record);
        record = outer;
    }
    let mut controller = vec![18];
    varint(&mut controller, record.len());
    controller.extend(record);
    let mut entry = vec![18];
    varint(&mut entry, controller.len());
    entry.extend(controller);
    let mut bytes = vec![0x19, 0x43, 0x56, 0x54, 0x30, 0x33, 0x38, 0x59];
    bytes.extend(u32::try_from(entry.len()).unwrap().to_le_bytes());
    bytes.extend(entry);
    for error in [
        read(sample::name(Kind::Cgroup), &bytes).unwrap_err(),
        to_json(sample::name(Kind::Cgroup), &bytes).unwrap_err(),
    ] {
        assert!(
            matches!(error.defect(), Some(Defect::TooDeep { .. })),
            "{error}"
        );
    }
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
}

#[test]
fn reading_ends_after_an_error() {
    let bytes = sample::image(Kind::Pstree, Header::default());
    let mut image = Image::open(sample::name(Kind::Pstree), &bytes[..bytes.len() - 1]).unwrap();
    assert!(image.next().unwrap().is_some());
    image.next().unwrap_err();
    assert!(image.next().unwrap().is_none());
}
