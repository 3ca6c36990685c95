//! Notifications: what the hook gets, and what CRIU gets from it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use criu_rpc::{Answer, DumpExternal, Error, HookError, Notice, PreDump, Stage, VersionQuery};
use criu_rs_tests::proto::CriuReqType;
use criu_rs_tests::{Passed, Step, TASK_PID};
use rustix::io::FdFlags;

use crate::front::Front;
use crate::play::{Play, somebody};
use crate::words::{asked, bytes, dumping, newest, no, notice, restored, script, version, yes};

const STAGES: [(&str, Stage); 14] = [
    ("pre-stream", Stage::PreStream),
    ("pre-dump", Stage::PreDump),
    ("post-dump", Stage::PostDump),
    ("pre-restore", Stage::PreRestore),
    ("post-restore", Stage::PostRestore),
    ("network-lock", Stage::NetworkLock),
    ("network-unlock", Stage::NetworkUnlock),
    ("setup-namespaces", Stage::SetupNamespaces),
    ("post-setup-namespaces", Stage::PostSetupNamespaces),
    ("pre-resume", Stage::PreResume),
    ("post-resume", Stage::PostResume),
    ("orphan-pts-master", Stage::OrphanPtsMaster),
    ("status-ready", Stage::StatusReady),
    ("query-ext-files", Stage::QueryExtFiles),
];

/// Refuses at one stage.
fn refusing(at: Stage) -> impl FnMut(Notice) -> Result<Answer, HookError> + Send {
    move |notice| {
        if *notice.stage() == at {
            Err("not today".into())
        } else {
            Ok(Answer::Continue)
        }
    }
}

/// A notification with descriptors, and the receipt of its answer.
fn with_fds(stage: &str, fds: &[Passed]) -> [Step; 2] {
    let notice = bytes(&notice(stage, None));
    [Step::SendFds(notice, fds.to_vec()), Step::Ack]
}

fn pipes(count: usize) -> Vec<Passed> {
    (0..count).map(|n| Passed::Pipe(n.to_string())).collect()
}

fn text(fd: OwnedFd) -> String {
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).unwrap();
    text
}

fronts! {
    each_stage_arrives_in_order,
    the_root_is_told_of,
    without_a_hook_each_stage_goes_on,
    a_pre_dump_has_stages_too,
    a_refusal_reaches_criu_and_the_caller,
    of_several_refusals_the_first_counts,
    criu_may_die_of_a_refusal,
    a_refusal_can_come_too_late,
    a_dump_that_goes_on_after_a_refusal_is_told_of,
    external_files_are_named_when_criu_asks,
    external_files_are_refused_at_another_stage,
    a_panic_of_a_hook_reaches_the_caller,
    a_descriptor_arrives_owned_and_is_kept,
    a_descriptor_that_nobody_takes_is_closed,
    of_several_descriptors_the_first_is_taken,
    a_descriptor_with_anything_else_is_closed,
    a_hook_may_take_its_time,
    a_notification_can_be_early,
}

fn each_stage_arrives_in_order(front: Front) {
    let names = STAGES
        .iter()
        .map(|(name, _)| *name)
        .chain(["pre-lunch", ""]);
    let script = names.fold(dumping(), |script, name| script.notify(name, None));
    let play = Play::of(script.send(&yes(CriuReqType::Dump)));
    let (mut stages, mut peers) = (Vec::new(), Vec::new());
    let dump = play.dump().hook(|notice| {
        stages.push(notice.stage().clone());
        peers.push(notice.criu());
        assert!(notice.pid().is_none() && notice.fd().is_none());
        Ok(Answer::Continue)
    });
    front.run(&play.criu(), dump).unwrap();
    let known = STAGES.map(|(_, stage)| stage);
    assert_eq!(stages[..14], known);
    assert_eq!(
        stages[14..],
        [Stage::Other("pre-lunch".into()), Stage::Other("".into())]
    );
    let criu = play.states()[0].pid;
    assert!(
        peers.iter().all(|peer| peer.as_raw() == criu),
        "{peers:?}, not {criu}"
    );
    assert_eq!(play.acks(), [Some(true); 16]);
}

fn the_root_is_told_of(front: Front) {
    let script = asked()
        .step(Step::StartTask { sibling: false })
        .notify("setup-namespaces", Some(TASK_PID))
        .notify("post-setup-namespaces", None)
        .notify("post-restore", Some(TASK_PID))
        .notify("pre-resume", Some(-1))
        .send(&restored(TASK_PID));
    let play = Play::of(script);
    let mut pids = Vec::new();
    let restore = play.restore().hook(|notice| {
        pids.push(notice.pid().map(|pid| pid.as_raw()));
        Ok(Answer::Continue)
    });
    front.run(&play.criu(), restore).unwrap();
    let task = Some(play.task().pid());
    assert_eq!(pids, [task, None, task, None]);
}

fn without_a_hook_each_stage_goes_on(front: Front) {
    let script = asked()
        .notify("pre-restore", None)
        .notify("query-ext-files", None)
        .notify("whatever", Some(1))
        .send(&no(CriuReqType::Dump));
    let play = Play::of(script);
    front.run(&play.criu(), play.dump()).unwrap_err();
    assert_eq!(play.acks(), [Some(true); 3]);
}

