//! All that a stopped task has in its memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

const PAGE: usize = 4096;

/// The memory of a task that is stopped: by address, what may be done with a page, and what
/// is in it; nothing where it cannot be read, as past the end of a file.
pub(crate) type Snapshot = BTreeMap<u64, (String, Option<Vec<u8>>)>;

/// Takes it.
pub(crate) fn snapshot(pid: i32) -> Snapshot {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    // The kernel's own, other at each start.
    let kernel = ["[vvar]", "[vvar_vclock]", "[vsyscall]", "[vdso]"];
    let mut pages = Snapshot::new();
    for line in maps.lines() {
        if kernel.iter().any(|name| line.ends_with(name)) {
            continue;
        }
        let mut words = line.split(' ');
        let (start, end) = words.next().unwrap().split_once('-').unwrap();
        let may = words.next().unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        for address in (number(start)..number(end)).step_by(PAGE) {
            let mut page = vec![0; PAGE];
            let read = memory.read_exact_at(&mut page, address);
            pages.insert(address, (may.to_owned(), read.ok().map(|()| page)));
        }
    }
    pages
}

/// Asserts that two are the same, but for what `rseq(2)` has the kernel write in one page
/// for each thread, whenever it goes on.
#[track_caller]
pub(crate) fn assert_same(before: &Snapshot, after: &Snapshot, threads: usize) {
    let addresses = |all: &Snapshot| all.keys().copied().collect::<Vec<_>>();
    assert!(addresses(before) == addresses(after), "other mappings");
    let mut rseq = 0;
    for ((address, (may, one)), (other_may, other)) in before.iter().zip(after.values()) {
        assert_eq!(may, other_may, "{address:#x}");
        if one != other {
            let (one, other) = (one.as_ref().unwrap(), other.as_ref().unwrap());
            let differ = |(a, b): (&u8, &u8)| a != b;
            let first = one.iter().zip(other).position(differ).unwrap();
            let last = one.iter().zip(other).rposition(differ).unwrap();
            assert_eq!(first / 32, last / 32, "{address:#x}, from byte {first} on");
            rseq += 1;
        }
    }
    assert!(rseq <= threads, "{rseq} pages differ");
}
