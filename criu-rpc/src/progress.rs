//! `Progress`: where a request is, from its stages and from CRIU's log.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::BorrowedFd;

use crate::log::LogFile;
use crate::notify::Stage;
use crate::pid::Pid;

/// How much of the log is read at once, in bytes.
const CHUNK: u64 = 1 << 20;

/// Something a request has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A stage.
    Stage(Stage),
    /// The tree is stopped; this many tasks are known so far.
    Stopped {
        /// The tasks, one a process.
        tasks: u32,
    },
    /// A task's turn: it is being dumped or made.
    Task {
        /// The task.
        pid: Pid,
        /// Which one it is, from 1.
        number: u32,
        /// How many there are, when that is known.
        of: Option<u32>,
    },
    /// Pages of memory that were taken so far, of all tasks.
    Pages(u64),
}

/// What hears of it.
pub(crate) type Watcher<'a> = Box<dyn FnMut(Progress) + Send + 'a>;

/// Reads a log as it grows, and tells what it says.
pub(crate) struct Follower<'a> {
    watcher: Watcher<'a>,
    offset: u64,
    /// The log's last line, as far as it is written.
    rest: Vec<u8>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    stopped: u32,
    tasks: u32,
    pages: u64,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(watcher: Watcher<'a>) -> Self {
        Self {
            watcher,
            offset: 0,
            rest: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn stage(&mut self, stage: &Stage) {
        (self.watcher)(Progress::Stage(stage.clone()));
    }

    /// Tells what was logged since the last time.
    pub(crate) fn follow(&mut self, log: &LogFile, work_dir: BorrowedFd<'_>) {
        let Some(mut file) = log.open(work_dir) else {
            return;
        };
        let before = self.counts.pages;
        while self.read(&mut file).is_some() {
            self.tell();
        }
        // CRIU logs every few megabytes: once a look is enough.
        if self.counts.pages > before {
            (self.watcher)(Progress::Pages(self.counts.pages));
        }
    }

    /// Tells what the lines say that are whole.
    fn tell(&mut self) {
        let end = self
            .rest
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.rest.drain(..end).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            if let Some(progress) = self.counts.take(line) {
                (self.watcher)(progress);
            }
        }
    }

    /// Tells what a piece of a log says.
    #[cfg(fuzzing)]
    pub(crate) fn take(&mut self, piece: &[u8]) {
        self.rest.extend(piece);
        self.tell();
    }

    /// The next piece; `None` at the end.
    fn read(&mut self, file: &mut File) -> Option<()> {
        file.seek(SeekFrom::Start(self.offset)).ok()?;
        let read = file.take(CHUNK).read_to_end(&mut self.rest).ok()? as u64;
        self.offset += read;
        (read > 0).then_some(())
    }
}

impl Counts {
    /// What a line of CRIU's log tells, at level 3 (`pr_info`), in CRIU 3.17 to 4.2.
    fn take(&mut self, line: &str) -> Option<Progress> {
        if line.contains("Seized task ") {
            self.stopped += 1;
            return Some(Progress::Stopped {
                tasks: self.stopped,
            });
        }
        let task = after(line, "Dumping task (pid: ")
            .or_else(|| after(line, "Pre-dumping task (pid: "))
            .or_else(|| after(line, "Forking task with "));
        if let Some(pid) = task {
            self.tasks += 1;
            return Some(Progress::Task {
                pid: Pid::from_raw(pid.try_into().ok()?)?,
                number: self.tasks,
                of: Some(self.stopped).filter(|stopped| *stopped >= self.tasks),
            });
        }
        // A line can hold any name that a task gave a file.
        let pages = after(line, "Pagemap generated: ").unwrap_or(0);
        self.pages = self.pages.saturating_add(pages);
        None
    }
}

/// The number that follows some words.
fn after(line: &str, words: &str) -> Option<u64> {
    let (_, rest) = line.split_once(words)?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Counts, Progress};
    use crate::pid::Pid;

    fn told(lines: &[&str]) -> (Vec<Progress>, u64) {
        let mut counts = Counts::default();
        let told = lines.iter().filter_map(|line| counts.take(line)).collect();
        (told, counts.pages)
    }

    #[test]
    fn a_dump_tells_which_task_of_how_many_and_how_many_pages() {
        let pid = |raw| Pid::from_raw(raw).unwrap();
        let lines = [
            "(00.028391) Seized task 15309, state 1",
            "(00.028551) Seized task 15311, state 1",
            "(00.029800) Dumping task (pid: 15309 comm: sh)",
            "(00.031222) Pagemap generated: 40 pages (0 lazy) 0 holes",
            "(00.041300) Dumping task (pid: 15311 comm: sleep)",
            "(00.041322) Pagemap generated: 2 pages (0 lazy) 0 holes",
        ];
        let expected = vec![
            Progress::Stopped { tasks: 1 },
            Progress::Stopped { tasks: 2 },
            Progress::Task {
                pid: pid(15309),
                number: 1,
                of: Some(2),
            },
            Progress::Task {
                pid: pid(15311),
                number: 2,
                of: Some(2),
            },
        ];
        assert_eq!(told(&lines), (expected, 42));
    }

    #[test]
    fn pages_that_a_file_name_claims_do_not_overflow() {
        let line = "Dumping path for 3 fd via self 7 [/Pagemap generated: 18446744073709551615]";
        assert_eq!(told(&[line, line]), (vec![], u64::MAX));
    }

    #[test]
    fn a_restore_tells_each_task_that_is_made() {
        let lines = [
            "(00.020659) Forking task with 15309 pid (flags 0x0)",
            "(00.1) other",
        ];
        let pid = Pid::from_raw(15309).unwrap();
        assert_eq!(
            told(&lines).0,
            [Progress::Task {
                pid,
                number: 1,
                of: None
            }]
        );
    }
}
