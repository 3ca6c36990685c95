//! `Memory` against a model that looks for each page in each folder.

use std::collections::{BTreeMap, BTreeSet};

use criu_images::{AddrRange, Loss, Memory, Origin, VirtAddr};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::rounds::{LAZY, PAGE, PARENT, PRESENT, Release, Rounds, Run, content};

const PAGES: u64 = 48;

/// What the newest folder says of a page, by looking through all of them.
fn expected(rounds: &[(Release, Vec<Run>)], page: u64) -> Option<(Origin, Option<Vec<u8>>)> {
    for (folder, (number, (_, runs))) in (0u32..).zip(rounds.iter().enumerate().rev()) {
        let mut offset = 0;
        let mut found = None;
        for (first, count, flags) in runs {
            if (*first..first + count).contains(&page) {
                found = Some((flags, offset + (page - first) * PAGE));
            }
            if flags & PRESENT != 0 {
                offset += count * PAGE;
            }
        }
        let Some((flags, offset)) = found else {
            return (folder > 0).then_some((Origin::Lost(Loss::NoParent), None));
        };
        if flags & PARENT != 0 {
            continue;
        }
        if flags & PRESENT != 0 {
            let bytes = content(u64::try_from(number).unwrap(), page);
            let pages_id = 1;
            return Some((
                Origin::Stored {
                    folder,
                    pages_id,
                    offset,
                },
                Some(bytes),
            ));
        }
        return Some((Origin::Lazy { folder }, None));
    }
    Some((Origin::Lost(Loss::NoParent), None))
}

pub(crate) fn write(rounds: &[(Release, Vec<Run>)]) -> Rounds {
    let mut written = Rounds::new();
    for (release, runs) in rounds {
        written.task(*release, runs);
    }
    written
}

fn check(memory: &Memory, rounds: &[(Release, Vec<Run>)]) {
    let mut bytes = BTreeMap::new();
    for page in 0..PAGES + 2 {
        let address = VirtAddr::new(page * PAGE);
        let expected = expected(rounds, page);
        assert_eq!(
            memory.origin_of(address),
            expected.as_ref().map(|e| e.0),
            "page {page}"
        );
        let mut found = vec![0; 4096];
        let result = memory.read(address, &mut found);
        match expected.and_then(|e| e.1) {
            Some(content) => {
                result.unwrap();
                assert_eq!(found, content, "page {page}");
                bytes.insert(page, content);
            }
            None => assert!(result.is_err(), "page {page} is not there"),
        }
    }
    // The pieces are the same, in order, without overlap.
    let mut end = VirtAddr::default();
    let mut pieces = BTreeMap::new();
    for piece in memory.pieces(AddrRange::ALL) {
        assert!(piece.range.start() >= end && !piece.range.is_empty());
        end = piece.range.end();
        for page in piece.range.start().get() / PAGE..end.get() / PAGE {
            pieces.insert(page, ());
        }
    }
    for page in 0..PAGES + 2 {
        assert_eq!(pieces.contains_key(&page), expected(rounds, page).is_some());
    }
    // Across the borders of pages, runs and folders.
    for page in 1..PAGES {
        if let (Some(before), Some(here)) = (bytes.get(&(page - 1)), bytes.get(&page)) {
            let mut found = [0; 100];
            let address = VirtAddr::new(page * PAGE - 33);
            memory.read(address, &mut found).unwrap();
            assert_eq!(found[..33], before[4096 - 33..]);
            assert_eq!(found[33..], here[..67]);
        }
    }
}

fn release() -> impl Strategy<Value = Release> {
    prop_oneof![
        Just(Release::New),
        Just(Release::Old),
        Just(Release::Oldest)
    ]
}

