//! A request is stopped, by a cancel or a time limit: the target of a dump runs, and of a
//! restore there is the whole tree or nothing.

use std::time::{Duration, Instant};

use criu_rpc::{Answer, Cancel, CancelReason, Error, Progress, Stage};

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
    let target = Target::start_as(|settings| criu_rs_tests::Settings {
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
            ..
        }) => {
            assert!(begin.elapsed() >= limit);
        }
        // A fast machine.
        Ok(_) => assert!(begin.elapsed() < limit * 4),
        Err(other) => panic!("{other}"),
    }
    target.assert_sound();

    criu().run(target.dump("images")).unwrap();
    target.assert_sound();
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
