#![allow(unsafe_code)]
//! A CRIU that does what the test says: the side that plays CRIU.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, raise};
use prost::Message;
use rustix::io::{Errno, FdFlags, fcntl_setfd, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketType, recv, recvmsg, sendmsg, sockopt,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit, getpid, kill_process, setrlimit};
use rustix::pty::{OpenptFlags, openpt};

use super::TASK_PID;
use super::script::{Passed, Step, Stream, to_hex};
use super::state::PeerState;
use super::task;
use crate::patience::eventually;
use crate::proto::{CriuReq, CriuReqType};

/// The status CRIU exits with when its client is gone in the middle of a request.
const CLIENT_GONE: u8 = 1;
/// The status of a fake that could not play its script.
const TROUBLE: u8 = 121;
/// The longest wait for a gate.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a client may pass with one message; more is cut off by the kernel.
const MOST_FDS: usize = 16;

/// One run of the fake.
struct Player {
    folder: PathBuf,
    socket: Option<OwnedFd>,
    images: Option<File>,
    work: Option<File>,
    log: Option<String>,
    task: Option<Pid>,
}

/// Whether the script goes on.
enum Next {
    Step,
    Exit(u8),
}

/// Plays the script that lies beside this program; gives the status to exit with.
///
/// The caller is `main` of a program with a single thread, before which nothing ran.
#[must_use]
pub fn play_as_criu() -> i32 {
    let args: Vec<_> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == task::STAY) {
        task::stay();
        return 0;
    }
    let state = PeerState::capture();
    // The name this program was started by, whatever it is a link to and argv[0] claims.
    let name = Path::new(OsStr::from_bytes(rustix::param::linux_execfn().to_bytes()));
    let folder = name.parent().unwrap_or_else(|| Path::new(".")).to_owned();
    let folder = folder.canonicalize().unwrap_or(folder);
    let status = play(folder.clone(), &args, state).unwrap_or_else(|error| {
        let text = format!("{error}\n");
        drop(io::stderr().write_all(text.as_bytes()));
        drop(append(&folder.join("criu.trouble"), &text));
        TROUBLE
    });
    status.into()
}

fn play(folder: PathBuf, args: &[String], state: io::Result<PeerState>) -> io::Result<u8> {
    task::enlist(&folder, "peer", getpid())?;
    let run = begin(&folder, state?)?;
    let [.., word, number] = args else {
        return Err(trouble("no arguments"));
    };
    let number: RawFd = number.parse().map_err(io::Error::other)?;
    if word != "swrk" {
        return Err(trouble("not started as criu swrk FD"));
    }
    // SAFETY: the fd named on the command line is this process's to use and close, and
    // nothing else in it knows the number.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    if sockopt::socket_type(&socket)? != SocketType::SEQPACKET {
        return Err(trouble("not a SOCK_SEQPACKET socket"));
    }
    let script = std::fs::read_to_string(folder.join("criu.script"))?;
    let steps = script
        .lines()
        .map(str::parse)
        .collect::<io::Result<Vec<Step>>>()?;
    let mut runs = steps.split(|step| *step == Step::NextRun);
    let steps = runs
        .nth(run)
        .ok_or_else(|| trouble("started more often than foreseen"))?;
    let mut player = Player {
        folder,
        socket: Some(socket),
        images: None,
        work: None,
        log: None,
        task: None,
    };
    for step in steps {
        match player.step(step) {
            Ok(Next::Step) => {}
            Ok(Next::Exit(status)) => return Ok(status),
            Err(error) => return Err(io::Error::new(error.kind(), format!("{step:?}: {error}"))),
        }
    }
    Ok(0)
}

