//! `Restore`: a checkpoint becomes a process tree.

use std::fs::{self, File};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use criu_rpc::{Criu, InheritKey, LogLevel, Refusal, RestoreExternal, Restored};

use crate::compat::{Compat, Finding, Host, Mismatch, Obstacle};
use crate::error::{Error, Result, at, version_of};
use crate::event::{Event, Listener, Phase};
use crate::expanded::{Content, Line};
use crate::external::external_of_restore;
use crate::images::Images;
use crate::store::{Checkpoint, Hold};
use crate::verify::Verification;

/// CRIU's log of a restore.
const LOG: &str = "restore.log";

/// A checkpoint that is to be restored, as it was made: what it took along then is taken
/// along now.
///
/// ```no_run
/// use ckpt::{Criu, Restore, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::open("/var/lib/ckpt")?;
/// let checkpoint = store.get(&"before-upgrade".parse()?)?;
/// let tree = Restore::of(&checkpoint).as_child(true).run(&Criu::find()?, |_| ())?;
/// println!("{} {}", tree.pid(), tree.wait()?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Restore<'a> {
    checkpoint: Checkpoint,
    as_child: bool,
    verify: bool,
    force: bool,
    tcp_close: bool,
    root: Option<PathBuf>,
    external: Vec<String>,
    inherit: Vec<(String, OwnedFd)>,
    terminal: Option<BorrowedFd<'a>>,
    scratch: Option<PathBuf>,
    log_level: Option<LogLevel>,
}

/// What a restore would meet with.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Outlook {
    /// What is wrong with the checkpoint; `None` if that was not to be looked at.
    pub verification: Option<Verification>,
    /// What CRIU would fail with, or what is missing.
    pub refusals: Vec<Error>,
    /// What does not fit this machine, the worst first.
    pub findings: Vec<Finding>,
}

impl Outlook {
    /// Whether nothing was found that a restore would fail with. That is no promise.
    pub fn is_good(&self) -> bool {
        self.refusals.is_empty()
            && self.verification.as_ref().is_none_or(Verification::is_good)
            && !self.findings.iter().any(is_in_the_way)
    }
}

