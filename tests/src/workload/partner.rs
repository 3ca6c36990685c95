//! A workload's child process: it counts along, and has memory of its own.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use super::memory::Memory;
use super::pattern::Pattern;

/// The argument that turns the program into the child.
pub(crate) const PARTNER: &str = "--partner";

/// Pages of the child's memory.
const PAGES: u64 = 256;

/// The child, seen from its parent.
#[derive(Debug)]
pub(crate) struct Partner {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
    exchanges: u64,
}

impl Partner {
    pub(crate) fn start() -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(PARTNER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (to, from) = child
            .stdin
            .take()
            .zip(child.stdout.take())
            .ok_or_else(|| io::Error::other("no pipes to the child"))?;
        Ok(Self {
            child,
            to,
            from,
            exchanges: 0,
        })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap_or(0)
    }

    pub(crate) fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// Sends the count; the child must answer it, and have counted every exchange.
    pub(crate) fn exchange(&mut self, count: u64) -> Result<(), String> {
        let sent = self.exchanges + 1;
        let mut answer = [0; 24];
        self.to
            .write_all(&count.to_ne_bytes())
            .and_then(|()| self.from.read_exact(&mut answer))
            .map_err(|error| format!("exchange {sent} with the child: {error}"))?;
        let [echo, exchanges, errors] = words(answer);
        if errors != 0 {
            return Err(format!("the child's memory: {errors} errors"));
        }
        if (echo, exchanges) != (count, sent) {
            return Err(format!(
                "the child has {echo} in {exchanges} instead of {count} in {sent}"
            ));
        }
        self.exchanges = sent;
        Ok(())
    }
}

/// Is the child, until its parent goes.
pub(crate) fn run_partner() -> ExitCode {
    let mut memory = Memory::new(Pattern::new(2, PAGES, 1, false));
    let (mut exchanges, mut errors) = (0u64, 0u64);
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    let mut count = [0; 8];
    while from.read_exact(&mut count).is_ok() {
        exchanges += 1;
        errors += u64::from(memory.tick().is_err());
        let answer = [count, exchanges.to_ne_bytes(), errors.to_ne_bytes()].concat();
        if to.write_all(&answer).and_then(|()| to.flush()).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn words(bytes: [u8; 24]) -> [u64; 3] {
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}
