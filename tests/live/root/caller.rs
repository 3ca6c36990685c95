//! The program that embeds the crate dies in the middle: CRIU notices and undoes.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use criu_rpc::{Answer, Criu, Dump, HookError, Notice, Pid, Restore};
use criu_rs_tests::{Scratch, Spawned, eventually, real_criu};
use rustix::process::Signal;

use crate::embedder::{Embedder, embedder};
use crate::target::{Target, assert_no_criu, criu};

const PATIENCE: Duration = Duration::from_secs(20);

/// A hook that says that it has come to a stage, and does not come back.
fn stuck(at: String, mark: String) -> impl FnMut(Notice) -> Result<Answer, HookError> {
    move |notice| {
        if notice.stage().name() == at {
            fs::write(&mark, "").unwrap();
            std::thread::sleep(PATIENCE * 2);
        }
        Ok(Answer::Continue)
    }
}

/// Starts an embedder that gets stuck at a stage, and kills it there.
fn killed_at(stage: &str, caller: &Embedder, scratch: &Scratch, words: &[&str]) {
    let mark = scratch.join("mark");
    let mut words = words.to_vec();
    words.extend([stage, mark.to_str().unwrap()]);
    let mut command = caller.command(&[], &words);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let caller = Spawned::spawn(&mut command).unwrap();
    eventually(stage, PATIENCE, || Ok(mark.exists().then_some(()))).unwrap();
    caller.signal(Signal::KILL).unwrap();
    caller.wait(PATIENCE).unwrap();
    caller.leave();
    fs::remove_file(mark).unwrap();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn in_a_dump_the_target_lives_and_no_criu_stays() {
    let caller = embedder(|words| {
        let [pid, images, stage, mark] = words.try_into().unwrap();
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        let dump = Dump::new(pid, Path::new(&images));
        Criu::at(real_criu())
            .unwrap()
            .run(dump.hook(stuck(stage, mark)))
            .unwrap();
    });
    let target = Target::start();
    let images = target.images("images");
    let words = [&*target.pid().to_string(), images.to_str().unwrap()];
    for stage in ["pre-dump", "query-ext-files", "post-dump"] {
        killed_at(stage, &caller, &target.scratch, &words);
        assert_no_criu(&images);
        target.assert_sound();
    }
    criu().run(target.dump("images")).unwrap();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn in_a_restore_nothing_stays_or_the_whole_tree() {
    let caller = embedder(|words| {
        let [images, stage, mark] = words.try_into().unwrap();
        let restore = Restore::new(Path::new(&images)).as_child(true);
        Criu::at(real_criu())
            .unwrap()
            .run(restore.hook(stuck(stage, mark)))
            .unwrap();
    });
    let mut gone = Target::start().dump_away("images");
    for (stage, is_whole) in [
        ("pre-restore", false),
        ("post-restore", false),
        ("pre-resume", true),
        ("post-resume", true),
    ] {
        let images = gone.scratch.join("images");
        killed_at(stage, &caller, &gone.scratch, &[images.to_str().unwrap()]);
        assert_no_criu(&images);
        if is_whole {
            let root = Pid::from_raw(gone.last.pid).unwrap();
            gone = gone.back_as(root).dump_away("images");
        } else {
            gone.assert_nothing_left();
        }
    }
    let tree = criu().run(gone.restore()).unwrap();
    gone.back(&tree);
}
