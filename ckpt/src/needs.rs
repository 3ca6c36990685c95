//! `Need`: what a tree has that CRIU dumps only when told that this is meant.

mod files;
mod memory;
mod mounts;
mod sockets;
mod unix;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::manifest::Options;
use crate::process::Tree;

/// The largest deleted file that CRIU takes along without being told, in bytes.
const GHOST_LIMIT: u32 = 1 << 20;

/// Something that a tree has, and that has to be allowed by an option.
///
/// Read from `/proc` before a dump; a tree that changes meanwhile can have others, of
/// which CRIU tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "need", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Need {
    /// The session that the root is in has its leader outside the tree, or its terminal is
    /// held from outside.
    ShellJob {
        /// The root.
        pid: u32,
        /// Its terminal, such as `/dev/pts/3`, if it has one.
        terminal: Option<PathBuf>,
    },
    /// A TCP connection that is not just listening.
    TcpEstablished {
        /// The process that has it.
        pid: u32,
        /// Its end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
    /// A datagram socket whose peer is outside the tree.
    ExtUnixSk {
        /// The process that has it.
        pid: u32,
        /// The name of the peer; in an abstract one, `@` stands for the zero byte.
        peer: String,
    },
    /// A socket connected to one outside the tree that cannot be found again: a stream, or
    /// one without a name. No option makes CRIU dump half of a connection.
    UnixPeer {
        /// The process that has it.
        pid: u32,
        /// The descriptor.
        fd: u32,
        /// The name of the peer, if it has one.
        peer: Option<String>,
        /// The process at the other end, if one is found that may be looked into.
        other: Option<u32>,
        /// What that process is called.
        command: Option<String>,
    },
    /// A file lock.
    FileLocks {
        /// The process that has it.
        pid: u32,
        /// The file.
        file: PathBuf,
    },
    /// An open file whose name is gone, and which has others.
    LinkRemap {
        /// The process that has it open.
        pid: u32,
        /// The name that is gone.
        file: PathBuf,
    },
    /// An open file that is deleted, and larger than what is taken along.
    GhostLimit {
        /// The process that has it open.
        pid: u32,
        /// The name it had.
        file: PathBuf,
        /// How large it is.
        bytes: u32,
    },
    /// System V shared memory in an IPC namespace that is not the tree's own. No option makes
    /// CRIU dump that.
    SystemV {
        /// The process that has it mapped.
        pid: u32,
        /// Its key, as `ipcs(1)` shows it.
        key: String,
    },
    /// A mount that shows a part of a file system which the tree does not see whole.
    External {
        /// Where it is mounted.
        at: String,
        /// What is mounted there: its path in the file system it is on.
        from: String,
    },
}

impl Need {
    /// What a tree needs, each kind of thing once for each process and target.
    pub(crate) fn of(tree: &Tree) -> Vec<Self> {
        let mut found = BTreeSet::new();
        let opened = files::look(tree, &mut found);
        // To ask for all sockets of the system takes milliseconds.
        if !opened.is_empty() {
            sockets::look(tree, &opened, &mut found);
            unix::look(tree, &opened, &mut found);
        }
        mounts::look(tree, &mut found);
        memory::look(tree, &mut found);
        found.into_iter().collect()
    }

    /// Whether these options allow it.
    pub fn is_met(&self, options: &Options) -> bool {
        match self {
            Self::ShellJob { .. } => options.shell_job,
            Self::TcpEstablished { .. } => options.tcp_established || options.tcp_close,
            Self::ExtUnixSk { .. } => options.ext_unix_sk,
            Self::UnixPeer { .. } | Self::SystemV { .. } => false,
            Self::FileLocks { .. } => options.file_locks,
            Self::LinkRemap { .. } => options.link_remap,
            Self::GhostLimit { bytes, .. } => options.ghost_limit.unwrap_or(GHOST_LIMIT) >= *bytes,
            Self::External { at, .. } => {
                let this = format!("mnt[{at}]");
                let mut given = options.external.iter();
                given.any(|given| given.starts_with(&this) || given.starts_with("mnt[]"))
            }
        }
    }

    /// Whether allowing it loses nothing, so that it can be done without being asked for:
    /// the state is kept whole, and comes back with the tree.
    pub fn is_safe(&self) -> bool {
        matches!(
            self,
            Self::ShellJob { .. }
                | Self::TcpEstablished { .. }
                | Self::FileLocks { .. }
                | Self::GhostLimit { .. }
        )
    }

    /// Allows it.
    pub(crate) fn allow(&self, options: &mut Options) {
        match self {
            Self::ShellJob { .. } => options.shell_job = true,
            Self::TcpEstablished { .. } => options.tcp_established = true,
            Self::ExtUnixSk { .. } => options.ext_unix_sk = true,
            Self::FileLocks { .. } => options.file_locks = true,
            Self::LinkRemap { .. } => options.link_remap = true,
            Self::GhostLimit { bytes, .. } => {
                let least = options.ghost_limit.unwrap_or(GHOST_LIMIT);
                options.ghost_limit = Some(least.max(*bytes));
            }
            Self::External { .. } => options.external.extend(self.option_value()),
            Self::UnixPeer { .. } | Self::SystemV { .. } => {}
        }
    }

