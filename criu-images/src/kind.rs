//! The kinds of image CRIU 4.2 knows, in the order of its own table.

use std::fmt;

use crate::layout::Shape;
use crate::proto::tables as t;
use crate::schema::{Message, Schema};

/// What an image is about. CRIU's `imgset_template` has one line for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// What the folder is as a whole: `inventory.img`.
    Inventory,
    /// A table of file descriptors, by its id: `fdinfo-%u.img`.
    Fdinfo,
    /// Where the pages of a process are, by PID: `pagemap-%lu.img`.
    Pagemap,
    /// Where the pages of a shared memory are, by its id: `pagemap-shmem-%lu.img`.
    ShmemPagemap,
    /// Files with a path, before `files.img`: `reg-files.img`.
    RegFiles,
    /// Files of plugins, before `files.img`: `ext-files.img`.
    ExtFiles,
    /// Namespace files, before `files.img`: `ns-files.img`.
    NsFiles,
    /// Event counters, before `files.img`: `eventfd.img`.
    Eventfd,
    /// Epoll files, before `files.img`: `eventpoll.img`.
    Eventpoll,
    /// Descriptors watched by epoll, before `files.img`: `eventpoll-tfd.img`.
    EventpollTfd,
    /// Signal files, before `files.img`: `signalfd.img`.
    Signalfd,
    /// Inotify files, before `files.img`: `inotify.img`.
    Inotify,
    /// Watches of inotify, before `files.img`: `inotify-wd.img`.
    InotifyWd,
    /// Fanotify files, before `files.img`: `fanotify.img`.
    Fanotify,
    /// Marks of fanotify, before `files.img`: `fanotify-mark.img`.
    FanotifyMark,
    /// A thread, by TID: `core-%u.img`.
    Core,
    /// What a process shares, by PID: `ids-%u.img`.
    Ids,
    /// An address space, by PID: `mm-%u.img`.
    Mm,
    /// Memory areas of a process, before `mm`: `vmas-%u.img`.
    Vmas,
    /// Pipes, before `files.img`: `pipes.img`.
    Pipes,
    /// What was in pipes: `pipes-data.img`.
    PipesData,
    /// Named pipes, before `files.img`: `fifo.img`.
    Fifo,
    /// What was in named pipes: `fifo-data.img`.
    FifoData,
    /// The process tree: `pstree.img`.
    Pstree,
    /// Signal actions of a process, before `core`: `sigacts-%u.img`.
    Sigact,
    /// Unix sockets, before `files.img`: `unixsk.img`.
    Unixsk,
    /// IPv4 and IPv6 sockets, before `files.img`: `inetsk.img`.
    Inetsk,
    /// Packet sockets, before `files.img`: `packetsk.img`.
    Packetsk,
    /// Netlink sockets, before `files.img`: `netlinksk.img`.
    Netlinksk,
    /// What was queued in sockets: `sk-queues.img`.
    SkQueues,
    /// Interval timers of a process, before `core`: `itimers-%u.img`.
    Itimers,
    /// POSIX timers of a process, before `core`: `posix-timers-%u.img`.
    PosixTimers,
    /// Credentials of a process, before `core`: `creds-%u.img`.
    Creds,
    /// Host names of a namespace: `utsns-%u.img`.
    Utsns,
    /// Settings of an IPC namespace: `ipcns-var-%u.img`.
    IpcVar,
    /// System V shared memory: `ipcns-shm-%u.img`.
    IpcnsShm,
    /// System V message queues: `ipcns-msg-%u.img`.
    IpcnsMsg,
    /// System V semaphores: `ipcns-sem-%u.img`.
    IpcnsSem,
    /// Working folder and root of a process: `fs-%u.img`.
    Fs,
    /// Files that are no longer at their path: `remap-fpath.img`.
    RemapFpath,
    /// A deleted file and its content: `ghost-file-%x.img`.
    GhostFile,
    /// Files of `memfd_create(2)`: `memfd.img`.
    MemfdInode,
    /// An established TCP connection, by inode: `tcp-stream-%x.img`.
    TcpStream,
    /// Mounts of a namespace: `mountpoints-%u.img`.
    Mnts,
    /// Links of a network namespace: `netdev-%u.img`.
    Netdev,
    /// Settings of a network namespace: `netns-%u.img`.
    Netns,
    /// Addresses, as `ip addr save` writes them: `ifaddr-%u.img`.
    Ifaddr,
    /// IPv4 routes, as `ip route save` writes them: `route-%u.img`.
    Route,
    /// IPv6 routes, as `ip -6 route save` writes them: `route6-%u.img`.
    Route6,
    /// Routing rules, as `ip rule save` writes them: `rule-%u.img`.
    Rule,
    /// Text of `iptables-save`: `iptables-%u.img`.
    Iptables,
    /// Text of `ip6tables-save`: `ip6tables-%u.img`.
    Ip6tables,
    /// Text of `nft list ruleset`: `nftables-%u.img`.
    Nftables,
    /// Content of a tmpfs by mount id, gzipped tar, before `tmpfs-dev`: `tmpfs-%u.tar.gz.img`.
    TmpfsImg,
    /// Content of a tmpfs by device, gzipped tar: `tmpfs-dev-%u.tar.gz.img`.
    TmpfsDev,
    /// A mount of the automounter: `autofs-%u.img`.
    Autofs,
    /// Registered interpreters, by mount id: `binfmt-misc-%u.img`.
    BinfmtMiscOld,
    /// Registered interpreters: `binfmt-misc.img`.
    BinfmtMisc,
    /// Terminal files, before `files.img`: `tty.img`.
    TtyFiles,
    /// Terminals and their settings: `tty-info.img`.
    TtyInfo,
    /// What was in terminals: `tty-data.img`.
    TtyData,
    /// File locks: `filelocks.img`.
    FileLocks,
    /// Limits of a process, before `core`: `rlimit-%u.img`.
    Rlimit,
    /// Content of pages, by pages id: `pages-%u.img`.
    Pages,
    /// Content of pages, before pagemaps; shares its name with `Pages`: `pages-%d.img`.
    PagesOld,
    /// Content of shared memory, before pagemaps: `pages-shmem-%ld.img`.
    ShmPagesOld,
    /// Signals pending for a process, before `core`: `signal-s-%u.img`.
    Signal,
    /// Signals pending for a thread, before `core`: `signal-p-%u.img`.
    Psignal,
    /// TUN and TAP files, before `files.img`: `tunfile.img`.
    Tunfile,
    /// Control groups: `cgroup.img`.
    Cgroup,
    /// Timer files, before `files.img`: `timerfd.img`.
    Timerfd,
    /// Abilities of the processor: `cpuinfo.img`.
    Cpuinfo,
    /// Seccomp filters: `seccomp.img`.
    Seccomp,
    /// Id maps of a user namespace: `userns-%u.img`.
    Userns,
    /// Connection tracking entries, as netlink messages: `netns-ct-%u.img`.
    NetnsCt,
    /// Expected connections, as netlink messages: `netns-exp-%u.img`.
    NetnsExp,
    /// Open files of every type: `files.img`.
    Files,
    /// Clock offsets of a time namespace: `timens-%u.img`.
    Timens,
    /// An external PID namespace: `pidns-%u.img`.
    Pidns,
    /// BPF maps, before `files.img`: `bpfmap-file.img`.
    BpfmapFile,
    /// Keys and values of BPF maps: `bpfmap-data.img`.
    BpfmapData,
    /// `AppArmor` policy: `apparmor.img`.
    Apparmor,
    /// Process files, before `files.img`: `pidfd.img`.
    Pidfd,
    /// What a dump or restore cost: `stats-%s`.
    Stats,
    /// Paths found for inode numbers: `irmap-cache`.
    IrmapCache,
}