impl<'a> Restore<'a> {
    /// Restores this checkpoint.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        Self {
            checkpoint: checkpoint.clone(),
            as_child: false,
            verify: true,
            force: false,
            tcp_close: false,
            root: None,
            external: Vec::new(),
            inherit: Vec::new(),
            terminal: None,
            scratch: None,
            log_level: None,
        }
    }

    /// Makes the root of the tree a child of this process, which then has to
    /// [wait](Restored::wait) for it. Without it, the tree becomes a child of init.
    #[must_use]
    pub fn as_child(mut self, on: bool) -> Self {
        self.as_child = on;
        self
    }

    /// Whether the files are [looked through](Checkpoint::verify) first; on at first.
    #[must_use]
    pub fn verify(mut self, on: bool) -> Self {
        self.verify = on;
        self
    }

    /// Tries it even if the checkpoint is found not to fit this machine.
    #[must_use]
    pub fn force(mut self, on: bool) -> Self {
        self.force = on;
        self
    }

    /// Closes established TCP connections instead of going on with them.
    #[must_use]
    pub fn tcp_close(mut self, on: bool) -> Self {
        self.tcp_close = on;
        self
    }

    /// The folder that becomes the root of the file system for the tree: a mount point.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Fills in something that was left out, in CRIU's words
    /// ([`external_of_restore`]): `mnt[data]:/srv/data`. Repeat for
    /// more.
    #[must_use]
    pub fn external(mut self, external: impl Into<String>) -> Self {
        self.external.push(external.into());
        self
    }

    /// Gives the tree this file for one it had, in CRIU's words: `pipe:[4711]`,
    /// `tmp/log.txt`. Repeat for more.
    #[must_use]
    pub fn inherit_fd(mut self, key: impl Into<String>, fd: OwnedFd) -> Self {
        self.inherit.push((key.into(), fd));
        self
    }

    /// The terminal that the tree gets for the one it had, if it is a shell job. It has to
    /// be that of this process's session: see [`crate::Terminal`] for a new one.
    #[must_use]
    pub fn terminal(mut self, terminal: BorrowedFd<'a>) -> Self {
        self.terminal = Some(terminal);
        self
    }

    /// The folder below which compressed pages are expanded, for as long as CRIU reads them:
    /// on a tmpfs, in memory. Without it, in the store, where all else has not to be copied.
    #[must_use]
    pub fn scratch(mut self, folder: impl Into<PathBuf>) -> Self {
        self.scratch = Some(folder.into());
        self
    }

    /// How much CRIU logs.
    #[must_use]
    pub fn log_level(mut self, level: LogLevel) -> Self {
        self.log_level = Some(level);
        self
    }

    /// Looks the checkpoint and this machine over without restoring anything, and tells all
    /// that it finds.
    ///
    /// # Errors
    /// If the checkpoint cannot be read, or is just being changed.
    pub fn outlook(&self, criu: &Criu) -> Result<Outlook> {
        self.fits(criu)?;
        let _hold = self.hold()?;
        let mut outlook = Outlook::default();
        if self.verify {
            outlook.verification = Some(self.checkpoint.verify()?);
        }
        outlook.refusals.extend(self.unfilled());
        if self.lacks_terminal() {
            outlook.refusals.push(self.no_terminal());
        }
        let line = Line::of(&self.checkpoint)?;
        if line.is_compressed()? {
            let room = line.look_for_room(self.place());
            outlook.refusals.extend(room.err());
        }
        let images = self.checkpoint.images();
        let nothing = no_file()?;
        let work = std::env::temp_dir();
        let looked = criu.preflight(&self.request(&images, &work, &nothing));
        outlook.findings = self.misfits(criu)?;
        if let Err(error) = looked {
            leave_out(&error, &mut outlook.findings);
            outlook.refusals.push(error.into());
        }
        Ok(outlook)
    }

    /// Refuses what is wrong whatever the checkpoint and the machine.
    fn fits(&self, criu: &Criu) -> Result<()> {
        for external in &self.external {
            external_of_restore(external)?;
        }
        version_of(criu).map(drop)
    }

    /// Restores the tree. Nobody can remove the checkpoint meanwhile, and it stays.
    ///
    /// # Errors
    /// [`Error::External`], [`Error::NotCriu`]; [`Error::Incompatible`], and [`Error::Changed`] if the checkpoint is not what it was; [`Error::Unfilled`],
    /// [`Error::NoTerminal`], [`Error::Room`] and those of CRIU's preflight before anything
    /// was done;
    /// [`Error::Restore`] if CRIU fails. Nothing of the tree is left after any of them.
    pub fn run(mut self, criu: &Criu, mut events: impl FnMut(Event) + Send) -> Result<Restored> {
        let listener = Listener::new(&mut events);
        self.fits(criu)?;
        let _hold = self.hold()?;
        listener.phase(Phase::Check);
        if let Some(unfilled) = self.unfilled().into_iter().next() {
            return Err(unfilled);
        }
        if self.lacks_terminal() {
            return Err(self.no_terminal());
        }
        let line = Line::of(&self.checkpoint)?;
        let compressed = line.is_compressed()?;
        if compressed {
            line.look_for_room(self.place())?;
        }
        let images = self.checkpoint.images();
        let nothing = no_file()?;
        // CRIU's log is no part of the checkpoint, which is not changed by being restored.
        let work = tempfile::Builder::new()
            .prefix("ckpt-restore-")
            .tempdir()
            .map_err(at(&std::env::temp_dir()))?;
        criu.preflight(&self.request(&images, work.path(), &nothing))?;
        if !self.force {
            let mut findings = self.misfits(criu)?;
            findings.retain(is_in_the_way);
            if !findings.is_empty() {
                return Err(Error::Incompatible {
                    name: self.checkpoint.name().clone(),
                    findings,
                });
            }
        }
        if self.verify {
            listener.phase(Phase::Verify);
            let verification = self.checkpoint.verify()?;
            if !verification.is_good() {
                return Err(Error::Changed {
                    name: self.checkpoint.name().clone(),
                    verification: Box::new(verification),
                });
            }
        }

        let view = match compressed {
            true => {
                listener.phase(Phase::Expand);
                Some(line.expand(self.place(), Content::Pages)?)
            }
            false => None,
        };
        let images = match &view {
            Some(view) => view.images().to_owned(),
            None => images,
        };
        listener.phase(Phase::Restore);
        let inherit = std::mem::take(&mut self.inherit);
        let mut request = self.request(&images, work.path(), &nothing);
        for (key, fd) in inherit {
            request = request.inherit_fd(InheritKey::Raw(key), fd);
        }
        let progress = |progress| listener.tell(Event::Criu(progress));
        criu.run(request.progress(progress)).map_err(|error| {
            let criu_rpc::Error::Failed(failure) = error else {
                return error.into();
            };
            let name = format!(".{}.{LOG}", self.checkpoint.name());
            let kept = self.checkpoint.store().path().join(name);
            let log = fs::copy(work.path().join(LOG), &kept).ok().map(|_| kept);
            Error::Restore { failure, log }
        })
    }

    /// Where compressed pages are expanded.
    fn place(&self) -> &Path {
        let store = self.checkpoint.store().path();
        self.scratch.as_deref().unwrap_or(store)
    }

    fn hold(&self) -> Result<Hold> {
        self.checkpoint.hold()
    }

    fn lacks_terminal(&self) -> bool {
        self.checkpoint.manifest().options.terminal && self.terminal.is_none()
    }

    fn no_terminal(&self) -> Error {
        Error::NoTerminal {
            name: self.checkpoint.name().clone(),
        }
    }

    /// What does not fit this machine, save what is seen to.
    fn misfits(&self, criu: &Criu) -> Result<Vec<Finding>> {
        let mut host = Host::here()?;
        let version = version_of(criu)?;
        host.criu = Some((version.major, version.minor, version.sublevel));
        if let Some(root) = &self.root {
            host.root.clone_from(root);
        }
        let images = Images::open(self.checkpoint.images())?;
        let Ok(images) = images.gather(&Compat::KINDS) else {
            // Too large to be held, or broken, which is not asked here.
            return Ok(Vec::new());
        };
        let mut findings = Compat::of(&images, &host)?;
        findings.retain(|finding| !self.sees_to(&finding.what));
        Ok(findings)
    }

    /// Whether what it wants was given, or follows from how the checkpoint was made.
    fn sees_to(&self, what: &Mismatch) -> bool {
        let options = &self.checkpoint.manifest().options;
        match what {
            Mismatch::Option { option, .. } => match *option {
                "tcp_established" => options.tcp_established || options.tcp_close || self.tcp_close,
                "tcp_close" => options.tcp_close || self.tcp_close,
                "ext_unix_sk" => options.ext_unix_sk,
                "shell_job" => options.shell_job,
                "file_locks" => options.file_locks,
                "root" => self.root.is_some() || options.root.is_some(),
                _ => false,
            },
            Mismatch::ExternalMount { key, .. } => {
                let this = format!("mnt[{}]:", String::from_utf8_lossy(key));
                self.external.iter().any(|given| given.starts_with(&this))
            }
            _ => false,
        }
    }

    /// Mounts that were left out, and for which nothing was given.
    fn unfilled(&self) -> Vec<Error> {
        let left_out = self.checkpoint.manifest().options.external.iter();
        left_out
            .filter_map(|text| {
                let (_, name) = text.strip_prefix("mnt[")?.split_once("]:")?;
                let this = format!("mnt[{name}]:");
                // CRIU found those by itself, and finds them again.
                let alone = text.starts_with("mnt[]");
                let given = self.external.iter().any(|it| it.starts_with(&this));
                (!alone && !given).then(|| Error::Unfilled {
                    name: name.to_owned(),
                })
            })
            .collect()
    }

    fn request<'r>(
        &'r self,
        images: &'r Path,
        work: &'r Path,
        nothing: &'r File,
    ) -> criu_rpc::Restore<'r> {
        let options = &self.checkpoint.manifest().options;
        let mut restore = criu_rpc::Restore::new(images)
            .work_dir(work)
            .log_file(LOG)
            .as_child(self.as_child);
        if options.shell_job {
            // One that had no terminal joins our session all the same.
            restore = restore.shell_job(self.terminal.unwrap_or_else(|| nothing.as_fd()));
        }
        if self.tcp_close || options.tcp_close {
            restore = restore.tcp_close(true);
        } else if options.tcp_established {
            restore = restore.tcp_established(true);
        }
        if options.file_locks {
            restore = restore.file_locks(true);
        }
        if options.ext_unix_sk {
            restore = restore.ext_unix_sk(true);
        }
        if options.link_remap {
            restore = restore.link_remap(true);
        }
        let root = self.root.as_deref().and_then(Path::to_str);
        if let Some(root) = root.or(options.root.as_deref()) {
            restore = restore.root(root);
        }
        if options.external.iter().any(|it| it.starts_with("mnt[]")) {
            restore = restore.external(RestoreExternal::AllMounts);
        }
        for external in &self.external {
            restore = restore.external(RestoreExternal::Raw(external.clone()));
        }
        if let Some(level) = self.log_level {
            restore = restore.log_level(level);
        }
        restore
    }
}

/// What a refusal tells, and with more to it, is not found as well.
fn leave_out(error: &criu_rpc::Error, findings: &mut Vec<Finding>) {
    let criu_rpc::Error::Preflight {
        refusal: Refusal::PidTaken { pid, .. },
        ..
    } = error
    else {
        return;
    };
    let told = pid.as_raw().unsigned_abs();
    findings.retain_mut(|finding| match &mut finding.what {
        Mismatch::PidsTaken { pids } => {
            pids.retain(|pid| *pid != told);
            !pids.is_empty()
        }
        _ => true,
    });
}

/// Whether CRIU would fail with it.
fn is_in_the_way(finding: &Finding) -> bool {
    finding.severity >= Obstacle::Error
}

/// What is given to CRIU where it wants a terminal, and the tree had none.
fn no_file() -> Result<File> {
    let path = Path::new("/dev/null");
    File::open(path).map_err(at(path))
}
