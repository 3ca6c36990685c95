//! `Create`: a process tree becomes a checkpoint.

mod ahead;
mod buffer_size;
mod digests;
mod dumping;
mod memory;
mod pre_copy;
mod request;
mod since;
mod stages;
mod streamed;
mod tally;

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

pub use ahead::CopyAhead;
use ahead::{Ahead, WORTH, Watched};
pub use buffer_size::{BufferSize, UnknownBufferSize};
use criu_images::Chain;
use criu_rpc::{Cancel, Criu, LogLevel, NetworkLock, Version};
use criu_stream::Parent;

use crate::error::{Error, Result, standby, version_of};
use crate::event::{Event, Listener, Phase};
use crate::expanded::Line;
use crate::external::external_of_dump;
use crate::manifest::{Options, PageCompression};
use crate::name::CheckpointName;
use crate::plain::Plain;
use crate::process::Claim;
use crate::store::{Checkpoint, Staging, Store};
use crate::stream::connection;
use dumping::{By, Job};
use memory::{Memory, Stock};
pub use pre_copy::PreCopy;
use stages::Tasks;
use streamed::{Plan, streamed};

/// The first release whose pages are taken by our page server; older ones write them
/// themselves.
const STREAMS: Version = Version::new(4, 0, 0);

/// A checkpoint that is to be made of a process and its descendants.
///
/// The tree is looked over first: what it has that CRIU must be told of is found out, and
/// told all at once ([`Error::Needs`]), or [allowed](Self::auto).
///
/// Pages are taken into memory, in this process, and written from there: a tree that is
/// [left running](Self::leave_running) goes on as soon as they are, while its checkpoint is
/// written, verified and committed. One that is not is killed once its checkpoint is whole
/// and on the disk, not before. If anything fails, it runs on.
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
    pre_copy: Option<PreCopy>,
    ahead: CopyAhead,
    auto: bool,
    buffer: Option<BufferSize>,
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
            pre_copy: None,
            ahead: CopyAhead::default(),
            auto: false,
            buffer: None,
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

    /// Leaves out something outside the tree, in CRIU's words
    /// ([`external_of_dump`]): `mnt[/data]:data`. Repeat for more.
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

    /// Keeps of memory only what differs from the newest checkpoint of the same process in the
    /// store, of which each page is compared, so that no kernel has to watch for changes. A
    /// full one is made if there is none.
    #[must_use]
    pub fn incremental(mut self, on: bool) -> Self {
        self.options.incremental = on;
        self
    }

    /// Compresses pages while they are written. A restore then has to expand them.
    #[must_use]
    pub fn compress(mut self, how: Option<PageCompression>) -> Self {
        self.options.compress = how;
        self
    }

    /// How much memory pages are taken into while the tree is stopped. Without it, what the
    /// tree has resident that was not [copied ahead](Self::copy_ahead) and up to 16 MiB on
    /// top, but at most half of what is available. What does not fit is written while the tree
    /// is stopped.
    #[must_use]
    pub fn buffer(mut self, size: BufferSize) -> Self {
        self.buffer = Some(size);
        self
    }

    /// Has CRIU write pages itself, while the tree is stopped, as releases before 4.0 always
    /// do.
    #[must_use]
    pub fn stock(mut self, on: bool) -> Self {
        self.options.stock = on;
        self
    }

    /// Copies memory in rounds first, while the tree runs, so that it is stopped for a shorter
    /// time. CRIU writes all of it itself then, and tracks memory, so that this can be the
    /// [parent](Self::parent) of another. Needs a kernel with soft-dirty.
    ///
    /// The rounds stay in the checkpoint's folder, as what its images build on.
    #[must_use]
    pub fn pre_copy(mut self, how: PreCopy) -> Self {
        self.pre_copy = Some(how);
        self
    }

    /// Which trees have their memory copied ahead, so that they are stopped for a shorter time:
    /// of itself, large ones. What is copied ahead lies in the checkpoint's folder, as what its
    /// images build on. It is not for trees whose changes CRIU [tracks](Self::track_mem), nor
    /// where CRIU [writes](Self::stock) memory itself.
    #[must_use]
    pub fn copy_ahead(mut self, which: CopyAhead) -> Self {
        self.ahead = which;
        self
    }

    /// Allows what the tree is found to need, where nothing is lost by that: see
    /// [`Need::is_safe`](crate::Need::is_safe).
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

    /// Refuses what [`run`](Self::run) would refuse now, before it begins.
    ///
    /// # Errors
    /// [`Error::Needs`], [`Error::External`], [`Error::NotCriu`], and those of CRIU's preflight.
    pub fn preflight(&self, criu: &Criu, store: &Store) -> Result<()> {
        self.fits()?;
        version_of(criu)?;
        let mut nobody = |_| {};
        let looked = self.clone().look(criu, store, &Listener::new(&mut nobody));
        looked.map(drop)
    }

    /// Makes the checkpoint, and tells of it meanwhile.
    ///
    /// # Errors
    /// [`Error::Needs`], [`Error::Claimed`], [`Error::NoPreCopy`], [`Error::External`],
    /// [`Error::NotCriu`], and those of CRIU's preflight, before anything was done;
    /// [`Error::Exists`] and [`Error::Busy`]; [`Error::Dump`] if CRIU fails;
    /// [`Error::Unsound`] if what it wrote is not whole. The tree runs on after each.
    pub fn run(
        mut self,
        criu: &Criu,
        store: &Store,
        mut events: impl FnMut(Event) + Send,
    ) -> Result<Checkpoint> {
        let listener = Listener::new(&mut events);
        listener.phase(Phase::Check);
        self.fits()?;
        let claimed = Claim::of(self.pid).map_err(crate::error::at("/proc".as_ref()))?;
        let Some(_claim) = claimed else {
            return Err(Error::Claimed { pid: self.pid });
        };
        let (pages, theirs) = connection().map_err(|source| Error::PageSocket { source })?;
        // Each takes some milliseconds.
        let (standby, looked) = thread::scope(|scope| {
            let standby = scope.spawn(|| standby(criu, theirs));
            let looked = self.look(criu, store, &listener).and_then(|(pid, tree)| {
                let staging = store.stage(&self.name)?;
                Ok((pid, Tasks::of(&tree), tree, staging))
            });
            (standby.join(), looked)
        });
        let standby = standby.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let version = standby.version();
        let (pid, tasks, tree, mut staging) = looked?;
        if self.pre_copy.is_some() {
            PreCopy::look(criu, pid)?;
            self.options.stock = true;
            self.options.track_mem = true;
        }
        self.options.stock |= version < STREAMS;

        let mut manifest = self.describe(version, &tree);
        let parent = match &self.parent {
            Some(parent) => Some(store.get(parent)?),
            None if self.options.incremental => {
                let since = since::newest(store, &manifest)?;
                let name = since.as_ref().map(|it| it.name().clone());
                listener.tell(Event::Since(name));
                since
            }
            None => None,
        };
        let link = match &parent {
            Some(parent) => Some(staging.based_on(parent)?),
            None => None,
        };
        let before = match &parent {
            Some(parent) if !self.options.stock => Some(since::before(parent)?),
            _ => None,
        };
        let ahead = self.copied_ahead(
            &tasks,
            ahead::Copying {
                staging: &mut staging,
                listener: &listener,
                compression: self.options.compress,
                same_as: self.same_as(before.as_ref()),
                cancel: self.cancel.as_ref(),
                time_limit: self.time_limit,
                release: version,
            },
        )?;
        manifest.pre_copy = ahead.as_ref().map(Ahead::told);
        let memory = self.memory(
            &staging,
            pages,
            tasks,
            parent.as_ref(),
            before.as_ref(),
            ahead,
        )?;
        // CRIU is told of one only when it has watched for changes itself.
        let mut link = link.filter(|_| !self.options.incremental);
        let by = match &self.pre_copy {
            None => By::Standby(standby),
            Some(pre_copy) => {
                let copying = pre_copy::Copying {
                    create: &self,
                    listener: &listener,
                    pid,
                    parent: link,
                };
                let copied = pre_copy.copy(&copying, standby.pre_dump_chain(), &mut staging)?;
                manifest.pre_copy = Some(copied.told);
                link = Some(copied.parent);
                By::Chain(copied.rounds)
            }
        };
        Job {
            create: &self,
            by,
            store,
            listener: &listener,
            pid,
            staging,
            parent: link,
            manifest,
        }
        .run(memory)
    }

    /// Refuses what does not go together.
    fn fits(&self) -> Result<()> {
        let options = &self.options;
        for external in &options.external {
            external_of_dump(external)?;
        }
        let streamed = [
            ("--incremental", options.incremental),
            ("--compress", options.compress.is_some()),
            ("--buffer", self.buffer.is_some()),
        ];
        let stock = options.stock || self.pre_copy.is_some();
        if self.ahead == CopyAhead::Always && (stock || options.track_mem) {
            return Err(Error::NotStock {
                by: if stock {
                    self.stock_by()
                } else {
                    "--track-mem"
                },
                option: "--copy-ahead always",
            });
        }
        if let Some((option, _)) = streamed.iter().find(|(_, on)| stock && *on) {
            return Err(Error::NotStock {
                by: self.stock_by(),
                option,
            });
        }
        if options.incremental && options.track_mem {
            return Err(Error::TwoParents);
        }
        Ok(())
    }

    /// What has CRIU write pages itself.
    fn stock_by(&self) -> &'static str {
        match self.pre_copy {
            Some(_) => "--pre-copy",
            None => "--stock",
        }
    }

    /// Copies memory ahead, if that is to be done and can be.
    fn copied_ahead(&self, tasks: &Tasks, to: ahead::Copying<'_, '_>) -> Result<Option<Ahead>> {
        let by_criu = self.options.stock || self.options.track_mem;
        let wanted = match self.ahead {
            CopyAhead::Auto => !by_criu && self.resident()? >= WORTH,
            CopyAhead::Always => true,
            CopyAhead::Never => false,
        };
        if !wanted {
            return Ok(None);
        }
        match Watched::of(tasks) {
            Ok(watched) => watched.copy(to),
            Err(error) if self.ahead == CopyAhead::Always => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// What pages are compared with, if they are.
    fn same_as(&self, before: Option<&Plain>) -> Option<Parent> {
        let before = before.filter(|_| self.options.incremental)?;
        Some(Parent::of(Chain::clone(before)))
    }

    /// The one place that decides how memory is taken.
    fn memory(
        &self,
        staging: &Staging,
        pages: UnixStream,
        tasks: Tasks,
        parent: Option<&Checkpoint>,
        before: Option<&Plain>,
        ahead: Option<Ahead>,
    ) -> Result<Box<dyn Memory>> {
        let options = &self.options;
        if options.stock {
            // CRIU reads of a parent what it is to refer to.
            return match parent.map(Line::of).transpose()? {
                Some(line) if line.is_compressed()? => Err(Error::NotStock {
                    by: self.stock_by(),
                    option: "a parent whose pages are compressed",
                }),
                _ => Ok(Box::new(Stock)),
            };
        }
        let mut expected = self.resident()?;
        let (mut same_as, mut unchanged_since) = (None, None);
        if let Some(ahead) = &ahead {
            // What is left to take was written to just now, and more may be.
            expected = expected.saturating_sub(ahead.unchanged) + ahead.round.remaining;
        } else if let Some(before) = before {
            same_as = self.same_as(Some(before));
            if !options.incremental {
                unchanged_since = Some(Parent::of(Chain::clone(before)));
            }
        }
        let plan = Plan {
            socket: pages,
            buffer: BufferSize::bytes(self.buffer, expected),
            compression: options.compress,
            same_as,
            unchanged_since,
            tracked: options.track_mem,
            goes_on: options.leave_running,
            tasks,
            ahead,
        };
        streamed(plan, &staging.images())
    }

    /// Bytes of memory that the tree has in use.
    fn resident(&self) -> Result<u64> {
        Ok(crate::stream::resident(pid(self.pid)?).unwrap_or(0))
    }
}

/// As CRIU's client has it.
fn pid(pid: u32) -> Result<criu_rpc::Pid> {
    criu_rpc::Pid::try_from(pid).map_err(|_| Error::NoProcess { pid })
}
