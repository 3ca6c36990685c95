//! `Manifest`: what is known of a checkpoint without looking into its images.

mod compression;
mod digest;
mod files;
mod pre_copy;

pub use compression::{PageCompression, UnknownPageCompression};
pub use digest::Digest;
pub(crate) use digest::Hasher;
pub use files::FileRecord;
pub(crate) use files::{
    IMAGES, MANIFEST_ASIDE, ROUNDS, is_image, open, parent_links, rounds, survey,
};
pub use pre_copy::{CopiedRound, PreCopied};

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::name::CheckpointName;

/// What a checkpoint is: the file `manifest.json` in its folder.
///
/// Fields that a reader does not know are to be ignored, those that are missing have no
/// value or the default; [`version`](Self::version) counts what cannot be read that way.
/// Times are UTC in RFC 3339 form, durations microseconds, sizes bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The schema: the lowest that tells all of it, at most [`Manifest::VERSION`].
    pub version: u32,
    /// The checkpoint's name in its store.
    pub name: CheckpointName,
    /// Tells this checkpoint from all others, whatever they are called: 32 hex digits.
    pub id: String,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: SystemTime,
    /// Where it was made.
    pub host: MadeOn,
    /// The release of CRIU that made it, such as `4.2.1`; `None` if that is not known.
    #[serde(default)]
    pub criu: Option<String>,
    /// The process that was asked for.
    pub root: Root,
    /// Every process of the tree, each after its parent.
    #[serde(default)]
    pub tasks: Vec<Task>,
    /// How it was made, which is how it has to be restored.
    #[serde(default)]
    pub options: Options,
    /// How large it is.
    #[serde(default)]
    pub sizes: Sizes,
    /// How long it took.
    #[serde(default)]
    pub times: Times,
    /// What was copied while the tree ran, if it was.
    #[serde(default)]
    pub pre_copy: Option<PreCopied>,
    /// The checkpoint that holds the memory which had not changed since.
    #[serde(default)]
    pub parent: Option<Parent>,
    /// Every file that belongs to it, in the order of their paths.
    #[serde(default)]
    pub files: Vec<FileRecord>,
}

/// The machine that a checkpoint was made on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MadeOn {
    /// Its name (`uname -n`).
    pub name: String,
    /// The release of its kernel (`uname -r`).
    pub kernel: String,
    /// Its architecture (`uname -m`).
    pub arch: String,
    /// Which start of it that was (`/proc/sys/kernel/random/boot_id`).
    #[serde(default)]
    pub boot: Option<String>,
}

/// The root of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Root {
    /// Its pid.
    pub pid: u32,
    /// Its command line; what is no UTF-8 is replaced.
    #[serde(default)]
    pub command: Vec<String>,
    /// When it was started, as far as its clock tells.
    #[serde(default, with = "rfc3339::option")]
    pub started: Option<SystemTime>,
    /// When it was started, in clock ticks since the machine was (`/proc/PID/stat`, 22):
    /// with [`MadeOn::boot`] and the pid this tells it from all other processes.
    #[serde(default)]
    pub start_ticks: Option<u64>,
}

/// A process of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Task {
    /// Its pid.
    pub pid: u32,
    /// Its parent; 0 for the root.
    #[serde(default)]
    pub parent: u32,
    /// Its name (`comm`); what is no UTF-8 is replaced.
    #[serde(default)]
    pub name: String,
    /// How many threads it has.
    #[serde(default)]
    pub threads: u32,
}

/// What was asked of a dump. A restore takes its own from here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Options {
    /// The tree ran on afterwards.
    pub leave_running: bool,
    /// It was below a shell, and lent its terminal.
    pub shell_job: bool,
    /// It had a terminal that was held from outside, so it needs one again.
    pub terminal: bool,
    /// Its established TCP connections are part of it.
    pub tcp_established: bool,
    /// Its established TCP connections are closed in it.
    pub tcp_close: bool,
    /// Its file locks are part of it.
    pub file_locks: bool,
    /// Unix sockets may have lost a peer outside the tree.
    pub ext_unix_sk: bool,
    /// Files that were deleted but have another name were given one for the time being.
    pub link_remap: bool,
    /// The largest deleted file that was taken along, in bytes.
    pub ghost_limit: Option<u32>,
    /// What was left out, as CRIU names it: `mnt[/data]:data`, `file[803:1f4]`.
    pub external: Vec<String>,
    /// The folder that was the root of the file system for the tree.
    pub root: Option<String>,
    /// Changes were tracked from here on, so this can be a parent.
    pub track_mem: bool,
    /// CRIU wrote the pages itself, as before they could come to us; not told of those that
    /// were made then.
    pub stock: bool,
    /// How much memory there was to take pages into, in bytes.
    pub buffer: Option<u64>,
    /// How pages are compressed; without it, they are as CRIU has them.
    pub compress: Option<PageCompression>,
    /// Pages were compared with those of the parent, and only others are kept.
    pub incremental: bool,
}

