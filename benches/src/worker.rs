//! `Worker`: another process of the same benchmark, asked over its standard input.
//!
//! For what is a property of a whole process: how much memory it holds, and what a library
//! leaves in it.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Result;

/// What an answer starts with when it is the reason why there is none.
const FAILED: &str = "failed: ";

/// A running worker. Dropping it ends and reaps it.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts this program once more, with these arguments; its `main` has to [`serve`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let questions = child.stdin.take().ok_or("a worker has no input")?;
        let answers = child.stdout.take().ok_or("a worker has no output")?;
        Ok(Self {
            child,
            questions,
            answers: BufReader::new(answers),
        })
    }

    /// Asks one question and waits for its answer.
    ///
    /// # Errors
    /// What the worker says went wrong, or that it has ended.
    pub fn ask(&mut self, question: &str) -> Result<String> {
        writeln!(self.questions, "{question}")?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err(format!("a worker ended: {}", self.child.wait()?).into());
        }
        let answer = answer.trim_end();
        match answer.strip_prefix(FAILED) {
            Some(reason) => Err(reason.into()),
            None => Ok(answer.to_owned()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself; and nobody is left to tell that it cannot be reaped.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The worker's side: answers one line with one line, until the benchmark ends.
///
/// # Errors
/// When the benchmark cannot be read from or written to.
pub fn serve(mut answer: impl FnMut(&str) -> Result<String>) -> Result<()> {
    for question in io::stdin().lines() {
        let said = match answer(&question?) {
            Ok(said) => said,
            Err(error) => format!("{FAILED}{error}").replace('\n', " "),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{said}")?;
        out.flush()?;
    }
    Ok(())
}
