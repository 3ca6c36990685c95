//! What each tracker says of each thing that a task can do, page by page.

use criu_images::track::{Choice, Content, Observation, Obstacle, TrackError, Tracker, Way};
use criu_images::{AddrRange, VirtAddr};
use criu_rs_tests::Scratch;

use crate::mutator::{Mutator, PAGE, pages};
use crate::replica::Replica;

/// A tracker at work, with a copy that must always be right.
struct Watch {
    mutator: Mutator,
    tracker: Box<dyn Tracker<Error = TrackError>>,
    replica: Replica,
}

impl Watch {
    /// None if this kernel has no such way, which it must say clearly.
    fn start(way: Way, mutator: Mutator) -> Option<Self> {
        let tracker = match Choice::by(way, mutator.pid()) {
            Ok(tracker) => tracker,
            Err(TrackError::Impossible {
                way: Way::SoftDirty,
                obstacle: Obstacle::NoSoftDirty,
                ..
            }) => return None,
            Err(error) => panic!("{way}: {error}"),
        };
        assert_eq!(tracker.way(), way);
        let mut watch = Self {
            mutator,
            tracker,
            replica: Replica::default(),
        };
        let first = watch.look("first");
        assert!(first.written.is_empty() && first.dropped.is_empty());
        assert!(first.resident.difference(&first.unknown).is_empty());
        Some(watch)
    }

    fn look(&mut self, doing: &str) -> Observation {
        let seen = self.tracker.look().unwrap();
        let sets = [&seen.written, &seen.unknown, &seen.dropped];
        for (one, two) in [(0, 1), (0, 2), (1, 2)] {
            assert!(sets[one].intersection(sets[two]).is_empty(), "{doing}");
        }
        self.replica.update(self.mutator.pid(), &seen);
        let doing = format!("{}: {doing}", self.tracker.way());
        self.replica.assert_right(self.mutator.pid(), &doing);
        seen
    }

    fn tell(&mut self, what: &str) -> u64 {
        self.mutator.tell(what)
    }
}

/// What of a set is in a mapping, as numbers of its pages.
fn within(set: &criu_images::track::DirtySet, start: u64, count: u64) -> Vec<u64> {
    let at = |page: &u64| set.contains(VirtAddr::new(start + page * PAGE));
    (0..count).filter(at).collect()
}

