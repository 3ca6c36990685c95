//! `Worker`: another process of the same benchmark, asked over its standard input.
//!
//! For what is a property of a whole process: how much memory it holds, and what a library
//! leaves in it.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// How long a worker gets to clear up after itself.
const END: Duration = Duration::from_secs(10);

/// What an answer starts with when it is the reason why there is none.
const FAILED: &str = "failed: ";

/// A running worker. Dropping it tells it to end, and reaps it.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    /// Taken away to tell it that there are no more.
    questions: Option<ChildStdin>,
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
        let questions = child.stdin.take();
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
        let questions = self.questions.as_mut().ok_or("a worker has no input")?;
        writeln!(questions, "{question}")?;
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
        drop(self.questions.take());
        let start = Instant::now();
        while start.elapsed() < END {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        // Nobody is left to tell that it could not be ended.
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