/// A round: each page of it is in no run, or in one with these flags; runs may be split
/// where they need not be.
fn round() -> impl Strategy<Value = (Release, Vec<Run>)> {
    let flags = prop_oneof![
        4 => Just(Some(PRESENT)),
        4 => Just(Some(PARENT)),
        1 => Just(Some(LAZY)),
        1 => Just(Some(PRESENT | LAZY)),
        1 => Just(Some(PRESENT | PARENT)),
        1 => Just(None),
    ];
    let runs = prop::collection::vec((flags, 1u64..12), 1..24);
    (release(), runs).prop_map(|(release, parts)| {
        let mut runs = Vec::new();
        let mut page = 0;
        for (flags, count) in parts {
            let count = count.min(PAGES - page);
            // The oldest releases cannot say more than this.
            let flags = match (release, flags) {
                (Release::Oldest, Some(PRESENT | PARENT)) => flags,
                (Release::Oldest, Some(_)) => Some(PRESENT),
                _ => flags,
            };
            if let Some(flags) = flags.filter(|_| count > 0) {
                runs.push((page, count, flags));
            }
            page += count;
        }
        (release, runs)
    })
}

/// So many of them.
pub(crate) fn rounds(
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<(Release, Vec<Run>)>> {
    prop::collection::vec(round(), count)
}

#[test]
fn chains_are_as_the_model_says() {
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&rounds(1..8), |rounds| {
            let written = write(&rounds);
            let memory = written.chain().task(7).unwrap().unwrap();
            check(&memory, &rounds);
            check(&memory.mapped().unwrap(), &rounds);
            Ok(())
        })
        .unwrap();
}

/// More folders than a process may have files open.
#[test]
fn a_chain_of_a_thousand_rounds() {
    let config = Config {
        cases: 2,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(
            &(prop::collection::vec(release(), 1000), any::<u64>()),
            |(releases, seed)| {
                // Each round has one page of its own, and the others in its parent. The first
                // pages are left alone early, so content comes from all along the chain.
                let rounds: Vec<_> = (0u64..)
                    .zip(releases)
                    .map(|(number, release)| {
                        let left = number * PAGES / 1000;
                        let own = left + (number.wrapping_mul(seed | 1) >> 7) % (PAGES - left);
                        (release, one_of_all(own, number == 0))
                    })
                    .collect();
                let written = write(&rounds);
                let chain = written.chain();
                assert_eq!(chain.folders().len(), 1000);
                let memory = chain.task(7).unwrap().unwrap();
                check(&memory, &rounds);
                let pieces = memory.pieces(AddrRange::ALL);
                let folders: BTreeSet<_> = pieces
                    .filter_map(|piece| match piece.origin {
                        Origin::Stored { folder, .. } => Some(folder),
                        _ => None,
                    })
                    .collect();
                // They count from the newest.
                assert!(folders.first() < Some(&10) && folders.last() > Some(&950));
                assert!(folders.len() > 30, "{folders:?}");
                Ok(())
            },
        )
        .unwrap();
}

fn one_of_all(own: u64, first: bool) -> Vec<Run> {
    if first {
        return vec![(0, PAGES, PRESENT)];
    }
    [
        (0, own, PARENT),
        (own, 1, PRESENT),
        (own + 1, PAGES - own - 1, PARENT),
    ]
    .into_iter()
    .filter(|run| run.1 > 0)
    .collect()
}

/// Every page from another folder, more of them than are kept open.
#[test]
fn pages_of_more_folders_than_are_kept_open() {
    const FOLDERS: u64 = 300;
    let mut written = Rounds::new();
    for own in 0..FOLDERS {
        let runs = [
            (0, own, PARENT),
            (own, 1, PRESENT),
            (own + 1, FOLDERS - own - 1, PARENT),
        ];
        let runs: Vec<Run> = runs.into_iter().filter(|run| run.1 > 0).collect();
        written.task(Release::New, &runs);
    }
    // Pages above a folder's own were in folders before it that do not have them.
    let memory = written.chain().task(7).unwrap().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for page in 0..FOLDERS {
                    let mut found = vec![0; 4096];
                    memory.read(VirtAddr::new(page * PAGE), &mut found).unwrap();
                    assert_eq!(found, content(page, page));
                }
            });
        }
    });
}
