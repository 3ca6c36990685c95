//! `Replica`: a copy of a task's memory as a pre-copy would make it, and whether it is right.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use criu_images::track::{Observation, Scope, Vma};
use criu_images::{AddrRange, VirtAddr};

use crate::mutator::PAGE;

type Page = Vec<u8>;

/// Pages by address.
#[derive(Default)]
pub(crate) struct Replica(BTreeMap<u64, Page>);

impl Replica {
    /// Does what a look says, reading what is to be copied from the task, which stands still.
    pub(crate) fn update(&mut self, pid: u32, seen: &Observation) {
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        self.forget(seen);
        for range in seen.to_copy().intersection(&seen.resident).ranges() {
            for at in addresses(range) {
                let mut page = vec![0; 4096];
                memory.read_exact_at(&mut page, at).unwrap();
                self.0.insert(at, page);
            }
        }
    }

    /// The same, with the bytes that came with the look.
    pub(crate) fn update_with(&mut self, seen: &Observation, copied: Vec<(VirtAddr, Page)>) {
        self.forget(seen);
        for (at, page) in copied {
            self.0.insert(at.get(), page);
        }
    }

    fn forget(&mut self, seen: &Observation) {
        for range in seen.dropped.ranges() {
            for at in addresses(range) {
                self.0.remove(&at);
            }
        }
        // All that is unknown is as it is now, or is not.
        self.0
            .retain(|at, _| !seen.unknown.contains(VirtAddr::new(*at)));
    }

    /// That it holds what the task does, as `/proc/PID/pagemap` tells what that is.
    #[track_caller]
    pub(crate) fn assert_right(&self, pid: u32, doing: &str) {
        let maps = fs::read(format!("/proc/{pid}/maps")).unwrap();
        let pagemap = File::open(format!("/proc/{pid}/pagemap")).unwrap();
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        let mut left = self.0.clone();
        for vma in Vma::parse_all(&maps).unwrap() {
            if vma.scope() != Scope::Private {
                left.retain(|at, _| !vma.range.contains(VirtAddr::new(*at)));
                continue;
            }
            for at in addresses(vma.range) {
                let mut entry = [0; 8];
                pagemap.read_exact_at(&mut entry, at / PAGE * 8).unwrap();
                let entry = u64::from_ne_bytes(entry);
                let of_file = entry & 1 << 61 != 0;
                let is_guard = entry & 1 << 58 != 0;
                if entry >> 62 == 0 || is_guard {
                    continue;
                }
                let mut page = vec![0; 4096];
                memory.read_exact_at(&mut page, at).unwrap();
                match left.remove(&at) {
                    Some(copy) => assert!(copy == page, "{doing}: {at:#x} of {vma} is old"),
                    // What the file has, nobody need copy.
                    None if of_file => {}
                    // It may be the page of zeros.
                    None => assert!(
                        page.iter().all(|byte| *byte == 0),
                        "{doing}: {at:#x} of {vma} is missing"
                    ),
                }
            }
        }
        let left: Vec<_> = left.keys().map(|at| format!("{at:#x}")).collect();
        assert!(left.is_empty(), "{doing}: no longer there: {left:?}");
    }
}

fn addresses(range: AddrRange) -> impl Iterator<Item = u64> {
    (range.start().get()..range.end().get()).step_by(4096)
}
