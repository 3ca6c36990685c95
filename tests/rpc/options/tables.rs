//! The options of each request, and the field of `criu_opts` that each is to set.

use std::fs::File;
use std::time::Duration;

use criu_rpc::{
    CpuCapability, CpuInfoCheck, CpuInfoDump, Dump, DumpExternal, ImageIo, InheritKey,
    JoinNamespace, LogLevel, ManageCgroups, NetworkLock, PageServer, PageServerLink, Pid, PreDump,
    PreDumpMode, Restore, RestoreExternal, SelfDump, Tls,
};
use criu_rs_tests::proto::{
    CgroupRoot, CriuCgMode, CriuImageIoMode, CriuNetworkLockMethod, CriuOpts, CriuPageServerInfo,
    CriuPreDumpMode, InheritFd, JoinNamespace as Join,
};

/// One option.
pub(super) struct Entry<R> {
    pub(super) name: &'static str,
    pub(super) set: fn(R) -> R,
    pub(super) expect: fn(&mut CriuOpts),
}

/// A table of a request: `setters => fields`.
macro_rules! table {
    (
        $request:ty;
        $($($setter:ident($($argument:expr),*)).+ => $($field:ident = $value:expr),*;)*
    ) => {
        vec![$(Entry {
            name: stringify!($($setter($($argument),*)).+),
            set: |request: $request| request $(.$setter($($argument),*))+,
            expect: |_options| { $(_options.$field = $value;)* },
        }),*]
    };
}

fn yes() -> Option<bool> {
    Some(true)
}

