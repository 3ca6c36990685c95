//! What changed from one dump to another, against a comparison of page by page.

use std::collections::BTreeMap;

use criu_images::{AddrRange, Change, Memory, Origin, VirtAddr, diff};
use proptest::test_runner::{Config, TestRunner};

use crate::model::rounds;
use crate::rounds::{PAGE, PARENT, PRESENT, Release, Rounds};

const PAGES: u64 = 60;

fn found(before: &Memory, after: &Memory) -> BTreeMap<u64, Change> {
    let mut changes = BTreeMap::new();
    let mut end = VirtAddr::default();
    diff(before, after, |difference| {
        let range: AddrRange = difference.range;
        assert!(range.start() >= end && !range.is_empty());
        end = range.end();
        for page in range.start().get() / PAGE..end.get() / PAGE {
            changes.insert(page, difference.change);
        }
        Ok(())
    })
    .unwrap();
    changes
}

fn page(memory: &Memory, page: u64) -> Option<Result<Vec<u8>, Origin>> {
    let address = VirtAddr::new(page * PAGE);
    let origin = memory.origin_of(address)?;
    let mut bytes = vec![0; 4096];
    Some(match memory.read(address, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(origin),
    })
}

#[test]
fn differences_are_those_of_each_page() {
    let config = Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&rounds(2..5), |rounds| {
            let written = crate::model::write(&rounds);
            let open = |folder| {
                let chain = criu_images::Chain::open(folder).unwrap();
                chain.task(7).unwrap().unwrap()
            };
            let last = u64::try_from(rounds.len()).unwrap() - 1;
            for older in [last - 1, 0] {
                let before = open(written.folder(older));
                let after = open(written.folder(last));
                let found = found(&before, &after);
                for number in 0..PAGES {
                    let expected = match (page(&before, number), page(&after, number)) {
                        (None, None) => None,
                        (Some(_), None) => Some(Change::Gone),
                        (None, Some(_)) => Some(Change::Added),
                        (Some(Ok(one)), Some(Ok(other))) if one == other => Some(Change::Same),
                        (Some(Ok(_)), Some(Ok(_))) => Some(Change::Changed),
                        _ => Some(Change::Unknown),
                    };
                    assert_eq!(found.get(&number).copied(), expected, "page {number}");
                }
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn zeros_and_rewritten_pages_are_told_apart() {
    let mut rounds = Rounds::new();
    let folder = rounds.task(Release::New, &[(0, 4, PRESENT)]);
    let mut bytes = vec![5; 4 * 4096];
    bytes[4096..2 * 4096].fill(0);
    std::fs::write(folder.join("pages-1.img"), &bytes).unwrap();
    let folder = rounds.task(Release::New, &[(0, 2, PARENT), (2, 2, PRESENT)]);
    let mut bytes = vec![5; 2 * 4096];
    bytes[4096 + 77] = 6;
    std::fs::write(folder.join("pages-1.img"), &bytes).unwrap();
    let after = rounds.chain().task(7).unwrap().unwrap();
    let chain = criu_images::Chain::open(rounds.folder(0)).unwrap();
    let before = chain.task(7).unwrap().unwrap();
    let found: Vec<_> = found(&before, &after).into_values().collect();
    // One was left to the parent, one written with what it had, one with another byte.
    assert_eq!(
        found,
        [Change::Same, Change::Zero, Change::Same, Change::Changed]
    );
}