/// Finds which run this is, and leaves its state for the test.
fn begin(folder: &Path, state: PeerState) -> io::Result<usize> {
    for run in 0.. {
        match File::create_new(folder.join(format!("criu.run.{run}"))) {
            Ok(_) => {
                append(&folder.join(format!("criu.state.{run}")), &state.to_text())?;
                return Ok(run);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(trouble("no run left"))
}

impl Player {
    fn step(&mut self, step: &Step) -> io::Result<Next> {
        match step {
            Step::Request => return self.request(),
            Step::Ack => return self.ack(),
            Step::Eof => {
                if self.receive()?.is_some() {
                    return Err(trouble("a message instead of an end of file"));
                }
            }
            Step::Send(bytes) => return self.send(bytes, &[]),
            Step::SendFds(bytes, fds) => {
                let fds = fds.iter().map(open).collect::<io::Result<Vec<_>>>()?;
                return self.send(bytes, &fds);
            }
            Step::SendZeros(count) => return self.send(&vec![0; *count], &[]),
            // Nobody may listen.
            Step::Print(Stream::Out, text) => {
                let mut out = io::stdout();
                drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
            }
            Step::Print(Stream::Err, text) => {
                drop(io::stderr().write_all(text.as_bytes()));
            }
            Step::Log(text) => self.write_log(text)?,
            Step::Image(name, bytes) => {
                std::fs::write(within(self.images.as_ref(), "images")?.join(name), bytes)?;
            }
            Step::StartTask { sibling } => {
                let pid = if *sibling {
                    task::start_sibling()?
                } else {
                    task::start_child()?
                };
                task::enlist(&self.folder, "task", pid)?;
                self.task = Some(pid);
            }
            Step::KillTask => {
                let task = self.task.ok_or_else(|| trouble("no task"))?;
                kill_process(task, rustix::process::Signal::KILL)?;
            }
            Step::LeaveHolder => {
                let pid = task::start_holder(self.socket()?.try_clone()?)?;
                task::enlist(&self.folder, "holder", pid)?;
            }
            Step::BlockSignals => SigSet::all().thread_block()?,
            Step::Mark(name) => std::fs::write(self.folder.join(format!("mark.{name}")), "")?,
            Step::Gate(name) => {
                let gate = self.folder.join(format!("gate.{name}"));
                eventually("gate", PATIENCE, || Ok(gate.exists().then_some(())))?;
            }
            Step::Sleep(time) => std::thread::sleep(*time),
            Step::WriteOn => self.write_on()?,
            Step::Hang => task::stay(),
            Step::Close => self.socket = None,
            Step::Exit(status) => return Ok(Next::Exit(*status)),
            Step::Die(signal) => die(*signal)?,
            Step::NextRun => {}
        }
        Ok(Next::Step)
    }

    fn request(&mut self) -> io::Result<Next> {
        let Some(message) = self.message()? else {
            return Ok(Next::Exit(CLIENT_GONE));
        };
        if message.r#type() == CriuReqType::Notify {
            return Err(trouble("an ack instead of a request"));
        }
        let Some(opts) = message.opts else {
            return Ok(Next::Step);
        };
        // As CRIU does: fd numbers are those of the process that made the socket pair.
        let client = sockopt::socket_peercred(self.socket()?)?
            .pid
            .as_raw_nonzero();
        let folder = |number: i32| File::open(format!("/proc/{client}/fd/{number}"));
        self.images = match (opts.images_dir_fd, &opts.images_dir) {
            (0.., _) => folder(opts.images_dir_fd).ok(),
            (_, Some(path)) => File::open(path).ok(),
            (_, None) => None,
        };
        self.work = match opts.work_dir_fd {
            Some(number) => folder(number).ok(),
            None => self
                .images
                .as_ref()
                .and_then(|images| images.try_clone().ok()),
        };
        self.log = Some(opts.log_file.unwrap_or_else(|| "criu.log".to_owned()));
        Ok(Next::Step)
    }

    fn ack(&self) -> io::Result<Next> {
        match self.message()? {
            None => Ok(Next::Exit(CLIENT_GONE)),
            Some(message) if message.r#type() == CriuReqType::Notify => Ok(Next::Step),
            Some(_) => Err(trouble("a request instead of an ack")),
        }
    }

    fn message(&self) -> io::Result<Option<CriuReq>> {
        let decode = |bytes: Vec<u8>| CriuReq::decode(bytes.as_slice()).map_err(io::Error::other);
        self.receive()?.map(decode).transpose()
    }

    /// The next datagram, which is written down too; `None` at the end, which an empty one
    /// looks like.
    fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        let socket = self.socket()?;
        let size = || recv(socket, &mut [0u8; 1], RecvFlags::PEEK | RecvFlags::TRUNC);
        let (_, size) = match retry_on_intr(size) {
            // The client closed without reading all that was sent to it.
            Err(Errno::CONNRESET) | Ok((_, 0)) => return Ok(None),
            other => other?,
        };
        let mut bytes = vec![0; size];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let length = recvmsg(socket, &mut parts, &mut control, flags)?.bytes;
        bytes.truncate(length);
        let rights = |message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.count(),
            _ => 0,
        };
        let fds: usize = control.drain().map(rights).sum();
        append(
            &self.folder.join("criu.received"),
            &format!("{} {fds}\n", to_hex(&bytes)),
        )?;
        Ok(Some(bytes))
    }

    fn send(&self, bytes: &[u8], fds: &[OwnedFd]) -> io::Result<Next> {
        let socket = self.socket()?;
        let bytes = self.with_task(bytes)?;
        if bytes.len() > 100_000 {
            // Without the capability for the first, the second gives what it may.
            sockopt::set_socket_send_buffer_size_force(socket, bytes.len() * 2)
                .or_else(|_| sockopt::set_socket_send_buffer_size(socket, bytes.len() * 2))?;
        }
        let borrowed: Vec<_> = fds.iter().map(std::os::fd::AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
            return Err(trouble("too many fds"));
        }
        match sendmsg(
            socket,
            &[IoSlice::new(&bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => Ok(Next::Step),
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(Next::Exit(CLIENT_GONE)),
            Err(error) => Err(error.into()),
        }
    }

    /// The message with the task's pid in the place of [`TASK_PID`], in as many bytes.
    fn with_task(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let stand_in = five_bytes(TASK_PID);
        let mut bytes = bytes.to_vec();
        for at in 0..bytes.len() {
            if let Some(place) = bytes.get_mut(at..at + stand_in.len())
                && place == stand_in
            {
                let task = self.task.ok_or_else(|| trouble("no task was started"))?;
                place.copy_from_slice(&five_bytes(task.as_raw_nonzero().get()));
            }
        }
        Ok(bytes)
    }

    fn write_on(&self) -> io::Result<()> {
        let pages = File::create(within(self.images.as_ref(), "images")?.join("pages-1.img"))?;
        eventually("a write that fails", PATIENCE, || {
            match pages.write_at(b"page", 0) {
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(Some(())),
                written => written.map(|_| None),
            }
        })
    }

    fn write_log(&self, text: &str) -> io::Result<()> {
        let name = self
            .log
            .as_deref()
            .ok_or_else(|| trouble("no request with options yet"))?;
        let path = within(self.work.as_ref(), "work")?.join(name);
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        log.write_all(text.as_bytes())
    }

    fn socket(&self) -> io::Result<&OwnedFd> {
        self.socket
            .as_ref()
            .ok_or_else(|| trouble("the socket is closed"))
    }
}

/// A path through a folder's descriptor, whatever its name is by now.
fn within(folder: Option<&File>, what: &str) -> io::Result<PathBuf> {
    let folder = folder.ok_or_else(|| trouble(&format!("no {what} folder could be opened")))?;
    Ok(PathBuf::from(format!(
        "/proc/self/fd/{}",
        folder.as_raw_fd()
    )))
}

fn open(what: &Passed) -> io::Result<OwnedFd> {
    match what {
        Passed::Pipe(text) => {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
            File::from(writer).write_all(text.as_bytes())?;
            Ok(reader)
        }
        Passed::PtyMaster => Ok(openpt(
            OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
        )?),
    }
}

fn die(signal: i32) -> io::Result<()> {
    let signal = Signal::try_from(signal)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    let mut set = SigSet::empty();
    set.add(signal);
    set.thread_unblock()?;
    raise(signal)?;
    Err(trouble("still alive"))
}

/// A non-negative number as protobuf writes it, stretched to five bytes, which any reader
/// takes too.
fn five_bytes(number: i32) -> [u8; 5] {
    let group = |shift: u32| u8::try_from(number >> shift & 0x7f).unwrap_or(0);
    [
        group(0) | 0x80,
        group(7) | 0x80,
        group(14) | 0x80,
        group(21) | 0x80,
        group(28),
    ]
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    match file.write_all(text.as_bytes()) {
        // The client has it give up: nothing more can be noted.
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(()),
        written => written,
    }
}

fn trouble(text: &str) -> io::Error {
    io::Error::other(text.to_owned())
}
