//! The workload's own side: it counts, rewrites its memory, checks itself and says so.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::setsid;

use super::helpers::{Errors, Helpers};
use super::memory::Memory;
use super::partner::{PARTNER, Partner, run_partner};
use super::settings::Settings;
use super::status::{self, Digest, Status};
use crate::patience::eventually;
use crate::proc::Proc;

/// Ticks between two writings of the status when there is no pause between ticks.
const RESTLESS: u128 = 256;

/// Is the workload, until killed; the `main` of the program `workload`.
#[must_use]
pub fn run_workload() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.peek().is_some_and(|arg| arg == PARTNER) {
        return run_partner();
    }
    let settings = match Settings::from_args(args) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("workload: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings) -> io::Result<()> {
    // CRIU dumps whole sessions without asking for options; the test's own is not to be one.
    let me = Proc::myself();
    if me.session()? != me.pid() {
        setsid()?;
    }
    let errors = Arc::new(Errors::default());
    let helpers = Helpers::start(settings.threads, &errors)?;
    let mut partner = settings.child.then(Partner::start).transpose()?;
    let mut file = settings
        .file
        .as_deref()
        .map(CountFile::create)
        .transpose()?;
    let mut memory = Memory::new(settings.pattern());
    let board = create(&settings.status)?;
    let (address, length) = memory.place();
    let mut status = Status {
        pid: Proc::myself().pid(),
        address,
        length,
        tids: tids(settings.threads + 1)?,
        child: partner.as_ref().map(Partner::pid),
        ..Status::default()
    };
    let between = publish_every(settings.tick);
    let mut answered = 0;
    loop {
        status.count += 1;
        memory.tick().unwrap_or_else(|text| errors.add(text));
        if let Some(partner) = &mut partner {
            partner
                .exchange(status.count)
                .unwrap_or_else(|text| errors.add(text));
            status.exchanges = partner.exchanges();
        }
        if let Some(file) = &mut file {
            file.record(status.count)
                .unwrap_or_else(|error| errors.add(format!("file: {error}")));
        }
        helpers.exchange(status.count, &errors);
        let asked = helpers.asked();
        if asked != answered {
            answered = asked;
            let all = memory.digest();
            if let Some(text) = all.mismatch {
                errors.add(text);
            }
            status.digest = Digest {
                number: status.digest.number + 1,
                count: status.count,
                found: all.found,
                expected: all.expected,
            };
            status.count_errors(&errors);
            board.write_all_at(&status.to_bytes(), 0)?;
        } else if status.count.is_multiple_of(between) {
            status.count_errors(&errors);
            board.write_all_at(&status.to_bytes(), 0)?;
        }
        if !settings.tick.is_zero() {
            thread::sleep(settings.tick);
        }
    }
}

impl Status {
    fn count_errors(&mut self, errors: &Errors) {
        (self.errors, self.error) = errors.get();
    }
}

/// A file of fixed size, written round and round at the descriptor's own offset.
struct CountFile(File);

impl CountFile {
    fn create(path: &Path) -> io::Result<Self> {
        create(path).map(Self)
    }

    /// Writes the count where the offset, by the count, must be.
    fn record(&mut self, count: u64) -> io::Result<()> {
        let size = u64::try_from(status::SIZE).unwrap_or(u64::MAX);
        let expected = (count - 1) * 8 % size;
        let offset = self.0.stream_position()?;
        if offset != expected {
            return Err(io::Error::other(format!(
                "at {offset} instead of {expected}"
            )));
        }
        self.0.write_all(&count.to_ne_bytes())?;
        self.0.seek(SeekFrom::Current(-8))?;
        let mut back = [0; 8];
        self.0.read_exact(&mut back)?;
        if u64::from_ne_bytes(back) != count {
            return Err(io::Error::other(format!("{count} was not read back")));
        }
        if self.0.stream_position()? == size {
            self.0.rewind()?;
        }
        Ok(())
    }
}

/// A file of 4096 bytes that keeps its size.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.set_len(u64::try_from(status::SIZE).unwrap_or(u64::MAX))?;
    Ok(file)
}

/// The ids of this process's threads, once those that filled its memory have left.
fn tids(count: usize) -> io::Result<Vec<i32>> {
    let threads = eventually("the threads that stay", Duration::from_secs(20), || {
        Ok(Some(Proc::myself().threads()?).filter(|threads| threads.len() == count))
    })?;
    Ok(threads.iter().map(|thread| thread.tid).collect())
}

/// Ticks between two writings of the status: about a millisecond's. By ticks and not by a
/// clock, since clocks jump when a process is restored after a reboot.
fn publish_every(tick: Duration) -> u64 {
    let ticks = 1000u128
        .checked_div(tick.as_micros())
        .unwrap_or(RESTLESS)
        .max(1);
    u64::try_from(ticks).unwrap_or(1)
}
