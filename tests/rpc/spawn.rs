#![allow(unsafe_code)]
//! In what state CRIU is started, and what it gets.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use criu_rpc::{DumpExternal, Error, InheritKey, PageServerLink, VersionQuery};
use criu_rs_tests::proto::{CriuOpts, CriuReqType};
use criu_rs_tests::{PeerState, Proc, Step, alone};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use rustix::io::FdFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::front::{Front, unchanged};
use crate::play::Play;
use crate::words::{asked, dumping, no, version, yes};

/// Two signals that the C library keeps for itself, 32 and 33: glibc's `posix_spawn` has them
/// ignored in each child, whatever it is asked.
const INTERNAL: u64 = 0b11 << 31;

/// Asks for the version, and tells in what state CRIU was.
fn state_of(front: Front, criu: impl FnOnce(criu_rpc::Criu) -> criu_rpc::Criu) -> PeerState {
    let play = Play::of(asked().send(&version(4, 2, None)));
    front
        .run(&criu(play.criu()), VersionQuery::default())
        .unwrap();
    play.states().remove(0)
}

/// The socket where it belongs, and both outputs into a file that is kept.
fn assert_standard(fds: &BTreeMap<i32, PathBuf>, socket: i32) {
    let starts = |fd: i32, with: &str| fds[&fd].to_string_lossy().starts_with(with);
    assert!(starts(socket, "socket:"), "{fds:?}");
    assert!(starts(1, "/memfd:") && fds[&1] == fds[&2], "{fds:?}");
}

/// A terminal: its master, and what programs open.
fn terminal() -> (OwnedFd, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options()
        .read(true)
        .write(true)
        .open(path.to_str().unwrap())
        .unwrap();
    (master, slave)
}

/// Options whose list of external files is so long, in bytes.
fn long_list(bytes: usize) -> Vec<String> {
    let names = bytes / 100;
    (0..names)
        .map(|n| format!("mnt[{n:0>48}]:{n:0>44}"))
        .collect()
}

fronts! {
    criu_starts_clean,
    a_dump_does_not_die_of_what_it_may_not_write,
    what_is_ours_does_not_reach_criu,
    default_options_can_be_left_out,
    a_terminal_takes_the_place_of_the_socket,
    each_file_arrives_under_its_number,
    a_page_servers_socket_is_inherited,
    a_stray_descriptor_is_in_nobodys_way,
    requests_side_by_side_share_nothing,
    a_long_request_arrives_or_is_too_large,
    a_request_of_megabytes_is_too_large,
    folders_are_found_by_their_numbers,
}

fn criu_starts_clean(front: Front) {
    let state = state_of(front, |criu| criu);
    let me = Proc::myself();
    assert_eq!(
        (state.parent, state.session),
        (me.pid(), me.session().unwrap())
    );
    assert_eq!(
        state.group, state.pid,
        "^C at our terminal must not reach it"
    );
    assert_eq!(state.args[1..], ["swrk", "0"]);
    assert_eq!(
        (state.blocked, state.ignored & !INTERNAL, state.death_signal),
        (0, 0, 0)
    );
    assert_eq!(state.folder, env::current_dir().unwrap());
    assert_eq!(state.env, env::vars_os().collect());
    assert_eq!(state.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert_standard(&state.fds, 0);
}

/// So that its writes can be made to fail, which ends a dump without a trace.
fn a_dump_does_not_die_of_what_it_may_not_write(front: Front) {
    let play = Play::of(dumping().send(&yes(CriuReqType::Dump)));
    front.run(&play.criu(), play.dump()).unwrap();
    let [state] = play.states().try_into().unwrap();
    assert_eq!(state.blocked, 1 << (Signal::SIGXFSZ as i32 - 1));
}

/// CRIU fails when it inherits an ignored SIGCHLD, and takes more options from a file
/// that a variable names.
fn what_is_ours_does_not_reach_criu(front: Front) {
    for signal in [Signal::SIGCHLD, Signal::SIGUSR1, Signal::SIGTERM] {
        // SAFETY: ignoring a signal runs no code.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }.unwrap();
    }
    let mut old = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut old)).unwrap();
    // SAFETY: this process has one thread.
    unsafe {
        env::set_var("CRIU_CONFIG_FILE", "/no/such/file");
        env::set_var("CRIU_CONFIG_FILES", "another name");
    }

    let state = state_of(front, |criu| criu);
    assert_eq!((state.blocked, state.ignored & !INTERNAL), (0, 0));
    let mut env: BTreeMap<_, _> = env::vars_os().collect();
    env.remove(OsStr::new("CRIU_CONFIG_FILE")).unwrap();
    assert_eq!(state.env, env);

    // As it was, for the census.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&old), None).unwrap();
    for signal in [Signal::SIGCHLD, Signal::SIGUSR1, Signal::SIGTERM] {
        // SAFETY: as above.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.unwrap();
    }
}

