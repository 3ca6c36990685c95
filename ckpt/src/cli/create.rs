//! `ckpt create`: `docker checkpoint create`, of any process tree.

use std::io::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

use ckpt::{
    BufferSize, Checkpoint, CheckpointName, CopyAhead, Criu, Error, PageCompression, PreCopy,
    UnknownPageCompression,
};
use clap::{Args, ValueEnum};
use criu_rpc::{LogLevel, PreDumpMode};

use super::argument;
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::progress::{Loudness, Progress};
use super::show::document;
use super::words;

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The process; its descendants go along
    #[arg(value_parser = argument::pid)]
    pid: u32,

    /// What to call the checkpoint
    #[arg(value_parser = argument::name)]
    name: CheckpointName,

    /// Lets it run on, instead of ending it once the checkpoint is whole
    #[arg(short = 'R', long)]
    leave_running: bool,

    #[command(flatten)]
    dumping: Dumping,

    /// Watches for changes of memory, so that this can be the parent of an incremental one
    #[arg(long, conflicts_with = "incremental")]
    track_mem: bool,

    /// Keeps only what changed since this checkpoint, made with --track-mem
    #[arg(long, value_name = "NAME", value_parser = argument::name, conflicts_with = "incremental")]
    parent: Option<CheckpointName>,

    #[command(flatten)]
    rounds: Rounds,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    loudness: Loudness,

    /// One JSON document, of the checkpoint or of what it needs
    #[arg(long)]
    pub(super) json: bool,
}

/// Copying memory while it runs.
#[derive(Debug, Args)]
struct Rounds {
    /// Copies memory in rounds first, while it runs, so that it is stopped for a shorter time;
    /// needs a kernel with soft-dirty
    #[arg(long, conflicts_with_all = ["incremental", "compress", "buffer"])]
    pre_copy: bool,

    /// How long it may be stopped then, in milliseconds; 300 without it
    #[arg(long, value_name = "MS", requires = "pre_copy", value_parser = argument::count::<u32>)]
    max_downtime: Option<u32>,

    /// How many rounds there may be; 8 without it
    #[arg(long, value_name = "N", requires = "pre_copy", value_parser = argument::some::<NonZeroU32>)]
    max_rounds: Option<NonZeroU32>,

    /// How a round takes pages: while it is stopped, or while it runs
    #[arg(
        long,
        value_name = "HOW",
        requires = "pre_copy",
        default_value = "splice"
    )]
    pre_dump_mode: Mode,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Splice,
    Read,
}

impl Rounds {
    fn asked(&self) -> Option<PreCopy> {
        if !self.pre_copy {
            return None;
        }
        let mut asked = PreCopy::new().mode(match self.pre_dump_mode {
            Mode::Splice => PreDumpMode::Splice,
            Mode::Read => PreDumpMode::VmRead,
        });
        if let Some(millis) = self.max_downtime {
            asked = asked.max_downtime(Duration::from_millis(millis.into()));
        }
        if let Some(rounds) = self.max_rounds {
            asked = asked.max_rounds(usize::try_from(rounds.get()).unwrap_or(usize::MAX));
        }
        Some(asked)
    }
}

/// What can be asked of any dump.
#[derive(Debug, Args)]
pub(super) struct Dumping {
    /// Allows what it needs, where nothing is lost: --shell-job, --tcp-established,
    /// --file-locks, --ghost-limit
    #[arg(long)]
    auto: bool,

    /// Its terminal is outside the tree: it was started from a shell
    #[arg(short = 'j', long)]
    shell_job: bool,

    /// Takes established TCP connections along
    #[arg(long)]
    tcp_established: bool,

    /// Closes established TCP connections in what is restored
    #[arg(long, conflicts_with = "tcp_established")]
    tcp_close: bool,

    /// Takes file locks along
    #[arg(short = 'l', long)]
    file_locks: bool,

    /// Allows datagram sockets to processes outside the tree, such as /dev/log
    #[arg(short = 'x', long)]
    ext_unix_sk: bool,

    /// Allows open files that were deleted and have another name
    #[arg(long)]
    link_remap: bool,

    /// The largest deleted file that goes along, such as 64M; 1 MiB without it
    #[arg(long, value_name = "BYTES", value_parser = argument::small_size)]
    ghost_limit: Option<u32>,

    /// Leaves out something outside the tree: mnt[/data]:data, file[MNT:INODE],
    /// unix[INODE], net[INODE]:name
    #[arg(long, value_name = "WHAT", value_parser = external)]
    external: Vec<String>,

    /// The folder that is the root of the file system for it
    #[arg(long, value_name = "DIR", value_parser = argument::folder)]
    root: Option<String>,

    /// How packets for its connections are held off meanwhile
    #[arg(long, value_name = "METHOD")]
    network_lock: Option<Lock>,

    /// Gives up after so long, such as 30s; it runs on then
    #[arg(long, value_name = "TIME", value_parser = argument::some_time)]
    timeout: Option<Duration>,

    /// Keeps only what differs from the newest checkpoint of the process in the store; works
    /// without --track-mem, on any kernel
    #[arg(long)]
    incremental: bool,

    /// Compresses memory: zstd[:N], lz4 or none, which is as CRIU has it
    #[arg(long, value_name = "ALGO", value_parser = compression)]
    compress: Option<Compress>,

