//! A request is stopped, by a cancel or a time limit: the target of a dump runs, and of a
//! restore there is the whole tree or nothing.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use criu_rpc::{Answer, Cancel, CancelReason, Ended, Error, Progress, Stage};
use criu_rs_tests::Settings;

use super::killed::{added, fds, maps, written};
use crate::target::{Target, criu};

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_dump_is_cancelled_at_each_stage_while_that_is_possible() {
    let target = Target::start();
    for (stage, in_time) in [
        (Stage::PreDump, true),
        (Stage::QueryExtFiles, true),
        (Stage::PostDump, false),
    ] {
        let cancel = Cancel::new().unwrap();
        let asked = cancel.clone();
        let at = stage.clone();
        let dump = target
            .dump("images")
            .cancel_with(&cancel)
            .hook(move |notice| {
                if *notice.stage() == at {
                    asked.cancel();
                }
                Ok(Answer::Continue)
            });
        match criu().run(dump) {
            Err(Error::Cancelled {
                stage: told,
                reason,
                ..
            }) if in_time => {
                assert_eq!((told, reason), (Some(stage), CancelReason::Asked));
            }
            Ok(_) if !in_time => {}
            other => panic!("at {stage}: {other:?}"),
        }
        target.assert_sound();
    }
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_restore_is_cancelled_at_each_stage_while_that_is_possible() {
    let mut target = Target::start();
    for as_child in [true, false] {
        for (stage, in_time) in [
            (Stage::PreRestore, true),
            (Stage::PostRestore, true),
            (Stage::PreResume, false),
            (Stage::PostResume, false),
        ] {
            let gone = target.dump_away("images");
            let cancel = Cancel::new().unwrap();
            let asked = cancel.clone();
            let at = stage.clone();
            let restore = gone.restore().as_child(as_child).cancel_with(&cancel);
            let restored = criu().run(restore.hook(move |notice| {
                if *notice.stage() == at {
                    asked.cancel();
                }
                Ok(Answer::Continue)
            }));
            let tree = match restored {
                Err(Error::Cancelled {
                    reason: CancelReason::Asked,
                    ..
                }) if in_time => {
                    gone.assert_nothing_left();
                    criu()
                        .run(
                            gone.restore()
                                .log_level(criu_rpc::LogLevel::Debug)
                                .log_file("second.log"),
                        )
                        .unwrap()
                }
                Ok(tree) if !in_time => tree,
                other => panic!("at {stage}: {other:?}"),
            };
            target = gone.back(&tree);
        }
    }
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_long_dump_is_stopped_at_its_time_limit() {
    let target = Target::start_as(|settings| Settings {
        memory_mib: 512,
        ..settings
    });
    let limit = Duration::from_millis(150);
    let mut taken = 0;
    let begin = Instant::now();
    let dump = target
        .dump("images")
        .time_limit(limit)
        .progress(|progress| {
            if let Progress::Pages(pages) = progress {
                taken = pages;
            }
        });
    match criu().run(dump) {
        Err(Error::Cancelled {
            reason: CancelReason::TimeLimit,
            ended,
            ..
        }) => {
            assert!(begin.elapsed() >= limit);
            assert_eq!(ended, Ended::Exited(1));
        }
        // A fast machine.
        Ok(_) => assert!(begin.elapsed() < limit * 4),
        Err(other) => panic!("{other}"),
    }
    target.assert_sound();

    criu().run(target.dump("images")).unwrap();
    target.assert_sound();
}

/// It is not killed: then its code would stay in the tasks.
#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_dump_that_writes_pages_gives_up_and_leaves_nothing_in_the_tasks() {
    const ATTEMPTS: u32 = 30;
    const ENOUGH: u32 = 4;
    const MEMORY: u64 = 256 << 20;
    let target = Target::start_as(|settings| Settings {
        memory_mib: MEMORY >> 20,
        dirty: 64,
        scatter: true,
        ..settings
    });
    let before = (maps(&target), fds(&target));
    let mut caught = 0;
    for _ in 0..ATTEMPTS {
        let images = target.images("images");
        let cancel = Cancel::new().unwrap();
        let dump = target.dump("images").cancel_with(&cancel);
        let run = || criu().run(dump);
        let result = thread::scope(|scope| {
            let dumping = scope.spawn(run);
            while written(&images) < MEMORY / 8 && !dumping.is_finished() {
                thread::sleep(Duration::from_micros(200));
            }
            cancel.cancel();
            dumping.join().unwrap()
        });
        match result {
            Err(Error::Cancelled { stage, ended, .. }) => {
                assert_eq!(
                    (stage, ended),
                    (Some(Stage::QueryExtFiles), Ended::Exited(1))
                );
                caught += u32::from(written(&images) < MEMORY / 8 * 7);
            }
            // It was done before anyone noticed.
            Ok(_) => {}
            Err(other) => panic!("{other}"),
        }
        assert_eq!(added(&before.0, &maps(&target)), [""; 0]);
        assert_eq!(fds(&target), before.1);
        // It ticks on, and a tick checks what it rewrites.
        let count = target.workload.count().unwrap();
        target.workload.wait_count(count + 2).unwrap();
        fs::remove_dir_all(images).unwrap();
        if caught == ENOUGH {
            break;
        }
    }
    assert!(caught > 0, "no dump gave up before it had written all");
    target.assert_sound();

    let gone = target.dump_away("images");
    let tree = criu().run(gone.restore()).unwrap();
    gone.back(&tree);
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn progress_counts_tasks_and_pages() {
    let target = Target::start();
    let mut told = Vec::new();
    criu()
        .run(
            target
                .dump("images")
                .progress(|progress| told.push(progress)),
        )
        .unwrap();
    let stopped = told
        .iter()
        .filter(|told| matches!(told, Progress::Stopped { .. }))
        .count();
    let tasks = told
        .iter()
        .filter(|told| matches!(told, Progress::Task { .. }))
        .count();
    assert_eq!((stopped, tasks), (2, 2), "{told:?}");
    let Some(Progress::Pages(pages)) = told.iter().rfind(|told| matches!(told, Progress::Pages(_)))
    else {
        panic!("no pages in {told:?}");
    };
    // The workload has a MiB of its own.
    assert!(*pages >= 256, "{pages}");
    assert!(told.contains(&Progress::Stage(Stage::PostDump)));
}
