//! Reading by threads, and out of mapped images: as `read`, whatever comes.

use std::fs;
use std::num::NonZeroUsize;

use criu_images::{Chain, Error, Memory, VirtAddr};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::rounds::{LAZY, PAGE, PARENT, PRESENT, Release, Rounds, content};

/// Enough for a thread each MiB.
const PAGES: u64 = 1400;

/// In two folders, every seventh run of 10 pages in the newer one.
fn written() -> Rounds {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(1, PAGES, PRESENT)]);
    let run = |index: u64| {
        let flags = if index.is_multiple_of(7) {
            PRESENT
        } else {
            PARENT
        };
        (1 + index * 10, 10, flags)
    };
    let runs: Vec<_> = (0..PAGES / 10).map(run).collect();
    rounds.task(Release::New, &runs);
    rounds
}

fn expected() -> Vec<u8> {
    let page = |page: u64| content(u64::from(((page - 1) / 10).is_multiple_of(7)), page);
    (1..=PAGES).flat_map(page).collect()
}

fn open(rounds: &Rounds) -> Memory {
    rounds.chain().task(7).unwrap().unwrap()
}

#[test]
fn bytes_are_those_of_one_thread() {
    let rounds = written();
    let (memory, expected) = (open(&rounds), expected());
    let mapped = open(&rounds).mapped().unwrap();
    let config = Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    };
    let strategy = (0..expected.len(), 0..expected.len(), 1usize..9);
    TestRunner::new(config)
        .run(&strategy, |(start, length, threads)| {
            let end = (start + length).min(expected.len());
            let address = VirtAddr::new(PAGE + u64::try_from(start).unwrap());
            let threads = NonZeroUsize::new(threads).unwrap();
            for memory in [&memory, &mapped] {
                let mut out = vec![0; end - start];
                memory.read_parallel(address, &mut out, threads).unwrap();
                prop_assert!(out == expected[start..end]);
                out.fill(0);
                memory.read(address, &mut out).unwrap();
                prop_assert!(out == expected[start..end]);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_error_is_that_of_the_first_byte() {
    let mut rounds = Rounds::new();
    // What cannot be read is on page 600, and from 1000 on.
    rounds.task(
        Release::New,
        &[(1, 599, PRESENT), (600, 1, LAZY), (601, 399, PRESENT)],
    );
    let memory = open(&rounds);
    for threads in 1..6 {
        let threads = NonZeroUsize::new(threads).unwrap();
        let mut out = vec![0; usize::try_from(PAGES * PAGE).unwrap()];
        match memory.read_parallel(VirtAddr::new(PAGE), &mut out, threads) {
            Err(Error::Unreadable { address, .. }) => assert_eq!(address.get(), 600 * PAGE),
            other => panic!("{other:?}"),
        }
        for (index, page) in (1..600).zip(out.chunks(4096)) {
            assert!(page == content(0, index), "page {index}");
        }
        // Past all addresses there is nothing, either.
        let last = VirtAddr::new(u64::MAX - 100);
        memory.read_parallel(last, &mut out, threads).unwrap_err();
        memory.read_parallel(last, &mut [], threads).unwrap();
    }
}

/// Before it is mapped, an image that was cut is an error and no signal.
#[test]
fn what_was_cut_is_not_mapped() {
    let rounds = written();
    let memory = open(&rounds);
    let pages = rounds.folder(0).join("pages-1.img");
    let file = fs::File::options().write(true).open(&pages).unwrap();
    file.set_len(100 * PAGE).unwrap();
    let memory = memory.mapped().unwrap();
    let mut out = [0; 4096];
    memory.read(VirtAddr::new(11 * PAGE), &mut out).unwrap();
    assert_eq!(out[..], content(0, 11));
    let error = memory.read(VirtAddr::new(119 * PAGE), &mut out);
    assert!(matches!(error, Err(Error::Io { .. })), "{error:?}");
    // It does not fit its pagemap any more, either.
    Chain::open(rounds.newest()).unwrap().task(7).unwrap_err();
}
