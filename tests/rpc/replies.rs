//! Success: what is sent, and what becomes of the answer.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use criu_rpc::{
    Check, CpuInfoCheck, CpuInfoDump, Ended, Error, FeatureCheck, PreDump, ProtocolError, Version,
    VersionQuery,
};
use criu_rs_tests::proto::{CriuFeatures, CriuOpts, CriuReq, CriuReqType, CriuResp, CriuVersion};
use criu_rs_tests::{End, Spawned, Step, TASK_PID};
use rustix::process::Signal;

use crate::front::Front;
use crate::play::{Play, somebody};
use crate::words::{asked, dumping, newest, restored, version, yes};

/// A request without options.
fn question(kind: CriuReqType) -> CriuReq {
    CriuReq {
        r#type: kind.into(),
        ..Default::default()
    }
}

/// The field that an answer lacks.
fn missing<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result.unwrap_err() {
        Error::Protocol {
            source: ProtocolError::Missing { field },
            ..
        } => field,
        other => panic!("{other:?}"),
    }
}

fronts! {
    a_version_is_read_whatever_comes_with_it,
    a_version_has_a_sublevel_only_if_there_is_one,
    a_version_that_is_none_is_missing,
    a_criu_that_has_told_its_version_need_not_end_by_itself,
    features_that_are_not_told_are_not_there,
    a_check_has_options_and_leaves_no_log,
    a_dump_names_its_target_and_its_folder,
    a_dump_that_wrote_nothing_is_no_dump,
    a_pre_dump_tracks_memory,
    a_restored_tree_is_handed_over,
    a_tree_restored_as_a_child_is_waited_for,
    a_restored_tree_can_have_ended_before_the_answer,
    dropping_a_restored_tree_lets_it_run,
    a_restored_tree_needs_a_pid,
    what_a_cpu_can_do_is_written_and_compared,
}

fn a_version_is_read_whatever_comes_with_it(front: Front) {
    let mut answer = version(4, 2, Some(1));
    answer.version = Some(CriuVersion {
        gitid: Some("v4.2.1-22-g2cf8f13ca".into()),
        extra: Some(3),
        name: Some("CRIUTIBILITY".into()),
        ..answer.version.unwrap()
    });
    // On many systems CRIU says this whenever it answers.
    answer.cr_errmsg = Some("rlimit: Can't setup RLIMIT_NOFILE for self".into());
    let play = Play::of(asked().send(&answer));
    let found = front.run(&play.criu(), VersionQuery::default()).unwrap();
    assert_eq!(found, Version::new(4, 2, 1));
    assert_eq!(play.received(), [question(CriuReqType::Version)]);
    assert_eq!(play.datagrams()[0].fds, 0);
}

fn a_version_has_a_sublevel_only_if_there_is_one(front: Front) {
    let play = Play::of(asked().send(&version(3, 19, None)));
    let found = front.run(&play.criu(), VersionQuery::default()).unwrap();
    assert_eq!(found, Version::new(3, 19, 0));
}

fn a_criu_that_has_told_its_version_need_not_end_by_itself(front: Front) {
    let play = Play::of(asked().send(&version(4, 2, None)).step(Step::Hang));
    let begun = Instant::now();
    front.run(&play.criu(), VersionQuery::default()).unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "it was waited for"
    );
}

fn a_version_that_is_none_is_missing(front: Front) {
    for answer in [
        yes(CriuReqType::Version),
        version(4, -1, None),
        version(4, 2, Some(-1)),
    ] {
        let play = Play::of(asked().send(&answer));
        assert_eq!(
            missing(front.run(&play.criu(), VersionQuery::default())),
            "version"
        );
    }
}

