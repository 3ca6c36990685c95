//! The fake CRIU, played by a client that knows nothing but the socket.

use std::fs;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use criu_rs_tests::proto::{CriuOpts, CriuReq, CriuReqType, CriuResp, CriuRestoreResp};
use criu_rs_tests::{
    End, FakeCriu, Passed, Proc, Spawned, State, Step, Stream, TASK_PID, alone, eventually,
};
use nix::sys::signal::Signal;
use prost::Message;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType, recvmsg, send, socketpair,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn fake() -> FakeCriu {
    FakeCriu::new(env!("CARGO_BIN_EXE_fake-swrk"))
}

/// One start of the fake.
struct Client {
    socket: OwnedFd,
    criu: Spawned,
}

fn pair() -> (OwnedFd, OwnedFd) {
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
    socketpair(family, SocketType::SEQPACKET, flags, None).unwrap()
}

impl Client {
    fn start(fake: &FakeCriu) -> Self {
        Self::start_with(fake, |_| {})
    }

    fn start_with(fake: &FakeCriu, more: impl FnOnce(&mut Command)) -> Self {
        let (socket, theirs) = pair();
        let mut command = Command::new(fake.path());
        more(
            command
                .args(["--no-default-config", "swrk", "0"])
                .stdin(Stdio::from(theirs)),
        );
        let criu = Spawned::spawn(&mut command).unwrap();
        drop(command);
        Self { socket, criu }
    }

    fn send(&self, message: &CriuReq) {
        send(&self.socket, &message.encode_to_vec(), SendFlags::NOSIGNAL).unwrap();
    }

    fn ack(&self, success: bool) {
        let notify = CriuReqType::Notify.into();
        let notify_success = Some(success);
        self.send(&CriuReq {
            r#type: notify,
            notify_success,
            ..CriuReq::default()
        });
    }

    /// A datagram and what came with it; `None` at the end.
    fn receive(&self) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
        let mut bytes = vec![0; 400_000];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let length = match recvmsg(&self.socket, &mut parts, &mut control, flags) {
            Err(Errno::CONNRESET) => return None,
            other => other.unwrap().bytes,
        };
        bytes.truncate(length);
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                fds.extend(more);
            }
        }
        Some((bytes, fds)).filter(|(bytes, fds)| !bytes.is_empty() || !fds.is_empty())
    }

    fn reply(&self) -> CriuResp {
        CriuResp::decode(self.receive().expect("a reply").0.as_slice()).unwrap()
    }

    fn end(&self) -> End {
        self.criu.wait(PATIENCE).unwrap()
    }
}

fn request(kind: CriuReqType, opts: Option<CriuOpts>) -> CriuReq {
    CriuReq {
        r#type: kind.into(),
        opts,
        ..CriuReq::default()
    }
}

fn response(kind: CriuReqType, success: bool) -> CriuResp {
    CriuResp {
        r#type: kind.into(),
        success,
        ..CriuResp::default()
    }
}

