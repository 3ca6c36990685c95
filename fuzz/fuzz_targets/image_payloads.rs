//! Images of the kinds that have payloads: each way to read one gives the same bytes.
//!
//! The input is the kind (1 byte), the length of a piece (1 byte), and the file.
#![no_main]

use std::io::{BufRead, Read};

use criu_images::{Error, Image, Kind, Payload, Place, Result};
use criu_rs_fuzz::{bounded, kind, pieces};
use libfuzzer_sys::fuzz_target;

const KINDS: [Kind; 10] = [
    Kind::PipesData,
    Kind::FifoData,
    Kind::SkQueues,
    Kind::TcpStream,
    Kind::GhostFile,
    Kind::IpcnsSem,
    Kind::IpcnsMsg,
    Kind::IpcnsShm,
    Kind::BpfmapData,
    Kind::PagesOld,
];

fuzz_target!(|input: &[u8]| {
    let [number, piece, bytes @ ..] = input else {
        return;
    };
    let kind = kind(*number);
    if !KINDS.contains(&kind) {
        return;
    }
    bounded(|| {
        let streamed = payloads(kind, *piece, bytes, |payload| {
            let mut all = Vec::new();
            payload.for_each(|piece| {
                all.extend_from_slice(piece);
                Ok(())
            })?;
            Ok(all)
        });
        let whole = payloads(kind, 0, bytes, |payload| payload.read(1 << 20));
        let by_bytes = payloads(kind, *piece, bytes, |mut payload| {
            let mut all = Vec::new();
            // Not a multiple of anything that a payload is padded to.
            let mut some = [0; 13];
            loop {
                match Read::read(&mut payload, &mut some) {
                    Ok(0) => return Ok(all),
                    Ok(count) => all.extend_from_slice(&some[..count]),
                    Err(source) => {
                        let place = Place::default();
                        return Err(Error::Io { place, source });
                    }
                }
            }
        });
        let skipped = payloads(kind, *piece, bytes, |_| Ok(Vec::new()));
        assert_eq!(streamed, whole);
        assert_eq!(streamed, by_bytes);
        assert_eq!(streamed.1, skipped.1);
    });
});

/// The payloads until the first error, and whether there was one.
fn payloads(
    kind: Kind,
    piece: u8,
    bytes: &[u8],
    mut take: impl FnMut(Payload<'_, std::io::BufReader<&[u8]>>) -> Result<Vec<u8>>,
) -> (Vec<Vec<u8>>, bool) {
    let mut found = Vec::new();
    let read = Image::with_kind(kind, "image", pieces(bytes, piece))
        .and_then(|image| each(image, &mut found, &mut take));
    (found, read.is_err())
}

fn each<R: BufRead>(
    mut image: Image<R>,
    found: &mut Vec<Vec<u8>>,
    take: &mut impl FnMut(Payload<'_, R>) -> Result<Vec<u8>>,
) -> Result<()> {
    if let Some(whole) = image.whole() {
        found.push(take(whole)?);
    }
    while let Some(mut record) = image.next()? {
        while let Some(payload) = record.payload() {
            found.push(take(payload)?);
            if found.len() > 1000 {
                return Ok(());
            }
        }
    }
    Ok(())
}
