//! `x`: what the images of a checkpoint tell together.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use criu_images::proto::{self, FdTypes};
use criu_images::{Kind, Name};
use criu_rs_tests::Scratch;
use serde::Deserialize;

use crate::command::{pipe, run};
use crate::documents::assert_document;
use crate::{fixture, made};

const VIEWS: [&str; 4] = ["ps", "fds", "mems", "rss"];

fn x(folder: &Path, view: &str) -> String {
    run(&["x", folder.to_str().unwrap(), view]).text()
}

fn json<'a, T: Deserialize<'a>>(folder: &Path, view: &str, room: &'a mut String) -> Vec<T> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document<T> {
        processes: Vec<T>,
    }
    *room = run(&["x", folder.to_str().unwrap(), view, "--json"]).text();
    assert_document(
        &format!("image x DIR {view}"),
        &serde_json::from_str(room).unwrap(),
    );
    let document: Document<T> = serde_json::from_str(room).unwrap();
    document.processes
}

/// A root with a child, one with a name that would clear a terminal, and a zombie.
fn family(scratch: &Scratch) -> std::path::PathBuf {
    let folder = scratch.dir("family").unwrap();
    let tree = [
        made::process(1, 0),
        made::process(20, 1),
        made::process(3, 1),
        made::process(21, 20),
    ];
    made::put(&folder, Kind::Pstree, 0, &tree);
    for (pid, comm, state) in [
        (1, &b"init"[..], 1),
        (20, b"\x1b[2Jx\xff", 1),
        (3, b"gone", 6),
        (21, b"last", 3),
    ] {
        made::put(&folder, Kind::Core, pid, &[made::core(comm, state)]);
        if state == 6 {
            continue;
        }
        let ids = proto::TaskKobjIdsEntry {
            files_id: 7,
            ..Default::default()
        };
        made::put(&folder, Kind::Ids, pid, &[ids]);
        let fs = proto::FsEntry {
            cwd_id: 2,
            root_id: 99,
            umask: None,
        };
        made::put(&folder, Kind::Fs, pid, &[fs]);
        let mm = proto::MmEntry {
            exe_file_id: 1,
            vmas: vec![
                made::area(0x40_0000, 0x40_4000, 1 | 1 << 6, 1),
                made::area(0x50_0000, 0x50_2000, 1 | 1 << 8, 0xabc),
                made::area(0x60_0000, 0x60_2000, 1 | 1 << 10, 0xabc),
                made::area(0x70_0000, 0x70_2000, 1 | 1 << 11, 5),
                made::area(0x80_0000, 0x80_2000, 1 | 1 << 7, 42),
                made::area(0x90_0000, 0x90_1000, 1 | 1 << 3, 0),
                made::area(0xa0_0000, 0xa0_1000, 1 | 1 << 9, 0),
                made::area(u64::MAX - 0xfff, u64::MAX, 1 << 2, 0),
            ],
            ..Default::default()
        };
        made::put(&folder, Kind::Mm, pid, &[mm]);
        let runs = [
            // Two runs in one area, then one over two areas and a hole.
            made::entry(0x40_0000, 1, 4),
            made::entry(0x40_2000, 1, 1),
            made::entry(0x40_3000, 0x200, 6),
            // As CRIU 4.1 counts.
            proto::PagemapEntry {
                vaddr: 0xa0_0000,
                compat_nr_pages: 1,
                in_parent: Some(true),
                ..Default::default()
            },
            // A forged count.
            made::entry(u64::MAX - 0xfff, u64::MAX, 4),
        ];
        made::put_bytes(&folder, Kind::Pagemap, pid, &made::pagemap_of(&runs));
    }
    let descriptors = [
        (0, FdTypes::Reg, 1),
        (1, FdTypes::Pipe, 3),
        (2, FdTypes::Unixsk, 4),
        (5, FdTypes::Eventfd, 6),
        (6, FdTypes::Pipe, 77),
    ];
    let descriptors = descriptors.map(|(fd, kind, id)| proto::FdinfoEntry {
        id,
        r#type: kind.into(),
        fd,
        ..Default::default()
    });
    made::put(&folder, Kind::Fdinfo, 7, &descriptors);
    folder
}

