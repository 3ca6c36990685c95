//! An image as JSON, and back.
//!
//! The input is the kind (1 byte), how it is written (1 byte, a bit an option), and the
//! file.
#![no_main]

use criu_images::{Image, Kind, json};
use criu_rs_fuzz::{bounded, kind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [number, options, bytes @ ..] = input else {
        return;
    };
    let kind = kind(*number);
    let names = match options & 1 {
        0 => json::Names::Right,
        _ => json::Names::Crit,
    };
    let format = json::Format::new()
        .names(names)
        .pretty(options & 2 != 0)
        .lines(options & 4 != 0);
    bounded(|| {
        let _ = text(kind, bytes, &format.payloads(false));
        let Ok(text) = text(kind, bytes, &format) else {
            return;
        };
        let mut image = Vec::new();
        match json::encode_kind(Some(kind), names, &text[..], &mut image) {
            // A message may be written in more than one way; what it says stays, but for
            // the order of fields that the schema does not have.
            Ok(_) if image != bytes => {
                let again = self::text(kind, &image, &format).expect("what was made of JSON");
                assert_eq!(known(&again), known(&text));
                let mut back = Vec::new();
                json::encode_kind(Some(kind), names, &again[..], &mut back)
                    .expect("what was made of JSON");
                assert_eq!(back, image);
            }
            Ok(_) => {}
            Err(error) => assert!(
                lacks(kind, bytes) || matches!(kind, Kind::TmpfsImg | Kind::TmpfsDev),
                "{error}: {}",
                shown(&text)
            ),
        }
    });
});

fn text(kind: Kind, bytes: &[u8], format: &json::Format) -> criu_images::Result<Vec<u8>> {
    let mut text = Vec::new();
    json::decode(Image::with_kind(kind, "image", bytes)?, &mut text, format)?;
    Ok(text)
}

fn shown(text: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(text)
}

/// The text without what is under `$unknown`.
fn known(text: &[u8]) -> String {
    let text = shown(text);
    let mut parts = text.split("\"$unknown\": \"");
    let mut known = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        known += part.split_once('"').map_or("", |(_, rest)| rest);
    }
    known
}

/// A list of files makes no archive; a record without what is required is shown as far as it
/// goes, but not made.
fn lacks(kind: Kind, bytes: &[u8]) -> bool {
    let Ok(mut image) = Image::with_kind(kind, "image", bytes) else {
        return true;
    };
    while let Ok(Some(record)) = image.next() {
        if record.check().is_err() {
            return true;
        }
    }
    false
}
