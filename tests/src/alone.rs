#![allow(unsafe_code)]
//! A process of one's own: for a test, and without fds from whoever started it.

use std::any::type_name;
use std::env;
use std::os::fd::BorrowedFd;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::proc::Proc;

/// Set in the process that runs one test alone.
const ALONE: &str = "CRIU_RS_ALONE";

/// Runs `body`, which is the whole rest of the calling test, in a new process where no
/// other test runs: for what counts fds, threads or children, or changes what the whole
/// process shares. Its own children get no fd from it but stdin, stdout and stderr, whatever
/// the program that ran the tests left open.
///
/// Call it with a closure written right in the test function: the test's name is that of
/// the function the closure is in.
///
/// # Panics
///
/// When `body` does; the other process's output is shown.
#[track_caller]
pub fn alone<F: FnOnce()>(body: F) {
    let name = test_name::<F>();
    if env::var(ALONE).is_ok_and(|running| running == name) {
        close_fds_on_exec();
        return body();
    }
    let tests = env::current_exe().expect("the path of this test program");
    let output = Command::new(tests)
        .args([
            name,
            "--exact",
            "--include-ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ALONE, name)
        .output()
        .expect("this test program, once more");
    let text = String::from_utf8_lossy(&output.stdout);
    // A name that matches no test would pass by running none.
    let passed = output.status.success() && text.contains("1 passed");
    assert!(
        passed,
        "{name}, alone: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Keeps every fd but stdin, stdout and stderr from programs started later. What the
/// program that started us left open would else be in their images. Call it before there
/// is another thread.
///
/// # Panics
///
/// When `/proc` cannot be read.
pub fn close_fds_on_exec() {
    let fds = Proc::myself().fds().expect("the fds of this process");
    for number in fds.into_keys().filter(|number| *number > 2) {
        // SAFETY: the fd is open, and no other thread is there to close it. If there were,
        // the flag below would not be set, or be set on another fd that must have it too.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_setfd(fd, FdFlags::CLOEXEC).expect("a flag of an open fd");
    }
}

/// `crate::module::test::{{closure}}` without its first and last part.
fn test_name<F>() -> &'static str {
    let name = type_name::<F>();
    let name = name.split_once("::").map_or(name, |(_, rest)| rest);
    name.split_once("::{{closure}}")
        .map_or(name, |(test, _)| test)
}
