//! What each test works on: a store of its own, and jobs that end with it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criu_rs_tests::{Proc, Scratch, Spawned, State, eventually};
use serde_json::Value;

/// The command.
pub(crate) const CKPT: &str = env!("CARGO_BIN_EXE_ckpt");

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Begins a script of bash: what the test runner leaked is closed, and the rest is nothing
/// but the script's own.
pub(crate) const ALONE: &str = r#"
    for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -gt 2 ] && eval "exec $fd>&-"; done
    exec </dev/null >/dev/null 2>&1; cd /
"#;

pub(crate) struct Bench {
    scratch: Scratch,
    carried: AtomicBool,
}

/// What a command left.
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its one JSON document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            scratch: Scratch::new().unwrap(),
            carried: AtomicBool::new(false),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        match self.carried.load(Ordering::Relaxed) {
            true => self.path("other-store"),
            false => self.path("store"),
        }
    }

    /// Takes a checkpoint elsewhere: listed, exported, removed, and imported into another
    /// store, which is the one from here on.
    #[track_caller]
    pub(crate) fn carry(&self, name: &str) {
        self.pack(name, "");
        self.unpack(name, "");
    }

    /// The first half of it: listed, exported with these words, removed.
    #[track_caller]
    pub(crate) fn pack(&self, name: &str, words: &str) {
        assert_eq!(self.listed(), [name]);
        let archive = self.path("carried.ckpt");
        let archive = archive.display();
        self.ckpt(&format!("export {name} -o {archive} {words}"));
        self.ckpt(&format!("rm {name}"));
        assert!(self.listed().is_empty());
        self.carried.store(true, Ordering::Relaxed);
    }

    /// The other half: imported with these words, listed, verified.
    #[track_caller]
    pub(crate) fn unpack(&self, name: &str, words: &str) {
        let archive = self.path("carried.ckpt");
        let archive = archive.display();
        self.ckpt(&format!("import {archive} {words}"));
        assert_eq!(self.listed(), [name]);
        let said = self.ckpt(&format!("verify {name}"));
        assert!(said.starts_with("good: "), "{said}");
    }

    /// `ckpt` with these words, for the test's own store.
    pub(crate) fn command(&self, line: &str) -> Command {
        self.command_by(Command::new(CKPT), line)
    }

    /// The same, started by something else.
    pub(crate) fn command_by(&self, mut starter: Command, line: &str) -> Command {
        starter
            .args(line.split_whitespace())
            .env("CKPT_STORE", self.store())
            .stdin(Stdio::null());
        starter
    }

    pub(crate) fn try_ckpt(&self, line: &str) -> Said {
        Said::of(&self.command(line).output().unwrap())
    }

    /// `ckpt` with these words, which succeeds; what it prints.
    #[track_caller]
    pub(crate) fn ckpt(&self, line: &str) -> String {
        let said = self.try_ckpt(line);
        assert_eq!(said.status, 0, "ckpt {line}: {}{}", said.out, said.err);
        said.out
    }

    /// `ckpt` with these words, which fails like this; its message.
    #[track_caller]
    pub(crate) fn refused(&self, status: i32, line: &str) -> String {
        let said = self.try_ckpt(line);
        assert_eq!(said.status, status, "ckpt {line}: {}{}", said.out, said.err);
        said.err
    }

    /// Names of the checkpoints, as `ckpt ls` lists them.
    pub(crate) fn listed(&self) -> Vec<String> {
        let out = self.ckpt("ls --quiet");
        out.lines().map(str::to_owned).collect()
    }

    /// Restores a checkpoint in the background. It dies with what is given.
    #[track_caller]
    pub(crate) fn restored(&self, name: &str) -> Spawned {
        let said = self.try_ckpt(&format!("restore {name} --detach --json"));
        assert_eq!(said.status, 0, "{}{}", said.out, said.err);
        let pid = said.json()["pid"].as_i64().unwrap();
        Spawned::adopt(pid.try_into().unwrap()).unwrap()
    }

    /// Starts a job that nothing ties to this process: in a session of its own, with no
    /// terminal, and what it writes in a file.
    pub(crate) fn job(&self, program: &str, args: &[&str]) -> Spawned {
        Spawned::spawn(self.job_command(program).args(args)).unwrap()
    }

    /// What starts such a job.
    pub(crate) fn job_command(&self, program: impl AsRef<OsStr>) -> Command {
        let log = fs::File::create(self.path("job.log")).unwrap();
        let mut command = Command::new("setsid");
        command
            .arg(program)
            .current_dir(self.scratch.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
    }

    /// Waits until a job is the program it is to be, in the session it is to have.
    #[track_caller]
    pub(crate) fn runs(&self, job: &Spawned, name: &str) {
        let sleeps = || {
            let threads = job.proc().threads()?;
            let named = threads.iter().all(|thread| thread.name == name);
            Ok((named && job.proc().state() == Some(State::Sleeping)).then_some(()))
        };
        eventually(name, PATIENCE, sleeps).unwrap();
    }

    /// What a file of the job holds, once it is so.
    #[track_caller]
    pub(crate) fn until(&self, name: &str, fits: impl Fn(&str) -> bool) -> String {
        let path = self.path(name);
        let found = eventually(name, PATIENCE, || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            Ok(fits(&text).then_some(text))
        });
        found.unwrap_or_else(|error| {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let log = fs::read_to_string(self.path("job.log")).unwrap_or_default();
            panic!("{error}; it holds {text:?}; the job said {log:?}")
        })
    }
}

/// Waits until a process that somebody else reaps is gone, and its number free.
#[track_caller]
pub(crate) fn gone(process: Proc) {
    let free = || Ok((!process.exists()).then_some(()));
    eventually("a free process id", PATIENCE, free).unwrap();
}

/// A port that nobody has, most likely for long enough.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Connects once the server listens.
pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = eventually("a server that listens", PATIENCE, || {
        Ok(TcpStream::connect(("127.0.0.1", port)).ok())
    });
    let stream = stream.unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What a server says to who connects, without being asked: a count, and what it holds.
#[track_caller]
pub(crate) fn told(port: u16) -> (u64, String) {
    let mut said = String::new();
    connect(port).read_to_string(&mut said).unwrap();
    let (count, held) = said.trim_end().split_once(' ').expect(&said);
    (count.parse().expect(&said), held.to_owned())
}

/// A program of Debian; `cargo xtask test` sees to it.
pub(crate) fn provisioned(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| panic!("${variable} is not set: run cargo xtask test"))
}

/// The Python of the system, which does not start another one.
pub(crate) fn python() -> &'static str {
    match fs::exists("/usr/bin/python3") {
        Ok(true) => "/usr/bin/python3",
        _ => "python3",
    }
}
