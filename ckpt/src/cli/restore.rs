//! `ckpt restore`: `docker start --checkpoint`.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, ExitCode};

use ckpt::{CheckpointName, Criu, Error, Foreground, Outlook, Terminal};
use clap::Args;
use criu_rpc::Ended;
use serde_json::{Value, json};

use super::argument;
use super::create::level;
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::progress::{Loudness, Progress};
use super::verify;

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The checkpoint
    #[arg(value_parser = argument::name)]
    name: CheckpointName,

    /// Returns once it runs, instead of waiting for its end
    #[arg(short, long)]
    detach: bool,

    /// Tells all that stands in the way, and restores nothing
    #[arg(long)]
    dry_run: bool,

    /// The folder that becomes the root of the file system for it
    #[arg(long, value_name = "DIR", value_parser = argument::folder)]
    root: Option<String>,

    /// Fills in something that was left out: mnt[data]:/srv/data
    #[arg(long, value_name = "WHAT", value_parser = external)]
    external: Vec<String>,

    /// Gives it this command's descriptor N for a file it had: fd[N]:pipe:[4711],
    /// fd[N]:tmp/log.txt
    #[arg(long, value_name = "FD:KEY")]
    inherit_fd: Vec<String>,

    /// Closes established TCP connections instead of going on with them
    #[arg(long)]
    tcp_close: bool,

    /// Expands compressed pages below this folder, until they are restored: on a tmpfs, in
    /// memory; without it, in the store
    #[arg(long, value_name = "DIR", value_parser = argument::folder)]
    scratch: Option<String>,

    /// Does not look first whether the files are as they were made
    #[arg(long)]
    no_verify: bool,

    /// Tries it even if it is found not to fit this machine
    #[arg(long)]
    force: bool,

    /// Logs what CRIU does; twice: each detail
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    loudness: Loudness,

    /// One JSON document: at the end, or at once with --detach or --dry-run
    #[arg(long)]
    pub(super) json: bool,
}

impl Restore {
    /// Restores, and gives the status to end with: in the foreground, that of the tree.
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let checkpoint = self.place.open()?.get(&self.name)?;
        let stdin = io::stdin();
        let is_job = checkpoint.manifest().options.terminal;
        if is_job && !self.detach && !self.dry_run && !stdin.is_terminal() {
            return self.in_new_terminal();
        }

        let mut restore = ckpt::Restore::of(&checkpoint)
            .as_child(!self.detach)
            .verify(!self.no_verify)
            .force(self.force)
            .tcp_close(self.tcp_close);
        if is_job && !self.detach {
            restore = restore.terminal(stdin.as_fd());
        }
        if let Some(root) = &self.root {
            restore = restore.root(root);
        }
        if let Some(scratch) = &self.scratch {
            restore = restore.scratch(scratch);
        }
        for external in &self.external {
            restore = restore.external(external);
        }
        for text in &self.inherit_fd {
            let (key, fd) = inherited(text)?;
            restore = restore.inherit_fd(key, fd);
        }
        if let Some(level) = level(self.verbose) {
            restore = restore.log_level(level);
        }

