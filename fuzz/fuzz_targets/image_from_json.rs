//! JSON as an image, and back.
//!
//! The input is which kind the caller tells, if any (1 byte), and the text.
#![no_main]

use criu_images::{Image, json};
use criu_rs_fuzz::{bounded, kind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&number, text)) = input.split_first() else {
        return;
    };
    let told = (number > 0).then(|| kind(number - 1));
    let names = json::Names::Right;
    bounded(|| {
        let mut bytes = Vec::new();
        let Ok(kind) = json::encode_kind(told, names, text, &mut bytes) else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        let image = Image::with_kind(kind, "image", &bytes[..]).expect("a header of ours");
        let mut again = Vec::new();
        json::decode(image, &mut again, &json::Format::new()).expect("an image of ours");
        let mut back = Vec::new();
        json::encode_kind(Some(kind), names, &again[..], &mut back).expect("a text of ours");
        assert_eq!(back, bytes, "{}", String::from_utf8_lossy(&again));
    });
});
