//! A process that tracks itself.

use criu_images::track::{Content, DirtySet, TrackError, Tracker, WriteProtect};
use criu_images::{AddrRange, VirtAddr};
use criu_rs_tests::{Proc, alone};

/// Pages of ours alone, and their addresses.
fn room(pages: usize) -> (Vec<u8>, usize) {
    let room = vec![1u8; (pages + 1) * 4096];
    let start = room.as_ptr().align_offset(4096);
    (room, start)
}

fn touched(seen: &DirtySet, room: &[u8], start: usize, pages: usize) -> Vec<usize> {
    let first = u64::try_from(room.as_ptr().addr() + start).unwrap();
    let at = |page: &usize| VirtAddr::new(first + u64::try_from(page * 4096).unwrap());
    (0..pages).filter(|page| seen.contains(at(page))).collect()
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn it_is_told_each_page_it_wrote() {
    alone(|| {
        told(&mut WriteProtect::of_this_process().unwrap());
        told(&mut Content::of(std::process::id()).unwrap());
    });
}

fn told<T: Tracker<Error = TrackError>>(tracker: &mut T) {
    let (mut room, start) = room(1000);
    tracker.look().unwrap();
    for round in 1..5 {
        let wrote: Vec<_> = (0..1000).step_by(7 * round).collect();
        for page in &wrote {
            room[start + page * 4096 + round] ^= 0xff;
        }
        let seen = tracker.look().unwrap();
        assert_eq!(touched(&seen.written, &room, start, 1000), wrote);
        assert!(touched(&seen.unknown, &room, start, 1000).is_empty());
    }
    // The buffers of the look itself are new to it, at most.
    assert!(tracker.look().unwrap().unknown.bytes() < 64 << 20);
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn nothing_of_it_is_left() {
    alone(|| {
        let registered = || {
            let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            smaps
                .lines()
                .filter(|l| l.starts_with("VmFlags") && l.contains(" uw"))
                .count()
        };
        let fds = Proc::myself().fds().unwrap();
        let mut tracker = WriteProtect::of_this_process().unwrap();
        tracker.look().unwrap();
        assert!(registered() > 5);
        // The userfaultfd, and a pidfd.
        assert_eq!(Proc::myself().fds().unwrap().len(), fds.len() + 2);
        drop(tracker);
        assert_eq!(registered(), 0);
        assert_eq!(Proc::myself().fds().unwrap(), fds);
    });
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn threads_that_write_meanwhile_are_not_hindered_and_not_missed() {
    alone(|| {
        let (mut room, start) = room(4000);
        let mut tracker = WriteProtect::of_this_process().unwrap();
        tracker.look().unwrap();
        let all = AddrRange::new(
            u64::try_from(room.as_ptr().addr() + start).unwrap(),
            u64::try_from(room.as_ptr().addr() + start + 4000 * 4096).unwrap(),
        );
        let mut seen = DirtySet::new(criu_images::PageSize::KIB4);
        std::thread::scope(|scope| {
            for part in room[start..start + 4000 * 4096].chunks_mut(1000 * 4096) {
                scope.spawn(move || part.chunks_mut(4096).for_each(|page| page[9] ^= 1));
            }
            for _ in 0..10 {
                seen = seen.union(&tracker.look().unwrap().to_copy());
            }
        });
        seen = seen.union(&tracker.look().unwrap().to_copy());
        assert_eq!(seen.within(all.unwrap()).pages(), 4000);
    });
}
