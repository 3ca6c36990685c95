//! Whatever a task does: a copy kept by looks is what it has.

use criu_images::track::{Choice, Obstacle, TrackError, Way};

use crate::mutator::{Mutator, PAGE};
use crate::replica::Replica;

/// `SplitMix64`, so that a failure is seen again.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % end
    }
}

/// Does one thing, to one of the mappings.
fn step(random: &mut Random, mutator: &mut Mutator, maps: &mut Vec<(u64, u64)>) -> String {
    let which = usize::try_from(random.below(u64::try_from(maps.len()).unwrap())).unwrap();
    let (start, size) = maps[which];
    let first = random.below(size);
    let count = 1 + random.below(size - first);
    let at = start + first * PAGE;
    let what = match random.below(16) {
        0..6 => format!("write {at} {count} 1"),
        6 | 7 => format!("write {at} 1 1"),
        8 => format!("forget {at} {count}"),
        9 => format!("read {at} {count}"),
        10 => format!("receive {at}"),
        11 => {
            let pages = 1 + random.below(40);
            let new = mutator.tell(&format!("map {pages}"));
            maps.push((new, pages));
            return format!("map {pages}");
        }
        12 => {
            maps[which].0 = mutator.tell(&format!("move {start} {size}"));
            return format!("move {start:#x} {size}");
        }
        13 => {
            let pages = 1 + random.below(60);
            maps[which] = (
                mutator.tell(&format!("resize {start} {size} {pages}")),
                pages,
            );
            return format!("resize {start:#x} {size} {pages}");
        }
        14 if maps.len() > 1 => {
            maps.remove(which);
            format!("unmap {start} {size}")
        }
        _ => match random.below(8) {
            0 => {
                mutator.tell("exec");
                maps.clear();
                maps.push((mutator.tell("map 30"), 30));
                return "exec".to_owned();
            }
            1 | 2 => "fork".to_owned(),
            3 | 4 => "reap".to_owned(),
            _ => {
                mutator.tell(&format!("protect {at} {count} r"));
                format!("protect {at} {count} rw")
            }
        },
    };
    mutator.tell(&what);
    what
}

fn run(way: Way, seed: u64) {
    let mut random = Random(seed);
    let mut mutator = Mutator::start();
    let mut maps = vec![(mutator.filled(50), 50), (mutator.tell("map 600"), 600)];
    let mut tracker = match Choice::by(way, mutator.pid()) {
        Ok(tracker) => tracker,
        Err(TrackError::Impossible {
            obstacle: Obstacle::NoSoftDirty,
            ..
        }) => return,
        Err(error) => panic!("{way}: {error}"),
    };
    let mut replica = Replica::default();
    for round in 0..40 {
        let seen = tracker.look().unwrap();
        replica.update(mutator.pid(), &seen);
        let steps: Vec<_> = (0..random.below(6))
            .map(|_| step(&mut random, &mut mutator, &mut maps))
            .collect();
        let seen = tracker.look().unwrap();
        replica.update(mutator.pid(), &seen);
        let doing = format!("{way}, seed {seed}, round {round}: {steps:?}");
        replica.assert_right(mutator.pid(), &doing);
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn by_write_protection() {
    (0..8).for_each(|seed| run(Way::WriteProtect, seed));
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn by_content() {
    (8..12).for_each(|seed| run(Way::Content, seed));
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn by_soft_dirty_bits_where_they_are() {
    (12..18).for_each(|seed| run(Way::SoftDirty, seed));
}