    fn option_value(&self) -> Option<String> {
        match self {
            Self::External { at, .. } => Some(format!("mnt[{at}]:{}", at.trim_matches('/'))),
            Self::GhostLimit { bytes, .. } => Some(bytes.to_string()),
            _ => None,
        }
    }

    /// The option of `ckpt create` that allows it, if one does.
    pub fn option(&self) -> Option<String> {
        let option = match self {
            Self::ShellJob { .. } => "--shell-job",
            Self::TcpEstablished { .. } => "--tcp-established",
            Self::ExtUnixSk { .. } => "--ext-unix-sk",
            Self::FileLocks { .. } => "--file-locks",
            Self::LinkRemap { .. } => "--link-remap",
            Self::GhostLimit { .. } => "--ghost-limit",
            Self::External { .. } => "--external",
            Self::UnixPeer { .. } | Self::SystemV { .. } => return None,
        };
        Some(match self.option_value() {
            Some(value) => format!("{option} '{value}'"),
            None => option.to_owned(),
        })
    }
}

/// `WHAT: what to do`
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShellJob {
                pid,
                terminal: Some(terminal),
            } => write!(
                f,
                "the terminal of process {pid}, {}, is outside the tree",
                terminal.display()
            ),
            Self::ShellJob { pid, .. } => {
                write!(f, "the session of process {pid} was begun outside the tree")
            }
            Self::TcpEstablished { pid, local, remote } => write!(
                f,
                "process {pid} has an established TCP connection, {local} to {remote}"
            ),
            Self::ExtUnixSk { pid, peer } => write!(
                f,
                "process {pid} has a socket connected to {peer}, outside the tree"
            ),
            Self::UnixPeer {
                pid,
                fd,
                peer,
                other,
                command,
            } => {
                write!(f, "descriptor {fd} of process {pid} is connected to ")?;
                match (other, command, peer) {
                    (Some(other), Some(command), _) => {
                        write!(f, "process {other} ({})", command.escape_debug())?;
                    }
                    (_, _, Some(peer)) => f.write_str(peer)?,
                    _ => f.write_str("a process")?,
                }
                return f.write_str(
                    ", outside the tree: half of a connection cannot be kept; disconnect it, \
                     or take the process at its other end along by naming a common parent",
                );
            }
            Self::FileLocks { pid, file } => {
                write!(f, "process {pid} holds a lock on {}", file.display())
            }
            Self::LinkRemap { pid, file } => write!(
                f,
                "process {pid} has {} open, which was deleted and has another name",
                file.display()
            ),
            Self::GhostLimit { pid, file, bytes } => write!(
                f,
                "process {pid} has {} open, which was deleted and takes {bytes} bytes",
                file.display()
            ),
            Self::SystemV { pid, key } => write!(
                f,
                "process {pid} shares System V memory, key {key}, with all that is outside the \
                 tree: CRIU takes that along only with an IPC namespace of the tree's own; start \
                 it under `unshare --ipc`"
            ),
            Self::External { at, from } => write!(
                f,
                "{at} is a mount of {from} from outside of what the tree sees"
            ),
        }?;
        match self.option() {
            Some(option) => write!(f, ": add {option}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::Need;
    use crate::manifest::Options;

    #[test]
    fn a_need_that_was_allowed_is_met() {
        let needs = [
            Need::ShellJob {
                pid: 1,
                terminal: None,
            },
            Need::TcpEstablished {
                pid: 1,
                local: "127.0.0.1:1".parse().unwrap(),
                remote: "127.0.0.1:2".parse().unwrap(),
            },
            Need::ExtUnixSk {
                pid: 1,
                peer: "/dev/log".into(),
            },
            Need::FileLocks {
                pid: 1,
                file: PathBuf::from("/a"),
            },
            Need::LinkRemap {
                pid: 1,
                file: PathBuf::from("/a"),
            },
            Need::GhostLimit {
                pid: 1,
                file: PathBuf::from("/a"),
                bytes: 2 << 20,
            },
            Need::External {
                at: "/data".into(),
                from: "/srv".into(),
            },
        ];
        for need in needs {
            let mut options = Options::default();
            assert!(!need.is_met(&options), "{need}");
            need.allow(&mut options);
            assert!(need.is_met(&options), "{need}");
            assert!(need.to_string().contains("add --"), "{need}");
        }
    }

    #[test]
    fn what_is_told_can_be_typed() {
        let need = Need::External {
            at: "/srv/data".into(),
            from: "/x".into(),
        };
        assert_eq!(
            need.option().unwrap(),
            "--external 'mnt[/srv/data]:srv/data'"
        );
    }
}
