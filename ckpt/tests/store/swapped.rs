//! Pages that changed places: the images fit each other as before, and only the manifest
//! tells.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use ckpt::{Change, Checkpoint};

use crate::made::{Made, fill, manifest, name};

const PRESENT: u32 = crate::made::PRESENT;

/// Of 16 pages, of which each holds its own byte.
fn add(made: &Made, text: &str, first: u8) -> Checkpoint {
    let pages: Vec<_> = (0u8..16)
        .map(|page| (0x1000 + u64::from(page) * 0x1000, PRESENT, first + page))
        .collect();
    let staging = made.store.stage(&name(text)).unwrap();
    fill(&staging, &pages);
    staging.commit(manifest(text)).unwrap()
}

fn pages(checkpoint: &Checkpoint) -> PathBuf {
    checkpoint.images().join("pages-1.img")
}

/// Exchanges a page of one file for a page of another, or of the same.
fn swap(one: &PathBuf, at: u64, other: &PathBuf, there: u64) {
    let open = |path| fs::File::options().read(true).write(true).open(path);
    let (one, other) = (open(one).unwrap(), open(other).unwrap());
    let (mut a, mut b) = ([0; 4096], [0; 4096]);
    one.read_exact_at(&mut a, at * 4096).unwrap();
    other.read_exact_at(&mut b, there * 4096).unwrap();
    one.write_all_at(&b, at * 4096).unwrap();
    other.write_all_at(&a, there * 4096).unwrap();
}

#[track_caller]
fn assert_changed(checkpoint: &Checkpoint, is_changed: bool) {
    // A set without a word about its content is as whole as it was.
    assert_eq!(criu_images::verify(checkpoint.images()).unwrap(), []);
    let found = checkpoint.verify().unwrap();
    assert_eq!(found.is_good(), !is_changed);
    let changed: Vec<_> = found
        .changed
        .into_iter()
        .map(|it| (it.path, it.change))
        .collect();
    let expected = (pages(checkpoint), Change::Content);
    assert_eq!(changed, if is_changed { vec![expected] } else { vec![] });
}

#[test]
fn pages_that_changed_places_are_found() {
    let made = Made::new();
    let (web, db) = (add(&made, "web", 1), add(&made, "db", 101));
    let mut seed = 7u64;
    for _ in 0..30 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (at, there) = (seed >> 60, seed >> 56 & 15);
        swap(&pages(&web), at, &pages(&db), there);
        assert_changed(&web, true);
        assert_changed(&db, true);
        swap(&pages(&web), at, &pages(&db), there);
        if at != there {
            swap(&pages(&web), at, &pages(&web), there);
            assert_changed(&web, true);
            swap(&pages(&web), at, &pages(&web), there);
        }
        assert_changed(&web, false);
        assert_changed(&db, false);
    }
}
