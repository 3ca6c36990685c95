//! What is found in memory, against a search of all of it at once.

use std::fs;

use criu_images::{AddrRange, Chain, Error, Memory, Origin, Search, VirtAddr, proto};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::rounds::{LAZY, PAGE, PARENT, PRESENT, Release, Rounds, image};

/// Address, bytes, whether it was cut.
type Found = Vec<(u64, Vec<u8>, bool)>;

fn run(search: &Search, memory: &Memory, range: AddrRange) -> Found {
    let mut all = Vec::new();
    let told = search
        .run(memory, range, |found| {
            all.push((found.address.get(), found.bytes.to_vec(), found.cut));
            Ok(())
        })
        .unwrap();
    assert_eq!(told.matches, u64::try_from(all.len()).unwrap());
    let cut = all.iter().filter(|(_, _, cut)| *cut).count();
    assert_eq!(told.cut, u64::try_from(cut).unwrap());
    all
}

/// The memory as bytes without a gap, with their addresses.
fn islands(memory: &Memory) -> Vec<(u64, Vec<u8>)> {
    let mut islands: Vec<(u64, Vec<u8>)> = Vec::new();
    for piece in memory.pieces(AddrRange::ALL) {
        if !matches!(piece.origin, Origin::Stored { .. } | Origin::Zero) {
            continue;
        }
        let mut bytes = vec![1; usize::try_from(piece.range.bytes()).unwrap()];
        memory.read(piece.range.start(), &mut bytes).unwrap();
        let start = piece.range.start().get();
        match islands.last_mut() {
            Some((first, before)) if *first + u64::try_from(before.len()).unwrap() == start => {
                before.extend(bytes);
            }
            _ => islands.push((start, bytes)),
        }
    }
    islands
}

/// What is found by looking from each place on, as far as a match may reach.
fn naive(pattern: &str, longest: usize, memory: &Memory) -> Found {
    let regex = regex::bytes::RegexBuilder::new(pattern)
        .unicode(false)
        .build()
        .unwrap();
    let mut all = Vec::new();
    for (address, bytes) in islands(memory) {
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min(at + longest + 1);
            match regex.find_at(&bytes[..end], at) {
                Some(found) if found.start() == at && !found.is_empty() => {
                    let stop = found.end().min(at + longest);
                    let cut = found.len() > longest;
                    let place = address + u64::try_from(at).unwrap();
                    all.push((place, bytes[at..stop].to_vec(), cut));
                    at = stop;
                }
                _ => at += 1,
            }
        }
    }
    all
}

/// Few letters, so that much is found, in runs that cross all borders.
fn letters(rounds: &Rounds, seed: u64) {
    for round in 0..2 {
        let path = rounds.folder(round).join("pages-1.img");
        let mut bytes = fs::read(&path).unwrap();
        let mut state = seed ^ round << 32 | 1;
        for byte in &mut bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = match state % 97 {
                0..=40 => b'a',
                41..=80 => b'b',
                81 => b'\n',
                82..=90 => b' ',
                91..=95 => 0,
                _ => 0xff,
            };
        }
        fs::write(path, bytes).unwrap();
    }
}

fn task(seed: u64) -> Rounds {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(1, 40, PRESENT)]);
    let folder = rounds.task(
        Release::New,
        &[
            (1, 3, PARENT),
            (4, 1, PRESENT),
            (5, 2, PARENT),
            (7, 1, LAZY),
            (8, 30, PARENT),
            (250, 5, PRESENT),
        ],
    );
    letters(&rounds, seed);
    let area = |first: u64, pages: u64| proto::VmaEntry {
        start: first * PAGE,
        end: (first + pages) * PAGE,
        status: 1 | 1 << 9,
        prot: 3,
        ..Default::default()
    };
    // Zeros, few and many, and nothing between two areas.
    let mm = proto::MmEntry {
        vmas: vec![area(1, 57), area(200, 60)],
        ..Default::default()
    };
    image(&folder, "mm-7.img", &[mm]);
    rounds
}

const PATTERNS: [&str; 11] = [
    "ab",
    "a+",
    "a+b?",
    r"(?s)b.*\x00",
    r"\bab+",
    r"(?m)^a[ab]?",
    r"\x00+",
    "(a|aab|ab)(a|b)",
    r"\xff",
    r"[ab]+ |b\x00",
    "b{3,7}",
];

