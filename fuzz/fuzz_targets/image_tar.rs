//! A tar archive, plain or compressed: the same files in one pass as one by one.
//!
//! The input is the archive.
#![no_main]

use std::io::{BufRead, Cursor, Read as _};
use std::sync::Arc;

use criu_images::Result;
use criu_images::source::{Archive, Source as _};
use criu_rs_fuzz::bounded;
use libfuzzer_sys::fuzz_target;

/// Much can be made of few bytes; each pass reads so much of a file.
const ENOUGH: u64 = 64 << 10;

fuzz_target!(|input: &[u8]| {
    let bytes: Arc<[u8]> = input.into();
    let archive = Archive::new("archive", move || {
        Ok(Box::new(Cursor::new(Arc::clone(&bytes))))
    });
    bounded(|| {
        let mut visited: Vec<(String, Option<Vec<u8>>)> = Vec::new();
        let whole = archive.visit(&mut |name, file| {
            let content = content(file);
            if visited.len() < 100 {
                visited.push((name.to_owned(), content));
            }
            Ok(())
        });
        let names: Result<Vec<_>> = archive.names();
        assert_eq!(names.is_ok(), whole.is_ok());
        if let Ok(names) = names {
            assert!(names.iter().zip(&visited).all(|(a, (b, _))| a == b));
        }
        for (name, _) in visited.iter().take(3) {
            let first = visited.iter().find(|(other, _)| other == name);
            let opened = archive.open(name).expect("it was visited");
            let mut file = opened.expect("it was visited");
            assert_eq!(
                first.map(|(_, first)| first),
                Some(&self::content(&mut file))
            );
        }
    });
});

/// The first bytes of a file, if they can be read.
fn content(file: &mut dyn BufRead) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    file.take(ENOUGH).read_to_end(&mut content).ok()?;
    Some(content)
}
