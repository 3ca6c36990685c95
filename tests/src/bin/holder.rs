#![allow(unsafe_code)]
//! Takes hold of something that CRIU wants an option for, or cannot dump at all, and
//! becomes another program: `holder KIND [ARGUMENT…] -- PROGRAM [ARGUMENT…]`.
//!
//! `holder serve FILE` writes a port into FILE, and what connects there becomes the standard
//! input and output of the program.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::libc;
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::mm::{UserfaultfdFlags, userfaultfd};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let kind: Vec<_> = args.by_ref().take_while(|arg| arg != "--").collect();
    let rest: Vec<_> = args.collect();
    let Err(error) = run(&kind, &rest);
    eprintln!("holder {kind:?}: {error}");
    ExitCode::FAILURE
}

fn run(kind: &[OsString], rest: &[OsString]) -> io::Result<std::convert::Infallible> {
    let (program, args) = rest
        .split_first()
        .ok_or_else(|| io::Error::other("no program to become"))?;
    let mut command = Command::new(program);
    command.args(args);
    if let [kind, path] = kind
        && kind == "serve"
    {
        let connection = serve(Path::new(path))?;
        command.stdin(connection.try_clone()?).stdout(connection);
        return Err(command.exec());
    }
    let held = hold(kind)?;
    for fd in &held {
        fcntl_setfd(fd, FdFlags::empty())?;
    }
    Err(command.exec())
}

/// Waits for the first who connects.
fn serve(path: &Path) -> io::Result<OwnedFd> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // At once, for who reads it.
    let new = path.with_extension("new");
    fs::write(&new, listener.local_addr()?.port().to_string())?;
    fs::rename(new, path)?;
    Ok(listener.accept()?.0.into())
}

fn hold(kind: &[OsString]) -> io::Result<Vec<OwnedFd>> {
    let words: Vec<_> = kind.iter().filter_map(|word| word.to_str()).collect();
    Ok(match *words.as_slice() {
        ["userfaultfd"] => {
            // SAFETY: no memory is registered with it, so no page fault ever goes to it.
            let fd = unsafe { userfaultfd(UserfaultfdFlags::CLOEXEC) }?;
            vec![fd]
        }
        // Both ends of a connection, and what it was accepted from.
        ["tcp"] => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let client = TcpStream::connect(listener.local_addr()?)?;
            let (server, _) = listener.accept()?;
            vec![listener.into(), client.into(), server.into()]
        }
        ["flock", path] => {
            let file = File::create(path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            vec![file.into()]
        }
        ["posix-lock", path] => {
            let file = File::create(path)?;
            fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
            vec![file.into()]
        }
        ["unix-peer", path] => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            vec![socket.into()]
        }
        ["deleted", path, bytes] => {
            let mut file = File::create(path)?;
            let bytes = bytes.parse().map_err(io::Error::other)?;
            file.write_all(&vec![0x5a; bytes])?;
            fs::remove_file(path)?;
            vec![file.into()]
        }
        // Gone under the name it was opened by, there under another.
        ["unlinked", path, other] => {
            let file = File::create(path)?;
            fs::hard_link(path, other)?;
            fs::remove_file(path)?;
            vec![file.into()]
        }
        ["seccomp"] => {
            filter_nothing()?;
            vec![]
        }
        _ => return Err(io::Error::other("no such kind")),
    })
}

/// Gives this process, and what it becomes, a seccomp filter that allows every system call.
fn filter_nothing() -> io::Result<()> {
    let mut allow = libc::sock_filter {
        code: 0x06, // BPF_RET | BPF_K
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut allow,
    };
    // SAFETY: both are plain settings of this process; the kernel copies the program, which
    // is as long as it says and lives until then.
    let status = unsafe {
        match libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) {
            0 => libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ),
            failed => failed,
        }
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