#[test]
fn all_is_found_across_all_borders() {
    let config = Config {
        cases: 4,
        failure_persistence: None,
        ..Config::default()
    };
    let strategy = (
        any::<u64>(),
        0..PATTERNS.len(),
        prop_oneof![1..20usize, 100..200usize],
    );
    TestRunner::new(config)
        .run(&strategy, |(seed, pattern, longest)| {
            let rounds = task(seed);
            let memory = rounds.chain().task(7).unwrap().unwrap();
            let search = Search::pattern(PATTERNS[pattern]).unwrap().longest(longest);
            let found = run(&search, &memory, AddrRange::ALL);
            let expected = naive(PATTERNS[pattern], longest, &memory);
            assert_eq!(found.len(), expected.len(), "{}", PATTERNS[pattern]);
            assert!(found == expected, "{}", PATTERNS[pattern]);
            Ok(())
        })
        .unwrap();
}

#[test]
fn bytes_are_found_as_they_are() {
    let rounds = task(3);
    let memory = rounds.chain().task(7).unwrap().unwrap();
    // Across a page that is in the parent and one that is not, and one of zeros.
    let mut bytes = vec![0; 5000];
    memory
        .read(VirtAddr::new(3 * PAGE + 100), &mut bytes)
        .unwrap();
    let found = run(&Search::bytes(&bytes).unwrap(), &memory, AddrRange::ALL);
    assert_eq!(found, [(3 * PAGE + 100, bytes, false)]);
    let mut edge = vec![0; 300];
    memory
        .read(VirtAddr::new(38 * PAGE - 150), &mut edge)
        .unwrap();
    let found = run(&Search::bytes(&edge).unwrap(), &memory, AddrRange::ALL);
    assert_eq!(found, [(38 * PAGE - 150, edge, false)]);
    // And where zeros end.
    let mut edge = vec![0; 300];
    memory
        .read(VirtAddr::new(250 * PAGE - 150), &mut edge)
        .unwrap();
    let found = run(&Search::bytes(&edge).unwrap(), &memory, AddrRange::ALL);
    assert_eq!(found, [(250 * PAGE - 150, edge, false)]);
    // Nothing is a pattern in it.
    assert_eq!(
        run(&Search::bytes(b"a+(").unwrap(), &memory, AddrRange::ALL),
        []
    );
    assert_eq!(
        run(&Search::bytes(b"").unwrap(), &memory, AddrRange::ALL),
        []
    );
    // Only of the range.
    let range = AddrRange::new(3 * PAGE, 4 * PAGE).unwrap();
    let all = run(&Search::bytes(b"a").unwrap(), &memory, range);
    assert!(all.len() > 1000 && all.iter().all(|(at, ..)| range.contains((*at).into())));
}

#[test]
fn what_cannot_be_looked_through_is_told() {
    let rounds = task(5);
    let memory = rounds.chain().task(7).unwrap().unwrap();
    let told = Search::bytes(b"nothing").unwrap();
    let told = told.run(&memory, AddrRange::ALL, |_| Ok(())).unwrap();
    assert_eq!((told.matches, told.unread), (0, PAGE));
    assert_eq!(told.bytes, (56 + 60) * PAGE);

    let error = Search::pattern("a(").unwrap_err();
    assert!(matches!(error, Error::Pattern { .. }) && error.to_string().contains("a("));
    let stop = |_: criu_images::Match<'_>| Err(Search::pattern("(").unwrap_err());
    Search::bytes(b"a")
        .unwrap()
        .run(&memory, AddrRange::ALL, stop)
        .unwrap_err();

    // A hundred gigabytes of nothing take no time and no memory.
    let mm = proto::MmEntry {
        vmas: vec![proto::VmaEntry {
            start: 1 << 40,
            end: (1 << 40) + (100 << 30),
            status: 1 | 1 << 9,
            ..Default::default()
        }],
        ..Default::default()
    };
    image(&rounds.newest(), "mm-7.img", &[mm]);
    let memory = Chain::open(rounds.newest())
        .unwrap()
        .task(7)
        .unwrap()
        .unwrap();
    assert_eq!(
        run(&Search::pattern("ab+c").unwrap(), &memory, AddrRange::ALL),
        []
    );
}