pub(crate) struct Spec {
    kind: Kind,
    pub(crate) template: &'static str,
    magic: u32,
    magic_name: &'static str,
    shape: Shape,
    message: Option<&'static Message>,
}

const fn spec(
    kind: Kind,
    template: &'static str,
    magic: u32,
    magic_name: &'static str,
    shape: Shape,
    message: Option<&'static Message>,
) -> Spec {
    Spec {
        kind,
        template,
        magic,
        magic_name,
        shape,
        message,
    }
}

#[rustfmt::skip]
static SPECS: [Spec; 85] = [
    spec(Kind::Inventory, "inventory.img", 0x5831_3116, "INVENTORY", Shape::Plain, Some(&t::INVENTORY_ENTRY)),
    spec(Kind::Fdinfo, "fdinfo-%u.img", 0x5621_3732, "FDINFO", Shape::Plain, Some(&t::FDINFO_ENTRY)),
    spec(Kind::Pagemap, "pagemap-%lu.img", 0x5608_4025, "PAGEMAP", Shape::Pagemap, Some(&t::PAGEMAP_ENTRY)),
    spec(Kind::ShmemPagemap, "pagemap-shmem-%lu.img", 0x5608_4025, "PAGEMAP", Shape::Pagemap, Some(&t::PAGEMAP_ENTRY)),
    spec(Kind::RegFiles, "reg-files.img", 0x5036_3636, "REG_FILES", Shape::Plain, Some(&t::REG_FILE_ENTRY)),
    spec(Kind::ExtFiles, "ext-files.img", 0x5925_5641, "EXT_FILES", Shape::Plain, Some(&t::EXT_FILE_ENTRY)),
    spec(Kind::NsFiles, "ns-files.img", 0x6139_4011, "NS_FILES", Shape::Plain, Some(&t::NS_FILE_ENTRY)),
    spec(Kind::Eventfd, "eventfd.img", 0x4452_3722, "EVENTFD_FILE", Shape::Plain, Some(&t::EVENTFD_FILE_ENTRY)),
    spec(Kind::Eventpoll, "eventpoll.img", 0x4502_3858, "EVENTPOLL_FILE", Shape::Plain, Some(&t::EVENTPOLL_FILE_ENTRY)),
    spec(Kind::EventpollTfd, "eventpoll-tfd.img", 0x4443_3746, "EVENTPOLL_TFD", Shape::Plain, Some(&t::EVENTPOLL_TFD_ENTRY)),
    spec(Kind::Signalfd, "signalfd.img", 0x5732_3820, "SIGNALFD", Shape::Plain, Some(&t::SIGNALFD_ENTRY)),
    spec(Kind::Inotify, "inotify.img", 0x4842_4431, "INOTIFY_FILE", Shape::Plain, Some(&t::INOTIFY_FILE_ENTRY)),
    spec(Kind::InotifyWd, "inotify-wd.img", 0x5456_2009, "INOTIFY_WD", Shape::Plain, Some(&t::INOTIFY_WD_ENTRY)),
    spec(Kind::Fanotify, "fanotify.img", 0x5509_6122, "FANOTIFY_FILE", Shape::Plain, Some(&t::FANOTIFY_FILE_ENTRY)),
    spec(Kind::FanotifyMark, "fanotify-mark.img", 0x5650_6035, "FANOTIFY_MARK", Shape::Plain, Some(&t::FANOTIFY_MARK_ENTRY)),
    spec(Kind::Core, "core-%u.img", 0x5505_3847, "CORE", Shape::Plain, Some(&t::CORE_ENTRY)),
    spec(Kind::Ids, "ids-%u.img", 0x5443_2030, "IDS", Shape::Plain, Some(&t::TASK_KOBJ_IDS_ENTRY)),
    spec(Kind::Mm, "mm-%u.img", 0x5749_2820, "MM", Shape::Plain, Some(&t::MM_ENTRY)),
    spec(Kind::Vmas, "vmas-%u.img", 0x5412_3737, "VMAS", Shape::Plain, Some(&t::VMA_ENTRY)),
    spec(Kind::Pipes, "pipes.img", 0x5651_3555, "PIPES", Shape::Plain, Some(&t::PIPE_ENTRY)),
    spec(Kind::PipesData, "pipes-data.img", 0x5645_3709, "PIPES_DATA", Shape::Pipe, Some(&t::PIPE_DATA_ENTRY)),
    spec(Kind::Fifo, "fifo.img", 0x5836_4939, "FIFO", Shape::Plain, Some(&t::FIFO_ENTRY)),
    spec(Kind::FifoData, "fifo-data.img", 0x5933_3054, "FIFO_DATA", Shape::Pipe, Some(&t::PIPE_DATA_ENTRY)),
    spec(Kind::Pstree, "pstree.img", 0x5027_3030, "PSTREE", Shape::Plain, Some(&t::PSTREE_ENTRY)),
    spec(Kind::Sigact, "sigacts-%u.img", 0x5534_4201, "SIGACT", Shape::Plain, Some(&t::SA_ENTRY)),
    spec(Kind::Unixsk, "unixsk.img", 0x5437_3943, "UNIXSK", Shape::Plain, Some(&t::UNIX_SK_ENTRY)),
    spec(Kind::Inetsk, "inetsk.img", 0x5644_3851, "INETSK", Shape::Plain, Some(&t::INET_SK_ENTRY)),
    spec(Kind::Packetsk, "packetsk.img", 0x6045_4618, "PACKETSK", Shape::Plain, Some(&t::PACKET_SOCK_ENTRY)),
    spec(Kind::Netlinksk, "netlinksk.img", 0x5800_5614, "NETLINK_SK", Shape::Plain, Some(&t::NETLINK_SK_ENTRY)),
    spec(Kind::SkQueues, "sk-queues.img", 0x5626_4026, "SK_QUEUES", Shape::Socket, Some(&t::SK_PACKET_ENTRY)),
    spec(Kind::Itimers, "itimers-%u.img", 0x5746_4056, "ITIMERS", Shape::Plain, Some(&t::ITIMER_ENTRY)),
    spec(Kind::PosixTimers, "posix-timers-%u.img", 0x5260_3957, "POSIX_TIMERS", Shape::Plain, Some(&t::POSIX_TIMER_ENTRY)),
    spec(Kind::Creds, "creds-%u.img", 0x5402_3547, "CREDS", Shape::Plain, Some(&t::CREDS_ENTRY)),
    spec(Kind::Utsns, "utsns-%u.img", 0x5447_3203, "UTSNS", Shape::Plain, Some(&t::UTSNS_ENTRY)),
    spec(Kind::IpcVar, "ipcns-var-%u.img", 0x5311_5007, "IPC_VAR", Shape::Plain, Some(&t::IPC_VAR_ENTRY)),
    spec(Kind::IpcnsShm, "ipcns-shm-%u.img", 0x4628_3044, "IPCNS_SHM", Shape::Shm, Some(&t::IPC_SHM_ENTRY)),
    spec(Kind::IpcnsMsg, "ipcns-msg-%u.img", 0x5545_3737, "IPCNS_MSG", Shape::Msg, Some(&t::IPC_MSG_ENTRY)),
    spec(Kind::IpcnsSem, "ipcns-sem-%u.img", 0x5957_3019, "IPCNS_SEM", Shape::Sem, Some(&t::IPC_SEM_ENTRY)),
    spec(Kind::Fs, "fs-%u.img", 0x5140_3912, "FS", Shape::Plain, Some(&t::FS_ENTRY)),
    spec(Kind::RemapFpath, "remap-fpath.img", 0x5913_3954, "REMAP_FPATH", Shape::Plain, Some(&t::REMAP_FILE_PATH_ENTRY)),
    spec(Kind::GhostFile, "ghost-file-%x.img", 0x5258_3605, "GHOST_FILE", Shape::Ghost, Some(&t::GHOST_FILE_ENTRY)),
    spec(Kind::MemfdInode, "memfd.img", 0x4845_3499, "MEMFD_INODE", Shape::Plain, Some(&t::MEMFD_INODE_ENTRY)),
    spec(Kind::TcpStream, "tcp-stream-%x.img", 0x5146_5506, "TCP_STREAM", Shape::Tcp, Some(&t::TCP_STREAM_ENTRY)),
    spec(Kind::Mnts, "mountpoints-%u.img", 0x5556_3928, "MNTS", Shape::Plain, Some(&t::MNT_ENTRY)),
    spec(Kind::Netdev, "netdev-%u.img", 0x5737_3951, "NETDEV", Shape::Plain, Some(&t::NET_DEVICE_ENTRY)),
    spec(Kind::Netns, "netns-%u.img", 0x5593_3752, "NETNS", Shape::Plain, Some(&t::NETNS_ENTRY)),
    spec(Kind::Ifaddr, "ifaddr-%u.img", 0, "IFADDR", Shape::Raw, None),
    spec(Kind::Route, "route-%u.img", 0, "ROUTE", Shape::Raw, None),
    spec(Kind::Route6, "route6-%u.img", 0, "ROUTE6", Shape::Raw, None),
    spec(Kind::Rule, "rule-%u.img", 0, "RULE", Shape::Raw, None),
    spec(Kind::Iptables, "iptables-%u.img", 0, "IPTABLES", Shape::Raw, None),
    spec(Kind::Ip6tables, "ip6tables-%u.img", 0, "IP6TABLES", Shape::Raw, None),
    spec(Kind::Nftables, "nftables-%u.img", 0, "NFTABLES", Shape::Raw, None),
    spec(Kind::TmpfsImg, "tmpfs-%u.tar.gz.img", 0, "TMPFS_IMG", Shape::Raw, None),
    spec(Kind::TmpfsDev, "tmpfs-dev-%u.tar.gz.img", 0, "TMPFS_DEV", Shape::Raw, None),
    spec(Kind::Autofs, "autofs-%u.img", 0x4935_3943, "AUTOFS", Shape::Plain, Some(&t::AUTOFS_ENTRY)),
    spec(Kind::BinfmtMiscOld, "binfmt-misc-%u.img", 0x6734_3323, "BINFMT_MISC", Shape::Plain, Some(&t::BINFMT_MISC_ENTRY)),
    spec(Kind::BinfmtMisc, "binfmt-misc.img", 0x6734_3323, "BINFMT_MISC", Shape::Plain, Some(&t::BINFMT_MISC_ENTRY)),
    spec(Kind::TtyFiles, "tty.img", 0x5943_3025, "TTY_FILES", Shape::Plain, Some(&t::TTY_FILE_ENTRY)),
    spec(Kind::TtyInfo, "tty-info.img", 0x5945_3036, "TTY_INFO", Shape::Plain, Some(&t::TTY_INFO_ENTRY)),
    spec(Kind::TtyData, "tty-data.img", 0x5941_3026, "TTY_DATA", Shape::Plain, Some(&t::TTY_DATA_ENTRY)),
    spec(Kind::FileLocks, "filelocks.img", 0x5432_3616, "FILE_LOCKS", Shape::Plain, Some(&t::FILE_LOCK_ENTRY)),
    spec(Kind::Rlimit, "rlimit-%u.img", 0x5711_3925, "RLIMIT", Shape::Plain, Some(&t::RLIMIT_ENTRY)),
    spec(Kind::Pages, "pages-%u.img", 0, "PAGES", Shape::Raw, None),
    spec(Kind::PagesOld, "pages-%d.img", 0x5608_4025, "PAGEMAP", Shape::Bytes, None),
    spec(Kind::ShmPagesOld, "pages-shmem-%ld.img", 0x5608_4025, "PAGEMAP", Shape::Bytes, None),
    spec(Kind::Signal, "signal-s-%u.img", 0x5925_5647, "SIGNAL", Shape::Plain, Some(&t::SIGINFO_ENTRY)),
    spec(Kind::Psignal, "signal-p-%u.img", 0x5925_5647, "SIGNAL", Shape::Plain, Some(&t::SIGINFO_ENTRY)),
    spec(Kind::Tunfile, "tunfile.img", 0x5714_3751, "TUNFILE", Shape::Plain, Some(&t::TUNFILE_ENTRY)),
    spec(Kind::Cgroup, "cgroup.img", 0x5938_3330, "CGROUP", Shape::Plain, Some(&t::CGROUP_ENTRY)),
    spec(Kind::Timerfd, "timerfd.img", 0x5049_3712, "TIMERFD", Shape::Plain, Some(&t::TIMERFD_ENTRY)),
    spec(Kind::Cpuinfo, "cpuinfo.img", 0x6140_4013, "CPUINFO", Shape::Plain, Some(&t::CPUINFO_ENTRY)),
    spec(Kind::Seccomp, "seccomp.img", 0x6441_3049, "SECCOMP", Shape::Plain, Some(&t::SECCOMP_ENTRY)),
    spec(Kind::Userns, "userns-%u.img", 0x5547_4906, "USERNS", Shape::Plain, Some(&t::USERNS_ENTRY)),
    spec(Kind::NetnsCt, "netns-ct-%u.img", 0, "NETNF_CT", Shape::Raw, None),
    spec(Kind::NetnsExp, "netns-exp-%u.img", 0, "NETNF_EXP", Shape::Raw, None),
    spec(Kind::Files, "files.img", 0x5630_3138, "FILES", Shape::Plain, Some(&t::FILE_ENTRY)),
    spec(Kind::Timens, "timens-%u.img", 0x4311_4433, "TIMENS", Shape::Plain, Some(&t::TIMENS_ENTRY)),
    spec(Kind::Pidns, "pidns-%u.img", 0x6115_7326, "PIDNS", Shape::Plain, Some(&t::PIDNS_ENTRY)),
    spec(Kind::BpfmapFile, "bpfmap-file.img", 0x5750_6142, "BPFMAP_FILE", Shape::Plain, Some(&t::BPFMAP_FILE_ENTRY)),
    spec(Kind::BpfmapData, "bpfmap-data.img", 0x6432_4033, "BPFMAP_DATA", Shape::Bpf, Some(&t::BPFMAP_DATA_ENTRY)),
    spec(Kind::Apparmor, "apparmor.img", 0x5942_3047, "APPARMOR", Shape::Plain, Some(&t::APPARMOR_ENTRY)),
    spec(Kind::Pidfd, "pidfd.img", 0x5443_5556, "PIDFD", Shape::Plain, Some(&t::PIDFD_ENTRY)),
    spec(Kind::Stats, "stats-%s", 0x5709_3306, "STATS", Shape::Plain, Some(&t::STATS_ENTRY)),
    spec(Kind::IrmapCache, "irmap-cache", 0x5700_4059, "IRMAP_CACHE", Shape::Plain, Some(&t::IRMAP_CACHE_ENTRY)),
];

