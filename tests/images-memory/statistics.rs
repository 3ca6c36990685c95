//! Counts of pages, against a count of page by page.

use std::collections::BTreeSet;
use std::fs;

use criu_images::{Holder, Kind, Name, statistics};

use crate::rounds::{LAZY, PARENT, PRESENT, Release, Rounds, memory};

#[test]
fn zeros_and_copies_are_counted() {
    let mut rounds = Rounds::new();
    let older = rounds.task(Release::New, &[(1, 300, PRESENT)]);
    let folder = rounds.task(
        Release::New,
        &[
            (1, 200, PARENT),
            (201, 500, PRESENT),
            (900, 2, LAZY),
            (950, 1, PARENT),
        ],
    );
    let name = Name::numbered(Kind::ShmemPagemap, 5).unwrap();
    memory(&folder, name, 2, 1, Release::New, &[(0, 30, PRESENT)]);
    // The same content every 40 pages, and every 10th page zeros.
    let mut contents = Vec::new();
    for (file, pages) in [
        (older.join("pages-1.img"), 200),
        (folder.join("pages-1.img"), 500),
        (folder.join("pages-2.img"), 30),
    ] {
        let mut bytes = fs::read(&file).unwrap();
        for (number, page) in bytes.chunks_mut(4096).enumerate() {
            if number % 10 == 0 {
                page.fill(0);
            } else if number % 40 < 20 {
                page.fill(u8::try_from(1 + number % 40).unwrap());
            }
        }
        contents.extend(bytes.chunks(4096).take(pages).map(<[u8]>::to_vec));
        fs::write(file, bytes).unwrap();
    }
    let told = statistics(&rounds.chain()).unwrap();
    assert_eq!(told.page_size, 4096);
    let [(task, own), (shared, rest)] = told.holders[..] else {
        panic!("{told:?}");
    };
    assert_eq!((task, shared), (Holder::Task(7), Holder::Shared(5)));
    assert_eq!((own.stored, own.in_parent, own.absent), (700, 200, 3));
    assert_eq!((rest.stored, rest.in_parent, rest.absent), (30, 0, 0));
    let is_zero = |page: &&Vec<u8>| page.iter().all(|byte| *byte == 0);
    let zero = contents.iter().filter(is_zero).count();
    let different: BTreeSet<_> = contents.iter().filter(|page| !is_zero(page)).collect();
    assert_eq!(told.total.zero, u64::try_from(zero).unwrap());
    let duplicate = contents.len() - zero - different.len();
    assert_eq!(told.total.duplicate, u64::try_from(duplicate).unwrap());
    assert!(zero > 50 && duplicate > 50, "{told:?}");
}
