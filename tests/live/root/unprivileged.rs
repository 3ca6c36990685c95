//! CRIU as a user who is not root: with `CAP_CHECKPOINT_RESTORE`, and `CAP_SETPCAP` since a
//! restored task drops what its bounding set had not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use criu_rpc::{Cause, Dump, Ended, Error, Pid, Restore};
use criu_rs_tests::{End, Proc, Scratch, Spawned, State, eventually, real_criu};
use rustix::process::{Signal, pidfd_send_signal};

use crate::embedder::embedder;
use crate::target::{criu, detached};

const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a program as nobody, from where nobody may read it: its folder and CRIU's appear in
/// one that is open to all, in mounts of their own.
const AS_NOBODY: &str = r#"mount --bind "${CRIU%/*}" "$OPEN/criu" &&
    mount --bind "${1%/*}" "$OPEN/bin" || exit
    export CRIU="$OPEN/criu/${CRIU##*/}"
    program="$OPEN/bin/${1##*/}"; shift
    exec setpriv --reuid 65534 --regid 65534 --clear-groups \
        --inh-caps=-all,+checkpoint_restore,+setpcap \
        --ambient-caps=-all,+checkpoint_restore,+setpcap -- "$program" "$@""#;

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_tree_of_the_same_user_goes_and_comes_back() {
    let nobody = embedder(|words| {
        let images = Path::new(&words[0]);
        assert_ne!(rustix::process::getuid().as_raw(), 0);
        // Without the privileges of its CRIU.
        let plain = ["setpriv", "--ambient-caps=-all", "--inh-caps=-all"];
        let words = [&plain[..], &["sleep", "1000"]].concat();
        let task = Spawned::spawn(&mut detached(&words)).unwrap();
        eventually("a task that sleeps", PATIENCE, || {
            let (name, state) = (task.proc().name()?, task.proc().state());
            Ok((name == "sleep" && state == Some(State::Sleeping)).then_some(()))
        })
        .unwrap();
        let root = Pid::from_raw(task.pid()).unwrap();

        // It has to be said. A program that is not root's could be by its file, so that only
        // CRIU can tell.
        let error = criu().run(Dump::new(root, images)).unwrap_err();
        let Error::Failed(failure) = &error else {
            panic!("another kind of error: {error:?}");
        };
        assert_eq!(failure.cause, Some(Cause::NotUnprivileged));
        assert!(error.to_string().contains("set unprivileged"), "{error}");
        assert_eq!(task.proc().name().unwrap(), "sleep");

        let dump = || Dump::new(root, images).unprivileged(true);
        criu().run(dump().leave_running(true)).unwrap();
        assert_eq!(task.proc().name().unwrap(), "sleep");
        criu().run(dump()).unwrap();
        assert_eq!(task.wait(PATIENCE).unwrap(), End::Killed(9));

        let restore = Restore::new(images).unprivileged(true).as_child(true);
        let tree = criu().run(restore).unwrap();
        assert_eq!(tree.pid(), root);
        assert_eq!(Proc::new(root.as_raw()).name().unwrap(), "sleep");
        pidfd_send_signal(tree.pidfd(), Signal::KILL).unwrap();
        assert_eq!(tree.wait().unwrap(), Ended::Killed(9));
    });
    let scratch = Scratch::new().unwrap();
    for (name, mode) in [("criu", 0o755), ("bin", 0o755), ("images", 0o777)] {
        let folder = scratch.dir(name).unwrap();
        fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    let open = format!("OPEN={}", scratch.path().display());
    let criu = format!("CRIU={}", real_criu().display());
    let wrapper = [
        "env", &open, &criu, "unshare", "--mount", "sh", "-c", AS_NOBODY, "sh",
    ];
    nobody.run(&wrapper, &[scratch.join("images").to_str().unwrap()]);
}