fn files(folder: &Path) {
    let pipe = proto::FileEntry {
        r#type: FdTypes::Pipe.into(),
        id: 3,
        pipe: Some(pipe_entry()),
        ..Default::default()
    };
    let socket = proto::FileEntry {
        r#type: FdTypes::Unixsk.into(),
        id: 4,
        usk: Some(socket_entry()),
        ..Default::default()
    };
    let files = [
        made::file(1, b"/bin/a b"),
        made::file(2, "/tmp/\n\u{e9}".as_bytes()),
        pipe,
        socket,
    ];
    made::put(folder, Kind::Files, 0, &files);
}

/// The same, as CRIU before 3.0 has them.
fn old_files(folder: &Path) {
    let paths = [
        made::path(1, b"/bin/a b"),
        made::path(2, "/tmp/\n\u{e9}".as_bytes()),
    ];
    made::put(folder, Kind::RegFiles, 0, &paths);
    made::put(folder, Kind::Pipes, 0, &[pipe_entry()]);
    made::put(folder, Kind::Unixsk, 0, &[socket_entry()]);
}

fn pipe_entry() -> proto::PipeEntry {
    proto::PipeEntry {
        id: 3,
        pipe_id: 4711,
        ..Default::default()
    }
}

fn socket_entry() -> proto::UnixSkEntry {
    proto::UnixSkEntry {
        id: 4,
        ino: 8,
        peer: 9,
        name: b"\0a".to_vec(),
        ..Default::default()
    }
}

