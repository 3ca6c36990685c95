//! A process that is killed at any moment leaves whole checkpoints, and what fsck clears.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ckpt::{Children, Store};

use crate::made::{Made, name};

/// Names the store to the process that is going to be killed.
const STORE: &str = "CKPT_TEST_CRASH_STORE";
const SEED: &str = "CKPT_TEST_CRASH_SEED";

const READY: &str = "it begins";

const ROUNDS: u64 = 100;

/// Numbers that look random, and are the same each time (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Not a test of its own: what [`a_kill_at_any_moment_leaves_whole_checkpoints`] starts and
/// kills. It makes, flattens and removes checkpoints without end.
#[test]
fn worker() {
    let (Some(path), Some(seed)) = (env::var_os(STORE), env::var(SEED).ok()) else {
        return;
    };
    let made = Made::at(Store::open(PathBuf::from(path)).unwrap());
    let mut numbers = Numbers(seed.parse().unwrap());
    println!("{READY}");
    let started = Instant::now();
    // Should who is to kill it have died first.
    while started.elapsed() < Duration::from_secs(60) {
        let listed = made.listed();
        let pick = |numbers: &mut Numbers| {
            let count = u64::try_from(listed.len()).unwrap();
            let index = numbers.below(count.max(1));
            listed.get(usize::try_from(index).unwrap()).cloned()
        };
        let new = format!("c{}", numbers.below(1 << 40));
        match (numbers.below(4), pick(&mut numbers)) {
            (0, Some(parent)) if listed.len() < 8 => drop(made.add_on(&parent, &new)),
            (1, Some(old)) => {
                made.store.flatten(&name(&old)).unwrap();
            }
            (2, Some(old)) if listed.len() > 2 => {
                made.store.remove(&[name(&old)], Children::Flatten).unwrap();
            }
            _ if listed.len() < 8 => drop(made.add(&new)),
            _ => {}
        }
    }
}

#[test]
fn a_kill_at_any_moment_leaves_whole_checkpoints() {
    let made = Made::new();
    let mut numbers = Numbers(20_261_123);
    let (mut cleared, mut most) = (0, 0);
    for round in 0..ROUNDS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["crash::worker", "--exact", "--nocapture"])
            .env(STORE, made.store.path())
            .env(SEED, numbers.below(u64::MAX).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // However long the machine takes to start it.
        let said = BufReader::new(child.stdout.as_mut().unwrap());
        assert!(said.lines().any(|line| line.unwrap().contains(READY)));
        thread::sleep(Duration::from_micros(numbers.below(20_000)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "round {round}: it failed by itself");

        // What is listed is whole, before anything is cleared.
        for checkpoint in made.store.list().unwrap().checkpoints {
            let verification = checkpoint.verify().unwrap();
            assert!(
                verification.changed.is_empty(),
                "round {round}: {verification:?}"
            );
        }
        assert!(
            made.store.list().unwrap().broken.is_empty(),
            "round {round}"
        );
        most = most.max(made.listed().len());
        let report = made.store.fsck().unwrap();
        assert!(report.problems.is_empty(), "round {round}: {report:?}");
        assert!(report.in_use.is_empty(), "round {round}: {report:?}");
        cleared += report.cleared.len();
        assert_eq!(made.entries(), made.listed(), "round {round}");
    }
    // Else the moments were all in between, and nothing was shown.
    assert!(cleared > 0 && most > 2, "cleared {cleared}, {most} at most");
}

#[test]
fn of_many_that_want_a_name_one_gets_it() {
    let made = Made::new();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| made.try_add("web").map(drop)))
            .collect();
        started.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(won, 1);
    for refused in outcomes.into_iter().filter_map(Result::err) {
        let told = matches!(
            refused,
            ckpt::Error::Exists { .. } | ckpt::Error::Busy { .. }
        );
        assert!(told, "{refused}");
    }
    assert_eq!(made.entries(), ["web"]);
}