    /// How much memory is taken into memory at once, such as 2GiB, or 25% of what is
    /// available; the rest is written while it is stopped. Without it, all, up to 50%
    #[arg(long, value_name = "BYTES|PERCENT")]
    buffer: Option<BufferSize>,

    /// Which have their memory copied while they run, so that they are stopped only for what
    /// they wrote to meanwhile: large ones, where the kernel can tell (Linux 6.7)
    #[arg(long, value_name = "WHICH", default_value = "auto")]
    copy_ahead: Ahead,

    /// Has CRIU write memory itself, while it is stopped
    #[arg(long, conflicts_with_all = ["incremental", "compress", "buffer"])]
    stock: bool,

    /// Logs what CRIU does; twice: each detail
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn external(text: &str) -> Result<String, String> {
    argument::known(text, ckpt::external_of_dump)
}

/// What `--compress` says.
#[derive(Debug, Clone, Copy)]
struct Compress(Option<PageCompression>);

fn compression(text: &str) -> Result<Compress, UnknownPageCompression> {
    match text {
        "none" => Ok(Compress(None)),
        other => other.parse().map(|how| Compress(Some(how))),
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ahead {
    Auto,
    Always,
    Never,
}

impl From<Ahead> for CopyAhead {
    fn from(ahead: Ahead) -> Self {
        match ahead {
            Ahead::Auto => Self::Auto,
            Ahead::Always => Self::Always,
            Ahead::Never => Self::Never,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lock {
    Iptables,
    Nftables,
    Skip,
}

impl From<Lock> for criu_rpc::NetworkLock {
    fn from(lock: Lock) -> Self {
        match lock {
            Lock::Iptables => Self::Iptables,
            Lock::Nftables => Self::Nftables,
            Lock::Skip => Self::Skip,
        }
    }
}

/// CRIU's levels for `-v` and `-vv`.
pub(super) fn level(verbose: u8) -> Option<LogLevel> {
    match verbose {
        0 => None,
        1 => Some(LogLevel::Info),
        _ => Some(LogLevel::Debug),
    }
}

impl Create {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let store = self.place.open()?;
        let mut progress = Progress::new(self.loudness);
        let made = Criu::find().map_err(Error::from).and_then(|criu| {
            self.asked()
                .run(&criu, &store, |event| progress.tell(&event))
        });
        drop(progress);
        let checkpoint = made?;
        let mut output = Output::stdout();
        let told = self.told(&mut output, &checkpoint);
        output.finish(told.map_err(Failure::Stdout))
    }

    fn asked(&self) -> ckpt::Create {
        let create = self.dumping.asked(self.pid, self.name.clone());
        let create = create
            .leave_running(self.leave_running)
            .track_mem(self.track_mem);
        let create = match self.rounds.asked() {
            Some(how) => create.pre_copy(how),
            None => create,
        };
        match &self.parent {
            Some(parent) => create.parent(parent.clone()),
            None => create,
        }
    }

    fn told(&self, output: &mut Output, checkpoint: &Checkpoint) -> std::io::Result<()> {
        if self.json {
            return writeln!(output, "{}", document(checkpoint));
        }
        if self.loudness.quiet {
            return Ok(());
        }
        let manifest = checkpoint.manifest();
        write!(
            output,
            "{}: {}, {} in {}",
            manifest.name,
            words::count(manifest.tasks.len(), "process", "processes"),
            words::size(manifest.sizes.total),
            words::count(manifest.files.len(), "file", "files"),
        )?;
        if let Some(raw) = manifest.sizes.raw {
            let (raw, kept) = (words::size(raw), words::size(manifest.sizes.pages));
            write!(output, "; {raw} of memory, {kept} of it kept")?;
        }
        if let Some(parent) = &manifest.parent {
            write!(output, "; on {}", parent.name)?;
        }
        if let Some(copied) = &manifest.pre_copy {
            write!(output, "; {}", words::rounds(copied))?;
        }
        match manifest.times.frozen {
            Some(frozen) if self.leave_running || manifest.pre_copy.is_some() => {
                writeln!(output, "; stopped for {}", words::duration(frozen))
            }
            _ => writeln!(output),
        }
    }
}

impl Dumping {
    pub(super) fn is_incremental(&self) -> bool {
        self.incremental
    }

    /// A checkpoint with these options.
    pub(super) fn asked(&self, pid: u32, name: CheckpointName) -> ckpt::Create {
        let mut create = ckpt::Create::new(pid, name)
            .auto(self.auto)
            .shell_job(self.shell_job)
            .tcp_established(self.tcp_established)
            .tcp_close(self.tcp_close)
            .file_locks(self.file_locks)
            .ext_unix_sk(self.ext_unix_sk)
            .link_remap(self.link_remap)
            .incremental(self.incremental)
            .compress(self.compress.and_then(|it| it.0))
            .copy_ahead(self.copy_ahead.into())
            .stock(self.stock);
        if let Some(size) = self.buffer {
            create = create.buffer(size);
        }
        for external in &self.external {
            create = create.external(external);
        }
        if let Some(bytes) = self.ghost_limit {
            create = create.ghost_limit(bytes);
        }
        if let Some(root) = &self.root {
            create = create.root(root);
        }
        if let Some(lock) = self.network_lock {
            create = create.network_lock(lock.into());
        }
        if let Some(limit) = self.timeout {
            create = create.time_limit(limit);
        }
        if let Some(level) = level(self.verbose) {
            create = create.log_level(level);
        }
        create
    }
}
