//! `cargo xtask vm`: a guest whose kernel tells which pages changed, where this machine's does
//! not, and where root has every capability. It is emulated: times in it mean nothing.

mod cpio;
mod guest;
mod kit;
mod load;

use std::env;
use std::fs;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use crate::failure::Failure;
use crate::provision::{SID, SUITES, Suite};

use guest::End;
use kit::Kit;

/// What is to be run there.
#[derive(Debug, PartialEq)]
struct Job<'a> {
    suite: &'a Suite,
    /// Programs that are there under the paths they have here, and folders of such as have
    /// libraries of their own.
    with: Vec<PathBuf>,
    /// Where to put what it leaves in `/out`.
    out: Option<PathBuf>,
    limit: Duration,
    command: Vec<String>,
}

/// Runs a command in a guest of its own; its output and its exit status are ours.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Failure> {
    let mut job = Job::parse(args)?;
    job.carry_command()?;
    let kit = Kit::provision(root)?;
    let scratch = Scratch::new(root)?;
    let initrd = scratch.0.join("initrd");
    load::write(root, &kit, job.suite, &job.with, &job.command, &initrd)?;
    let console = scratch.0.join("console");
    let boot = || guest::run(&kit, &initrd, &console, job.out.as_deref(), job.limit);
    let end = match boot()? {
        // Nothing of the job has been done, so it can be tried again.
        End::NotUp(last) => {
            eprintln!("the guest did not come up, once more; its last words:\n{last}");
            boot()?
        }
        end => end,
    };
    match end {
        End::Status(0) => Ok(()),
        End::Status(status) => Err(Failure::Command(status)),
        End::TimeIsUp => Err(Failure::step(format!(
            "the job was not done within {} minutes: give it more with --minutes",
            job.limit.as_secs() / 60
        ))),
        End::NotUp(last) | End::Lost(last) => Err(Failure::step(format!(
            "the guest went down without an exit status; its last words:\n{last}"
        ))),
    }
}

impl<'a> Job<'a> {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let usage = |line: String| Failure::Usage(line);
        let mut job = Job {
            suite: &SID,
            with: Vec::new(),
            out: None,
            limit: Duration::from_secs(600),
            command: Vec::new(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                job.command = args.by_ref().cloned().collect();
                break;
            }
            let Some(value) = args.next().filter(|value| *value != "--") else {
                return Err(usage(format!("vm: {arg} and nothing after it")));
            };
            let path = || absolute(value).map_err(|e| usage(format!("{value}: {e}")));
            match &**arg {
                "--with" => job.with.push(path()?),
                "--out" => job.out = Some(path()?),
                "--suite" => {
                    job.suite = SUITES
                        .iter()
                        .find(|suite| suite.name == value)
                        .ok_or_else(|| usage(format!("no suite {value:?}")))?;
                }
                "--minutes" => {
                    let minutes = value.parse::<u32>().ok().filter(|n| *n > 0);
                    let minutes = minutes.ok_or_else(|| usage(format!("no minutes: {value:?}")))?;
                    job.limit = Duration::from_secs(60) * minutes;
                }
                _ => return Err(usage(format!("vm takes no {arg:?}"))),
            }
        }
        if job.command.is_empty() {
            return Err(usage("vm: no command after --".to_owned()));
        }
        Ok(job)
    }

    /// A command given by its path is one of ours; another is looked for in the guest.
    fn carry_command(&mut self) -> Result<(), Failure> {
        let Some(name) = self.command.first_mut().filter(|name| name.contains('/')) else {
            return Ok(());
        };
        let path = absolute(&*name).map_err(|e| Failure::file("find", Path::new(name), &e))?;
        if !path.is_file() {
            // It may be one of the guest's, like /bin/sh.
            return Ok(());
        }
        *name = path
            .to_str()
            .ok_or_else(|| Failure::Usage(format!("{name:?} is not UTF-8")))?
            .to_owned();
        self.with.push(path);
        Ok(())
    }
}

/// A folder for one guest, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(root: &Path) -> Result<Self, Failure> {
        let path = root.join(format!("target/vm/job-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|e| Failure::file("create", &path, &e))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if env::var_os("CRIU_RS_KEEP").is_none() {
            // Left behind it only takes up space.
            fs::remove_dir_all(&self.0).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Job;
    use crate::failure::Failure;
    use crate::provision::TRIXIE;
    use std::path::Path;
    use std::time::Duration;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let args = words("--with /a/b --suite trixie --minutes 3 --out /c -- ls --out --");
        let job = Job::parse(&args).unwrap();
        assert_eq!(job.with, [Path::new("/a/b")]);
        assert_eq!(job.out.as_deref(), Some(Path::new("/c")));
        assert_eq!((job.suite, job.limit), (&TRIXIE, Duration::from_secs(180)));
        assert_eq!(job.command, words("ls --out --"));
    }

    #[test]
    fn a_job_without_a_command_is_none() {
        for text in [
            "--",
            "ls",
            "--with --",
            "--with",
            "--minutes 0 -- ls",
            "--suite warty -- ls",
            "--what x -- ls",
        ] {
            let found = Job::parse(&words(text));
            assert!(matches!(found, Err(Failure::Usage(_))), "{text}: {found:?}");
        }
    }

    #[test]
    fn programs_go_with_the_command_that_names_them() {
        let mut job = Job::parse(&words("-- /proc/self/exe x")).unwrap();
        job.carry_command().unwrap();
        assert_eq!(job.with, [Path::new("/proc/self/exe")]);
        let mut job = Job::parse(&words("-- criu check")).unwrap();
        job.carry_command().unwrap();
        assert!(job.with.is_empty());
    }
}
