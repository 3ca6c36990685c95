//! Facts about processes, the census and the guard, on real children.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use criu_rs_tests::{Census, End, Proc, Scratch, Spawned, State, alone, eventually};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(20);

fn sleeper() -> Spawned {
    Spawned::spawn(Command::new("sleep").arg("600").stdin(Stdio::null())).unwrap()
}

/// A shell with two children, one of which has a child of its own.
fn tree() -> Spawned {
    let line = "sleep 601 & sh -c 'sleep 602 & wait' & wait";
    let root = Spawned::spawn(Command::new("sh").args(["-c", line])).unwrap();
    eventually("a tree", PATIENCE, || {
        Ok((root.proc().descendants()?.len() == 3).then_some(()))
    })
    .unwrap();
    root
}

#[test]
fn a_process_is_told_by_its_state() {
    let child = sleeper();
    let state = |wanted| {
        let look = || Ok((child.proc().state() == Some(wanted)).then_some(()));
        eventually(&format!("{wanted:?}"), PATIENCE, look).unwrap();
    };
    state(State::Sleeping);
    assert_eq!(child.proc().cmdline().unwrap(), ["sleep", "600"]);
    assert_eq!(child.proc().name().unwrap(), "sleep");
    assert_eq!(child.proc().parent().unwrap(), Proc::myself().pid());
    assert!(child.proc().start_time().unwrap() >= Proc::myself().start_time().unwrap());
    assert_eq!(child.proc().fds().unwrap()[&0].to_str(), Some("/dev/null"));
    child.signal(Signal::STOP).unwrap();
    state(State::Stopped);
    child.signal(Signal::KILL).unwrap();
    state(State::Zombie);
    assert!(child.proc().exists(), "a zombie still has its number");
    assert!(Proc::myself().children().unwrap().contains(&child.proc()));
    assert_eq!(child.wait(PATIENCE).unwrap(), End::Killed(9));
    assert!(!child.proc().exists());
    assert!(child.proc().threads().is_err() && child.proc().fds().is_err());
}

#[test]
fn threads_have_names() {
    let (stop, stopped) = channel::<()>();
    let (say, started) = channel();
    let body = move || {
        say.send(()).unwrap();
        stopped.recv().unwrap_err();
    };
    let named = thread::Builder::new()
        .name("a-name".into())
        .spawn(body)
        .unwrap();
    started.recv().unwrap();
    let threads = Proc::myself().threads().unwrap();
    assert!(
        threads
            .iter()
            .any(|thread| thread.name == "a-name" && thread.tid > 0)
    );
    drop(stop);
    named.join().unwrap();
}

#[test]
fn a_guard_takes_the_whole_tree_along() {
    let root = tree();
    let all = root.proc().descendants().unwrap();
    assert_eq!(root.proc().children().unwrap().len(), 2);
    let bystander = sleeper();
    let number = root.proc();
    drop(root);
    for process in all {
        // Orphans are reaped by whoever takes orphans in, and that may take a moment.
        assert!(
            matches!(process.state(), None | Some(State::Zombie)),
            "{process:?}"
        );
    }
    assert!(!number.exists());
    assert!(bystander.proc().exists());
}

#[test]
fn a_process_left_alone_lives_on() {
    let child = sleeper();
    let again = Spawned::adopt(child.pid()).unwrap();
    child.leave();
    assert!(matches!(
        again.proc().state(),
        Some(State::Sleeping | State::Running)
    ));
    again.wait(Duration::from_millis(10)).unwrap_err();
}

#[test]
fn what_another_process_started_is_killed_without_being_reaped_by_us() {
    let shell = tree();
    let one = shell.proc().children().unwrap()[0];
    let adopted = Spawned::adopt(one.pid()).unwrap();
    adopted.kill_tree().unwrap();
    assert_eq!(adopted.wait(PATIENCE).unwrap(), End::Unknown);
}

#[test]
fn a_census_sees_what_is_left_behind() {
    alone(|| {
        let before = Census::take().unwrap();
        before.assert_unchanged();

        let file = fs::File::open("/dev/zero").unwrap();
        let child = sleeper();
        child.signal(Signal::KILL).unwrap();
        eventually("a zombie", PATIENCE, || {
            Ok((child.proc().state() == Some(State::Zombie)).then_some(()))
        })
        .unwrap();
        let (stop, stopped) = channel::<()>();
        let (say, started) = channel();
        let body = move || {
            say.send(()).unwrap();
            stopped.recv()
        };
        let parked = thread::Builder::new().name("left".into()).spawn(body);
        started.recv().unwrap();
        nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGUSR2)
            .thread_block()
            .unwrap();
        let diff = before.diff(&Census::take().unwrap());
        for line in [
            ": /dev/zero\n",
            &format!("+ child {}: sleep Some(Zombie)\n", child.pid()),
            ": left\n",
            "- SigBlk: 0000000000000000\n",
            "+ SigBlk: 0000000000000800\n",
        ] {
            assert!(diff.contains(line), "{line:?} in\n{diff}");
        }

        drop(file);
        drop(child);
        drop(stop);
        assert!(parked.unwrap().join().unwrap().is_err());
        nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGUSR2)
            .thread_unblock()
            .unwrap();
        before.assert_unchanged();
    });
}

#[test]
fn alone_fails_when_the_body_does() {
    // In the other process, where `alone` runs the body itself, the failure must show.
    let inside = std::env::var_os("CRIU_RS_ALONE").is_some();
    let failing = || alone(|| panic!("as it should"));
    if inside {
        return failing();
    }
    assert!(std::panic::catch_unwind(failing).is_err());
}

#[test]
fn a_scratch_folder_is_ones_own_and_goes() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new().unwrap();
    let inner = scratch.dir("inner").unwrap();
    fs::write(inner.join("file"), "x").unwrap();
    assert_eq!(
        fs::metadata(scratch.path()).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let path = scratch.path().to_owned();
    drop(scratch);
    assert!(!path.exists());
}
