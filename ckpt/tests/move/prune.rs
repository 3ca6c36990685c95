//! Which checkpoints go, and which stay.

use std::thread;
use std::time::{Duration, SystemTime};

use ckpt::{
    CheckpointName, Clock, Error, Every, Happened, KeptFor, Manifest, Prune, Root, Schedule, Store,
    Wake,
};
use criu_rs_tests::Scratch;

use crate::made::{checkpoint, name, store};

/// A checkpoint that was made so long ago.
fn aged(store: &Store, called: &str, hours: u64) {
    let staging = store.stage(&name(called)).unwrap();
    let mut manifest = Manifest::new(name(called), Root::default());
    manifest.created = SystemTime::now() - Duration::from_secs(3600 * hours);
    staging.commit(manifest).unwrap();
}

fn listed(store: &Store) -> Vec<String> {
    let listing = store.list().unwrap();
    assert!(listing.broken.is_empty());
    let names = listing.checkpoints.iter();
    names.map(|one| one.name().to_string()).collect()
}

fn five(scratch: &Scratch) -> Store {
    let store = store(scratch, "store");
    for (called, hours) in [("a1", 50), ("b1", 40), ("a2", 30), ("a3", 20), ("b2", 10)] {
        aged(&store, called, hours);
    }
    store
}

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn by_number_by_age_and_by_prefix() {
    for (prune, left) in [
        (Prune::keep(2), &["a3", "b2"][..]),
        (Prune::keep(9), &["a1", "b1", "a2", "a3", "b2"]),
        (Prune::keep(0), &[]),
        (Prune::keep(1).prefix("a"), &["b1", "a3", "b2"]),
        (Prune::older_than(DAY), &["a3", "b2"]),
        (
            Prune::older_than(DAY).prefix("b"),
            &["a1", "a2", "a3", "b2"],
        ),
        // The newest stay, however old.
        (
            Prune::older_than(DAY).and_keep(4),
            &["b1", "a2", "a3", "b2"],
        ),
        (Prune::older_than(DAY).and_keep(1), &["a3", "b2"]),
        // No rule, nothing to remove.
        (Prune::default(), &["a1", "b1", "a2", "a3", "b2"]),
    ] {
        let scratch = Scratch::new().unwrap();
        let store = five(&scratch);
        let pruned = prune.run(&store).unwrap();
        assert_eq!(listed(&store), left, "{prune:?}");
        assert_eq!(pruned.removed.len(), 5 - left.len());
        assert!(store.fsck().unwrap().cleared.is_empty());
    }
}

#[test]
fn what_others_build_on_stays_or_they_are_flattened() {
    let scratch = Scratch::new().unwrap();
    let store = store(&scratch, "store");
    let base = checkpoint(&store, "base", None);
    let mid = checkpoint(&store, "mid", Some(&base));
    checkpoint(&store, "top", Some(&mid));
    let pruned = Prune::keep(1).run(&store).unwrap();
    assert!(pruned.removed.is_empty());
    let mut kept = pruned.kept;
    kept.sort_by_key(|(name, _)| name.clone());
    assert_eq!(
        kept,
        [
            (name("base"), KeptFor::Child(name("mid"))),
            (name("mid"), KeptFor::Child(name("top")))
        ]
    );
    assert_eq!(listed(&store).len(), 3);
    // Once nothing needs them, they go together.
    let pruned = Prune::keep(0).run(&store).unwrap();
    assert_eq!(pruned.removed.len(), 3);
}

#[test]
fn what_is_in_use_stays_and_the_rest_goes() {
    let scratch = Scratch::new().unwrap();
    let store = store(&scratch, "store");
    let base = checkpoint(&store, "base", None);
    let child = checkpoint(&store, "child", Some(&base));
    checkpoint(&store, "other", None);
    let hold = child.hold().unwrap();
    let pruned = Prune::keep(0).run(&store).unwrap();
    assert_eq!(pruned.removed, [name("other")]);
    let in_use = pruned.kept.iter().filter(|(_, why)| *why == KeptFor::Use);
    assert!(in_use.count() >= 1, "{:?}", pruned.kept);
    drop(hold);
    assert_eq!(Prune::keep(0).run(&store).unwrap().removed.len(), 2);
}

/// A clock that is always due, for so many rounds.
struct Rounds(u32);

impl Clock for Rounds {
    fn now(&mut self) -> Duration {
        Duration::ZERO
    }

    fn wait_until(&mut self, _: Duration) -> Wake {
        // Names have milliseconds, and these rounds take none.
        thread::sleep(Duration::from_millis(2));
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Wake::Due
            }
            None => Wake::Stopped,
        }
    }

    fn random(&mut self, _: Duration) -> Duration {
        Duration::ZERO
    }
}

fn take(store: &Store, called: &CheckpointName) -> ckpt::Result<ckpt::Checkpoint> {
    let staging = store.stage(called)?;
    staging.commit(Manifest::new(called.clone(), Root::default()))
}

#[test]
fn every_keeps_the_newest_of_its_own_and_all_of_others() {
    let scratch = Scratch::new().unwrap();
    let store = store(&scratch, "store");
    for mine in ["auto", "auto-1", "autos-2026-11-24T00-16-29.405Z"] {
        aged(&store, mine, 99);
    }
    let schedule = Schedule::every(Duration::from_secs(1)).at_once(true);
    let every = Every::new(name("auto"), 3.try_into().unwrap(), schedule).unwrap();
    let mut taken = Vec::new();
    let end = every.run(
        &store,
        &mut Rounds(10),
        |called| take(&store, &called),
        |happened| {
            let Happened::Taken {
                checkpoint, pruned, ..
            } = happened
            else {
                panic!("{happened:?}");
            };
            taken.push(checkpoint.name().to_string());
            let gone = pruned.unwrap().removed.len();
            assert_eq!(gone, usize::from(taken.len() > 3));
            Some(())
        },
    );
    assert_eq!((end.taken, end.failed, end.by), (10, 0, Wake::Stopped));
    let left = listed(&store);
    assert_eq!(left.len(), 6);
    assert_eq!(left[3..], taken[7..]);
}

#[test]
fn a_round_that_fails_takes_nothing_away() {
    let scratch = Scratch::new().unwrap();
    let store = store(&scratch, "store");
    let schedule = Schedule::every(Duration::from_secs(1)).at_once(true);
    let every = Every::new(name("auto"), 2.try_into().unwrap(), schedule).unwrap();
    let (mut number, mut failures) = (0, 0);
    let end = every.run(
        &store,
        &mut Rounds(6),
        |called| {
            number += 1;
            match number {
                3.. => Err(Error::Unknown {
                    name: called,
                    store: "made up".into(),
                }),
                _ => take(&store, &called),
            }
        },
        |happened| {
            failures += u32::from(matches!(happened, Happened::Failed { .. }));
            Some(())
        },
    );
    assert_eq!((end.taken, end.failed, failures), (2, 4, 4));
    assert_eq!(listed(&store).len(), 2);
}