#[test]
fn a_dump_is_played_and_written_down() {
    let fake = fake()
        .step(Step::Request)
        .step(Step::Log("(00.1) one\n".into()))
        .step(Step::Log("(00.2) two\n".into()))
        .notify("pre-dump", Some(7))
        .step(Step::Image("inventory.img".into(), vec![0xff, 0]))
        .step(Step::Print(Stream::Out, "out".into()))
        .step(Step::Print(Stream::Err, "err".into()))
        .send(&response(CriuReqType::Dump, true));
    let (images, work) = (
        fake.scratch().dir("images").unwrap(),
        fake.scratch().dir("w").unwrap(),
    );
    let (images_fd, work_fd) = (
        fs::File::open(&images).unwrap(),
        fs::File::open(&work).unwrap(),
    );
    let said = fake.scratch().join("said");
    let client = Client::start_with(&fake, |command| {
        let said = fs::File::create(&said).unwrap();
        command.stdout(said.try_clone().unwrap()).stderr(said);
    });
    let opts = CriuOpts {
        images_dir_fd: images_fd.as_raw_fd(),
        work_dir_fd: Some(work_fd.as_raw_fd()),
        log_file: Some("d.log".into()),
        ..CriuOpts::default()
    };
    let dump = request(CriuReqType::Dump, Some(opts));
    client.send(&dump);
    let notify = client.reply();
    assert_eq!(notify.r#type(), CriuReqType::Notify);
    let notify = notify.notify.unwrap();
    assert_eq!((notify.script(), notify.pid), ("pre-dump", Some(7)));
    client.ack(true);
    assert_eq!(client.reply(), response(CriuReqType::Dump, true));
    assert!(client.receive().is_none());
    assert_eq!(client.end(), End::Exited(0));

    let received = fake.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0], dump);
    assert_eq!(received[1].notify_success, Some(true));
    assert_eq!(
        fs::read_to_string(work.join("d.log")).unwrap(),
        "(00.1) one\n(00.2) two\n"
    );
    assert_eq!(
        fs::metadata(work.join("d.log"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    assert_eq!(fs::read(images.join("inventory.img")).unwrap(), [0xff, 0]);
    assert_eq!(fs::read_to_string(&said).unwrap(), "outerr");
}

#[test]
fn without_a_work_folder_the_log_is_with_the_images() {
    let fake = fake().step(Step::Request).step(Step::Log("x".into()));
    let images = fake.scratch().dir("images").unwrap();
    let client = Client::start(&fake);
    let opts = CriuOpts {
        images_dir_fd: -1,
        images_dir: Some(images.to_str().unwrap().into()),
        ..CriuOpts::default()
    };
    client.send(&request(CriuReqType::Dump, Some(opts)));
    assert_eq!(client.end(), End::Exited(0));
    assert_eq!(fs::read_to_string(images.join("criu.log")).unwrap(), "x");
}

#[test]
fn fds_are_passed() {
    let fds = vec![Passed::Pipe("hello".into()), Passed::PtyMaster];
    let fake = fake()
        .step(Step::SendFds(vec![1], fds))
        .step(Step::SendFds(Vec::new(), vec![]));
    let client = Client::start(&fake);
    let (bytes, mut fds) = client.receive().unwrap();
    assert_eq!((bytes, fds.len()), (vec![1], 2));
    let master = fds.pop().unwrap();
    rustix::pty::ptsname(&master, Vec::new()).expect("a pty master");
    let mut text = String::new();
    fs::File::from(fds.pop().unwrap())
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "hello");
    assert!(
        client.receive().is_none(),
        "an empty datagram looks like the end"
    );
}

#[test]
fn received_fds_are_counted() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
    use std::os::fd::AsFd;
    let fake = fake().step(Step::Request);
    let client = Client::start(&fake);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let stdin = std::io::stdin();
    let fds = [stdin.as_fd(); 2];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let bytes = request(CriuReqType::Version, None).encode_to_vec();
    let part = [std::io::IoSlice::new(&bytes)];
    sendmsg(&client.socket, &part, &mut control, SendFlags::NOSIGNAL).unwrap();
    assert_eq!(client.end(), End::Exited(0));
    assert_eq!(fake.datagrams()[0].fds, 2);
}

#[test]
fn a_datagram_may_be_larger_than_any_answer() {
    let fake = fake().step(Step::SendZeros(300_000));
    let client = Client::start(&fake);
    assert_eq!(client.receive().unwrap().0.len(), 300_000);
}

#[test]
fn it_ends_as_told() {
    let abort = Signal::SIGABRT as i32;
    for (step, end) in [
        (Step::Exit(3), End::Exited(3)),
        (Step::Die(abort), End::Killed(abort)),
        (Step::Die(Signal::SIGKILL as i32), End::Killed(9)),
        (Step::Eof, End::Exited(0)),
        // A client that goes in the middle of things is no trouble, as with CRIU.
        (Step::Request, End::Exited(1)),
    ] {
        let fake = fake().step(step.clone());
        let Client { socket, criu } = Client::start(&fake);
        drop(socket);
        assert_eq!(criu.wait(PATIENCE).unwrap(), end, "{step:?}");
        fake.assert_played();
    }
}