/// What CRIU does not know it leaves out.
fn features_that_are_not_told_are_not_there(front: Front) {
    for told in [
        [Some(true), Some(true), Some(true)],
        [Some(true), None, None],
        [None, Some(true), Some(false)],
        [None, None, None],
    ] {
        let [mem_track, lazy_pages, pidfd_store] = told;
        let answer = CriuResp {
            features: Some(CriuFeatures {
                mem_track,
                lazy_pages,
                pidfd_store,
            }),
            ..yes(CriuReqType::FeatureCheck)
        };
        let play = Play::of(asked().send(&answer));
        let found = front.run(&play.criu(), FeatureCheck::default()).unwrap();
        let found = [found.mem_track, found.lazy_pages, found.pidfd_store];
        assert_eq!(found, told.map(Option::unwrap_or_default));
        let all = CriuFeatures {
            mem_track: Some(true),
            lazy_pages: Some(true),
            pidfd_store: Some(true),
        };
        assert_eq!(
            play.request().features,
            Some(all),
            "only what was asked is told"
        );
    }
    let play = Play::of(asked().send(&yes(CriuReqType::FeatureCheck)));
    assert_eq!(
        missing(front.run(&play.criu(), FeatureCheck::default())),
        "features"
    );
}

/// CRIU before 4.2 crashes on a check without options.
fn a_check_has_options_and_leaves_no_log(front: Front) {
    let play = Play::of(asked().send(&yes(CriuReqType::Check)));
    front.run(&play.criu(), Check::default()).unwrap();
    let opts = play.opts();
    assert_eq!(opts.log_file(), "stderr");
    assert_eq!(play.request().r#type(), CriuReqType::Check);
}

fn a_dump_names_its_target_and_its_folder(front: Front) {
    let play = Play::of(dumping().send(&yes(CriuReqType::Dump)));
    front.run(&play.criu(), play.dump()).unwrap();
    assert!(
        play.images().join("inventory.img").exists(),
        "the folder's fd was found"
    );
    let CriuOpts { images_dir_fd, .. } = play.opts();
    assert!(images_dir_fd > 2);
    let expected = CriuReq {
        opts: Some(CriuOpts {
            images_dir_fd,
            pid: Some(somebody().as_raw()),
            log_file: Some("dump.log".into()),
            notify_scripts: Some(true),
            ..Default::default()
        }),
        ..question(CriuReqType::Dump)
    };
    assert_eq!(play.received(), [expected]);
}

/// A development version of CRIU said so.
fn a_dump_that_wrote_nothing_is_no_dump(front: Front) {
    let play = Play::of(asked().send(&yes(CriuReqType::Dump)));
    let error = front.run(&play.criu(), play.dump()).unwrap_err();
    let Error::Protocol { source, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(source, ProtocolError::NoInventory);
}

fn a_pre_dump_tracks_memory(front: Front) {
    let script = newest().step(Step::Request);
    let play = Play::of(script.send(&yes(CriuReqType::SinglePreDump)));
    front
        .run(&play.criu(), PreDump::new(somebody(), play.images()))
        .unwrap();
    let [_, request] = play.requests().try_into().unwrap();
    assert_eq!(request.r#type(), CriuReqType::SinglePreDump);
    let opts = request.opts.unwrap();
    assert_eq!(opts.track_mem, Some(true));
    assert_eq!(opts.log_file(), "pre-dump.log");
}

fn a_restored_tree_is_handed_over(front: Front) {
    let script = asked()
        .step(Step::StartTask { sibling: false })
        .send(&restored(TASK_PID));
    let play = Play::of(script);
    let tree = front.run(&play.criu(), play.restore()).unwrap();
    assert_eq!(tree.pid().as_raw(), play.task().pid());
    assert!(!tree.is_child());
    assert!(tree.wait().is_err(), "it is not our child");
    play.assert_task_runs();
    // The handle is one on this very process.
    rustix::process::pidfd_send_signal(tree.pidfd().as_fd(), Signal::KILL).unwrap();
    play.assert_task_is_gone();
    let CriuOpts { images_dir_fd, .. } = play.opts();
    let expected = CriuOpts {
        images_dir_fd,
        log_file: Some("restore.log".into()),
        notify_scripts: Some(true),
        ..Default::default()
    };
    assert_eq!(play.opts(), expected);
}

fn a_tree_restored_as_a_child_is_waited_for(front: Front) {
    let script = asked()
        .step(Step::StartTask { sibling: true })
        .notify("post-restore", Some(TASK_PID))
        .send(&restored(TASK_PID));
    let play = Play::of(script);
    let tree = front
        .run(&play.criu(), play.restore().as_child(true))
        .unwrap();
    assert!(tree.is_child());
    assert_eq!(play.opts().rst_sibling, Some(true));
    rustix::process::pidfd_send_signal(tree.pidfd(), Signal::KILL).unwrap();
    assert_eq!(tree.wait().unwrap(), Ended::Killed(9));
}

/// The handle was taken when the root was told of, so the number may be gone by now.
fn a_restored_tree_can_have_ended_before_the_answer(front: Front) {
    let script = asked()
        .step(Step::StartTask { sibling: true })
        .notify("post-restore", Some(TASK_PID))
        .notify("pre-resume", None)
        .step(Step::KillTask)
        .send(&restored(TASK_PID));
    let play = Play::of(script);
    let tree = front
        .run(&play.criu(), play.restore().as_child(true))
        .unwrap();
    assert_eq!(tree.wait().unwrap(), Ended::Killed(9));
}

fn dropping_a_restored_tree_lets_it_run(front: Front) {
    let script = asked()
        .step(Step::StartTask { sibling: true })
        .send(&restored(TASK_PID));
    let play = Play::of(script);
    drop(
        front
            .run(&play.criu(), play.restore().as_child(true))
            .unwrap(),
    );
    play.assert_task_runs();
    let task = Spawned::adopt(play.task().pid()).unwrap();
    task.signal(Signal::KILL).unwrap();
    assert_eq!(
        task.wait(std::time::Duration::from_secs(10)).unwrap(),
        End::Killed(9)
    );
}

/// CRIU says -1 when it does not know.
fn a_restored_tree_needs_a_pid(front: Front) {
    for answer in [yes(CriuReqType::Restore), restored(-1), restored(0)] {
        let play = Play::of(asked().send(&answer));
        assert_eq!(
            missing(front.run(&play.criu(), play.restore())),
            "restore.pid"
        );
    }
    // No kernel gives pids so large.
    let play = Play::of(asked().send(&restored(i32::MAX)));
    let error = front.run(&play.criu(), play.restore()).unwrap_err();
    assert!(matches!(error, Error::System { .. }), "{error:?}");
}

fn what_a_cpu_can_do_is_written_and_compared(front: Front) {
    let play = Play::of(asked().send(&yes(CriuReqType::CpuinfoDump)));
    front
        .run(&play.criu(), CpuInfoDump::new(play.images()))
        .unwrap();
    assert_eq!(play.request().r#type(), CriuReqType::CpuinfoDump);
    assert_eq!(play.opts().log_file(), "cpuinfo-dump.log");
    assert_eq!(play.opts().notify_scripts, None, "there are no stages");

    let play = Play::of(asked().send(&yes(CriuReqType::CpuinfoCheck)));
    front
        .run(&play.criu(), CpuInfoCheck::new(play.images()))
        .unwrap();
    assert_eq!(play.request().r#type(), CriuReqType::CpuinfoCheck);
    assert_eq!(play.opts().log_file(), "cpuinfo-check.log");
}

/// The short ways to ask.
#[test]
fn a_criu_answers_for_itself() {
    let features = CriuResp {
        features: Some(CriuFeatures::default()),
        ..yes(CriuReqType::FeatureCheck)
    };
    let script = asked()
        .send(&version(4, 1, Some(1)))
        .step(Step::NextRun)
        .step(Step::Request)
        .send(&features)
        .step(Step::NextRun)
        .step(Step::Request)
        .send(&yes(CriuReqType::Check));
    let play = Play::of(script);
    assert_eq!(play.criu().version().unwrap().to_string(), "4.1.1");
    assert!(!play.criu().features().unwrap().mem_track);
    play.criu().check().unwrap();
}
