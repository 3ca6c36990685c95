//! `Create`: a process tree becomes a checkpoint.

use std::time::{Duration, Instant};

use criu_images::source::{Folder, Source as _};
use criu_images::{Name, proto};
use criu_rpc::{Cancel, Criu, Dump, DumpExternal, LogLevel, NetworkLock, Pid, Stage};

use crate::error::{Error, Result};
use crate::event::{Event, Listener, Phase};
use crate::manifest::{IMAGES, Manifest, Options};
use crate::name::CheckpointName;
use crate::needs::Need;
use crate::process::{Claim, Tree};
use crate::store::{Checkpoint, Staging, Store};

/// A checkpoint that is to be made of a process and its descendants.
///
/// The tree is looked over first: what it has that CRIU must be told of is found out, and
/// told all at once ([`Error::Needs`]), or [allowed](Self::auto).
///
/// Unless it is [left running](Self::leave_running), the tree is killed once its checkpoint
/// is whole and on the disk, not before. If anything fails, it runs on.
///
/// ```no_run
/// use ckpt::{Create, Criu, Store};
///
/// # fn main() -> ckpt::Result<()> {
/// # let pid = 42;
/// let store = Store::open("/var/lib/ckpt")?;
/// let create = Create::new(pid, "before-upgrade".parse()?).leave_running(true).auto(true);
/// let checkpoint = create.run(&Criu::find()?, &store, |event| println!("{event:?}"))?;
/// println!("{} bytes", checkpoint.manifest().sizes.total);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Create {
    pid: u32,
    name: CheckpointName,
    options: Options,
    parent: Option<CheckpointName>,
    auto: bool,
    network_lock: Option<NetworkLock>,
    time_limit: Option<Duration>,
    cancel: Option<Cancel>,
    log_level: Option<LogLevel>,
}

impl Create {
    /// A checkpoint of this name of a process and all its descendants.
    pub fn new(pid: u32, name: CheckpointName) -> Self {
        Self {
            pid,
            name,
            options: Options::default(),
            parent: None,
            auto: false,
            network_lock: None,
            time_limit: None,
            cancel: None,
            log_level: None,
        }
    }

    /// Lets the tree run on afterwards, instead of ending it.
    #[must_use]
    pub fn leave_running(mut self, on: bool) -> Self {
        self.options.leave_running = on;
        self
    }

    /// Allows a tree whose terminal, or the leader of whose session, is outside it.
    #[must_use]
    pub fn shell_job(mut self, on: bool) -> Self {
        self.options.shell_job = on;
        self
    }

    /// Takes established TCP connections along.
    #[must_use]
    pub fn tcp_established(mut self, on: bool) -> Self {
        self.options.tcp_established = on;
        self
    }

    /// Lets established TCP connections go: they are closed in the restored tree. CRIU 4.0.
    #[must_use]
    pub fn tcp_close(mut self, on: bool) -> Self {
        self.options.tcp_close = on;
        self
    }

    /// Takes file locks along.
    #[must_use]
    pub fn file_locks(mut self, on: bool) -> Self {
        self.options.file_locks = on;
        self
    }

    /// Allows datagram sockets whose peer is outside the tree, and has a name.
    #[must_use]
    pub fn ext_unix_sk(mut self, on: bool) -> Self {
        self.options.ext_unix_sk = on;
        self
    }

    /// Gives open files that were deleted, but have other names, one for the time being.
    ///
    /// CRIU takes those names away again when the tree is left running; such a checkpoint
    /// can then be restored only while the file has them.
    #[must_use]
    pub fn link_remap(mut self, on: bool) -> Self {
        self.options.link_remap = on;
        self
    }

    /// The largest deleted file that goes along, in bytes; 1 MiB without it.
    #[must_use]
    pub fn ghost_limit(mut self, bytes: u32) -> Self {
        self.options.ghost_limit = Some(bytes);
        self
    }

    /// Leaves out something outside the tree, in CRIU's words: `mnt[/data]:data`. Repeat
    /// for more.
    #[must_use]
    pub fn external(mut self, external: impl Into<String>) -> Self {
        self.options.external.push(external.into());
        self
    }

    /// The folder that the tree has for its root, if it was restored below one.
    #[must_use]
    pub fn root(mut self, root: impl Into<String>) -> Self {
        self.options.root = Some(root.into());
        self
    }

    /// Watches for changes of memory from here on, so that this checkpoint can be the
    /// [parent](Self::parent) of a smaller one. Needs a kernel with soft-dirty.
    #[must_use]
    pub fn track_mem(mut self, on: bool) -> Self {
        self.options.track_mem = on;
        self
    }

    /// Keeps of memory only what changed since that checkpoint, which must have been made
    /// with [`track_mem`](Self::track_mem) and left running.
    #[must_use]
    pub fn parent(mut self, parent: CheckpointName) -> Self {
        self.parent = Some(parent);
        self.options.track_mem = true;
        self
    }