#[test]
fn a_play_against_the_script_is_trouble() {
    for (step, message) in [
        (Step::Ack, request(CriuReqType::Dump, None)),
        (Step::Request, request(CriuReqType::Notify, None)),
        (Step::Eof, request(CriuReqType::Dump, None)),
    ] {
        let fake = fake().step(step.clone());
        let client = Client::start_with(&fake, |command| {
            command.stderr(Stdio::null());
        });
        client.send(&message);
        assert_eq!(client.end(), End::Exited(121), "{step:?}");
        let played = std::panic::catch_unwind(|| fake.assert_played());
        assert!(played.is_err(), "{step:?}");
    }
}

#[test]
fn each_start_plays_its_run_and_one_too_many_is_trouble() {
    let fake = fake()
        .step(Step::Exit(5))
        .step(Step::NextRun)
        .step(Step::Exit(6));
    let ends: Vec<_> = (0..3)
        .map(|_| {
            let quiet = |command: &mut Command| {
                command.stderr(Stdio::null());
            };
            Client::start_with(&fake, quiet).end()
        })
        .collect();
    assert_eq!(ends, [End::Exited(5), End::Exited(6), End::Exited(121)]);
    assert_eq!((fake.states().len(), fake.peers().len()), (3, 3));
}

#[test]
fn marks_and_gates_keep_the_test_and_the_fake_in_step() {
    let fake = fake()
        .step(Step::Mark("here".into()))
        .step(Step::Gate("go".into()))
        .step(Step::Sleep(Duration::from_millis(20)))
        .step(Step::Send(vec![1]))
        .step(Step::Hang);
    let client = Client::start(&fake);
    fake.wait_mark("here");
    assert!(
        client.criu.wait(Duration::from_millis(30)).is_err(),
        "it waits at the gate"
    );
    let start = Instant::now();
    fake.open_gate("go");
    assert!(client.receive().is_some());
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert!(
        client.criu.wait(Duration::from_millis(30)).is_err(),
        "it hangs"
    );
}

#[test]
fn a_holder_keeps_the_end_from_showing() {
    let fake = fake().step(Step::LeaveHolder).step(Step::Die(9));
    let client = Client::start(&fake);
    assert_eq!(client.end(), End::Killed(9));
    let nothing = rustix::net::recv(&client.socket, &mut [0u8; 1], RecvFlags::DONTWAIT);
    assert_eq!(nothing.unwrap_err(), Errno::AGAIN);
    drop(fake);
    assert!(
        client.receive().is_none(),
        "the holder is gone with the fake"
    );
}

#[test]
fn closing_shows_at_once() {
    let fake = fake().step(Step::Close).step(Step::Hang);
    let client = Client::start(&fake);
    assert!(client.receive().is_none());
    assert!(client.criu.proc().exists());
}

#[test]
fn blocked_signals_do_not_end_it() {
    let fake = fake()
        .step(Step::BlockSignals)
        .step(Step::Mark("b".into()))
        .step(Step::Hang);
    let client = Client::start(&fake);
    fake.wait_mark("b");
    client.criu.signal(rustix::process::Signal::TERM).unwrap();
    client.criu.wait(Duration::from_millis(50)).unwrap_err();
    client.criu.signal(rustix::process::Signal::KILL).unwrap();
    assert_eq!(client.end(), End::Killed(9));
}

