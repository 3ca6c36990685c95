//! Open files that a dump takes only when it is told to, and that are what they were in the
//! process that is back.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use criu_rpc::{Dump, Restore};
use rustix::fs::{FlockOperation, fcntl_lock, flock};

use crate::target::{Target, criu};

/// Dumps a target away and restores it.
#[track_caller]
fn there_and_back(
    target: Target,
    dump: impl FnOnce(Dump<'static>) -> Dump<'static>,
    meanwhile: impl FnOnce(),
    restore: impl FnOnce(Restore<'static>) -> Restore<'static>,
) -> Target {
    let gone = target.dump_away_with("images", dump);
    meanwhile();
    let tree = criu().run(restore(gone.restore())).unwrap();
    gone.back(&tree)
}

/// The descriptor, below `/proc`, whose link begins with this path.
#[track_caller]
fn descriptor(target: &Target, name: &str) -> (PathBuf, String) {
    let path = target.scratch.join(name);
    let fds = target.workload.process().proc().fds().unwrap();
    let (number, link) = fds
        .iter()
        .find(|(_, link)| link.to_str().unwrap().starts_with(path.to_str().unwrap()))
        .unwrap_or_else(|| panic!("{name} is not among {fds:?}"));
    let descriptor = format!("/proc/{}/fd/{number}", target.pid());
    (descriptor.into(), link.to_str().unwrap().to_owned())
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn locks_are_held_again() {
    for kind in ["flock", "posix-lock"] {
        let target = Target::holding(&[kind, "./locked"]);
        let file = File::options()
            .write(true)
            .open(target.scratch.join("locked"))
            .unwrap();
        let is_held = || {
            let (take, give) = (
                FlockOperation::NonBlockingLockExclusive,
                FlockOperation::NonBlockingUnlock,
            );
            match kind {
                "flock" => flock(&file, take).and_then(|()| flock(&file, give)),
                _ => fcntl_lock(&file, take).and_then(|()| fcntl_lock(&file, give)),
            }
            .is_err()
        };
        assert!(is_held(), "{kind}");
        let _back = there_and_back(
            target,
            |dump| dump.file_locks(true),
            || assert!(!is_held(), "{kind}"),
            |restore| restore.file_locks(true),
        );
        assert!(is_held(), "{kind}");
    }
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_deleted_file_is_in_the_images() {
    const SIZE: u64 = 1_200_000;
    let target = Target::holding(&["deleted", "./large", &SIZE.to_string()]);
    let content = |target: &Target| {
        let (descriptor, link) = descriptor(target, "large");
        assert!(link.ends_with(" (deleted)"), "{link}");
        fs::read(descriptor).unwrap()
    };
    let before = content(&target);
    assert_eq!(u64::try_from(before.len()).unwrap(), SIZE);
    let target = there_and_back(target, |dump| dump.ghost_limit(2 << 20), || {}, |it| it);
    assert!(content(&target) == before);
    assert!(!target.scratch.join("large").exists());
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_file_that_is_gone_under_its_name_is_found_by_another() {
    let target = Target::holding(&["unlinked", "./one", "./other"]);
    let scratch = target.scratch.path().to_owned();
    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    let other = inode(scratch.join("other"));
    assert_eq!(inode(descriptor(&target, "one").0), other);
    let helpers = || {
        let entries = fs::read_dir(&scratch).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("link_remap")).count()
    };

    let target = there_and_back(
        target,
        |dump| dump.link_remap(true),
        || assert_eq!(helpers(), 1),
        |restore| restore.link_remap(true),
    );
    assert_eq!(inode(descriptor(&target, "one").0), other);
    assert_eq!(helpers(), 0);
}
