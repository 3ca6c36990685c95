//! The ways to dump the same process, side by side.

use std::fmt;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ckpt::{BufferSize, Checkpoint, CopyAhead, Create, Store, anonymous, dump_and_run, resident};
use criu_rpc::{Criu, Dump};
use criu_rs_benches::{Result, Target};
use criu_stream::{Buffer, Compressed, Compression, Dedup, Files, Null, PageServer, Sink};

use crate::target::Shape;

/// How a process is dumped. It runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `criu dump`, by its command line.
    Stock,
    /// rust-criu 0.6.1.
    RustCriu,
    /// `criu-rpc`, with CRIU writing the pages.
    Rpc,
    /// Our page server, which drops the pages: as fast as they come.
    Null,
    /// Our page server, which writes them as they come.
    Files,
    /// Our page server, which keeps them in memory and writes them behind.
    Buffer,
    /// The same, written in LZ4 blocks.
    Lz4,
    /// The same, written in zstd blocks.
    Zstd,
    /// The same, with zeros left out.
    Dedup,
    /// `ckpt`, which copies what it can before it asks CRIU: verified and committed to a store.
    Create,
    /// The same, with nothing copied ahead.
    AtOnce,
    /// As `Create`, after one of which 5 % of the pages have changed.
    Incremental,
}

/// What is dumped, by which CRIU, and where to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) criu: &'a Path,
    pub(crate) target: &'a Target,
    pub(crate) shape: Shape,
    /// Which is there, and empty.
    pub(crate) folder: &'a Path,
    /// How much memory a buffer has, in bytes; without it, as much as the target.
    pub(crate) buffer: Option<u64>,
}

impl Way {
    pub(crate) const ALL: [Self; 12] = [
        Self::Stock,
        Self::RustCriu,
        Self::Rpc,
        Self::Null,
        Self::Files,
        Self::Buffer,
        Self::Lz4,
        Self::Zstd,
        Self::Dedup,
        Self::Create,
        Self::AtOnce,
        Self::Incremental,
    ];

    /// What it is compared with.
    pub(crate) fn beside(self) -> Option<Self> {
        match self {
            Self::Stock => None,
            Self::Incremental => Some(Self::Create),
            _ => Some(Self::Stock),
        }
    }

    /// Its name on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::RustCriu => "rust-criu",
            Self::Rpc => "rpc",
            Self::Null => "null",
            Self::Files => "files",
            Self::Buffer => "buffer",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Dedup => "dedup",
            Self::Create => "create",
            Self::AtOnce => "at-once",
            Self::Incremental => "incremental",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stock => "criu dump",
            Self::RustCriu => "rust-criu",
            Self::Rpc => "criu-rpc",
            Self::Null => "server, dropped",
            Self::Files => "server, files",
            Self::Buffer => "server, buffer",
            Self::Lz4 => "server, buffer, lz4",
            Self::Zstd => "server, buffer, zstd",
            Self::Dedup => "server, buffer, no zeros",
            Self::Create => "ckpt create",
            Self::AtOnce => "ckpt create, nothing ahead",
            Self::Incremental => "ckpt create, 5 % changed",
        })
    }
}

impl Way {
    /// What has to be there before.
    pub(crate) fn prepare(self, setting: &Setting<'_>) -> Result<()> {
        if self == Self::Incremental {
            setting.checkpoint("before", CopyAhead::Auto)?;
            setting.shape.change(setting.target)?;
        }
        Ok(())
    }

    /// Dumps, and tells what to: a folder with CRIU's statistics and what is to be synced.
    pub(crate) fn dump(self, setting: &Setting<'_>) -> Result<PathBuf> {
        let Setting { criu, folder, .. } = *setting;
        let pid = setting.target.pid();
        let ours = || Criu::at(criu);
        let dump = Dump::new(pid, folder).leave_running(true);
        // What is written by our sinks is synced with the rest.
        let files = || Files::new(folder).sync(false);
        match self {
            Self::Stock => {
                let status = Command::new(criu)
                    .args(["dump", "-R", "-o", "dump.log", "-t", &pid.to_string(), "-D"])
                    .arg(folder)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()?;
                if !status.success() {
                    let log = fs::read_to_string(folder.join("dump.log")).unwrap_or_default();
                    return Err(format!("criu dump: {status}: {log}").into());
                }
            }
            Self::RustCriu => {
                let images = File::open(folder)?;
                let path = criu.to_str().ok_or("rust-criu takes paths of UTF-8 only")?;
                let mut criu = rust_criu::Criu::new_with_criu_path(path.to_owned())?;
                criu.set_pid(pid.as_raw());
                criu.set_images_dir_fd(images.as_raw_fd());
                criu.set_log_file("dump.log".to_owned());
                criu.set_leave_running(true);
                criu.dump()?;
            }
            Self::Rpc => {
                ours()?.run(dump)?;
            }
            Self::Null => through(&ours()?, dump, Null::new())?,
            Self::Files => through(&ours()?, dump, files())?,
            Self::Buffer => setting.buffered(&ours()?, dump, files())?,
            Self::Lz4 | Self::Zstd => {
                let how = match self {
                    Self::Lz4 => Compression::Lz4,
                    _ => Compression::Zstd(1),
                };
                let files = Compressed::new(folder, how).sync(false);
                setting.buffered(&ours()?, dump, files)?;
            }
            Self::Dedup => {
                let files = Dedup::new(files()).anonymous(anonymous);
                setting.buffered(&ours()?, dump, files)?;
            }
            // It has synced all but the last images itself.
            Self::Create | Self::Incremental => {
                let made = setting.checkpoint("measured", CopyAhead::Auto)?;
                return Ok(made.path().to_owned());
            }
            Self::AtOnce => {
                let made = setting.checkpoint("measured", CopyAhead::Never)?;
                return Ok(made.path().to_owned());
            }
        }
        Ok(folder.to_owned())
    }
}

impl Setting<'_> {
    /// Through memory that holds all that the target has, unless it was bounded.
    fn buffered<S: Sink + 'static>(&self, criu: &Criu, dump: Dump<'_>, next: S) -> Result<()> {
        let room = match self.buffer {
            Some(bytes) => bytes,
            None => BufferSize::that_holds(resident(self.target.pid())?),
        };
        through(criu, dump, Buffer::new(usize::try_from(room)?, next)?)
    }

    /// A checkpoint, in a store of its own; of memory it has what changed since another one
    /// there.
    fn checkpoint(&self, name: &str, ahead: CopyAhead) -> Result<Checkpoint> {
        let pid = u32::try_from(self.target.pid().as_raw())?;
        let mut create = Create::new(pid, name.parse()?)
            .leave_running(true)
            .incremental(true)
            .copy_ahead(ahead);
        if let Some(bytes) = self.buffer {
            create = create.buffer(BufferSize::Bytes(bytes));
        }
        let store = Store::open(self.folder.join("store"))?;
        Ok(create.run(&Criu::at(self.criu)?, &store, drop)?)
    }
}

fn through<S: Sink>(criu: &Criu, dump: Dump<'_>, sink: S) -> Result<()> {
    let taken = dump_and_run(criu, dump, PageServer::new(sink))?;
    taken.sink.finish()?;
    Ok(())
}
