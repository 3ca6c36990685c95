//! What `Compat` says of checkpoints on hosts of all kinds.

// What `#[test]` functions may do, their helpers may.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../image/made.rs"]
mod made;

mod live;

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use ckpt::{Compat, FileChange, Finding, Host, Images, Mismatch, Needed, Obstacle};
use criu_images::Kind;
use criu_images::proto::core_entry::March;
use criu_images::proto::{self, FdTypes};
use criu_rs_tests::Scratch;
use made::put;

/// One process, 7, that is nothing special.
struct Set {
    scratch: Scratch,
    inventory: proto::InventoryEntry,
    core: proto::CoreEntry,
    ids: proto::TaskKobjIdsEntry,
    mm: proto::MmEntry,
    files: Vec<proto::FileEntry>,
}

fn ids() -> proto::TaskKobjIdsEntry {
    proto::TaskKobjIdsEntry {
        pid_ns_id: Some(1),
        net_ns_id: Some(2),
        mnt_ns_id: Some(3),
        time_ns_id: Some(4),
        ..Default::default()
    }
}

impl Set {
    fn new() -> Self {
        let scratch = Scratch::new().unwrap();
        scratch.dir("images").unwrap();
        scratch.dir("root").unwrap();
        Self {
            scratch,
            inventory: proto::InventoryEntry {
                img_version: 2,
                fdinfo_per_id: Some(true),
                root_ids: Some(ids()),
                ..Default::default()
            },
            core: made::core(b"x", 1),
            ids: ids(),
            mm: proto::MmEntry {
                mm_saved_auxv: vec![6, 4096, 0, 0],
                ..Default::default()
            },
            files: Vec::new(),
        }
    }

    fn images(&self) -> std::path::PathBuf {
        self.scratch.path().join("images")
    }

    fn root(&self) -> std::path::PathBuf {
        self.scratch.path().join("root")
    }

    fn host(&self) -> Host {
        let mut host = Host::here().unwrap();
        host.architecture = "x86_64".to_owned();
        host.page_size = 4096;
        host.kernel = (6, 18);
        host.criu = Some((4, 2, 0));
        host.cpu = Some(["fpu", "avx"].map(str::to_owned).into());
        host.pids = [1, 2].into();
        host.namespaces = ["pid", "net", "mnt"].map(str::to_owned).into();
        host.file_systems = ["proc", "tmpfs"].map(str::to_owned).into();
        host.security_modules = ["selinux"].map(str::to_owned).into();
        host.addresses = Some([IpAddr::from([10, 0, 0, 1])].into());
        host.listening = [(IpAddr::from([0, 0, 0, 0]), 80)].into();
        host.root = self.root();
        host
    }

    fn write(&self) {
        let folder = self.images();
        let root = proto::PstreeEntry {
            sid: 7,
            ..made::process(7, 0)
        };
        put(
            &folder,
            Kind::Inventory,
            0,
            std::slice::from_ref(&self.inventory),
        );
        put(&folder, Kind::Pstree, 0, &[root]);
        put(&folder, Kind::Core, 7, std::slice::from_ref(&self.core));
        put(&folder, Kind::Ids, 7, &[self.ids]);
        put(&folder, Kind::Mm, 7, std::slice::from_ref(&self.mm));
        put(&folder, Kind::Files, 0, &self.files);
    }

    fn on(&self, host: &Host) -> Vec<Finding> {
        self.write();
        Compat::of(&Images::open(self.images()).unwrap(), host).unwrap()
    }

    /// What is found on the host that is changed like this.
    fn found(&self, change: impl FnOnce(&mut Host)) -> Vec<(Obstacle, Mismatch)> {
        let mut host = self.host();
        change(&mut host);
        self.on(&host)
            .into_iter()
            .map(|finding| {
                assert!(!finding.remedy().is_empty());
                assert!(!finding.what.to_string().is_empty());
                (finding.severity, finding.what)
            })
            .collect()
    }
}

#[test]
fn nothing_stands_in_the_way_on_the_same_host() {
    assert_eq!(Set::new().found(|_| {}), []);
}

