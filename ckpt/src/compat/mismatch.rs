//! What does not fit, as data.

use std::net::IpAddr;

use super::host::{CriuVersion, dotted};
use crate::explorer::shown;

/// One thing of a checkpoint that does not fit a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// Other instructions.
    #[error("dumped on {images}, this is {host}")]
    Architecture {
        /// Of the tasks, as Rust and the kernel call it, or CRIU's name.
        images: String,
        /// Of the host.
        host: String,
    },
    /// Another size of pages.
    #[error("pages of {images} bytes, here they have {host}")]
    PageSize {
        /// In bytes.
        images: u64,
        /// In bytes.
        host: u64,
    },
    /// The processor cannot do what the other could.
    #[error("the processor lacks {}", missing.join(", "))]
    Cpu {
        /// As `/proc/cpuinfo` calls them.
        missing: Vec<String>,
    },
    /// The kernel is older than what the tasks use.
    #[error("{what} needs Linux {}.{}, this is {}.{}", needs.0, needs.1, host.0, host.1)]
    Kernel {
        /// What they use.
        what: &'static str,
        /// Major and minor.
        needs: (u32, u32),
        /// Major and minor.
        host: (u32, u32),
    },
    /// This CRIU is older than what is in the images.
    #[error("{what} needs CRIU {}, this is {}", dotted(*needs), dotted(*host))]
    Criu {
        /// What is in them.
        what: &'static str,
        /// From when on.
        needs: CriuVersion,
        /// The host's.
        host: CriuVersion,
    },
    /// The images are of a version that no known CRIU reads, or no longer.
    #[error("images of version {0}, which CRIU does not read")]
    ImageVersion(u32),
    /// A plugin took part in the dump.
    #[error("dumped with the plugin {0}")]
    Plugin(String),
    /// Ids of tasks or threads are in use.
    #[error("in use: {} {}", if pids.len() == 1 { "PID" } else { "PIDs" }, list(pids))]
    PidsTaken {
        /// The ids.
        pids: Vec<u32>,
    },
    /// The kernel has no namespaces of this kind.
    #[error("the tasks have a {0} namespace, this kernel has none")]
    Namespace(&'static str),
    /// The labels of another security module.
    #[error("labels of {0}, which is not active here")]
    SecurityModule(&'static str),
    /// A file that was open or mapped.
    #[error("{}: {what}", shown(path))]
    File {
        /// As the tasks saw it.
        path: Vec<u8>,
        /// What is wrong with it.
        what: FileChange,
    },
    /// A file system the kernel does not have.
    #[error("{} is a {name}, which this kernel does not have", shown(mountpoint))]
    FileSystem {
        /// Where it was mounted.
        mountpoint: Vec<u8>,
        /// CRIU's name of it.
        name: String,
    },
    /// A mount that came from outside of the container.
    #[error("{} was mounted from outside, as {}", shown(mountpoint), shown(key))]
    ExternalMount {
        /// Where it was.
        mountpoint: Vec<u8>,
        /// The name it was dumped under.
        key: Vec<u8>,
    },
    /// A socket is bound to an address that is not of this host.
    #[error("a socket has the address {0}, which is not one of this host")]
    Address(IpAddr),
    /// Something listens where a socket is to be.
    #[error("port {port} of {address} is in use")]
    PortTaken {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// CRIU wants to be told.
    #[error("{why}")]
    Option {
        /// CRIU's name of the option, as in its RPC.
        option: &'static str,
        /// Why.
        why: Needed,
    },
}

/// What is other about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileChange {
    /// There is none.
    #[error("missing")]
    Missing,
    /// It cannot be looked at.
    #[error("cannot be looked at")]
    Unknown,
    /// Its size.
    #[error("has {here} bytes, had {dumped}")]
    Size {
        /// When dumped, in bytes.
        dumped: u64,
        /// Now, in bytes.
        here: u64,
    },
    /// Its type or permissions.
    #[error("has mode {here:o}, had {dumped:o}")]
    Mode {
        /// When dumped.
        dumped: u32,
        /// Now.
        here: u32,
    },
    /// Its ELF build id.
    #[error("is another build")]
    Build,
}

/// Why an option is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Needed {
    /// There are TCP connections.
    #[error("there are TCP connections: `tcp_established` keeps, `tcp_close` closes them")]
    Connections,
    /// Connections were not saved.
    #[error("TCP connections were closed by the dump: `tcp_close` is needed again")]
    ClosedConnections,
    /// A Unix socket is connected to a task that was not dumped.
    #[error("a Unix socket has its peer outside: `ext_unix_sk` is needed")]
    ExternalUnix,
    /// The session leader was not dumped.
    #[error("the tree is part of a shell's session: `shell_job` is needed")]
    ShellJob,
    /// There are file locks.
    #[error("there are file locks: `file_locks` is needed")]
    FileLocks,
    /// A probe was in place.
    #[error("uprobes were allowed by the dump: `allow_uprobes` is needed again")]
    Uprobes,
    /// The tasks have a mount namespace of their own.
    #[error("the tasks have their own mounts: `root` names the folder to have as theirs")]
    Root,
}

impl Mismatch {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Architecture { .. } | Self::PageSize { .. } => {
                "restore it on a machine like the one dumped on"
            }
            Self::Cpu { .. } => {
                "restore it on a processor that has them, or start the program where they are hidden"
            }
            Self::Kernel { .. } | Self::Namespace(_) => "boot a newer kernel, or one that has it",
            Self::Criu { .. } => "install that CRIU or a newer one",
            Self::ImageVersion(_) => "use the CRIU it was dumped with",
            Self::Plugin(_) => "install the plugin, and tell CRIU the folder it is in",
            Self::PidsTaken { .. } => {
                "end the tasks that have them, or restore in a PID namespace of its own"
            }
            Self::SecurityModule(_) => "boot with that security module, or choose another profile",
            Self::File { what, .. } => match what {
                FileChange::Mode { .. } => "set its mode back, or skip CRIU's check of modes",
                FileChange::Unknown => "run as who may look at it, as a rule root",
                _ => "put the file back as it was when dumped",
            },
            Self::FileSystem { .. } => "load its kernel module",
            Self::ExternalMount { .. } => "name what to mount there, with that name, as external",
            Self::Address(_) => "give the host that address, or close connections",
            Self::PortTaken { .. } => "end what listens there",
            Self::Option { .. } => "restore with that option",
        }
    }

    /// A short name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Architecture { .. } => "architecture",
            Self::PageSize { .. } => "page_size",
            Self::Cpu { .. } => "cpu",
            Self::Kernel { .. } => "kernel",
            Self::Criu { .. } => "criu",
            Self::ImageVersion(_) => "image_version",
            Self::Plugin(_) => "plugin",
            Self::PidsTaken { .. } => "pids_taken",
            Self::Namespace(_) => "namespace",
            Self::SecurityModule(_) => "security_module",
            Self::File { .. } => "file",
            Self::FileSystem { .. } => "file_system",
            Self::ExternalMount { .. } => "external_mount",
            Self::Address(_) => "address",
            Self::PortTaken { .. } => "port_taken",
            Self::Option { .. } => "option",
        }
    }
}

/// The first of them, and how many more there are.
fn list(pids: &[u32]) -> String {
    const SHOWN: usize = 10;
    let first = pids.iter().take(SHOWN).map(u32::to_string);
    let text = first.collect::<Vec<_>>().join(", ");
    match pids.len().saturating_sub(SHOWN) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}