fn default_options_can_be_left_out(front: Front) {
    let state = state_of(front, |criu| criu.default_config(false));
    assert_eq!(state.args[1..], ["--no-default-config", "swrk", "0"]);
}

/// A shell job takes CRIU's standard input for its terminal.
fn a_terminal_takes_the_place_of_the_socket(front: Front) {
    let play = Play::of(asked().send(&no(CriuReqType::Restore)));
    let (_master, slave) = terminal();
    let null: OwnedFd = File::open("/dev/null").unwrap().into();
    let restore = play
        .restore()
        .shell_job(slave.as_fd())
        .inherit_fd(InheritKey::Pipe(7), null);
    front.run(&play.criu(), restore).unwrap_err();
    let state = play.states().remove(0);
    assert_eq!(state.args[1..], ["swrk", "3"]);
    assert_eq!(
        state.fds.keys().copied().collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    assert_standard(&state.fds, 3);
    assert_eq!(
        state.fds[&0],
        std::fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd())).unwrap()
    );
    assert_eq!(state.fds[&4], Path::new("/dev/null"));
    let group = nix::unistd::getpgrp().as_raw();
    assert_eq!(
        state.group, group,
        "only the foreground may read the terminal"
    );
    let opts = play.opts();
    assert_eq!((opts.shell_job, opts.inherit_fd[0].fd), (Some(true), 4));
}

/// Moved one by one, a file would be overwritten before its turn.
fn each_file_arrives_under_its_number(front: Front) {
    let play = Play::of(asked().send(&no(CriuReqType::Restore)));
    let files: Vec<_> = (0..10)
        .map(|n| File::create_new(play.scratch().join(n.to_string())).unwrap())
        .collect();
    let targets = 3..13;
    let clash = files
        .iter()
        .filter(|file| targets.contains(&file.as_raw_fd()));
    assert!(clash.count() > 3, "this test is to use small numbers");
    let mut restore = play.restore();
    // The other way round: the lowest number is to become the highest.
    for (n, file) in files.into_iter().enumerate().rev() {
        restore = restore.inherit_fd(InheritKey::Raw(n.to_string()), file.into());
    }
    front.run(&play.criu(), restore).unwrap_err();
    let fds = play.states().remove(0).fds;
    let inherited = play.opts().inherit_fd;
    assert_eq!(
        inherited.iter().map(|file| file.fd).collect::<Vec<_>>(),
        targets.collect::<Vec<_>>()
    );
    for file in inherited {
        assert_eq!(
            fds[&file.fd],
            play.scratch().join(file.key).canonicalize().unwrap()
        );
    }
    assert_eq!(fds.len(), 13);
    assert_standard(&fds, 0);
}

fn a_page_servers_socket_is_inherited(front: Front) {
    let play = Play::of(dumping().send(&yes(CriuReqType::Dump)));
    let (link, _other) = UnixStream::pair().unwrap();
    let socket = std::fs::read_link(format!("/proc/self/fd/{}", link.as_raw_fd())).unwrap();
    let dump = play.dump().page_server(PageServerLink::Socket(link.into()));
    front.run(&play.criu(), dump).unwrap();
    let ps = play.opts().ps.unwrap();
    assert_eq!((ps.fd, ps.address, ps.port), (Some(3), None, None));
    let fds = play.states().remove(0).fds;
    assert_eq!((fds.len(), &fds[&3]), (4, &socket));
}

/// The crate looks after what is its own. What the embedding program lets its children
/// inherit they inherit, but never in the place of what CRIU was told of.
fn a_stray_descriptor_is_in_nobodys_way(front: Front) {
    let play = Play::of(asked().send(&no(CriuReqType::Restore)));
    let strays: Vec<File> = (0..8).map(|_| File::open("/dev/zero").unwrap()).collect();
    for stray in &strays {
        rustix::io::fcntl_setfd(stray, FdFlags::empty()).unwrap();
    }
    let null: OwnedFd = File::open("/dev/null").unwrap().into();
    let restore = play.restore().inherit_fd(InheritKey::Pipe(7), null);
    front.run(&play.criu(), restore).unwrap_err();
    let fds = play.states().remove(0).fds;
    assert_standard(&fds, 0);
    assert_eq!(fds[&3], Path::new("/dev/null"));
    let zeros = fds
        .values()
        .filter(|on| *on == Path::new("/dev/zero"))
        .count();
    assert!(zeros >= 7, "{fds:?}");
    assert_eq!(fds.len(), 4 + zeros, "nothing of ours: {fds:?}");
}

