//! `Create`: a process tree becomes a checkpoint.

mod dumping;
mod memory;
mod request;

use std::time::Duration;

use criu_rpc::{Cancel, Criu, LogLevel, NetworkLock};

use crate::error::{Error, Result};
use crate::event::{Event, Listener, Phase};
use crate::manifest::Options;
use crate::name::CheckpointName;
use crate::process::Claim;
use crate::store::{Checkpoint, Store};
use dumping::Job;
use memory::{Memory, Stock};

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
        let parent = match &self.parent {
            Some(parent) => Some(staging.based_on(&store.get(parent)?)?),
            None => None,
        };
        let manifest = self.describe(criu)?;
        let job = Job {
            create: &self,
            criu,
            store,
            listener: &listener,
            pid,
            staging,
            parent,
            manifest,
        };
        // The one place that decides how memory is taken.
        let memory: Box<dyn Memory> = Box::new(Stock);
        job.run(memory)
    }
}
