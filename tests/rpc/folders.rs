//! Folders that cannot be used are told of before CRIU is started.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use criu_rpc::{CpuInfoCheck, Dir, Error, PageServer, PreDump, Restore};
use criu_rs_tests::alone;
use criu_rs_tests::proto::CriuReqType;
use nix::unistd::{Uid, seteuid};
use rustix::fs::{Mode, OFlags};

use crate::front::{Front, unchanged};
use crate::play::{Play, somebody};
use crate::words::{asked, dumping, no, script, yes};

/// The user that is nobody.
const NOBODY: u32 = 65_534;

/// Which folder cannot be used, and why.
fn unusable<T: std::fmt::Debug>(result: Result<T, Error>) -> (&'static str, ErrorKind) {
    match result {
        Err(Error::Folder { role, source, .. }) => (role, source.kind()),
        other => panic!("{other:?}"),
    }
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Does something as a user that may not do everything.
fn as_nobody<T>(act: impl FnOnce() -> T) -> T {
    let me = Uid::effective();
    if me.is_root() {
        seteuid(Uid::from_raw(NOBODY)).unwrap();
    }
    let result = act();
    seteuid(me).unwrap();
    result
}

fronts! {
    one_that_is_not_there_or_no_folder_is_told,
    one_by_descriptor_must_be_a_folder,
    one_by_descriptor_needs_no_path,
    one_by_a_relative_path_is_where_we_are,
    images_that_are_only_read_need_a_work_folder,
}

fn one_that_is_not_there_or_no_folder_is_told(front: Front) {
    let play = Play::of(script());
    let criu = play.criu();
    let missing = play.scratch().join("missing");
    let file = play.scratch().join("file");
    fs::write(&file, "").unwrap();
    for (path, kind) in [
        (&missing, ErrorKind::NotFound),
        (&file, ErrorKind::NotADirectory),
    ] {
        let images = ("images", kind);
        assert_eq!(unusable(front.run(&criu, Restore::new(path))), images);
        assert_eq!(unusable(front.run(&criu, CpuInfoCheck::new(path))), images);
        assert_eq!(
            unusable(front.run(&criu, PreDump::new(somebody(), path))),
            images
        );
        assert_eq!(
            unusable(front.page_server(&criu, PageServer::new(path))),
            images
        );
        assert_eq!(
            unusable(front.run(&criu, play.dump().work_dir(path))),
            ("work", kind)
        );
        let error = front
            .run(&criu, Restore::new(path))
            .unwrap_err()
            .to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
    assert!(play.peers().is_empty());
}

fn one_by_descriptor_must_be_a_folder(front: Front) {
    let play = Play::of(script());
    let file = File::create(play.scratch().join("file")).unwrap();
    let result = front.run(&play.criu(), Restore::new(&file));
    assert_eq!(unusable(result), ("images", ErrorKind::NotADirectory));
}

fn one_by_descriptor_needs_no_path(front: Front) {
    let play = Play::of(dumping().send(&yes(CriuReqType::Dump)));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder: OwnedFd = rustix::fs::open(play.images(), flags, Mode::empty()).unwrap();
    // By no name that was known before.
    fs::rename(play.images(), play.scratch().join("moved")).unwrap();
    let dump = criu_rpc::Dump::new(somebody(), Dir::from(&folder));
    front.run(&play.criu(), dump).unwrap();
    assert!(play.scratch().join("moved/inventory.img").exists());
}

fn one_by_a_relative_path_is_where_we_are(front: Front) {
    let play = Play::of(dumping().send(&yes(CriuReqType::Dump)));
    let before = std::env::current_dir().unwrap();
    std::env::set_current_dir(play.scratch().path()).unwrap();
    let result = front.run(&play.criu(), criu_rpc::Dump::new(somebody(), "images"));
    std::env::set_current_dir(before).unwrap();
    result.unwrap();
}

/// Images can be on a medium that is read-only, if the log goes elsewhere.
fn images_that_are_only_read_need_a_work_folder(front: Front) {
    let play = Play::of(asked().send(&no(CriuReqType::Restore)));
    let criu = play.criu();
    let work = play.scratch().dir("work").unwrap();
    allow(play.scratch().path(), 0o755);
    allow(&work, 0o777);
    allow(&play.images(), 0o555);
    let denied = ("images", ErrorKind::PermissionDenied);
    as_nobody(|| {
        assert_eq!(unusable(front.run(&criu, play.dump())), denied);
        assert_eq!(
            unusable(front.run(&criu, play.dump().work_dir(&work))),
            denied
        );
        assert_eq!(unusable(front.run(&criu, play.restore())), denied);
    });
    let read_only = File::open(play.images()).unwrap();
    let allowed = as_nobody(|| front.run(&criu, play.restore().work_dir(&work)));
    drop(read_only);
    // Whether this fake could be started as nobody is another matter.
    assert!(!matches!(allowed, Err(Error::Folder { .. })), "{allowed:?}");

    allow(&work, 0o555);
    let denied = ("work", ErrorKind::PermissionDenied);
    as_nobody(|| {
        assert_eq!(
            unusable(front.run(&criu, play.restore().work_dir(&work))),
            denied
        );
    });
}

/// The folder is a descriptor by then.
#[test]
fn a_folder_may_move_while_criu_works() {
    alone(|| {
        unchanged(|| {
            for front in [Front::Blocking, Front::Tokio] {
                let script = asked()
                    .notify("pre-dump", None)
                    .step(crate::words::inventory())
                    .send(&yes(CriuReqType::Dump));
                let play = Play::of(script);
                let (from, to) = (play.images(), play.scratch().join("moved"));
                let dump = play.dump().hook(|_| {
                    fs::rename(&from, &to)?;
                    Ok(criu_rpc::Answer::Continue)
                });
                front.run(&play.criu(), dump).unwrap();
                assert!(to.join("inventory.img").exists());
            }
        });
    });
}