#[test]
fn the_tree_of_processes() {
    let scratch = Scratch::new().unwrap();
    let folder = family(&scratch);
    let text = "    PID   PGID    SID   COMM
      1      1      1   init
     20      1      1       \\u{1b}[2Jx\\xff
     21      1      1           last
      3      1      1       gone
";
    assert_eq!(x(&folder, "ps"), text);

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Process {
        pid: u32,
        ppid: u32,
        pgid: u32,
        sid: u32,
        depth: u32,
        comm: String,
        dead: bool,
    }
    let all: Vec<Process> = json(&folder, "ps", &mut String::new());
    let all: Vec<_> = all
        .iter()
        .map(|p| (p.pid, p.ppid, p.pgid, p.sid, p.depth, &p.comm[..], p.dead))
        .collect();
    let wanted = [
        (1, 0, 1, 1, 0, "init", false),
        (20, 1, 1, 1, 1, "\u{1b}[2Jx\u{fffd}", false),
        (21, 20, 1, 1, 2, "last", false),
        (3, 1, 1, 1, 1, "gone", true),
    ];
    assert_eq!(all, wanted);
}

/// crit fails on the zombie, and on a pipe that is not there.
#[test]
fn open_files_of_every_process() {
    let scratch = Scratch::new().unwrap();
    let folder = family(&scratch);
    let one = "\t      0: /bin/a b
\t      1: pipe[4711]
\t      2: unix[8 (9) =00a]
\t      5: EVENTFD.6
\t      6: pipe[?]
\t    cwd: /tmp/\\né
\t   root: unknown path
";
    let text = format!("1\n{one}20\n{one}3\n21\n{one}");
    files(&folder);
    assert_eq!(x(&folder, "fds"), text);
    fs::remove_file(folder.join("files.img")).unwrap();
    old_files(&folder);
    assert_eq!(x(&folder, "fds"), text);

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Process {
        pid: u32,
        files: Vec<File>,
        cwd: Option<String>,
        root: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        fd: u32,
        r#type: String,
        id: u64,
        file: String,
    }
    let all: Vec<Process> = json(&folder, "fds", &mut String::new());
    let pids: Vec<_> = all.iter().map(|process| process.pid).collect();
    assert_eq!(pids, [1, 20, 3, 21]);
    assert_eq!(all[0].cwd.as_deref(), Some("/tmp/\né"));
    assert_eq!(all[0].root.as_deref(), Some("unknown path"));
    let files: Vec<_> = all[0]
        .files
        .iter()
        .map(|f| (f.fd, &f.r#type[..], f.id, &f.file[..]))
        .collect();
    assert_eq!(files[0], (0, "REG", 1, "/bin/a b"));
    assert_eq!(files[2], (2, "UNIXSK", 4, "unix[8 (9) =00a]"));
    assert!(all[2].files.is_empty() && all[2].cwd.is_none() && all[2].root.is_none());
}

#[test]
fn memory_areas_of_every_process() {
    let scratch = Scratch::new().unwrap();
    let folder = family(&scratch);
    files(&folder);
    let one = "\texe                                     /bin/a b
\t00400000-00404000                   r-x /bin/a b
\t00500000-00502000                   r-x shmem[1]
\t00600000-00602000                   r-x ips[1]
\t00700000-00702000                   r-x packet[2]
\t00800000-00802000                   r-x unknown path (s)
\t00900000-00901000                   r-x [vdso]
\t00a00000-00a01000                   r-x
\tfffffffffffff000-ffffffffffffffff   r-x [vsyscall] *
";
    assert_eq!(x(&folder, "mems"), format!("1\n{one}20\n{one}3\n21\n{one}"));

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Process {
        pid: u32,
        exe: Option<String>,
        areas: Vec<Area>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Area {
        start: u64,
        end: u64,
        prot: String,
        regular: bool,
        kind: String,
        segment: Option<u64>,
        file: Option<File>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        file: String,
        offset: u64,
        shared: bool,
    }
    let all: Vec<Process> = json(&folder, "mems", &mut String::new());
    assert_eq!(all[0].exe.as_deref(), Some("/bin/a b"));
    assert_eq!(all[2].pid, 3);
    assert!(all[2].exe.is_none() && all[2].areas.is_empty());
    let areas = &all[3].areas;
    let kinds: Vec<_> = areas.iter().map(|a| (&a.kind[..], a.segment)).collect();
    let wanted = [
        ("file", None),
        ("shared", Some(1)),
        ("sysv", Some(1)),
        ("packet", Some(2)),
        ("file", None),
        ("vdso", None),
        ("anonymous", None),
        ("vsyscall", None),
    ];
    assert_eq!(kinds, wanted);
    let last = &areas[7];
    assert_eq!((last.start, last.end), (u64::MAX - 0xfff, u64::MAX));
    assert_eq!((&last.prot[..], last.regular), ("r-x", false));
    assert_eq!(
        areas[4].file,
        Some(File {
            file: "unknown path".to_owned(),
            offset: 0,
            shared: true
        })
    );
}

/// Of both releases, with the runs that the dump before has; crit fails on those of 4.1.
#[test]
fn pages_of_every_process() {
    let scratch = Scratch::new().unwrap();
    let folder = family(&scratch);
    files(&folder);
    let below = format!("\n\t{:23}", "");
    let one = [
        format!("\t400000 / 1              00400000 / 4        /bin/a b{below}\n"),
        format!("\t402000 / 1              ~{below}\n"),
        format!(
            "\t403000 / 512            ~{below} 00500000 / 2       {below} 00600000 / 2       {below}\n"
        ),
        format!("\ta00000 / 1              00a00000 / 1       {below}\n"),
        format!(
            "\tfffffffffffff000 / 18446744073709551615 fffffffffffff000 / 0       {below}\n"
        ),
    ]
    .concat();
    assert_eq!(x(&folder, "rss"), format!("1\n{one}20\n{one}3\n21\n{one}"));

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Process {
        pid: u32,
        runs: Vec<Run>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Run {
        vaddr: u64,
        pages: u64,
        in_parent: bool,
        lazy: bool,
        present: bool,
        areas: Vec<Area>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Area {
        start: u64,
        end: u64,
        file: Option<String>,
    }
    let all: Vec<Process> = json(&folder, "rss", &mut String::new());
    assert_eq!(all[2].pid, 3);
    assert!(all[2].runs.is_empty());
    let runs: Vec<_> = all[0]
        .runs
        .iter()
        .map(|r| {
            (
                r.vaddr,
                r.pages,
                [r.in_parent, r.lazy, r.present],
                r.areas.len(),
            )
        })
        .collect();
    let wanted = [
        (0x40_0000, 1, [false, false, true], 1),
        (0x40_2000, 1, [true, false, false], 1),
        (0x40_3000, 0x200, [false, true, true], 3),
        (0xa0_0000, 1, [true, false, false], 1),
        (u64::MAX - 0xfff, u64::MAX, [false, false, true], 1),
    ];
    assert_eq!(runs, wanted);
    let area = &all[0].runs[0].areas[0];
    assert_eq!((area.start, area.end), (0x40_0000, 0x40_4000));
    assert_eq!(area.file.as_deref(), Some("/bin/a b"));

    // On a machine with other pages the run of 512 reaches further.
    let folder = folder.to_str().unwrap();
    let wide = run(&["x", folder, "rss", "--page-size", "65536"]).text();
    assert!(wide.contains("00900000 / 0"), "{wide}");
    for wrong in ["0", "4095", "-1", "x", "18446744073709551616"] {
        run(&["x", folder, "rss", "--page-size", wrong]).failed(2);
    }
}

/// Circles, a parent that is not there, and one pid for two: each process is told once.
#[test]
fn a_forged_tree_ends() {
    let scratch = Scratch::new().unwrap();
    let folder = scratch.dir("forged").unwrap();
    let tree = [(5, 5), (6, 7), (7, 6), (8, 100), (9, 0), (9, 8), (10, 9)];
    let tree = tree.map(|(pid, ppid)| made::process(pid, ppid));
    made::put(&folder, Kind::Pstree, 0, &tree);
    for process in &tree {
        let core = [made::core(b"x", 1)];
        made::put(&folder, Kind::Core, process.pid.into(), &core);
    }
    let text = x(&folder, "ps");
    let pids: Vec<_> = text
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(pids, ["8", "9", "10", "9", "5", "6", "7"]);
}

/// A folder, an archive plain and packed, a folder inside of one, and standard input.
#[test]
fn archives_are_read_without_unpacking() {
    let scratch = Scratch::new().unwrap();
    let folder = fixture::unpack(&scratch, "tree");
    let tar = scratch.join("backup.tar");
    // As Podman has it: the images in a folder of that name, other files beside it.
    fs::rename(&folder, scratch.join("checkpoint")).unwrap();
    let folder = scratch.join("checkpoint");
    fs::write(scratch.join("config.dump"), "{}").unwrap();
    let packed = Command::new("tar")
        .args(["--format=ustar", "-cf"])
        .arg(&tar)
        .arg("-C")
        .arg(scratch.path())
        .args(["config.dump", "checkpoint"])
        .status()
        .unwrap();
    assert!(packed.success());
    let plain = fs::read(&tar).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    for view in VIEWS {
        let wanted = x(&folder, view);
        assert!(wanted.lines().count() > 3, "{wanted}");
        assert_eq!(x(&fixture::archive().join("tree"), view), wanted);
        for (name, bytes) in [("b.tar", &plain), ("b.tgz", &gzip), ("b.tzst", &zstd)] {
            fs::write(scratch.join(name), bytes).unwrap();
            assert_eq!(x(&scratch.join(name), view), wanted, "{name}");
            assert_eq!(x(&scratch.join(name).join("checkpoint"), view), wanted);
            assert_eq!(pipe(&["x", "-", view], bytes).text(), wanted, "{name}");
        }
    }
    assert!(!scratch.join("pstree.img").exists());
}

/// Every image that a view needs, told by name once it is not there.
#[test]
fn what_is_missing_is_named() {
    let scratch = Scratch::new().unwrap();
    let folder = fixture::unpack(&scratch, "unix");
    let needed: BTreeMap<&str, &[Kind]> = BTreeMap::from([
        ("ps", &[Kind::Pstree, Kind::Core][..]),
        ("fds", &[Kind::Pstree, Kind::Ids, Kind::Fs]),
        ("mems", &[Kind::Pstree, Kind::Mm]),
        ("rss", &[Kind::Pstree, Kind::Mm]),
    ]);
    for (view, kinds) in needed {
        for kind in kinds {
            let image = fixture::find(&folder, *kind);
            let aside = scratch.join("aside");
            fs::rename(&image, &aside).unwrap();
            let error = run(&["x", folder.to_str().unwrap(), view]).failed(1);
            let name = image.file_name().unwrap().to_str().unwrap();
            assert!(error.contains(&format!("there is no {name};")), "{error}");
            assert!(error.starts_with(folder.to_str().unwrap()), "{error}");
            fs::rename(&aside, &image).unwrap();
        }
    }
    // A cut image is told with its place.
    let image = fixture::find(&folder, Kind::Mm);
    let bytes = fs::read(&image).unwrap();
    fs::write(&image, &bytes[..bytes.len() - 1]).unwrap();
    let error = run(&["x", folder.to_str().unwrap(), "mems"]).failed(1);
    let name = Name::parse(image.file_name().unwrap().to_str().unwrap()).unwrap();
    assert!(
        error.contains(&format!("{name}, record 0, byte ")),
        "{error}"
    );
}
