//! What is outside the tree: left out of a dump, filled in on restore.

use std::fmt;

/// Something outside the tree that a dump leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DumpExternal {
    /// What is mounted at this path in the tree, under a name that the restore refers to.
    Mount {
        /// The mount point.
        at: String,
        /// The name.
        name: String,
    },
    /// All external mounts, found by CRIU.
    AllMounts {
        /// Also slave mounts.
        masters: bool,
        /// Also shared mounts.
        shared: bool,
    },
    /// A block device that is mounted.
    Device {
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
        /// The name.
        name: String,
    },
    /// An open file that has no path in the tree's mounts.
    File {
        /// The mount (`mnt_id` in `/proc/PID/fdinfo`).
        mount: u64,
        /// The inode.
        inode: u64,
    },
    /// The terminal with these `st_rdev` and `st_dev`.
    Tty {
        /// Its device.
        rdev: u64,
        /// The device it is on.
        dev: u64,
    },
    /// One end of a pair of unix sockets, by its inode.
    Unix(u64),
    /// A network namespace, by its inode.
    Net {
        /// The inode.
        inode: u64,
        /// The name.
        name: String,
    },
    /// A pid namespace, by its inode.
    Pid {
        /// The inode.
        inode: u64,
        /// The name.
        name: String,
    },
    /// Anything else, as CRIU writes it.
    Raw(String),
}

impl fmt::Display for DumpExternal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount { at, name } => write!(f, "mnt[{at}]:{name}"),
            Self::AllMounts { masters, shared } => {
                let masters = if *masters { "m" } else { "" };
                let shared = if *shared { "s" } else { "" };
                write!(f, "mnt[]:{masters}{shared}")
            }
            Self::Device { major, minor, name } => write!(f, "dev[{major}/{minor}]:{name}"),
            Self::File { mount, inode } => write!(f, "file[{mount:x}:{inode:x}]"),
            Self::Tty { rdev, dev } => write!(f, "tty[{rdev:x}:{dev:x}]"),
            Self::Unix(inode) => write!(f, "unix[{inode}]"),
            Self::Net { inode, name } => write!(f, "net[{inode}]:{name}"),
            Self::Pid { inode, name } => write!(f, "pid[{inode}]:{name}"),
            Self::Raw(text) => f.write_str(text),
        }
    }
}

/// What a restore puts where the dump left something out. Files, terminals, unix sockets
/// and namespaces are filled in by [`inherit_fd`](crate::Restore::inherit_fd).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreExternal {
    /// The mount of this name, from this path of the host.
    Mount {
        /// The name.
        name: String,
        /// What is mounted there.
        from: String,
    },
    /// All mounts that CRIU found on the dump.
    AllMounts,
    /// The block device of this name.
    Device {
        /// The name.
        name: String,
        /// The device file.
        path: String,
    },
    /// The outer end of a virtual Ethernet pair.
    Veth {
        /// The device inside.
        inner: String,
        /// The device outside.
        outer: String,
        /// The bridge that the outer one is put on.
        bridge: Option<String>,
    },
    /// The host's device that a macvlan device is on.
    Macvlan {
        /// The device inside.
        inner: String,
        /// The host's device.
        outer: String,
    },
    /// Anything else, as CRIU writes it.
    Raw(String),
}

impl fmt::Display for RestoreExternal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount { name, from } => write!(f, "mnt[{name}]:{from}"),
            Self::AllMounts => f.write_str("mnt[]"),
            Self::Device { name, path } => write!(f, "dev[{name}]:{path}"),
            Self::Veth {
                inner,
                outer,
                bridge: None,
            } => write!(f, "veth[{inner}]:{outer}"),
            Self::Veth {
                inner,
                outer,
                bridge: Some(bridge),
            } => {
                write!(f, "veth[{inner}]:{outer}@{bridge}")
            }
            Self::Macvlan { inner, outer } => write!(f, "macvlan[{inner}]:{outer}"),
            Self::Raw(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DumpExternal, RestoreExternal};

    #[test]
    fn externals_are_written_as_criu_reads_them() {
        let dump = [
            (
                DumpExternal::Mount {
                    at: "/data".into(),
                    name: "d".into(),
                },
                "mnt[/data]:d",
            ),
            (
                DumpExternal::AllMounts {
                    masters: true,
                    shared: false,
                },
                "mnt[]:m",
            ),
            (
                DumpExternal::Device {
                    major: 8,
                    minor: 1,
                    name: "sd".into(),
                },
                "dev[8/1]:sd",
            ),
            (
                DumpExternal::File {
                    mount: 0x1a,
                    inode: 0xff,
                },
                "file[1a:ff]",
            ),
            (
                DumpExternal::Tty {
                    rdev: 0x8803,
                    dev: 0x18,
                },
                "tty[8803:18]",
            ),
            (DumpExternal::Unix(4711), "unix[4711]"),
            (
                DumpExternal::Net {
                    inode: 4026,
                    name: "n".into(),
                },
                "net[4026]:n",
            ),
        ];
        for (external, text) in dump {
            assert_eq!(external.to_string(), text);
        }
        let veth = RestoreExternal::Veth {
            inner: "eth0".into(),
            outer: "veth7".into(),
            bridge: Some("br0".into()),
        };
        assert_eq!(veth.to_string(), "veth[eth0]:veth7@br0");
        assert_eq!(RestoreExternal::AllMounts.to_string(), "mnt[]");
    }
}