#[test]
fn tasks_are_whose_children_they_should_be() {
    alone(|| {
        for sibling in [true, false] {
            let restored = CriuResp {
                restore: Some(CriuRestoreResp { pid: TASK_PID }),
                ..response(CriuReqType::Restore, true)
            };
            let fake = fake()
                .step(Step::StartTask { sibling })
                .send(&restored)
                .step(Step::Gate("kill".into()))
                .step(Step::KillTask)
                .step(Step::Eof);
            let client = Client::start(&fake);
            let pid = client.reply().restore.unwrap().pid;
            let task = Spawned::adopt(pid).unwrap();
            assert_eq!(fake.tasks(), [task.proc()]);
            let parent = if sibling {
                Proc::myself().pid()
            } else {
                client.criu.pid()
            };
            assert_eq!(task.proc().parent().unwrap(), parent);
            // Its loader opens a library now and then at first.
            eventually("a task that holds nothing", PATIENCE, || {
                let fds = task.proc().fds()?;
                Ok(fds
                    .values()
                    .all(|on| on == Path::new("/dev/null"))
                    .then_some(()))
            })
            .unwrap();
            fake.open_gate("kill");
            let end = task.wait(PATIENCE).unwrap();
            assert_eq!(
                end,
                if sibling {
                    End::Killed(9)
                } else {
                    End::Unknown
                }
            );
            drop(client);
        }
    });
}

#[test]
fn nothing_outlives_the_fake() {
    let fake = fake()
        .step(Step::StartTask { sibling: true })
        .step(Step::LeaveHolder)
        .step(Step::Mark("all".into()))
        .step(Step::Hang);
    let client = Client::start(&fake);
    fake.wait_mark("all");
    let all: Vec<_> = fake
        .peers()
        .into_iter()
        .chain(client.criu.proc().children().unwrap())
        .collect();
    let all: Vec<_> = all.into_iter().chain(fake.tasks()).collect();
    assert_eq!(all.len(), 3);
    drop(fake);
    for process in all {
        assert!(
            matches!(process.state(), None | Some(State::Zombie)),
            "{process:?}"
        );
    }
}

/// What it shows of how it was started is what the kernel gave it, Rust's own start-up
/// left out.
#[test]
fn its_state_is_as_it_was_started() {
    alone(|| {
        let fake = fake()
            .step(Step::Exit(0))
            .step(Step::NextRun)
            .step(Step::Exit(0));
        let clean = Client::start_with(&fake, |command| {
            command
                .env_clear()
                .env("A", "b c")
                .current_dir("/")
                .process_group(0);
        });
        clean.end();

        let (stray, _other) = pair();
        rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();
        // Rust's Command would clear the mask and SIGPIPE.
        let (_ours, theirs) = pair();
        let mut env = Command::new("env");
        env.args(["--ignore-signal=CHLD,PIPE", "--block-signal=USR1"]);
        env.arg(fake.path())
            .args(["swrk", "0"])
            .env("CRIU_CONFIG_FILE", "/x");
        env.stdin(Stdio::from(theirs));
        let dirty = Spawned::spawn(&mut env).unwrap();
        dirty.wait(PATIENCE).unwrap();

        let [first, second] = fake.states().try_into().expect("two runs");
        assert_eq!(
            (first.pid, first.parent),
            (clean.criu.pid(), Proc::myself().pid())
        );
        assert_eq!(first.group, first.pid);
        assert_eq!(
            first.env.clone().into_iter().collect::<Vec<_>>(),
            [("A".into(), "b c".into())]
        );
        assert_eq!(first.folder, Path::new("/"));
        assert_eq!((first.blocked, first.death_signal), (0, 0));
        assert!(!first.ignores(17) && !first.ignores(13));
        assert_eq!(first.args[1..], ["--no-default-config", "swrk", "0"]);
        assert_eq!(first.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);

        assert!(second.ignores(17) && second.ignores(13));
        assert_eq!(second.blocked, 1 << 9);
        assert!(
            second
                .env
                .contains_key("CRIU_CONFIG_FILE".as_ref() as &std::ffi::OsStr)
        );
        assert!(
            second.fds.contains_key(&stray.as_raw_fd()),
            "{:?}",
            second.fds
        );
    });
}
