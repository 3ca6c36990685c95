//! Chains of real rounds with what the kernel says the process had in its memory: compared
//! here, and with `CRIU_RS_RECORD` in the environment left in `/out`, from where
//! `cargo xtask record` makes `tests/fixtures/chains.tar.zst`.

use std::fs;
use std::path::Path;

use criu_rpc::PreDumpMode;
use criu_rs_tests::{Scratch, Truth};

use crate::rounds::{Rounds, memory, restore};
use crate::scribe::Scribe;

fn chain_of(rounds: usize) {
    let scratch = Scratch::new().unwrap();
    let mut scribe = Scribe::start(scratch.path());
    for region in 0..3 {
        scribe.map(region, 16);
        scribe.fill(region, 0, 12, u64::from(region + 1) << 32);
    }
    let mut chain = Rounds::below(scratch.dir("chain").unwrap(), PreDumpMode::Splice);
    for round in 0..rounds {
        chain.pre_dump(&scribe);
        let value = u64::try_from(round + 1).unwrap() << 40;
        scribe.fill(0, round % 16, 1, value);
        match round % 8 {
            1 => scribe.fill(1, round / 8, 2, value + 10),
            3 => scribe.forget(1, round / 8 + 1, 2),
            5 => scribe.relocate(2, 16 + round % 3),
            7 => {
                scribe.unmap(2);
                scribe.map(2, 16);
                scribe.fill(2, 2, 3, value + 20);
            }
            _ => {}
        }
    }
    // It waits, so nothing of it changes until it is dumped.
    let truth = Truth::of(scribe.raw_pid()).unwrap();
    let images = chain.dump(&scribe);
    let (wrong, stored) = truth.differences(&memory(&images, &scribe));
    assert_eq!(wrong, [""; 0]);
    assert!(stored > 40, "{stored}");
    assert_eq!(criu_images::verify(&images).unwrap(), []);
    restore(&images, &mut scribe);
    scribe.assert_whole();
    // That it goes on waiting takes a few words on its stack.
    let after = Truth::of(scribe.raw_pid()).unwrap();
    let changed = truth.changed(&after);
    assert!(changed.len() <= 2, "{changed:x?}");

    if std::env::var_os("CRIU_RS_RECORD").is_some() {
        keep(&scratch.join("chain"), rounds);
        fs::write(format!("/out/{rounds}/truth"), truth.to_string()).unwrap();
    }
}

/// Copies the images of each round.
fn keep(chain: &Path, rounds: usize) {
    for round in 0..=rounds {
        let from = chain.join(round.to_string());
        let to = Path::new("/out").join(format!("{rounds}/{round}"));
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_file()
                && (name.ends_with(".img") || name.starts_with("stats-"))
            {
                fs::copy(entry.path(), to.join(name)).unwrap();
            }
        }
    }
}

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn chains_and_what_is_in_them() {
    for rounds in [1, 2, 8, 64] {
        chain_of(rounds);
    }
}