fn a_pre_dump_has_stages_too(front: Front) {
    let script = newest()
        .step(Step::Request)
        .notify("status-ready", None)
        .send(&yes(CriuReqType::SinglePreDump));
    let play = Play::of(script);
    let mut stages = Vec::new();
    let round = PreDump::new(somebody(), play.images()).hook(|notice| {
        stages.push(notice.stage().clone());
        Ok(Answer::Continue)
    });
    front.run(&play.criu(), round).unwrap();
    assert_eq!(stages, [Stage::StatusReady]);
}

fn a_refusal_reaches_criu_and_the_caller(front: Front) {
    for at in [Stage::PreDump, Stage::PostDump] {
        let script = dumping()
            .notify("pre-dump", None)
            .notify("post-dump", None)
            .send(&no(CriuReqType::Dump))
            .step(Step::Exit(1));
        let play = Play::of(script);
        let dump = play.dump().hook(refusing(at.clone()));
        let error = front.run(&play.criu(), dump).unwrap_err();
        let Error::Hook { stage, source, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!((&stage, &*source.to_string()), (&at, "not today"));
        let acks = [Some(at != Stage::PreDump), Some(at != Stage::PostDump)];
        assert_eq!(play.acks(), acks);
    }
}

fn of_several_refusals_the_first_counts(front: Front) {
    let script = asked()
        .notify("pre-dump", None)
        .notify("post-dump", None)
        .send(&no(CriuReqType::Dump));
    let play = Play::of(script);
    let mut count = 0;
    let dump = play.dump().hook(|_| {
        count += 1;
        Err(format!("refusal {count}").into())
    });
    let error = front.run(&play.criu(), dump).unwrap_err();
    let Error::Hook {
        stage: Stage::PreDump,
        source,
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(source.to_string(), "refusal 1");
}

fn criu_may_die_of_a_refusal(front: Front) {
    let script = asked().notify("pre-dump", None).step(Step::Exit(1));
    let play = Play::of(script);
    let dump = play.dump().hook(refusing(Stage::PreDump));
    let error = front.run(&play.criu(), dump).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Hook {
                stage: Stage::PreDump,
                ..
            }
        ),
        "{error:?}"
    );
}

/// From pre-resume on, CRIU does not look at the answer.
fn a_refusal_can_come_too_late(front: Front) {
    for answer in [Some(restored(TASK_PID)), None] {
        let mut script = asked()
            .step(Step::StartTask { sibling: false })
            .notify("post-restore", Some(TASK_PID))
            .notify("pre-resume", None);
        script = match &answer {
            Some(answer) => script.send(answer),
            None => script.step(Step::Exit(1)),
        };
        let play = Play::of(script);
        let restore = play.restore().hook(refusing(Stage::PreResume));
        let error = front.run(&play.criu(), restore).unwrap_err();
        let Error::TooLate {
            stage: Stage::PreResume,
            restored: Some(tree),
            ..
        } = error
        else {
            panic!("{error:?}")
        };
        assert_eq!(tree.pid().as_raw(), play.task().pid());
        play.assert_task_runs();
        assert_eq!(play.acks(), [Some(true), Some(false)]);
    }
}

fn a_dump_that_goes_on_after_a_refusal_is_told_of(front: Front) {
    let script = dumping()
        .notify("network-unlock", None)
        .send(&yes(CriuReqType::Dump));
    let play = Play::of(script);
    let dump = play.dump().hook(refusing(Stage::NetworkUnlock));
    let error = front.run(&play.criu(), dump).unwrap_err();
    let late = matches!(
        error,
        Error::TooLate {
            stage: Stage::NetworkUnlock,
            restored: None,
            ..
        }
    );
    assert!(late, "{error:?}");
}

fn external_files_are_named_when_criu_asks(front: Front) {
    let script = dumping()
        .notify("pre-dump", None)
        .notify("query-ext-files", None)
        .notify("post-dump", None)
        .send(&yes(CriuReqType::Dump));
    let play = Play::of(script);
    let dump = play.dump().hook(|notice| match notice.stage() {
        Stage::QueryExtFiles => Ok(Answer::Externals(vec![
            DumpExternal::Unix(4711),
            DumpExternal::File {
                mount: 0x1a,
                inode: 0xff,
            },
        ])),
        _ => Ok(Answer::Continue),
    });
    front.run(&play.criu(), dump).unwrap();
    assert_eq!(play.acks(), [Some(true); 3]);
    let [_, plain, named, _] = play.received().try_into().unwrap();
    assert_eq!(plain.opts, None);
    assert_eq!(named.opts.unwrap().external, ["unix[4711]", "file[1a:ff]"]);
}

