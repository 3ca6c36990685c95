//! A dump of this process: CRIU has to stand outside its tree.

use std::path::Path;

use criu_rpc::{Dump, Error, SelfDump, SelfDumped};
use criu_rs_tests::proto::{CriuDumpResp, CriuOpts, CriuReqType, CriuResp};
use criu_rs_tests::{Proc, Step, alone};

use crate::front::unchanged;
use crate::play::Play;
use crate::words::{inventory, newest, no, yes};

fn dumped(restored: Option<bool>) -> CriuResp {
    CriuResp {
        dump: Some(CriuDumpResp { restored }),
        ..yes(CriuReqType::Dump)
    }
}

#[test]
fn criu_is_outside_the_tree() {
    alone(|| {
        unchanged(|| {
            let script = newest().step(Step::Request).step(inventory());
            let play = Play::of(script.send(&dumped(Some(false))));
            let images = play.images();
            let dump = Dump::this_process(&images).leave_running(true);
            let found = play.criu().dump_this_process(dump).unwrap();
            assert_eq!(found, SelfDumped::Running);

            let me = Proc::myself();
            let [state] = play.states().try_into().unwrap();
            assert_ne!(state.parent, me.pid());
            assert_ne!(state.session, me.session().unwrap());
            assert_eq!(state.folder, images.canonicalize().unwrap());
            assert_eq!(state.args[1..], ["swrk", "3"]);
            let fds: Vec<_> = state.fds.iter().collect();
            let [(0, stdin), (1, stdout), (2, stderr), (3, socket)] = fds[..] else {
                panic!("{fds:?}")
            };
            assert_eq!([stdin, stdout, stderr], [Path::new("/dev/null"); 3]);
            assert!(
                socket.to_string_lossy().starts_with("socket:"),
                "{socket:?}"
            );

            // A descriptor would be dumped along, so the folder is named.
            let expected = CriuOpts {
                images_dir_fd: -1,
                images_dir: Some("/proc/self/cwd".into()),
                log_file: Some("self-dump.log".into()),
                leave_running: Some(true),
                ..Default::default()
            };
            assert_eq!(play.requests()[1].opts, Some(expected));
            assert!(images.join("inventory.img").exists());
        });
    });
}

#[test]
fn a_restored_process_knows_that_it_is_one() {
    alone(|| {
        unchanged(|| {
            let play = Play::of(newest().step(Step::Request).send(&dumped(Some(true))));
            let found = play.criu().dump_this_process(SelfDump::new(play.images()));
            assert_eq!(found.unwrap(), SelfDumped::Restored);
        });
    });
}

#[test]
fn a_failed_self_dump_says_why() {
    alone(|| {
        unchanged(|| {
            let script = newest()
                .step(Step::Request)
                .step(Step::Log(
                    "(00.1) Error (criu/cr-dump.c:9): Can't get rlimit 0\n".into(),
                ))
                .send(&no(CriuReqType::Dump))
                .step(Step::Exit(1));
            let play = Play::of(script);
            let error = play
                .criu()
                .dump_this_process(SelfDump::new(play.images()))
                .unwrap_err();
            let Error::Failed(failure) = error else {
                panic!("{error:?}")
            };
            assert_eq!(failure.cause, Some(criu_rpc::Cause::OtherUser));
            assert_eq!(failure.log.as_deref(), Some("self-dump.log"));
        });
    });
}

/// Nobody reads the socket while the dump goes on: this process is stopped.
#[test]
fn a_self_dump_has_no_stages() {
    alone(|| {
        unchanged(|| {
            let play = Play::of(newest().step(Step::Request).send(&dumped(None)));
            let dump = SelfDump::new(play.images());
            play.criu().dump_this_process(dump).unwrap();
            assert_eq!(
                play.requests()[1].opts.as_ref().unwrap().notify_scripts,
                None
            );
        });
    });
}

#[test]
fn a_folder_by_descriptor_is_refused() {
    alone(|| {
        unchanged(|| {
            let play = Play::of(crate::words::script());
            let folder = std::fs::File::open(play.images()).unwrap();
            let error = play
                .criu()
                .dump_this_process(SelfDump::new(&folder))
                .unwrap_err();
            assert!(
                matches!(error, Error::Folder { role: "images", .. }),
                "{error:?}"
            );
        });
    });
}

/// Then CRIU would come back to it as a child.
#[test]
fn a_process_that_adopts_orphans_cannot_dump_itself() {
    alone(|| {
        let me = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(me)).unwrap();
        unchanged(|| {
            // Its release is asked for before.
            let play = Play::of(newest());
            let error = play
                .criu()
                .dump_this_process(SelfDump::new(play.images()))
                .unwrap_err();
            assert!(matches!(error, Error::Spawn { .. }), "{error:?}");
        });
    });
}