/// A descriptor without close-on-exec would show in the others.
fn requests_side_by_side_share_nothing(front: Front) {
    thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || {
                let script = asked()
                    .step(Step::Sleep(Duration::from_millis(n)))
                    .send(&version(4, i32::try_from(n).unwrap(), None));
                let play = Play::of(script);
                let found = front.run(&play.criu(), VersionQuery::default()).unwrap();
                assert_eq!(u64::from(found.minor), n);
                let fds = play.states().remove(0).fds;
                assert_eq!(
                    fds.keys().copied().collect::<Vec<_>>(),
                    [0, 1, 2],
                    "{fds:?}"
                );
            });
        }
    });
}

/// More than a socket takes unless its buffer is raised.
fn a_long_request_arrives_or_is_too_large(front: Front) {
    let list = long_list(400_000);
    let play = Play::of(dumping().send(&yes(CriuReqType::Dump)));
    let dump = list.iter().cloned().fold(play.dump(), |dump, external| {
        dump.external(DumpExternal::Raw(external))
    });
    let (probe, _other) = UnixStream::pair().unwrap();
    let raised = rustix::net::sockopt::set_socket_send_buffer_size_force(&probe, 1 << 20);
    match front.run(&play.criu(), dump) {
        Ok(_) => assert_eq!(play.opts().external, list),
        Err(Error::TooLarge { bytes, limit, .. }) => {
            assert!(raised.is_err(), "whoever may raise the limit has none");
            assert!(bytes > 400_000 && limit > 0, "{bytes} {limit}");
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// More than the kernel puts into one datagram, whatever the buffer.
fn a_request_of_megabytes_is_too_large(front: Front) {
    let play = Play::of(asked());
    let dump = play
        .dump()
        .external(DumpExternal::Raw("x".repeat(64 << 20)));
    let error = front.run(&play.criu(), dump).unwrap_err();
    let Error::TooLarge { bytes, .. } = error else {
        panic!("{error:?}")
    };
    assert!(bytes > 64 << 20, "{bytes}");
}

/// Folders are named by numbers of this process, which CRIU opens through /proc.
fn folders_are_found_by_their_numbers(front: Front) {
    let play = Play::of(
        dumping()
            .step(Step::Log("x".into()))
            .send(&yes(CriuReqType::Dump)),
    );
    let work = play.scratch().dir("work").unwrap();
    front
        .run(&play.criu(), play.dump().work_dir(&work))
        .unwrap();
    let CriuOpts {
        images_dir_fd,
        work_dir_fd,
        ..
    } = play.opts();
    assert!(images_dir_fd > 2 && work_dir_fd.unwrap() > 2);
    assert!(play.images().join("inventory.img").exists() && work.join("dump.log").exists());
    let fds = play.states().remove(0).fds;
    assert_eq!(fds.len(), 3, "they need not be inherited: {fds:?}");
}

/// Then the first descriptors that are opened have the numbers CRIU's own are to have.
#[test]
fn a_program_without_standard_input_can_ask_too() {
    alone(|| {
        let stdin = File::open("/dev/null").unwrap();
        // SAFETY: nothing in this process reads its standard input.
        drop(unsafe { OwnedFd::from_raw_fd(0) });
        unchanged(|| {
            for front in [Front::Blocking, Front::Tokio] {
                let play = Play::of(asked().send(&no(CriuReqType::Restore)));
                let file: OwnedFd = File::open("/dev/zero").unwrap().into();
                assert_eq!(file.as_raw_fd(), 0, "this test is to use that number");
                let restore = play.restore().inherit_fd(InheritKey::Pipe(7), file);
                front.run(&play.criu(), restore).unwrap_err();
                let fds = play.states().remove(0).fds;
                assert_standard(&fds, 0);
                assert_eq!((fds.len(), &*fds[&3]), (4, Path::new("/dev/zero")));
            }
        });
        drop(stdin);
    });
}