/// How large a checkpoint is, in bytes, without its parents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Sizes {
    /// All of its files.
    pub total: u64,
    /// The content of memory among them (`pages-*`), as it is kept.
    pub pages: u64,
    /// All content of memory that the dump had, before zeros and what the parent has were
    /// left out and before it was compressed; `None` if CRIU wrote it itself.
    pub raw: Option<u64>,
    /// Pages of zeros that were left out.
    pub zero_pages: Option<u64>,
    /// Pages that the parent has.
    pub parent_pages: Option<u64>,
}

/// How long a dump took; CRIU's own counts are in `stats-dump`, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Times {
    /// Until every task was stopped.
    #[serde(rename = "freezing_us", with = "micros")]
    pub freezing: Option<Duration>,
    /// While every task was stopped.
    #[serde(rename = "frozen_us", with = "micros")]
    pub frozen: Option<Duration>,
    /// All of the dump, from the request to CRIU's answer.
    #[serde(rename = "dump_us", with = "micros")]
    pub dump: Option<Duration>,
}

/// The checkpoint that one builds on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its name, in the same store.
    pub name: CheckpointName,
    /// Its [`Manifest::id`].
    pub id: String,
}

impl Manifest {
    /// The newest schema that this release reads. Version 2 has compressed pages and rounds;
    /// what has neither is written as version 1, which older releases read, too.
    pub const VERSION: u32 = 2;

    /// The file in a checkpoint's folder.
    pub const FILE: &'static str = "manifest.json";

    /// The largest that is read, in bytes: some 400000 files. It bounds what a forged one
    /// can take of memory.
    pub const LIMIT: u64 = 64 << 20;

    /// That of a checkpoint which is made here and now: id, time and host are filled in,
    /// and [`Staging::commit`](crate::Staging::commit) fills in files, sizes and parent.
    pub fn new(name: CheckpointName, root: Root) -> Self {
        let names = rustix::system::uname();
        let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
        Self {
            version: 1,
            name,
            id: fresh_id(),
            created: SystemTime::now(),
            host: MadeOn {
                name: text(names.nodename()),
                kernel: text(names.release()),
                arch: text(names.machine()),
                boot: boot_id(),
            },
            criu: None,
            root,
            tasks: Vec::new(),
            options: Options::default(),
            sizes: Sizes::default(),
            times: Times::default(),
            pre_copy: None,
            parent: None,
            files: Vec::new(),
        }
    }

