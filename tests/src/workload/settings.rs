//! How a workload is to be, as fields and as a command line.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pattern::{PAGE, Pattern};

/// The most threads a workload has: their ids must fit in its status.
const MOST_THREADS: usize = 256;

/// What a workload is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file it writes its status to, and keeps open.
    pub status: PathBuf,
    /// MiB of memory that it fills, rewrites and checks; default 16.
    pub memory_mib: u64,
    /// Threads beside the main one, at least 1 (default 2): first one that waits for a
    /// signal, then by turns one that works and one that waits for the main thread.
    pub threads: usize,
    /// Whether it has a child process, which it exchanges its count with over two pipes.
    pub child: bool,
    /// A file of 4096 bytes that it keeps open and writes its count to, eight bytes a tick,
    /// round and round.
    pub file: Option<PathBuf>,
    /// Pages that a tick rewrites; default 4.
    pub dirty: u64,
    /// Whether those are far apart instead of neighbours.
    pub scatter: bool,
    /// The pause between ticks; default 1 ms.
    pub tick: Duration,
    /// What the content of the memory starts from; default 1.
    pub seed: u64,
}

impl Settings {
    /// The default workload.
    #[must_use]
    pub fn new(status: impl Into<PathBuf>) -> Self {
        Self {
            status: status.into(),
            memory_mib: 16,
            threads: 2,
            child: false,
            file: None,
            dirty: 4,
            scatter: false,
            tick: Duration::from_millis(1),
            seed: 1,
        }
    }

    /// One with a child and a file, which rewrites pages all over its memory; what it needs
    /// is in this folder.
    #[must_use]
    pub fn of_a_tree(folder: &Path, memory_mib: u64) -> Self {
        Self {
            memory_mib,
            child: true,
            file: Some(folder.join("counts")),
            dirty: 64,
            scatter: true,
            ..Self::new(folder.join("status"))
        }
    }

    /// What its memory holds at every count.
    #[must_use]
    pub fn pattern(&self) -> Pattern {
        let page = u64::try_from(PAGE).unwrap_or(u64::MAX);
        let pages = self.memory_mib.saturating_mul(1 << 20) / page;
        Pattern::new(self.seed, pages, self.dirty, self.scatter)
    }

    /// The command line for it, without the program's name.
    #[must_use]
    pub fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["--status".into(), self.status.clone().into()];
        let mut set = |name: &str, value: String| args.extend([name.into(), value.into()]);
        set("--memory", self.memory_mib.to_string());
        set("--threads", self.threads.to_string());
        set("--dirty", self.dirty.to_string());
        set("--tick-us", self.tick.as_micros().to_string());
        set("--seed", self.seed.to_string());
        if let Some(file) = &self.file {
            args.extend(["--file".into(), file.clone().into()]);
        }
        args.extend(self.child.then(|| "--child".into()));
        args.extend(self.scatter.then(|| "--scatter".into()));
        args
    }

    /// Reads a command line without the program's name.
    ///
    /// # Errors
    ///
    /// When an option is unknown, lacks its value or has one out of range; when `--status`
    /// is missing.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> io::Result<Self> {
        let mut args = args.into_iter();
        let mut settings = Self::new("");
        while let Some(name) = args.next() {
            let name = name.to_string_lossy().into_owned();
            let mut value = || args.next().ok_or_else(|| wrong(&name));
            let mut number = || -> io::Result<u64> {
                value()?
                    .to_str()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| wrong(&name))
            };
            match name.as_str() {
                "--status" => settings.status = value()?.into(),
                "--file" => settings.file = Some(value()?.into()),
                "--memory" => settings.memory_mib = number()?,
                "--threads" => {
                    settings.threads = number()?.try_into().map_err(|_| wrong(&name))?;
                }
                "--dirty" => settings.dirty = number()?,
                "--tick-us" => settings.tick = Duration::from_micros(number()?),
                "--seed" => settings.seed = number()?,
                "--child" => settings.child = true,
                "--scatter" => settings.scatter = true,
                _ => return Err(wrong(&name)),
            }
        }
        if settings.status.as_os_str().is_empty() {
            return Err(wrong("--status"));
        }
        if settings.memory_mib == 0 {
            return Err(wrong("--memory"));
        }
        if !(1..=MOST_THREADS).contains(&settings.threads) {
            return Err(wrong("--threads"));
        }
        Ok(settings)
    }
}

fn wrong(name: &str) -> io::Error {
    const USAGE: &str = "workload --status PATH [--memory MIB] [--threads N] [--child] \
        [--file PATH] [--dirty PAGES_PER_TICK] [--scatter] [--tick-us N] [--seed N]";
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{name}: wrong or missing; {USAGE}"),
    )
}

#[cfg(test)]
mod tests {
    use super::Settings;
    use std::time::Duration;

    #[test]
    fn a_command_line_says_every_field() {
        let all = Settings {
            status: "/s p/ace".into(),
            memory_mib: 2,
            threads: 3,
            child: true,
            file: Some("/f".into()),
            dirty: 5,
            scatter: true,
            tick: Duration::from_micros(7),
            seed: 8,
        };
        for settings in [all, Settings::new("/s")] {
            assert_eq!(Settings::from_args(settings.to_args()).unwrap(), settings);
        }
    }

    #[test]
    fn a_wrong_command_line_is_refused() {
        for line in [
            "",
            "--status",
            "--status x --memory 0",
            "--status x --threads 0",
            "--x",
        ] {
            let words = line.split_whitespace().map(Into::into);
            assert!(Settings::from_args(words).is_err(), "{line:?}");
        }
    }
}