    /// Allows what the tree is found to need, where nothing is lost by that: see
    /// [`Need::is_safe`].
    #[must_use]
    pub fn auto(mut self, on: bool) -> Self {
        self.auto = on;
        self
    }

    /// How packets for established TCP connections are held off. Without it, CRIU's default,
    /// iptables, or nftables where there is no `iptables-restore`.
    #[must_use]
    pub fn network_lock(mut self, method: NetworkLock) -> Self {
        self.network_lock = Some(method);
        self
    }

    /// Gives up when CRIU takes longer. The tree runs on then.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// Gives up when this is asked for. The tree runs on then.
    #[must_use]
    pub fn cancel_with(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// How much CRIU writes into `dump.log`, in the checkpoint's folder.
    #[must_use]
    pub fn log_level(mut self, level: LogLevel) -> Self {
        self.log_level = Some(level);
        self
    }

    /// Makes the checkpoint, and tells of it meanwhile.
    ///
    /// # Errors
    /// [`Error::Needs`], [`Error::Claimed`], and those of CRIU's preflight, before anything
    /// was done; [`Error::Exists`] and [`Error::Busy`]; [`Error::Dump`] if CRIU fails;
    /// [`Error::Unsound`] if what it wrote is not whole. The tree runs on after each.
    pub fn run(
        mut self,
        criu: &Criu,
        store: &Store,
        mut events: impl FnMut(Event) + Send,
    ) -> Result<Checkpoint> {
        let listener = Listener::new(&mut events);
        listener.phase(Phase::Check);
        let claimed = Claim::of(self.pid).map_err(crate::error::at("/proc".as_ref()))?;
        let Some(_claim) = claimed else {
            return Err(Error::Claimed { pid: self.pid });
        };
        let pid = self.look(criu, &listener)?;

        let mut staging = store.stage(&self.name)?;
        let link = match &self.parent {
            Some(parent) => Some(staging.based_on(&store.get(parent)?)?),
            None => None,
        };
        let mut manifest = self.describe(criu)?;
        let started = Instant::now();
        listener.phase(Phase::Dump);
        let images = staging.images();
        let folder = staging.path().to_owned();
        let request = self.request(pid, &images, &folder, link);
        let progress = |progress| listener.tell(Event::Criu(progress));

        if self.options.leave_running {
            let dumped = criu.run(request.progress(progress));
            dumped.map_err(|error| failed(error, &staging))?;
            let took = started.elapsed();
            look_through(&images, store, &listener)?;
            measure(&mut manifest, &folder, took);
            listener.phase(Phase::Commit);
            return staging.commit(manifest);
        }

        // The tree ends only once its checkpoint is whole and on the disk: CRIU waits with
        // that for the answer to its last stage.
        let mut slot = Some(staging);
        let mut outcome = None;
        let done = criu.run(request.progress(progress).hook(|notice| {
            if *notice.stage() == Stage::PostDump
                && let Some(staging) = slot.take()
            {
                let committed = look_through(&images, store, &listener).and_then(|()| {
                    listener.phase(Phase::Commit);
                    staging.commit_some(manifest.clone(), |path| path.starts_with(IMAGES))
                });
                let refused = committed.is_err();
                outcome = Some(committed);
                if refused {
                    return Err("the checkpoint is not whole".into());
                }
            }
            Ok(criu_rpc::Answer::Continue)
        }));
        match (done, outcome) {
            (Ok(_), Some(Ok(checkpoint))) => {
                let took = started.elapsed();
                let folder = checkpoint.path().to_owned();
                checkpoint.complete(|manifest| measure(manifest, &folder, took))
            }
            (_, Some(Err(error))) => Err(error),
            (Err(error), Some(Ok(checkpoint))) => {
                let error = Error::from(error);
                // CRIU gave up after all. If the tree lives, that is how it was before; if
                // not, its checkpoint is all there is of it.
                if Tree::of(self.pid).is_some() {
                    let names = [checkpoint.name().clone()];
                    store.remove(&names, crate::store::Children::Refuse)?;
                }
                Err(error)
            }
            (Err(error), None) => Err(match slot {
                Some(staging) => failed(error, &staging),
                None => error.into(),
            }),
            // CRIU tells that stage always; without it there is nothing that was verified.
            (Ok(_), None) => Err(Error::NoStage { pid: self.pid }),
        }
    }

    /// What the tree needs that is not allowed, before CRIU is asked for anything.
    fn look(&mut self, criu: &Criu, listener: &Listener<'_>) -> Result<Pid> {
        let pid = Pid::try_from(self.pid).map_err(|_| Error::NoProcess { pid: self.pid })?;
        // The folder is of no matter yet.
        criu.preflight(&Dump::new(pid, "/"))?;
        let tree = Tree::of(self.pid).ok_or(Error::NoProcess { pid: self.pid })?;
        let mut missing = Vec::new();
        for need in Need::of(&tree) {
            self.adapt(&need);
            if need.is_met(&self.options) {
                continue;
            }
            if self.auto && need.is_safe() {
                need.allow(&mut self.options);
                listener.tell(Event::Allowed(need));
            } else {
                missing.push(need);
            }
        }
        if missing.is_empty() {
            Ok(pid)
        } else {
            Err(Error::Needs {
                pid: self.pid,
                needs: missing,
            })
        }
    }

    /// Settles what follows from what the tree has, and is nobody's to decide.
    fn adapt(&mut self, need: &Need) {
        match need {
            Need::ShellJob { terminal, .. } => self.options.terminal |= terminal.is_some(),
            // CRIU's default runs a program that is not everywhere.
            Need::TcpEstablished { .. } if self.network_lock.is_none() => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let mut folders = std::env::split_paths(&path);
                if !folders.any(|folder| folder.join("iptables-restore").exists()) {
                    self.network_lock = Some(NetworkLock::Nftables);
                }
            }
            _ => {}
        }
    }

