//! A program of its own that embeds `criu-rpc`: to be without privileges, or to die.

use std::any::type_name;
use std::env;
use std::process::{Command, ExitStatus, Stdio, exit};

/// Holds the words for the embedder, a line each, where one runs.
const EMBEDDER: &str = "CRIU_RS_EMBEDDER";

/// What it exits with when it is done; a test program has no such code.
const DONE: i32 = 77;

/// The embedder of one test, not started yet.
#[derive(Debug)]
pub(crate) struct Embedder(&'static str);

/// Gives a test an embedder that does `body` with the words it is started with.
///
/// To be called first, with a closure written right in the test function: the embedder is
/// this test program, which runs that test once more and gets no further than here.
pub(crate) fn embedder<F: FnOnce(Vec<String>)>(body: F) -> Embedder {
    if let Ok(words) = env::var(EMBEDDER) {
        body(words.lines().map(str::to_owned).collect());
        exit(DONE);
    }
    let name = type_name::<F>();
    let name = name.split_once("::").map_or(name, |(_, rest)| rest);
    Embedder(name.split_once("::{{closure}}").unwrap().0)
}

impl Embedder {
    /// A command that starts it, behind `wrapper`.
    pub(crate) fn command(&self, wrapper: &[&str], words: &[&str]) -> Command {
        let program = env::current_exe().unwrap();
        let mut command = match wrapper.split_first() {
            Some((first, args)) => {
                let mut command = Command::new(first);
                command.args(args).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args([self.0, "--exact", "--include-ignored", "--nocapture"]);
        command.env(EMBEDDER, words.join("\n")).stdin(Stdio::null());
        command
    }

    /// Runs it to its end, which must be a good one.
    #[track_caller]
    pub(crate) fn run(&self, wrapper: &[&str], words: &[&str]) {
        let output = self.command(wrapper, words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(is_done(output.status), "{}: {said}", output.status);
    }
}

/// Whether it did all it was to do.
pub(crate) fn is_done(status: ExitStatus) -> bool {
    status.code() == Some(DONE)
}