fn no() -> Option<bool> {
    Some(false)
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn null() -> std::os::fd::OwnedFd {
    File::open("/dev/null").unwrap().into()
}

/// What requests with options have in common. Only of a log that is a file CRIU is told the
/// name.
macro_rules! logged {
    ($request:ty) => {{
        let table: Vec<Entry<$request>> = table! { $request;
            log_level(LogLevel::Message) => log_level = Some(0);
            log_level(LogLevel::Error) => log_level = Some(1);
            log_level(LogLevel::Warning) => log_level = Some(2);
            log_level(LogLevel::Info) => log_level = Some(3);
            log_level(LogLevel::Debug) => log_level = Some(4);
            log_file("other.log") => log_file = text("other.log");
            log_to_stderr(true) => log_to_stderr = yes(), log_file = None;
            log_to_stderr(true).log_file("x") => log_to_stderr = yes(), log_file = text("x");
            log_to_stderr(false) => ;
            unprivileged(true) => unprivileged = yes();
            unprivileged(false) => unprivileged = no();
            config_file("/etc/x.conf") => config_file = text("/etc/x.conf");
        };
        table
    }};
}

macro_rules! in_work_folder {
    ($request:ty) => {{
        let mut table = logged!($request);
        table.extend(table! { $request; work_dir("/tmp") => work_dir_fd = Some(9); });
        table
    }};
}

macro_rules! images {
    ($request:ty) => {{
        let table: Vec<Entry<$request>> = table! { $request;
            auto_dedup(true) => auto_dedup = yes();
            image_io_mode(ImageIo::Writeback) =>
                image_io_mode = Some(CriuImageIoMode::ImageIoWriteback.into());
            image_io_mode(ImageIo::Direct) =>
                image_io_mode = Some(CriuImageIoMode::ImageIoDirect.into());
        };
        table
    }};
}

fn all_tls() -> Tls {
    Tls::new()
        .ca("ca")
        .revoked("crl")
        .certificate("cert")
        .key("key")
        .any_name(true)
}

macro_rules! encrypted {
    ($request:ty) => {{
        let table: Vec<Entry<$request>> = table! { $request;
            tls(Tls::new()) => tls = yes();
            tls(all_tls()) => tls = yes(), tls_cacert = text("ca"), tls_cacrl = text("crl"),
                tls_cert = text("cert"), tls_key = text("key"), tls_no_cn_verify = yes();
        };
        table
    }};
}

fn tcp(port: u16) -> PageServerLink {
    let address = "127.0.0.1".to_owned();
    PageServerLink::Tcp { address, port }
}

fn listening(port: i32) -> Option<CriuPageServerInfo> {
    Some(CriuPageServerInfo {
        address: text("127.0.0.1"),
        port: Some(port),
        ..Default::default()
    })
}

/// What every way of writing memory takes.
macro_rules! writing {
    ($request:ty) => {{
        let mut table = images!($request);
        table.extend(encrypted!($request));
        table.extend(table! { $request;
            parent("../1") => parent_img = text("../1");
            page_server(tcp(65_535)) => ps = listening(65_535);
            page_server(PageServerLink::Socket(null())) =>
                ps = Some(CriuPageServerInfo { fd: Some(3), ..Default::default() });
            page_server(PageServerLink::Socket(null())).page_server(tcp(1)) => ps = listening(1);
            freeze_timeout(Duration::from_secs(7)) => timeout = Some(7);
            freeze_timeout(Duration::from_millis(1)) => timeout = Some(1);
            freeze_timeout(Duration::ZERO) => timeout = Some(0);
            freeze_timeout(Duration::MAX) => timeout = Some(u32::MAX);
            freeze_cgroup("/sys/fs/cgroup/x") => freeze_cgroup = text("/sys/fs/cgroup/x");
            force_irmap(true) => force_irmap = yes();
            irmap_scan_path("/a").irmap_scan_path("/b") => irmap_scan_paths = texts(&["/a", "/b"]);
            external(DumpExternal::Mount { at: "/m".into(), name: "n".into() }) =>
                external = texts(&["mnt[/m]:n"]);
            external(DumpExternal::AllMounts { masters: true, shared: true })
                .external(DumpExternal::Pid { inode: 1, name: "p".into() }) =>
                external = texts(&["mnt[]:ms", "pid[1]:p"]);
            external(DumpExternal::Raw("x".into())) => external = texts(&["x"]);
            display_stats(true) => display_stats = yes();
        });
        table
    }};
}

/// What dumps and restores share.
macro_rules! whole {
    ($request:ty) => {{
        let table: Vec<Entry<$request>> = table! { $request;
            file_locks(true) => file_locks = yes();
            file_locks(false) => file_locks = no();
            link_remap(true) => link_remap = yes();
            evasive_devices(true) => evasive_devices = yes();
            tcp_established(true) => tcp_established = yes();
            tcp_close(true) => tcp_close = yes();
            ext_unix_sk(true) => ext_unix_sk = yes();
            weak_sysctls(true) => weak_sysctls = yes();
            auto_ext_mnt(true) => auto_ext_mnt = yes();
            ext_sharing(true) => ext_sharing = yes();
            ext_masters(true) => ext_masters = yes();
            empty_net_namespace(true) => empty_ns = Some(0x4000_0000);
            empty_net_namespace(true).empty_net_namespace(false) => ;
            manage_cgroups(ManageCgroups::Ignore) =>
                manage_cgroups_mode = Some(CriuCgMode::Ignore.into());
            manage_cgroups(ManageCgroups::None) =>
                manage_cgroups_mode = Some(CriuCgMode::CgNone.into());
            manage_cgroups(ManageCgroups::Props) =>
                manage_cgroups_mode = Some(CriuCgMode::Props.into());
            manage_cgroups(ManageCgroups::Soft) =>
                manage_cgroups_mode = Some(CriuCgMode::Soft.into());
            manage_cgroups(ManageCgroups::Full) =>
                manage_cgroups_mode = Some(CriuCgMode::Full.into());
            manage_cgroups(ManageCgroups::Strict) =>
                manage_cgroups_mode = Some(CriuCgMode::Strict.into());
            manage_cgroups(ManageCgroups::Default) =>
                manage_cgroups_mode = Some(CriuCgMode::Default.into());
            cgroup_root(Some("memory"), "/a").cgroup_root(None, "/b") => cg_root = vec![
                CgroupRoot { ctrl: text("memory"), path: "/a".into() },
                CgroupRoot { ctrl: None, path: "/b".into() },
            ];
            cgroup_props("{}") => cgroup_props = text("{}");
            cgroup_props_file("/p") => cgroup_props_file = text("/p");
            cgroup_yard("/yard") => cgroup_yard = text("/yard");
            cpu_cap(CpuCapability::NONE) => cpu_cap = Some(0);
            cpu_cap(CpuCapability::FPU | CpuCapability::INSTRUCTIONS) => cpu_cap = Some(5);
            cpu_cap(CpuCapability::CPU) => cpu_cap = Some(2);
        };
        table
    }};
}

/// What a dump and a self-dump share.
macro_rules! dumping {
    ($request:ty) => {{
        let mut table = writing!($request);
        table.extend(whole!($request));
        table.extend(table! { $request;
            leave_running(true) => leave_running = yes();
            leave_stopped(true) => leave_stopped = yes();
            shell_job(true) => shell_job = yes();
            ghost_limit(7) => ghost_limit = Some(7);
            track_mem(true) => track_mem = yes();
            track_mem(false) => track_mem = no();
            lazy_pages(27) => lazy_pages = yes(), ps = Some(CriuPageServerInfo {
                port: Some(27),
                ..Default::default()
            });
            tcp_skip_in_flight(true) => tcp_skip_in_flight = yes();
            network_lock(NetworkLock::Iptables) =>
                network_lock = Some(CriuNetworkLockMethod::Iptables.into());
            network_lock(NetworkLock::Nftables) =>
                network_lock = Some(CriuNetworkLockMethod::Nftables.into());
            network_lock(NetworkLock::Skip) =>
                network_lock = Some(CriuNetworkLockMethod::Skip.into());
            skip_mount("/a").skip_mount("/b") => skip_mnt = texts(&["/a", "/b"]);
            enable_fs("all") => enable_fs = texts(&["all"]);
            cgroup_dump_controller("a").cgroup_dump_controller("b") =>
                cgroup_dump_controller = texts(&["a", "b"]);
        });
        table
    }};
}

pub(super) fn dump() -> Vec<Entry<Dump<'static>>> {
    let mut table = in_work_folder!(Dump<'static>);
    table.extend(dumping!(Dump<'static>));
    table
}

pub(super) fn self_dump() -> Vec<Entry<SelfDump<'static>>> {
    let mut table = logged!(SelfDump<'static>);
    table.extend(dumping!(SelfDump<'static>));
    // CRIU is started by a shell, which hands on nothing but the socket.
    table.retain(|entry| !entry.name.contains("Socket"));
    table
}

pub(super) fn pre_dump() -> Vec<Entry<PreDump<'static>>> {
    let mut table = in_work_folder!(PreDump<'static>);
    table.extend(writing!(PreDump<'static>));
    table.extend(table! { PreDump<'static>;
        mode(PreDumpMode::Splice) => pre_dump_mode = Some(CriuPreDumpMode::Splice.into());
        mode(PreDumpMode::VmRead) => pre_dump_mode = Some(CriuPreDumpMode::VmRead.into());
    });
    table
}

pub(super) fn page_server() -> Vec<Entry<PageServer<'static>>> {
    let mut table = in_work_folder!(PageServer<'static>);
    table.extend(images!(PageServer<'static>));
    table.extend(encrypted!(PageServer<'static>));
    table.extend(table! { PageServer<'static>;
        listen("127.0.0.1", 0) => ps = listening(0);
        listen("127.0.0.1", 65_535) => ps = listening(65_535);
    });
    table
}

pub(super) fn cpu_info_dump() -> Vec<Entry<CpuInfoDump<'static>>> {
    let mut table = in_work_folder!(CpuInfoDump<'static>);
    table
        .extend(table! { CpuInfoDump<'static>; cpu_cap(CpuCapability::CPU) => cpu_cap = Some(2); });
    table
}

pub(super) fn cpu_info_check() -> Vec<Entry<CpuInfoCheck<'static>>> {
    let mut table = in_work_folder!(CpuInfoCheck<'static>);
    table.extend(
        table! { CpuInfoCheck<'static>; cpu_cap(CpuCapability::CPU) => cpu_cap = Some(2); },
    );
    table
}

fn join(kind: &str, place: &str, extra: Option<&str>) -> Join {
    Join {
        ns: kind.to_owned(),
        ns_file: place.to_owned(),
        extra_opt: extra.map(str::to_owned),
    }
}

fn inherited(key: &str, fd: i32) -> InheritFd {
    let key = key.to_owned();
    InheritFd { key, fd }
}

pub(super) fn restore() -> Vec<Entry<Restore<'static>>> {
    let mut table = in_work_folder!(Restore<'static>);
    table.extend(images!(Restore<'static>));
    table.extend(whole!(Restore<'static>));
    table.extend(table! { Restore<'static>;
        as_child(true) => rst_sibling = yes();
        as_child(true).as_child(false) => ;
        leave_stopped(true) => leave_stopped = yes();
        leave_stopped(true).leave_stopped(false) => ;
        lazy_pages(true) => lazy_pages = yes();
        exec_command(["/bin/sh", "-c", "true"]) => exec_cmd = texts(&["/bin/sh", "-c", "true"]);
        exec_command(["a"]).exec_command(["b"]) => exec_cmd = texts(&["b"]);
        root("/r") => root = text("/r");
        mntns_compat_mode(true) => mntns_compat_mode = yes();
        skip_file_rwx_check(true) => skip_file_rwx_check = yes();
        orphan_pts_master(true) => orphan_pts_master = yes();
        display_stats(true) => display_stats = yes();
        lsm_profile("apparmor", "p") => lsm_profile = text("apparmor:p");
        lsm_mount_context("c") => lsm_mount_context = text("c");
        external(RestoreExternal::Mount { name: "n".into(), from: "/f".into() })
            .external(RestoreExternal::Device { name: "d".into(), path: "/dev/x".into() }) =>
            external = texts(&["mnt[n]:/f", "dev[d]:/dev/x"]);
        external(RestoreExternal::Veth { inner: "i".into(), outer: "o".into(), bridge: None }) =>
            external = texts(&["veth[i]:o"]);
        external(RestoreExternal::Macvlan { inner: "i".into(), outer: "o".into() }) =>
            external = texts(&["macvlan[i]:o"]);
        join_namespace(JoinNamespace::net("/n"))
            .join_namespace(JoinNamespace::user("/u", 1, 2))
            .join_namespace(JoinNamespace::time("").of(Pid::from_raw(7).unwrap())) =>
            join_ns = vec![
                join("net", "/n", None),
                join("user", "/u", Some("1,2")),
                join("time", "7", None),
            ];
        join_namespace(JoinNamespace::uts("/n"))
            .join_namespace(JoinNamespace::ipc("/n"))
            .join_namespace(JoinNamespace::mnt("/n")) =>
            join_ns = ["uts", "ipc", "mnt"].map(|kind| join(kind, "/n", None)).into();
        inherit_fd(InheritKey::Tty { rdev: 0x8803, dev: 0x18 }, null())
            .inherit_fd(InheritKey::Pipe(7), null())
            .inherit_fd(InheritKey::Socket(8), null())
            .inherit_fd(InheritKey::File { mount: 0x1a, inode: 0xff }, null())
            .inherit_fd(InheritKey::Path("tmp/x".into()), null())
            .inherit_fd(InheritKey::Namespace("extNs".into()), null()) =>
            inherit_fd = vec![
                inherited("tty[8803:18]", 3),
                inherited("pipe:[7]", 4),
                inherited("socket:[8]", 5),
                inherited("file[1a:ff]", 6),
                inherited("tmp/x", 7),
                inherited("extNs", 8),
            ];
    });
    table
}