    fn describe(&self, criu: &Criu) -> Result<Manifest> {
        let tree = Tree::of(self.pid).ok_or(Error::NoProcess { pid: self.pid })?;
        let mut manifest = Manifest::new(self.name.clone(), tree.manifest_root());
        manifest.tasks = tree.manifest_tasks();
        manifest.options = self.options.clone();
        manifest.criu = Some(criu.version()?.to_string());
        Ok(manifest)
    }

    fn request<'a>(
        &self,
        pid: Pid,
        images: &'a std::path::Path,
        work: &'a std::path::Path,
        parent: Option<String>,
    ) -> Dump<'a> {
        let options = &self.options;
        let mut dump = Dump::new(pid, images)
            .work_dir(work)
            .log_file("dump.log")
            .leave_running(options.leave_running);
        if options.shell_job {
            dump = dump.shell_job(true);
        }
        if options.tcp_established {
            dump = dump.tcp_established(true);
        }
        if options.tcp_close {
            dump = dump.tcp_close(true);
        }
        if options.file_locks {
            dump = dump.file_locks(true);
        }
        if options.ext_unix_sk {
            dump = dump.ext_unix_sk(true);
        }
        if options.link_remap {
            dump = dump.link_remap(true);
        }
        if options.track_mem {
            dump = dump.track_mem(true);
        }
        if let Some(bytes) = options.ghost_limit {
            dump = dump.ghost_limit(bytes);
        }
        for external in &options.external {
            dump = dump.external(DumpExternal::Raw(external.clone()));
        }
        if let Some(parent) = parent {
            dump = dump.parent(parent);
        }
        if let Some(method) = self.network_lock {
            dump = dump.network_lock(method);
        }
        if let Some(limit) = self.time_limit {
            dump = dump.time_limit(limit);
        }
        if let Some(cancel) = &self.cancel {
            dump = dump.cancel_with(cancel);
        }
        if let Some(level) = self.log_level {
            dump = dump.log_level(level);
        }
        dump
    }
}

/// What CRIU failed with; its log is kept where the next one of that name replaces it.
fn failed(error: criu_rpc::Error, staging: &Staging) -> Error {
    let criu_rpc::Error::Failed(failure) = error else {
        return error.into();
    };
    let log = staging.keep_log("dump.log");
    Error::Dump { failure, log }
}

/// Whether the images are a whole set.
fn look_through(images: &std::path::Path, store: &Store, listener: &Listener<'_>) -> Result<()> {
    listener.phase(Phase::Verify);
    let findings = criu_images::verify_within(images, store.path())?;
    let bad = |finding: &criu_images::Finding| finding.severity >= criu_images::Severity::Error;
    match findings.into_iter().find(bad) {
        Some(finding) => Err(Error::Unsound {
            finding: Box::new(finding),
        }),
        None => Ok(()),
    }
}

/// How long it took, by the clock and by CRIU's statistics. Those are not always there.
fn measure(manifest: &mut Manifest, folder: &std::path::Path, took: Duration) {
    manifest.times.dump = Some(took);
    let stats = || -> criu_images::Result<Option<proto::StatsEntry>> {
        let Some(name) = Name::parse("stats-dump") else {
            return Ok(None);
        };
        let folder = Folder::open(folder)?;
        let Some(mut image) = folder.image(name)? else {
            return Ok(None);
        };
        image.next()?.map(|record| record.decode()).transpose()
    };
    if let Ok(Some(proto::StatsEntry {
        dump: Some(dump), ..
    })) = stats()
    {
        let micros = |count: u32| Some(Duration::from_micros(count.into()));
        manifest.times.freezing = micros(dump.freezing_time);
        manifest.times.frozen = micros(dump.frozen_time);
    }
}