    /// Reads the text of a manifest; `path` is what an error tells.
    ///
    /// # Errors
    /// [`Error::Manifest`] if it is none, [`Error::Newer`] if its schema is one that this
    /// release cannot know.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let parsed = serde_json::from_slice::<Self>(text);
        if let Ok(manifest) = &parsed
            && (1..=Self::VERSION).contains(&manifest.version)
        {
            return parsed.map_err(|source| Error::Manifest {
                path: path.to_owned(),
                source,
            });
        }
        match serde_json::from_slice(text) {
            Ok(Version { version }) if !(1..=Self::VERSION).contains(&version) => {
                Err(Error::Newer {
                    path: path.to_owned(),
                    version,
                })
            }
            _ => parsed.map_err(|source| Error::Manifest {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// The text of it: JSON for people too, ending with a line break.
    pub fn to_json(&self) -> Vec<u8> {
        // Neither a map with other keys than strings nor a failing `Serialize` is in it.
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Fills in what follows from the files.
    pub(crate) fn set_files(&mut self, files: Vec<FileRecord>) {
        self.sizes.total = files.iter().map(|file| file.bytes).sum();
        let pages = files
            .iter()
            .filter(|file| is_image(&file.path) && file.path.contains("/pages-"));
        self.sizes.pages = pages.map(|file| file.bytes).sum();
        self.files = files;
    }

    /// Sets the lowest version of those that tell all of it.
    pub(crate) fn set_version(&mut self) {
        let needs_second = self.options.compress.is_some() || self.rounds() > 0;
        self.version = if needs_second { 2 } else { 1 };
    }

    /// How many rounds its files are of.
    pub(crate) fn rounds(&self) -> usize {
        rounds(self.files.iter().map(|file| &*file.path))
    }

    /// Whether this is about the same process as another: not one that has its pid later.
    pub(crate) fn is_same_process(&self, other: &Self) -> bool {
        self.root.pid == other.root.pid
            && self.root.start_ticks.is_some()
            && self.root.start_ticks == other.root.start_ticks
            && self.host.boot.is_some()
            && self.host.boot == other.host.boot
    }
}

/// Which start of the machine this is.
fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// 32 hex digits that no other checkpoint has.
pub(crate) fn fresh_id() -> String {
    let mut bytes = [0; 16];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if got != Ok(bytes.len()) {
        // Not until the kernel's pool is ready, early in a boot: the time has to do.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        bytes = now.unwrap_or_default().as_nanos().to_le_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Times as text, in UTC, to the microsecond.
mod rfc3339 {
    use std::time::SystemTime;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_rfc3339_micros(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text).map_err(D::Error::custom)
    }

    pub(super) mod option {
        use std::time::SystemTime;

        use serde::{Deserialize as _, Deserializer, Serializer};

        pub(crate) fn serialize<S: Serializer>(
            time: &Option<SystemTime>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, to),
                None => to.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<SystemTime>, D::Error> {
            use serde::de::Error as _;
            let text = Option::<String>::deserialize(from)?;
            text.map(|text| humantime::parse_rfc3339(&text).map_err(D::Error::custom))
                .transpose()
        }
    }
}

/// Durations as whole microseconds.
mod micros {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
            .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_micros))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Manifest, Root};
    use crate::error::Error;

    fn made() -> Manifest {
        Manifest::new("web".parse().unwrap(), Root::default())
    }

    #[test]
    fn it_reads_what_it_writes() {
        let mut manifest = made();
        manifest.options.external.push("mnt[/data]:data".into());
        manifest.times.frozen = Some(std::time::Duration::from_micros(42));
        // Microseconds are what is kept of a time.
        let text = manifest.to_json();
        let read = Manifest::parse(&text, Path::new("m")).unwrap();
        assert_eq!(read.to_json(), text);
        assert_eq!(read.id.len(), 32);
        assert_eq!(read.times, manifest.times);
    }

    #[test]
    fn only_compressed_pages_need_the_second_version() {
        let mut manifest = made();
        manifest.options.incremental = true;
        manifest.set_version();
        assert_eq!(manifest.version, 1);
        manifest.options.compress = Some(super::PageCompression::Zstd(3));
        manifest.set_version();
        assert_eq!(manifest.version, 2);
        let read = Manifest::parse(&manifest.to_json(), Path::new("m")).unwrap();
        assert_eq!(read.options.compress, manifest.options.compress);
    }

    #[test]
    fn a_process_is_told_by_its_start_too() {
        let mut manifest = made();
        manifest.host.boot = Some("b".into());
        let of = |pid, start_ticks, boot: Option<&str>| {
            let mut other = made();
            (other.root.pid, other.root.start_ticks) = (pid, start_ticks);
            other.host.boot = boot.map(str::to_owned);
            other
        };
        (manifest.root.pid, manifest.root.start_ticks) = (7, Some(9));
        assert!(manifest.is_same_process(&of(7, Some(9), Some("b"))));
        for other in [
            of(8, Some(9), Some("b")),
            of(7, Some(8), Some("b")),
            of(7, None, Some("b")),
            of(7, Some(9), Some("c")),
            of(7, Some(9), None),
        ] {
            assert!(!manifest.is_same_process(&other));
        }
    }

    #[test]
    fn fields_may_come_and_optional_ones_be_missing() {
        let text = r#"{"version": 1, "name": "a", "id": "0", "created": "2026-11-23T23:47:12Z",
            "host": {"name": "h", "kernel": "k", "arch": "a", "cpu": 7},
            "root": {"pid": 1}, "color": ["red"]}"#;
        let manifest = Manifest::parse(text.as_bytes(), Path::new("m")).unwrap();
        assert_eq!(manifest.root.pid, 1);
        assert_eq!(manifest.parent, None);
    }

    #[test]
    fn a_newer_schema_is_told_apart_from_a_broken_one() {
        let text = String::from_utf8(made().to_json()).unwrap();
        let newer = text.replacen("\"version\": 1", "\"version\": 3", 1);
        let of = |text: &str| Manifest::parse(text.as_bytes(), Path::new("m")).unwrap_err();
        assert!(matches!(of(&newer), Error::Newer { version: 3, .. }));
        assert!(matches!(
            of(r#"{"version": 4, "all": "else"}"#),
            Error::Newer { version: 4, .. }
        ));
        assert!(matches!(of(&text[..40]), Error::Manifest { .. }));
        assert!(matches!(of(""), Error::Manifest { .. }));
    }
}