const WAYS: [Way; 3] = Way::ALL;

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn written_pages_are_told_exactly() {
    for way in WAYS {
        let mut mutator = Mutator::start();
        let a = mutator.filled(64);
        let Some(mut watch) = Watch::start(way, mutator) else {
            continue;
        };
        watch.tell(&format!("write {} 5 7", a + 3 * PAGE));
        watch.tell(&format!("receive {}", a + 50 * PAGE));
        watch.tell(&format!("read {a} 64"));
        let seen = watch.look("write");
        assert_eq!(
            within(&seen.written, a, 64),
            [3, 10, 17, 24, 31, 50],
            "{way}"
        );
        assert!(seen.unknown.within(pages(a, 0..64)).is_empty());
        let seen = watch.look("nothing");
        assert!(within(&seen.to_copy(), a, 64).is_empty(), "{way}");
        assert_eq!(within(&seen.resident, a, 64).len(), 64);

        // What is written and stays what it was, only one of them does not see.
        watch.tell(&format!("rewrite {a}"));
        let seen = watch.look("rewrite");
        let want: &[u64] = if way == Way::Content { &[] } else { &[0] };
        assert_eq!(within(&seen.written, a, 64), want, "{way}");

        watch.tell(&format!("protect {a} 64 r"));
        watch.tell(&format!("protect {a} 64 rw"));
        let seen = watch.look("protect");
        assert!(within(&seen.to_copy(), a, 64).is_empty(), "{way}");
        watch.tell(&format!("protect {a} 32 none"));
        let seen = watch.look("unreadable");
        assert!(within(&seen.to_copy(), a, 64).is_empty(), "{way}");
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn pages_that_are_dropped_are_never_left_to_a_parent() {
    for way in WAYS {
        let scratch = Scratch::new().unwrap();
        let path = scratch.join("file");
        std::fs::write(&path, vec![0x5a; 64 << 12]).unwrap();
        let mut mutator = Mutator::start();
        let a = mutator.filled(2048);
        let file = mutator.tell(&format!("file {} 64", path.display()));
        mutator.tell(&format!("write {file} 64 1"));
        let Some(mut watch) = Watch::start(way, mutator) else {
            continue;
        };
        // Some pages, a whole table of pages, pages of a file, pages that come back.
        watch.tell(&format!("forget {} 3", a + 5 * PAGE));
        watch.tell(&format!("forget {} 1200", a + 600 * PAGE));
        watch.tell(&format!("forget {} 10", file + 20 * PAGE));
        watch.tell(&format!("write {} 1 1", a + 6 * PAGE));
        watch.tell(&format!("read {} 1", a + 7 * PAGE));
        let seen = watch.look("forget");
        assert!(seen.dropped.contains(VirtAddr::new(a + 5 * PAGE)), "{way}");
        assert!(seen.written.contains(VirtAddr::new(a + 6 * PAGE)), "{way}");
        let gone = within(&seen.dropped.union(&seen.unknown), file, 64);
        assert_eq!(gone, (20..30).collect::<Vec<_>>(), "{way}");
        let seen = watch.look("again");
        assert_eq!(within(&seen.resident, a, 2048).len(), 2048 - 1202, "{way}");
        watch.tell(&format!("write {} 2 1", file + 22 * PAGE));
        watch.tell(&format!("read {file} 64"));
        let seen = watch.look("a file's pages, again");
        let told = within(&seen.to_copy(), file, 64);
        assert!(told.contains(&22) && told.contains(&23), "{way}: {told:?}");
        if watch.tell(&format!("guard {} 4", a + 100 * PAGE)) == 1 {
            let seen = watch.look("guard");
            assert_eq!(
                within(&seen.dropped, a, 2048),
                [100, 101, 102, 103],
                "{way}"
            );
        }
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn what_is_new_moved_or_shared_is_unknown() {
    for way in WAYS {
        let mut mutator = Mutator::start();
        let a = mutator.filled(64);
        let b = mutator.filled(64);
        let shared = mutator.tell("share 8");
        let Some(mut watch) = Watch::start(way, mutator) else {
            continue;
        };
        let told = |seen: &Observation, start, count| within(&seen.to_copy(), start, count);
        let new = watch.mutator.filled(32);
        let seen = watch.look("map");
        assert_eq!(told(&seen, new, 32).len(), 32, "{way}");

        let moved = watch.tell(&format!("move {a} 64"));
        let seen = watch.look("move");
        assert_eq!(told(&seen, moved, 64).len(), 64, "{way}");
        assert!(
            watch
                .look("moved")
                .to_copy()
                .within(pages(moved, 0..64))
                .is_empty()
        );

        // Another mapping at the same addresses, one with the same pages filled.
        watch.tell(&format!("unmap {b} 64"));
        assert_eq!(watch.tell(&format!("map-at {b} 64")), b);
        watch.tell(&format!("write {b} 32 2"));
        let seen = watch.look("replace");
        assert_eq!(told(&seen, b, 64).len(), 32, "{way}");

        let larger = watch.tell(&format!("resize {new} 32 96"));
        watch.tell(&format!("write {} 1 1", larger + 90 * PAGE));
        let seen = watch.look("resize");
        assert!(told(&seen, larger, 96).contains(&90), "{way}");

        let heap = watch.tell("grow-heap 16");
        watch.tell(&format!("write {heap} 16 1"));
        let seen = watch.look("heap");
        assert_eq!(told(&seen, heap, 16).len(), 16, "{way}");

        assert_eq!(told(&watch.look("shared"), shared, 8).len(), 8, "{way}");
        watch.tell(&format!("unmap {moved} 64"));
        let seen = watch.look("unmap");
        assert_eq!(within(&seen.dropped, moved, 64).len(), 64, "{way}");
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_child_or_another_program_loses_nothing() {
    for way in WAYS {
        let mut mutator = Mutator::start();
        let a = mutator.filled(64);
        let Some(mut watch) = Watch::start(way, mutator) else {
            continue;
        };
        watch.tell("fork");
        watch.tell(&format!("write {} 3 1", a + 9 * PAGE));
        let seen = watch.look("fork");
        assert_eq!(within(&seen.to_copy(), a, 64), [9, 10, 11], "{way}");
        watch.tell("reap");
        watch.tell(&format!("write {a} 1 1"));
        let seen = watch.look("reap");
        assert_eq!(within(&seen.to_copy(), a, 64), [0], "{way}");

        watch.tell("exec");
        let seen = watch.look("exec");
        assert_eq!(within(&seen.dropped, a, 64).len(), 64, "{way}");
        let b = watch.mutator.filled(20);
        watch.look("after exec");
        watch.tell(&format!("write {b} 2 3"));
        let seen = watch.look("on and on");
        assert_eq!(within(&seen.written, b, 20), [0, 3], "{way}");
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn huge_pages_are_split_to_the_page_that_was_written() {
    let mut mutator = Mutator::start();
    let huge = mutator.tell("huge 4");
    mutator.tell(&format!("write {huge} 2048 1"));
    let mut watch = Watch::start(Way::WriteProtect, mutator).unwrap();
    watch.tell(&format!("write {} 4 300", huge + 100 * PAGE));
    let seen = watch.look("huge");
    assert_eq!(within(&seen.written, huge, 2048), [100, 400, 700, 1000]);
    // A whole one, whose table goes with it.
    watch.tell(&format!("forget {} 512", huge + 512 * PAGE));
    let seen = watch.look("a huge page less");
    assert_eq!(within(&seen.dropped, huge, 2048).len(), 512);
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_huge_reservation_costs_no_page_tables() {
    let mut mutator = Mutator::start();
    // A quarter of a TiB, of which two pages are there.
    let a = mutator.tell("reserve 67108864");
    mutator.tell(&format!("write {a} 2 60000000"));
    let tables = |pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("VmPTE:"))
            .unwrap();
        line.split_whitespace()
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let before = tables(mutator.pid());
    let pid = mutator.pid();
    let mut tracker = Choice::by(Way::WriteProtect, pid).unwrap();
    tracker.look().unwrap();
    mutator.tell(&format!("write {} 1 1", a + 77 * PAGE));
    let seen = tracker.look().unwrap();
    assert_eq!(within(&seen.written, a, 100), [77]);
    // A few for what the program itself touched.
    assert!(
        tables(pid) <= before + 64,
        "{} KiB, {before} before",
        tables(pid)
    );
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_look_with_bytes_gives_what_was_digested() {
    let mut mutator = Mutator::start();
    let a = mutator.filled(64);
    let mut content = Content::of(mutator.pid()).unwrap();
    let mut replica = Replica::default();
    for round in 0..4u64 {
        let mut copied = Vec::new();
        let seen = content
            .look_with(|at, page| copied.push((at, page.to_vec())))
            .unwrap();
        let given: Vec<_> = copied.iter().map(|(at, _)| at.get()).collect();
        let wanted = seen.to_copy().intersection(&seen.resident);
        let pages = |range: AddrRange| (range.start().get()..range.end().get()).step_by(4096);
        let shared = |at: &u64| !seen.unknown.contains(VirtAddr::new(*at)) || round == 0;
        let wanted: Vec<_> = wanted.ranges().flat_map(pages).filter(shared).collect();
        assert_eq!(given, wanted);
        replica.update_with(&seen, copied);
        replica.assert_right(mutator.pid(), "bytes");
        mutator.tell(&format!("write {} 3 5", a + round * PAGE));
        mutator.tell(&format!("forget {} 1", a + (40 + round) * PAGE));
    }
}