impl Kind {
    /// All kinds, in CRIU's order.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        SPECS.iter().map(|spec| spec.kind)
    }

    pub(crate) fn spec(self) -> &'static Spec {
        // The table is in the order of the enum (a test sees to it).
        &SPECS[self as usize]
    }

    /// CRIU's template of the file name, such as `core-%u.img`.
    pub fn template(self) -> &'static str {
        self.spec().template
    }

    /// The number that follows the header's first, or none for a raw image.
    ///
    /// Not a key: [`Pagemap`](Self::Pagemap) and [`ShmemPagemap`](Self::ShmemPagemap) share
    /// one, as do others.
    pub fn magic(self) -> Option<u32> {
        match self.spec().magic {
            0 => None,
            magic => Some(magic),
        }
    }

    /// `crit`'s word for the magic number. Of a raw image CRIU's own word for the kind.
    pub fn magic_name(self) -> &'static str {
        self.spec().magic_name
    }

    /// Whether the file has no header, and is in a format that is not CRIU's.
    pub fn is_raw(self) -> bool {
        self.spec().magic == 0
    }

    /// Whether the file belongs to the working folder and has no `.img` in its name.
    #[doc(alias = "O_SERVICE")]
    pub fn is_service(self) -> bool {
        matches!(self, Self::Stats | Self::IrmapCache)
    }

    /// The message of its records; in a pagemap of those after the first, in a ghost
    /// file and a queue of the first.
    pub fn schema(self) -> Option<Schema> {
        self.spec().message.map(Schema)
    }

    pub(crate) fn shape(self) -> Shape {
        self.spec().shape
    }

    /// The first kind with this magic number.
    pub(crate) fn of_magic(magic: u32) -> Option<Self> {
        let spec = SPECS.iter().find(|spec| spec.magic == magic)?;
        (magic != 0).then_some(spec.kind)
    }

    /// The first kind that has records and this name of a magic number.
    pub(crate) fn of_magic_name(name: &[u8]) -> Option<Self> {
        SPECS
            .iter()
            .find(|spec| spec.magic_name.as_bytes() == name)
            .map(|spec| spec.kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.template())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn table_is_in_the_order_of_the_enum() {
        for (index, kind) in Kind::all().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(kind.spec().kind, kind);
        }
    }

    /// The counts of CRIU 4.2.
    #[test]
    fn counts_are_those_of_criu() {
        let magics: BTreeSet<_> = Kind::all().filter_map(Kind::magic).collect();
        assert_eq!(Kind::all().len(), 85);
        assert_eq!(Kind::all().filter(|k| k.is_raw()).count(), 12);
        assert_eq!(magics.len(), 68);
        assert_eq!(
            Kind::all()
                .filter(|k| k.template().ends_with(".img"))
                .count(),
            83
        );
    }
}