/// CRIU would go on without them.
fn external_files_are_refused_at_another_stage(front: Front) {
    let script = asked()
        .notify("pre-dump", None)
        .send(&no(CriuReqType::Dump));
    let play = Play::of(script);
    let dump = play
        .dump()
        .hook(|_| Ok(Answer::Externals(vec![DumpExternal::Unix(1)])));
    let error = front.run(&play.criu(), dump).unwrap_err();
    let Error::Hook {
        stage: Stage::PreDump,
        source,
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert!(source.to_string().contains("query-ext-files"), "{source}");
    assert_eq!(play.acks(), [Some(false)]);
    assert_eq!(play.received()[1].opts, None);
}

fn a_panic_of_a_hook_reaches_the_caller(front: Front) {
    let script = asked()
        .send(&notice("pre-dump", None))
        .step(Step::Eof)
        .step(Step::Mark("closed".into()))
        .step(Step::Exit(1));
    let play = Play::of(script);
    let dump = play.dump().hook(|_| std::panic::panic_any("on purpose"));
    let criu = play.criu();
    let payload = catch_unwind(AssertUnwindSafe(|| front.run(&criu, dump))).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
    // It saw its socket close, and was reaped: the mark is there at once.
    assert!(play.scratch().join("mark.closed").exists());
    assert_eq!(play.peers()[0].state(), None);
}

fn a_descriptor_arrives_owned_and_is_kept(front: Front) {
    let script = asked().step(Step::StartTask { sibling: false });
    let script = with_fds("orphan-pts-master", &[Passed::PtyMaster])
        .into_iter()
        .fold(script, criu_rs_tests::FakeCriu::step);
    let play = Play::of(script.send(&restored(TASK_PID)));
    let mut master = None;
    let restore = play.restore().orphan_pts_master(true).hook(|notice| {
        assert_eq!(*notice.stage(), Stage::OrphanPtsMaster);
        let fd = notice.fd().unwrap();
        let flags = rustix::io::fcntl_getfd(fd.as_fd()).unwrap();
        assert_eq!(
            flags,
            FdFlags::CLOEXEC,
            "a child of another thread must not get it"
        );
        master = notice.into_fd();
        Ok(Answer::Continue)
    });
    front.run(&play.criu(), restore).unwrap();
    rustix::pty::ptsname(master.unwrap(), Vec::new()).expect("a pty master");
    assert_eq!(play.opts().orphan_pts_master, Some(true));
}

fn a_descriptor_that_nobody_takes_is_closed(front: Front) {
    for stage in ["orphan-pts-master", "pre-dump", "whatever"] {
        for hooked in [true, false] {
            let script = with_fds(stage, &pipes(1))
                .into_iter()
                .fold(dumping(), criu_rs_tests::FakeCriu::step);
            let play = Play::of(script.send(&yes(CriuReqType::Dump)));
            let mut seen = 0;
            let mut dump = play.dump();
            if hooked {
                dump = dump.hook(|notice| {
                    seen += usize::from(notice.fd().is_some());
                    Ok(Answer::Continue)
                });
            }
            front.run(&play.criu(), dump).unwrap();
            assert_eq!(seen, usize::from(hooked));
        }
    }
}

/// CRIU sends one at most. The census after the test tells whether one was left open.
fn of_several_descriptors_the_first_is_taken(front: Front) {
    for count in [2, 3, 16] {
        let script = with_fds("orphan-pts-master", &pipes(count))
            .into_iter()
            .fold(dumping(), criu_rs_tests::FakeCriu::step);
        let play = Play::of(script.send(&yes(CriuReqType::Dump)));
        let mut first = None;
        let dump = play.dump().hook(|notice| {
            first = notice.into_fd();
            Ok(Answer::Continue)
        });
        front.run(&play.criu(), dump).unwrap();
        assert_eq!(text(first.unwrap()), "0", "of {count}");
    }
}

fn a_descriptor_with_anything_else_is_closed(front: Front) {
    let answer = bytes(&version(4, 2, None));
    for count in [1, 2, 16] {
        let play = Play::of(asked().step(Step::SendFds(answer.clone(), pipes(count))));
        front.run(&play.criu(), VersionQuery::default()).unwrap();
        for datagram in [Vec::new(), vec![0xff; 9]] {
            let play = Play::of(asked().step(Step::SendFds(datagram, pipes(count))));
            front
                .run(&play.criu(), VersionQuery::default())
                .unwrap_err();
        }
        // Never read at all.
        let after = asked()
            .send(&version(4, 2, None))
            .step(Step::SendFds(answer.clone(), pipes(count)));
        let play = Play::of(after);
        front.run(&play.criu(), VersionQuery::default()).unwrap();
    }
}

fn a_hook_may_take_its_time(front: Front) {
    let script = dumping()
        .notify("pre-dump", None)
        .send(&yes(CriuReqType::Dump));
    let play = Play::of(script);
    let dump = play.dump().hook(|_| {
        std::thread::sleep(Duration::from_millis(50));
        Ok(Answer::Continue)
    });
    front.run(&play.criu(), dump).unwrap();
}

/// CRIU speaks first: its notification is there before the request was read.
fn a_notification_can_be_early(front: Front) {
    let script = script()
        .send(&notice("pre-dump", None))
        .step(Step::Request)
        .step(Step::Ack)
        .step(crate::words::inventory())
        .send(&yes(CriuReqType::Dump));
    let play = Play::of(script);
    front.run(&play.criu(), play.dump()).unwrap();
}
