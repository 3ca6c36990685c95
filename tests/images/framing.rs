//! Framing against a model: any records, any pieces they are read in.

use std::io::{BufReader, Read};

use criu_images::{Header, Image, ImageWriter, Kind, Name};
use proptest::prelude::*;

/// Gives at most so many bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.len().min(self.1).min(out.len());
        out[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn name() -> Name {
    Name::single(Kind::Pstree).unwrap()
}

proptest! {
    #[test]
    fn records_come_back_in_whatever_pieces(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        piece in 1usize..50,
        buffer in 1usize..50,
    ) {
        let mut writer = ImageWriter::new(Kind::Pstree, Header::default(), Vec::new()).unwrap();
        for record in &records {
            writer.record(record).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let reader = BufReader::with_capacity(buffer, Slow(&bytes, piece));
        let mut image = Image::buffered(name(), reader).unwrap();
        for (index, wanted) in (0..).zip(&records) {
            let record = image.next().unwrap().unwrap();
            prop_assert_eq!(record.bytes(), &wanted[..]);
            prop_assert_eq!(record.index(), index);
        }
        prop_assert!(image.next().unwrap().is_none());
    }

    #[test]
    fn payloads_come_back_in_whatever_pieces(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..10),
        piece in 1usize..50,
    ) {
        let kind = Kind::PipesData;
        let mut writer = ImageWriter::new(kind, Header::default(), Vec::new()).unwrap();
        for payload in &payloads {
            let bytes = u32::try_from(payload.len()).unwrap();
            let entry = criu_images::proto::PipeDataEntry { pipe_id: 1, bytes, size: None };
            writer.entry(&entry).unwrap();
            payload.chunks(piece).for_each(|p| writer.payload(p).unwrap());
        }
        let bytes = writer.finish().unwrap();
        let reader = BufReader::with_capacity(7, Slow(&bytes, piece));
        let mut image = Image::buffered(Name::single(kind).unwrap(), reader).unwrap();
        for wanted in &payloads {
            let mut record = image.next().unwrap().unwrap();
            let mut found = Vec::new();
            if let Some(mut payload) = record.payload() {
                payload.read_to_end(&mut found).unwrap();
            }
            prop_assert_eq!(&found, wanted);
        }
        prop_assert!(image.next().unwrap().is_none());
    }

    /// Nothing that can be in a file makes the reader panic.
    #[test]
    fn any_bytes_are_survived(
        kind in prop::sample::select(Kind::all().collect::<Vec<_>>()),
        body in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let name = if kind == Kind::Stats { Name::parse("stats-dump") } else {
            Name::single(kind).or_else(|| Name::numbered(kind, 1))
        };
        let mut bytes = ImageWriter::new(kind, Header::default(), Vec::new())
            .unwrap()
            .finish()
            .unwrap();
        bytes.extend(body);
        let mut image = Image::open(name.unwrap(), &bytes[..]).unwrap();
        while let Ok(Some(mut record)) = image.next() {
            drop(record.check());
            while let Some(payload) = record.payload() {
                drop(payload.read(1 << 16));
            }
        }
        let image = Image::open(name.unwrap(), &bytes[..]).unwrap();
        drop(criu_images::json::decode(image, Vec::new(), &criu_images::json::Format::new()));
    }
}

/// Found by fuzzing: the first payload came again and again until it was read.
#[test]
fn a_payload_that_is_not_read_is_passed_over() {
    let bytes = crate::sample::image(Kind::TcpStream, Header::default());
    let name = Name::numbered(Kind::TcpStream, 7).unwrap();
    let queues = |read: [bool; 2]| {
        let mut image = Image::open(name, &bytes[..]).unwrap();
        let mut found = Vec::new();
        while let Some(mut record) = image.next().unwrap() {
            for read in read {
                let mut queue = record.payload().unwrap();
                let left = queue.left().unwrap();
                match read {
                    true => found.push((left, queue.read(1000).unwrap())),
                    // One byte is read by the other way, and the rest not.
                    false => queue.read_exact(&mut [0]).unwrap(),
                }
            }
            assert!(record.payload().is_none());
            assert!(record.payload().is_none());
        }
        found
    };
    let both = queues([true, true]);
    assert_eq!(both.len() % 2, 0);
    for (index, (left, queue)) in both.iter().enumerate() {
        assert_eq!(*left, u64::try_from(queue.len()).unwrap());
        assert_ne!(both[index ^ 1].1, *queue);
    }
    let (first, second): (Vec<_>, Vec<_>) =
        both.chunks(2).map(|p| (p[0].clone(), p[1].clone())).unzip();
    assert_eq!(queues([true, false]), first);
    assert_eq!(queues([false, true]), second);
    assert!(queues([false, false]).is_empty());
}
