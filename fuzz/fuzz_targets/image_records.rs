//! An image of any kind: what is read of it, and that it is written as it was.
//!
//! The input is the kind (1 byte), the length of a piece (1 byte), and the file.
#![no_main]

use criu_images::{Error, Image, ImageWriter, Kind, Pagemap, json};
use criu_rs_fuzz::{bounded, kind, pieces};
use libfuzzer_sys::fuzz_target;
use prost_reflect::DynamicMessage;
use prost_reflect::prost::Message as _;

fuzz_target!(|input: &[u8]| {
    let [number, piece, bytes @ ..] = input else {
        return;
    };
    let kind = kind(*number);
    let open = || Image::with_kind(kind, "image", pieces(bytes, *piece));
    bounded(|| {
        match copied(open()) {
            // Only bytes that were not read may be missing.
            Ok(copy) => assert_eq!(copy, bytes),
            Err(error) => placed(&error, bytes.len()),
        }
        match open().and_then(json::count) {
            // Their place is in what is compressed.
            Err(_) if matches!(kind, Kind::TmpfsImg | Kind::TmpfsDev) => {}
            Err(error) => placed(&error, bytes.len()),
            Ok(_) => {}
        }
        if let Ok(runs) = open().and_then(Pagemap::new) {
            assert!(runs.filter(Result::is_err).count() <= 1);
        }
    });
});

fn copied(
    image: criu_images::Result<Image<impl std::io::BufRead>>,
) -> criu_images::Result<Vec<u8>> {
    let mut image = image?;
    let mut writer = ImageWriter::new(image.kind(), image.header(), Vec::new())?;
    if let Some(whole) = image.whole() {
        whole.for_each(|piece| writer.payload(piece))?;
    }
    while let Some(mut record) = image.next()? {
        if let Ok(dynamic) = record.dynamic() {
            let bytes = dynamic.encode_to_vec();
            let again = DynamicMessage::decode(record.schema().descriptor(), &bytes[..])
                .expect("a message of ours");
            assert_eq!(again.encode_to_vec(), bytes);
        }
        writer.copy(&mut record)?;
    }
    writer.finish()
}

/// What is wrong with bytes has a place among them.
fn placed(error: &Error, length: usize) {
    assert!(!error.to_string().is_empty());
    if matches!(error, Error::Malformed { .. }) {
        let place = error.place();
        assert_eq!(place.file.as_deref(), Some("image"));
        assert!(place.offset <= u64::try_from(length).unwrap_or(u64::MAX));
    }
}