#[test]
fn machines_that_differ() {
    let mut set = Set::new();
    let other = |images: &str, host: &str| {
        let (images, host) = (images.to_owned(), host.to_owned());
        (Obstacle::Error, Mismatch::Architecture { images, host })
    };
    assert_eq!(
        set.found(|host| host.architecture = "aarch64".to_owned()),
        [other("x86_64", "aarch64")]
    );
    assert_eq!(
        set.found(|host| host.page_size = 65536),
        [(
            Obstacle::Error,
            Mismatch::PageSize {
                images: 4096,
                host: 65536
            }
        )]
    );
    set.core.mtype = March::Riscv64.into();
    assert_eq!(set.found(|_| {}), [other("riscv64", "x86_64")]);
}

#[test]
fn processors_that_can_do_less() {
    let mut set = Set::new();
    let mut info = proto::ThreadInfoX86::default();
    info.fpregs.xsave = Some(proto::UserX86XsaveEntry {
        xstate_bv: 0b1110_0111,
        ..Default::default()
    });
    set.core.thread_info = Some(info);
    let missing = |names: &[&str]| Mismatch::Cpu {
        missing: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    assert_eq!(
        set.found(|_| {}),
        [(Obstacle::Error, missing(&["avx512f"]))]
    );
    assert_eq!(set.found(|host| host.cpu = None), []);

    set.core.thread_info = None;
    let mut capability = vec![0; 19];
    (capability[0], capability[4], capability[9]) = (1, 1 << 28, 1 << 8 | 1 << 5);
    let info = proto::CpuinfoEntry {
        x86_entry: vec![proto::CpuinfoX86Entry {
            capability,
            ..Default::default()
        }],
        ..Default::default()
    };
    put(&set.images(), Kind::Cpuinfo, 0, &[info]);
    assert_eq!(
        set.found(|_| {}),
        [(Obstacle::Risk, missing(&["avx2", "bmi2"]))]
    );
}

#[test]
fn releases_that_are_too_old() {
    let mut set = Set::new();
    let entries = [made::entry(0x1000, 1, 4)];
    let pagemap = made::pagemap_of(&entries);
    made::put_bytes(&set.images(), Kind::Pagemap, 7, &pagemap);
    set.mm.vmas = vec![made::area(0x1000, 0x2000, 1 << 16, 0)];
    let found = set.found(|host| {
        host.criu = Some((4, 1, 1));
        host.kernel = (6, 1);
    });
    let criu = |what| {
        let (needs, host) = ((4, 2, 0), (4, 1, 1));
        (Obstacle::Error, Mismatch::Criu { what, needs, host })
    };
    let kernel = Mismatch::Kernel {
        what: "a guard in an area",
        needs: (6, 13),
        host: (6, 1),
    };
    assert_eq!(
        found,
        [
            (Obstacle::Error, kernel),
            criu("a guard in an area"),
            criu("the count of pages")
        ]
    );
    assert_eq!(set.found(|host| host.criu = None), []);
    set.inventory.img_version = 3;
    assert_eq!(
        set.found(|_| {}),
        [(Obstacle::Error, Mismatch::ImageVersion(3))]
    );
}

#[test]
fn ids_and_namespaces() {
    let mut set = Set::new();
    let taken = (Obstacle::Error, Mismatch::PidsTaken { pids: vec![7] });
    let take = |host: &mut Host| host.pids.extend([7, 8]);
    assert_eq!(set.found(take), [taken]);
    // In a namespace of its own, every id is free.
    set.ids.pid_ns_id = Some(99);
    assert_eq!(set.found(take), []);
    set.ids.time_ns_id = Some(98);
    assert_eq!(
        set.found(|_| {}),
        [(Obstacle::Error, Mismatch::Namespace("time"))]
    );
    set.ids = ids();
    set.ids.mnt_ns_id = Some(97);
    let root = Mismatch::Option {
        option: "root",
        why: Needed::Root,
    };
    assert_eq!(
        set.found(|host| host.root = "/".into()),
        [(Obstacle::Option, root)]
    );
}

#[test]
fn labels_of_another_module() {
    let mut set = Set::new();
    set.inventory.set_lsmtype(proto::Lsmtype::Apparmor);
    assert_eq!(set.found(|_| {}), []);
    set.core.thread_core = Some(proto::ThreadCoreEntry {
        creds: Some(proto::CredsEntry {
            lsm_profile: Some(b"profile".to_vec()),
            ..Default::default()
        }),
        ..Default::default()
    });
    assert_eq!(
        set.found(|_| {}),
        [(Obstacle::Error, Mismatch::SecurityModule("apparmor"))]
    );
    assert_eq!(
        set.found(|host| host.security_modules = BTreeSet::new()),
        []
    );
}

fn file(set: &mut Set, name: &str, size: Option<u64>) {
    let id = 10 + u32::try_from(set.files.len()).unwrap();
    let mut file = made::file(id, name.as_bytes());
    let reg = file.reg.as_mut().unwrap();
    reg.size = size;
    reg.mode = Some(0o100_644);
    set.files.push(file);
}

fn place(set: &Set, name: &str, content: &str) {
    let path = set.root().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn files_that_changed() {
    let mut set = Set::new();
    for (name, size) in [
        ("/same", Some(5)),
        ("/shorter", Some(5)),
        ("/mode", None),
        ("/gone", Some(5)),
        ("/proc/7/maps", None),
        ("/dev/pts/3", None),
        ("/a/../../../same", Some(5)),
        ("/link", Some(5)),
    ] {
        file(&mut set, name, size);
    }
    place(&set, "same", "12345");
    place(&set, "shorter", "123");
    place(&set, "mode", "12345");
    fs::create_dir(set.root().join("a")).unwrap();
    // Absolute, as seen by who has this root.
    symlink("/same", set.root().join("link")).unwrap();
    fs::set_permissions(set.root().join("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    let change = |path: &str, what| {
        let path = path.as_bytes().to_vec();
        (Obstacle::Error, Mismatch::File { path, what })
    };
    assert_eq!(
        set.found(|_| {}),
        [
            change("/gone", FileChange::Missing),
            change(
                "/mode",
                FileChange::Mode {
                    dumped: 0o100_644,
                    here: 0o100_600
                }
            ),
            change("/shorter", FileChange::Size { dumped: 5, here: 3 }),
        ]
    );
    // What stands in for a deleted file comes with the images.
    let remap = proto::RemapFilePathEntry {
        orig_id: 13,
        remap_id: 1,
        ..Default::default()
    };
    put(&set.images(), Kind::RemapFpath, 0, &[remap]);
    assert_eq!(set.found(|_| {}).len(), 2);
    fs::remove_file(set.images().join("remap-fpath.img")).unwrap();
    // In mounts of their own, they cannot be seen from here.
    for file in &mut set.files {
        file.reg.as_mut().unwrap().mnt_id = Some(5);
    }
    assert_eq!(set.found(|_| {}), []);
}

#[test]
fn another_build_of_the_same_size() {
    let mut set = Set::new();
    let program = Path::new(env!("CARGO_BIN_EXE_ckpt"));
    let size = fs::metadata(program).unwrap().len();
    fs::copy(program, set.root().join("program")).unwrap();
    let mode = fs::metadata(set.root().join("program"))
        .unwrap()
        .permissions();
    file(&mut set, "/program", Some(size));
    let reg = set.files[0].reg.as_mut().unwrap();
    reg.mode = Some(mode.mode());
    reg.build_id = vec![1, 2, 3, 4, 5];
    let path = b"/program".to_vec();
    let what = FileChange::Build;
    let other = (Obstacle::Error, Mismatch::File { path, what });
    assert_eq!(set.found(|_| {}), [other]);
}

#[test]
fn mounts_of_their_own() {
    let set = Set::new();
    let mount = |mountpoint: &str, kind: proto::Fstype, ext_key: Option<&str>| proto::MntEntry {
        mountpoint: mountpoint.as_bytes().to_vec(),
        fstype: u32::try_from(i32::from(kind)).unwrap(),
        ext_key: ext_key.map(|key| key.as_bytes().to_vec()),
        ..Default::default()
    };
    let mounts = [
        mount("./", proto::Fstype::Overlayfs, None),
        mount("./tmp", proto::Fstype::Tmpfs, None),
        mount("./queue", proto::Fstype::Mqueue, None),
        mount("./data", proto::Fstype::Unsupported, Some("data")),
    ];
    put(&set.images(), Kind::Mnts, 9, &mounts);
    let external = Mismatch::ExternalMount {
        mountpoint: b"/data".to_vec(),
        key: b"data".to_vec(),
    };
    let unknown = Mismatch::FileSystem {
        mountpoint: b"/queue".to_vec(),
        name: "mqueue".to_owned(),
    };
    assert_eq!(
        set.found(|_| {}),
        [(Obstacle::Option, external), (Obstacle::Risk, unknown)]
    );
}

fn socket(state: u32, address: [u8; 4], port: u32) -> proto::FileEntry {
    proto::FileEntry {
        r#type: FdTypes::Inetsk.into(),
        id: 20,
        isk: Some(proto::InetSkEntry {
            proto: 6,
            state,
            src_addr: vec![u32::from_le_bytes(address)],
            src_port: port,
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn sockets() {
    let mut set = Set::new();
    let needs = |option, why| (Obstacle::Option, Mismatch::Option { option, why });
    set.files = vec![
        socket(1, [10, 0, 0, 1], 4000),
        socket(10, [127, 0, 0, 1], 80),
        socket(7, [10, 0, 0, 2], 4001),
    ];
    let outside = proto::UnixSkEntry {
        uflags: 1,
        ..Default::default()
    };
    set.files.push(proto::FileEntry {
        r#type: FdTypes::Unixsk.into(),
        id: 21,
        usk: Some(outside),
        ..Default::default()
    });
    let port = Mismatch::PortTaken {
        address: IpAddr::from([127, 0, 0, 1]),
        port: 80,
    };
    let address = Mismatch::Address(IpAddr::from([10, 0, 0, 2]));
    let found = set.found(|_| {});
    let options = [
        needs("tcp_established", Needed::Connections),
        needs("ext_unix_sk", Needed::ExternalUnix),
    ];
    let errors = [(Obstacle::Error, port), (Obstacle::Error, address)];
    assert_eq!(found, [&errors[..], &options[..]].concat());
    // Addresses of a network of its own come with the images.
    set.ids.net_ns_id = Some(96);
    assert_eq!(set.found(|_| {}), options);
}

#[test]
fn an_address_of_ipv4_in_a_socket_of_ipv6_is_that_of_the_host() {
    let mut set = Set::new();
    let mapped = |address: [u8; 4], port| {
        let mut file = socket(10, address, port);
        let socket = file.isk.as_mut().unwrap();
        socket
            .src_addr
            .splice(..0, [0, 0, u32::from_le_bytes([0, 0, 255, 255])]);
        file
    };
    set.files = vec![
        mapped([127, 0, 0, 1], 81),
        mapped([10, 0, 0, 1], 4000),
        mapped([0, 0, 0, 0], 4001),
    ];
    assert_eq!(set.found(|_| {}), []);
    set.files.push(mapped([10, 0, 0, 2], 4002));
    let elsewhere = Mismatch::Address(IpAddr::from([10, 0, 0, 2]));
    assert_eq!(set.found(|_| {}), [(Obstacle::Error, elsewhere)]);
    // The set's host has another listener there.
    set.files = vec![mapped([127, 0, 0, 1], 80)];
    let port = Mismatch::PortTaken {
        address: IpAddr::from([127, 0, 0, 1]),
        port: 80,
    };
    assert_eq!(set.found(|_| {}), [(Obstacle::Error, port)]);
}

#[test]
fn no_tree_is_an_error() {
    let set = Set::new();
    let images = Images::open(set.images()).unwrap();
    let error = Compat::of(&images, &set.host()).unwrap_err();
    assert!(error.to_string().contains("inventory.img"), "{error}");
}