        let criu = Criu::find().map_err(Error::from)?;
        if self.dry_run {
            return self.look(&restore.outlook(&criu)?);
        }
        let foreground = match self.detach {
            true => None,
            false => Some(Foreground::begin().map_err(Failure::Foreground)?),
        };
        let mut progress = Progress::new(self.loudness);
        let tree = restore.run(&criu, |event| progress.tell(&event))?;
        drop(progress);
        let Some(foreground) = foreground else {
            self.told(tree.pid().as_raw(), None)?;
            return Ok(ExitCode::SUCCESS);
        };
        let terminal = is_job.then(|| stdin.as_fd());
        let ended = foreground
            .attend(&tree, terminal)
            .map_err(Failure::Foreground)?;
        if self.json {
            self.told(tree.pid().as_raw(), Some(ended))?;
        }
        Ok(status(ended))
    }

    fn told(&self, pid: i32, ended: Option<Ended>) -> Result<(), Failure> {
        let mut output = Output::stdout();
        let told = if self.json {
            let ended = ended.map(|ended| match ended {
                Ended::Exited(code) => json!({ "exited": code }),
                Ended::Killed(signal) => json!({ "killed": signal }),
                _ => Value::Null,
            });
            let document = json!({ "name": self.name, "pid": pid, "ended": ended });
            writeln!(output, "{document}")
        } else if self.loudness.quiet {
            Ok(())
        } else {
            writeln!(output, "{}: runs as process {pid}", self.name)
        };
        output.finish(told.map_err(Failure::Stdout))
    }

    fn look(&self, outlook: &Outlook) -> Result<ExitCode, Failure> {
        let mut output = Output::stdout();
        let told = if self.json {
            let what = self.name.as_str();
            let verification = outlook.verification.as_ref();
            let refusals = outlook.refusals.iter().map(ToString::to_string);
            let findings = outlook.findings.iter().map(|it| {
                json!({
                    "severity": it.severity.to_string(),
                    "name": it.what.name(),
                    "what": it.what.to_string(),
                    "remedy": it.remedy(),
                })
            });
            let document = json!({
                "name": self.name,
                "findings": findings.collect::<Vec<_>>(),
                "good": outlook.is_good(),
                "refusals": refusals.collect::<Vec<_>>(),
                "verification": verification.map(|it| verify::document(what, it)),
            });
            writeln!(output, "{document}")
        } else {
            let mut lines: Vec<_> = outlook.refusals.iter().map(ToString::to_string).collect();
            let findings = outlook.findings.iter();
            lines.extend(
                findings.map(|it| format!("{}: {}; {}", it.severity, it.what, it.remedy())),
            );
            if let Some(verification) = &outlook.verification {
                lines.extend(verify::lines(verification, false));
            }
            if lines.is_empty() {
                lines.push("nothing stands in the way".to_owned());
            }
            lines.iter().try_for_each(|line| writeln!(output, "{line}"))
        };
        output.finish(told.map_err(Failure::Stdout))?;
        match outlook.is_good() {
            true => Ok(ExitCode::SUCCESS),
            false => Err(Failure::Refused),
        }
    }

    /// The same command, with a new terminal for its own.
    fn in_new_terminal(&self) -> Result<ExitCode, Failure> {
        if self.json {
            return Err(Failure::Usage(
                "a shell job restored in a new terminal writes to standard output itself; leave --json out",
            ));
        }
        let this = std::env::current_exe().map_err(Failure::Foreground)?;
        let mut command = Command::new(this);
        command.args(std::env::args_os().skip(1).collect::<Vec<OsString>>());
        let terminal = Terminal::open().map_err(Failure::Foreground)?;
        let status = terminal.run(command).map_err(Failure::Foreground)?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    }
}

fn external(text: &str) -> Result<String, String> {
    argument::known(text, ckpt::external_of_restore)
}

/// As a shell tells it: 128 and the signal that killed it.
fn status(ended: Ended) -> ExitCode {
    let code = match ended {
        Ended::Exited(code) => code,
        Ended::Killed(signal) => 128 + signal,
        _ => 1,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// `fd[N]:KEY`, as CRIU writes it, and a copy of our descriptor N.
fn inherited(text: &str) -> Result<(String, OwnedFd), Failure> {
    let wrong = || Failure::Inherit {
        text: text.to_owned(),
    };
    let rest = text.strip_prefix("fd[").ok_or_else(wrong)?;
    let (number, key) = rest.split_once("]:").ok_or_else(wrong)?;
    let number = number.parse().map_err(|_| wrong())?;
    if key.is_empty() {
        return Err(wrong());
    }
    let this = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    );
    let flags = rustix::process::PidfdGetfdFlags::empty();
    let fd = this.and_then(|this| rustix::process::pidfd_getfd(this, number, flags));
    Ok((key.to_owned(), fd.map_err(|_| wrong())?))
}
