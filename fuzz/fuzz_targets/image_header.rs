//! The name and the first bytes of a file.
//!
//! The input is how long the name is (1 byte), the name, and the file.
#![no_main]

use criu_images::{Identity, Image, Kind, Name, identify};
use criu_rs_fuzz::bounded;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&length, rest)) = input.split_first() else {
        return;
    };
    let (name, head) = rest.split_at(rest.len().min(length.into()));
    let name = str::from_utf8(name).ok().and_then(Name::parse);
    if let Some(name) = name {
        assert_eq!(Name::parse(&name.to_string()), Some(name));
    }
    bounded(|| {
        told(name.map(Name::kind), head);
        told(None, head);
        let opened = match name {
            Some(name) => Image::buffered(name, head),
            None => Image::with_kind(Kind::Core, "core", head),
        };
        if let Err(error) = opened {
            assert!(!error.to_string().is_empty());
        }
    });
});

fn told(named: Option<Kind>, head: &[u8]) {
    match identify(named, head) {
        Ok(Identity::Image { kind, length, .. }) => {
            assert!(named.is_none_or(|named| named == kind));
            assert!(length <= head.len());
        }
        Ok(Identity::Raw(kind)) => assert!(kind.is_raw()),
        Ok(_) | Err(_) => {}
    }
}
