//! `ckpt export`, `import` and `prune` are killed at any moment: what is listed is whole,
//! and the rest is cleared away, or taken up.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ckpt::{Checkpoint, Children, Compression, Store};
use criu_rs_tests::{Moments, Scratch};

use crate::command::command;
use crate::made::{below, checkpoint, content, import, name, packed, store};

const ROUNDS: u64 = 100;

/// What the moments are drawn from.
const SEED: u64 = 0x5eed_0106;

fn started(store: &Store, words: &[&str]) -> Child {
    let mut command = command(words);
    command.env("CKPT_STORE", store.path());
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().unwrap()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// How long it takes if nobody kills it.
fn whole(store: &Store, words: &[&str]) -> Duration {
    let begun = Instant::now();
    let status = started(store, words).wait().unwrap();
    assert!(status.success(), "{words:?}");
    begun.elapsed()
}

/// Asserts that all that is listed is whole; gives how many there are.
#[track_caller]
fn assert_whole(store: &Store) -> usize {
    let listing = store.list().unwrap();
    assert!(listing.broken.is_empty(), "{:?}", listing.broken);
    for one in &listing.checkpoints {
        one.ancestors().unwrap();
        // These are made up, so their images are none.
        let changed = one.verify().unwrap().changed;
        assert!(changed.is_empty(), "{changed:?}");
    }
    listing.checkpoints.len()
}

/// What of a store is not a checkpoint, once it was cleared.
fn rest(store: &Store) -> Vec<PathBuf> {
    let report = store.fsck().unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
    assert!(report.in_use.is_empty(), "{report:?}");
    let entries = fs::read_dir(store.path()).unwrap();
    let hidden = entries.map(|entry| entry.unwrap()).filter(|entry| {
        let text = entry.file_name().into_string().unwrap();
        text.starts_with('.') && text != ".lock"
    });
    hidden.map(|entry| entry.path()).collect()
}

fn remove(store: &Store, checkpoint: &Checkpoint) {
    let names = [checkpoint.name().clone()];
    store.remove(&names, Children::Refuse).unwrap();
}

#[test]
fn an_import_leaves_nothing_half() {
    let scratch = Scratch::new().unwrap();
    let left = checkpoint(&store(&scratch, "here"), "web", None);
    let archive = packed(&left, Compression::None);
    let file = scratch.join("web.tar");
    fs::write(&file, &archive).unwrap();
    let there = store(&scratch, "there");
    let words = ["import", file.to_str().unwrap()];
    let whole = whole(&there, &words);
    remove(&there, &there.get(&name("web")).unwrap());

    let mut moments = Moments::new(SEED);
    let mut done = 0;
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            // It has as much as was written, and what of that it has done is chance.
            let mut child = started(&there, &["import", "-"]);
            let length = u64::try_from(archive.len()).unwrap();
            let cut = usize::try_from(moments.below(length)).unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(&archive[..cut]).unwrap();
            kill(child);
            drop(stdin);
            assert_eq!(assert_whole(&there), 0, "round {round}");
        } else {
            let child = started(&there, &words);
            thread::sleep(moments.within(whole));
            kill(child);
            if assert_whole(&there) == 1 {
                let arrived = there.get(&name("web")).unwrap();
                assert_eq!(content(&arrived), content(&left));
                remove(&there, &arrived);
                done += 1;
            }
        }
        // Else what is left is taken up by the next.
        if round % 5 == 4 {
            assert_eq!(rest(&there), [""; 0].map(PathBuf::from), "round {round}");
        }
    }
    assert!((1..ROUNDS / 2).contains(&done), "{done} came to their end");
    import(&there, &archive).unwrap();
    assert_eq!(content(&there.get(&name("web")).unwrap()), content(&left));
}

#[test]
fn an_export_leaves_a_whole_file_or_none() {
    let scratch = Scratch::new().unwrap();
    let here = store(&scratch, "here");
    let out = scratch.dir("out").unwrap();
    let left = checkpoint(&here, "web", None);
    let there = store(&scratch, "there");
    let file = out.join("web.tar");
    let to = file.to_str().unwrap();
    let words = ["export", "web", "--compress", "none", "-o", to];
    let whole = whole(&here, &words);
    fs::remove_file(&file).unwrap();

    let mut moments = Moments::new(SEED);
    let mut done = 0;
    for round in 0..ROUNDS {
        let child = started(&here, &words);
        thread::sleep(moments.within(whole));
        kill(child);
        if let Ok(bytes) = fs::read(&file) {
            let arrived = import(&there, &bytes).unwrap().checkpoint;
            assert_eq!(content(&arrived), content(&left));
            remove(&there, &arrived);
            fs::remove_file(&file).unwrap();
            done += 1;
        }
        assert_eq!(below(&out), [""; 0].map(PathBuf::from), "round {round}");
        assert_eq!(assert_whole(&here), 1);
    }
    assert!((1..ROUNDS).contains(&done), "{done} came to their end");
}

#[test]
fn a_prune_leaves_only_whole_ones() {
    let scratch = Scratch::new().unwrap();
    let here = store(&scratch, "here");
    // The newest builds on the oldest, which has to stay for it.
    let base = checkpoint(&here, "base", None);
    let fill = || {
        for called in ["a", "b", "c"] {
            if here.get(&name(called)).is_err() {
                checkpoint(&here, called, None);
            }
        }
    };
    fill();
    checkpoint(&here, "child", Some(&base));
    let words = ["prune", "--keep", "1", "--quiet"];
    let whole = whole(&here, &words);

    let mut moments = Moments::new(SEED);
    let mut done = 0;
    for round in 0..ROUNDS {
        // Now these are newer than the child, and the newest of them stays instead of it.
        fill();
        let before = assert_whole(&here);
        let child = started(&here, &words);
        thread::sleep(moments.within(whole));
        kill(child);
        done += u64::from(assert_whole(&here) < before);
        assert_eq!(rest(&here), [""; 0].map(PathBuf::from), "round {round}");
        if here.get(&name("child")).is_err() {
            drop(here.get(&name("base")).map(|base| remove(&here, &base)));
            let base = checkpoint(&here, "base", None);
            checkpoint(&here, "child", Some(&base));
        }
    }
    assert!((1..ROUNDS).contains(&done), "{done} removed anything");
}
