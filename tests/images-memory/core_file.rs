//! Core files: what is in them, and that gdb reads it.

use std::fs;
use std::path::Path;

use criu_images::{Chain, CoreFile, CoreWritten, Defect, Error, proto};
use proto::core_entry::March;

use crate::rounds::{PAGE, PARENT, PRESENT, Release, Rounds, content, image};

/// A core file, taken apart.
#[derive(Debug, Default)]
struct Elf {
    machine: u16,
    /// Kind, content.
    notes: Vec<(u32, Vec<u8>)>,
    /// Address, bytes in memory, bytes here.
    segments: Vec<(u64, u64, Vec<u8>)>,
    flags: Vec<u32>,
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(word)
}

fn long(bytes: &[u8], at: usize) -> usize {
    usize::try_from(word::<8>(bytes, at)).unwrap()
}

fn half(bytes: &[u8], at: usize) -> usize {
    usize::try_from(word::<2>(bytes, at)).unwrap()
}

impl Elf {
    fn parse(bytes: &[u8]) -> Self {
        assert_eq!(&bytes[..7], b"\x7fELF\x02\x01\x01");
        assert_eq!(
            (half(bytes, 16), half(bytes, 52), half(bytes, 54)),
            (4, 64, 56)
        );
        let mut count = half(bytes, 56);
        if count == 0xffff {
            let section = long(bytes, 40);
            count = usize::try_from(word::<4>(bytes, section + 44)).unwrap();
        }
        let mut elf = Self {
            machine: u16::try_from(half(bytes, 18)).unwrap(),
            ..Self::default()
        };
        for index in 0..count {
            let header = &bytes[long(bytes, 32) + 56 * index..];
            let (offset, stored) = (long(header, 8), long(header, 32));
            let content = &bytes[offset..offset + stored];
            match word::<4>(header, 0) {
                4 => elf.notes(content),
                1 => {
                    assert_eq!(offset % 4096, 0);
                    let size = word::<8>(header, 40);
                    elf.segments
                        .push((word::<8>(header, 16), size, content.to_vec()));
                    elf.flags.push(u32::try_from(word::<4>(header, 4)).unwrap());
                }
                other => panic!("program header {other}"),
            }
        }
        elf
    }

    fn notes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let size = |at| usize::try_from(word::<4>(bytes, at)).unwrap();
            let name = 12 + size(0).next_multiple_of(4);
            let end = name + size(4);
            let kind = u32::try_from(word::<4>(bytes, 8)).unwrap();
            self.notes.push((kind, bytes[name..end].to_vec()));
            bytes = &bytes[end.next_multiple_of(4)..];
        }
    }

    fn note(&self, kind: u32) -> &[u8] {
        let found = self.notes.iter().find(|(other, _)| *other == kind);
        &found.unwrap_or_else(|| panic!("note {kind:#x}")).1
    }
}

const REGULAR: u32 = 1;
const FILE_PRIVATE: u32 = 1 << 6;
const ANON_PRIVATE: u32 = 1 << 9;
const VVAR: u32 = 1 << 12;

/// A task of two threads, in a chain of two.
fn task(march: March) -> Rounds {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(10, 2, PRESENT)]);
    let folder = rounds.task(
        Release::New,
        &[(10, 1, PARENT), (11, 1, PRESENT), (40, 1, PRESENT)],
    );
    let area = |first: u64, pages: u64, status, prot| proto::VmaEntry {
        start: first * PAGE,
        end: (first + pages) * PAGE,
        status: status | REGULAR,
        prot,
        shmid: 3,
        pgoff: 5 * PAGE,
        ..Default::default()
    };
    let mm = proto::MmEntry {
        vmas: vec![
            area(10, 3, ANON_PRIVATE, 3),
            area(20, 18, ANON_PRIVATE, 0),
            area(40, 3, FILE_PRIVATE, 5),
            area(50, 1, VVAR, 1),
        ],
        mm_saved_auxv: vec![6, PAGE, 0, 0],
        mm_arg_start: 10 * PAGE,
        mm_arg_end: 10 * PAGE + 5,
        ..Default::default()
    };
    image(&folder, "mm-7.img", &[mm]);
    let file = proto::FileEntry {
        r#type: proto::FdTypes::Reg.into(),
        id: 3,
        reg: Some(proto::RegFileEntry {
            id: 3,
            name: b"/lib/x".to_vec(),
            ..Default::default()
        }),
        ..Default::default()
    };
    image(&folder, "files.img", &[file]);
    let process = proto::PstreeEntry {
        pid: 7,
        ppid: 1,
        pgid: 5,
        sid: 4,
        threads: vec![7, 9],
    };
    image(&folder, "pstree.img", &[process]);
    for thread in [7u32, 9] {
        let mut x86 = proto::ThreadInfoX86::default();
        x86.gpregs.ip = u64::from(thread) << 8;
        x86.gpregs.gs = 0xabc;
        x86.fpregs.mxcsr = 0x1f80;
        x86.fpregs.xmm_space = vec![thread; 64];
        x86.fpregs.xsave = Some(proto::UserX86XsaveEntry {
            xstate_bv: 7,
            ymmh_space: vec![thread + 1; 64],
            ..Default::default()
        });
        let mut arm = proto::ThreadInfoAarch64 {
            tls: 0x77,
            ..Default::default()
        };
        arm.gpregs.regs = (0..31).collect();
        arm.gpregs.pc = u64::from(thread) << 8;
        arm.fpsimd.vregs = vec![u64::from(thread); 64];
        let core = proto::CoreEntry {
            mtype: march.into(),
            thread_info: (march == March::X8664).then_some(x86),
            ti_aarch64: (march == March::Aarch64).then_some(arm),
            tc: (thread == 7).then(|| proto::TaskCoreEntry {
                comm: b"a name".to_vec(),
                ..Default::default()
            }),
            ..Default::default()
        };
        image(&folder, &format!("core-{thread}.img"), &[core]);
    }
    rounds
}

fn written(chain: &Chain) -> (Elf, CoreWritten) {
    let mut bytes = Vec::new();
    let told = CoreFile::open(chain, 7).unwrap().write(&mut bytes).unwrap();
    (Elf::parse(&bytes), told)
}

#[test]
fn everything_of_a_task_in_a_chain() {
    let (elf, told) = written(&task(March::X8664).chain());
    assert_eq!(elf.machine, 62);
    let kinds: Vec<_> = elf.notes.iter().map(|(kind, _)| *kind).collect();
    let first = [1, 3, 0x5349_4749, 6, 0x4649_4c45, 2, 0x202];
    assert_eq!(kinds, [&first[..], &[1, 2, 0x202]].concat());
    for (index, thread) in [(0, 7u32), (7, 9)] {
        let status = &elf.notes[index].1;
        assert_eq!(status.len(), 336);
        assert_eq!(word::<4>(status, 32), u64::from(thread));
        assert_eq!(word::<8>(status, 112 + 16 * 8), u64::from(thread) << 8);
        assert_eq!(word::<8>(status, 112 + 26 * 8), 0xabc);
        let legacy = &elf.notes[index + if index == 0 { 5 } else { 1 }].1;
        assert_eq!((legacy.len(), word::<4>(legacy, 24)), (512, 0x1f80));
        assert_eq!(word::<4>(legacy, 160), u64::from(thread));
        let extended = &elf.notes[index + if index == 0 { 6 } else { 2 }].1;
        assert_eq!((extended.len(), word::<8>(extended, 464)), (832, 7));
        assert_eq!(word::<4>(extended, 576), u64::from(thread) + 1);
    }
    let info = elf.note(3);
    assert_eq!((info.len(), &info[40..47]), (136, &b"a name\0"[..]));
    assert_eq!(&info[56..60], &content(0, 10)[..4]);
    assert_eq!(
        elf.note(6),
        [6u64, PAGE, 0, 0].map(u64::to_le_bytes).concat()
    );
    let mut files = [1, PAGE, 40 * PAGE, 43 * PAGE, 5]
        .map(u64::to_le_bytes)
        .concat();
    files.extend(b"/lib/x\0");
    assert_eq!(elf.note(0x4649_4c45), files);

    let pages = |count: u64| count * PAGE;
    let bytes = [content(0, 10), content(1, 11), vec![0; 4096]].concat();
    assert_eq!(
        elf.segments,
        [
            (10 * PAGE, pages(3), bytes),
            (20 * PAGE, pages(18), Vec::new()),
            (40 * PAGE, pages(1), content(1, 40)),
            (41 * PAGE, pages(2), Vec::new()),
        ]
    );
    assert_eq!(elf.flags, [6, 0, 5, 5]);
    let counts = (
        told.threads,
        told.bytes,
        told.zeros,
        told.in_files,
        told.absent,
    );
    assert_eq!(counts, (2, pages(4), pages(18), pages(2), pages(1)));
}

#[test]
fn files_are_read_if_they_are_asked_for() {
    let rounds = task(March::X8664);
    let root = rounds.root().join("root");
    fs::create_dir_all(root.join("lib")).unwrap();
    // The area begins with page 5 of the file, and 41 is its second.
    fs::write(
        root.join("lib/x"),
        [vec![1; 6 * 4096], vec![2; 100]].concat(),
    )
    .unwrap();
    let mut bytes = Vec::new();
    let core = CoreFile::open(&rounds.chain(), 7).unwrap().files(&root);
    let told = core.write(&mut bytes).unwrap();
    assert_eq!((told.in_files, told.bytes), (0, 6 * PAGE));
    let elf = Elf::parse(&bytes);
    let expected = [vec![2; 100], vec![0; 2 * 4096 - 100]].concat();
    assert_eq!(elf.segments[3], (41 * PAGE, 2 * PAGE, expected));

    fs::remove_file(root.join("lib/x")).unwrap();
    std::os::unix::fs::symlink("../../../../../../../etc/hostname", root.join("lib/x")).unwrap();
    let core = CoreFile::open(&rounds.chain(), 7).unwrap().files(&root);
    let error = core.write(Vec::new()).unwrap_err();
    assert!(error.to_string().starts_with("/lib/x"), "{error}");
}

#[test]
fn other_machines() {
    let (elf, _) = written(&task(March::Aarch64).chain());
    assert_eq!(elf.machine, 183);
    let status = elf.note(1);
    assert_eq!(
        (status.len(), word::<8>(status, 112 + 32 * 8)),
        (392, 7 << 8)
    );
    assert_eq!(
        (elf.note(2).len(), word::<8>(elf.note(0x401), 0)),
        (528, 0x77)
    );

    let error = CoreFile::open(&task(March::Riscv64).chain(), 7).unwrap_err();
    let Error::Malformed { defect, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*defect, Defect::Machine("RISCV64"));
    let error = CoreFile::open(&task(March::X8664).chain(), 8).unwrap_err();
    assert!(error.to_string().contains("core-8.img"), "{error}");
}

/// ELF has 16 bits for the count of segments.
#[test]
fn more_segments_than_the_header_counts() {
    let rounds = task(March::X8664);
    let areas = (0..70_000u64).map(|index| proto::VmaEntry {
        start: (100 + 2 * index) * PAGE,
        end: (101 + 2 * index) * PAGE,
        status: ANON_PRIVATE | REGULAR,
        prot: 3,
        ..Default::default()
    });
    let mm = proto::MmEntry {
        vmas: areas.collect(),
        ..Default::default()
    };
    image(&rounds.newest(), "mm-7.img", &[mm]);
    let (elf, told) = written(&rounds.chain());
    assert_eq!((elf.segments.len(), told.bytes), (70_000, 70_000 * PAGE));
    let last = elf.segments.last().unwrap();
    assert_eq!((last.0, last.2.len()), ((100 + 2 * 69_999) * PAGE, 4096));
    let first = |path: &Path| fs::read(path).unwrap()[0];
    assert_ne!(first(&rounds.newest().join("mm-7.img")), 0);
}

mod root {
    use std::collections::BTreeMap;
    use std::env;
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use criu_images::{Chain, CoreFile};
    use criu_rpc::{Criu, Dump, Pid};
    use criu_rs_tests::{Scratch, Spawned, eventually, real_criu};

    use super::Elf;
    use crate::spread::spread;

    const PATIENCE: Duration = Duration::from_secs(60);
    const PROGRAM: &str = env!("CARGO_BIN_EXE_callers");

    /// What gdb says, thread by thread, by the thread's id.
    fn gdb(target: &[&str], commands: &[&str]) -> BTreeMap<i32, String> {
        let gdb = env::var_os("GDB").unwrap_or_else(|| "gdb".into());
        let mut command = Command::new(gdb);
        command.args(["-nx", "-batch", "-iex", "set debuginfod enabled off"]);
        command.args(["-iex", "set auto-load off", "-ex", "set width 0"]);
        for word in commands {
            command.arg("-ex").arg(format!("thread apply all {word}"));
        }
        let ran = command.args(target).stdin(Stdio::null()).output();
        let ran = ran.expect("gdb: set $GDB, or run cargo xtask test");
        let text = String::from_utf8(ran.stdout).unwrap();
        let errors = String::from_utf8(ran.stderr).unwrap();
        let mut told: BTreeMap<i32, String> = BTreeMap::new();
        let mut thread = None;
        for line in text.lines() {
            if line.starts_with("Thread ")
                && let Some((_, rest)) = line.split_once("LWP ")
            {
                let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
                thread = Some(digits.parse().unwrap());
            } else if let Some(thread) = thread
                && !line.starts_with("[Inferior")
            {
                let told = told.entry(thread).or_default();
                told.push_str(line);
                told.push('\n');
            }
        }
        assert_eq!(told.len(), 3, "{text}\n{errors}");
        told
    }

    /// Threads that wait in futex(2), as the kernel tells.
    fn waiting(pid: i32) -> std::io::Result<Option<Vec<(i32, String)>>> {
        const FUTEX: &str = "202 ";
        let mut threads = Vec::new();
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?;
            let call = fs::read_to_string(thread.path().join("syscall"))?;
            if !call.starts_with(FUTEX) {
                return Ok(None);
            }
            let id = thread.file_name().to_str().unwrap().parse().unwrap();
            threads.push((id, call));
        }
        Ok((threads.len() == 3).then_some(threads))
    }

    #[test]
    #[ignore = "needs root and CRIU: run cargo xtask test"]
    fn gdb_finds_each_thread_where_it_was() {
        let scratch = Scratch::new().unwrap();
        let images = scratch.dir("images").unwrap();
        let ready = scratch.path().join("ready");
        let mut command = Command::new("setsid");
        command.arg(PROGRAM).arg(&ready).current_dir("/");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let task = Spawned::spawn(&mut command).unwrap();
        let pid = task.pid();
        let address = eventually("a program that is ready", PATIENCE, || {
            Ok(fs::read_to_string(&ready).ok())
        })
        .unwrap();
        let threads = eventually("threads that wait", PATIENCE, || waiting(pid)).unwrap();
        let dump = Dump::new(Pid::from_raw(pid).unwrap(), &images).leave_running(true);
        Criu::at(real_criu()).unwrap().run(dump).unwrap();

        let id = u32::try_from(pid).unwrap();
        let file = scratch.path().join("core");
        let core = CoreFile::open(&Chain::open(&images).unwrap(), id).unwrap();
        let told = core.write(File::create(&file).unwrap()).unwrap();
        assert_eq!(told.threads, 3);
        let path = file.to_str().unwrap();

        // Which thread is which, the kernel says not; so each function is in one of them.
        let stacks = gdb(&[PROGRAM, path], &["backtrace"]);
        for function in [
            "waits_in_the_leader",
            "waits_in_the_first",
            "waits_in_the_second",
        ] {
            // With or without its module: that depends on how much debug information there is.
            let found: Vec<_> = stacks
                .iter()
                .filter(|(_, stack)| stack.contains(function))
                .collect();
            assert_eq!(found.len(), 1, "{function}: {stacks:#?}");
            let is_leader = *found[0].0 == pid;
            assert_eq!(is_leader, function == "waits_in_the_leader", "{stacks:#?}");
        }
        // The kernel's word on where each is.
        let examine = format!("x/16xb {address}");
        let seen = gdb(
            &[PROGRAM, path],
            &["printf \"%#lx %#lx\\n\", $sp, $pc", &examine, "info auxv"],
        );
        for (thread, call) in &threads {
            let told = &seen[thread];
            let words: Vec<_> = call.split_whitespace().collect();
            let [.., sp, pc] = words[..] else {
                panic!("{call}")
            };
            let number =
                |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap();
            let (found_sp, rest) = told.split_once(' ').unwrap();
            assert_eq!(number(found_sp), number(sp), "{told}");
            // CRIU turns a thread back to before the call.
            let behind = number(pc) - number(rest.lines().next().unwrap());
            assert!([0, 2].contains(&behind), "{told}");
            let bytes: String = b"all are waiting."
                .map(|byte| format!("\t{byte:#04x}"))
                .concat();
            let lines: Vec<_> = told
                .lines()
                .filter_map(|line| line.split_once(":"))
                .collect();
            let found: String = lines.iter().take(2).map(|(_, bytes)| *bytes).collect();
            assert_eq!(found, bytes, "{told}");
            assert!(
                told.contains("AT_PAGESZ") && told.contains("4096"),
                "{told}"
            );
        }
        // gdb sees the same registers in the process itself, which still waits.
        // Not the others of AVX-512: of a process, gdb before 14 takes every processor for one
        // of Intel, and looks in the wrong place. Nor those by which the call is done again.
        let names = (0..16)
            .map(|n| format!("xmm{n} ymm{n}"))
            .collect::<Vec<_>>();
        let wide = format!("info registers {} mxcsr", names.join(" "));
        let registers = [
            "info registers rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15",
            "info registers cs ss ds es fs gs fs_base gs_base",
            "info registers st0 st1 st2 st3 st4 st5 st6 st7 fctrl fstat ftag fop",
            &wide,
        ];
        let there = gdb(&["-p", &pid.to_string()], &registers);
        let here = gdb(&[PROGRAM, path], &registers);
        let mut vectors = 0;
        for (thread, text) in &there {
            for (live, found) in text.lines().zip(here[thread].lines()) {
                let name = live.split_whitespace().next().unwrap_or_default();
                assert_eq!(found, live, "thread {thread}");
                vectors += usize::from(name.starts_with("ymm") || name.starts_with("xmm"));
            }
            assert_eq!(here[thread].lines().count(), text.lines().count());
        }
        assert!(vectors >= 3 * 16, "{vectors}");

        memory_is_that_of(pid, &file);

        // From a chain it is the same, byte for byte.
        let newest = spread(&images, scratch.path(), 4);
        let again = scratch.path().join("again");
        let core = CoreFile::open(&Chain::open(&newest).unwrap(), id).unwrap();
        core.write(File::create(&again).unwrap()).unwrap();
        assert!(fs::read(&again).unwrap() == fs::read(&file).unwrap());

        // With what its files have, nothing is left to look for.
        let filled = scratch.path().join("filled");
        let core = CoreFile::open(&Chain::open(&images).unwrap(), id).unwrap();
        let whole = core
            .files("/")
            .write(File::create(&filled).unwrap())
            .unwrap();
        assert_eq!(whole.in_files, 0);
        assert_eq!(whole.bytes, told.bytes + told.in_files);
        memory_is_that_of(pid, &filled);
    }

    /// Compares what a core file has of memory with what the process has.
    fn memory_is_that_of(pid: i32, core: &Path) {
        let live = File::open(format!("/proc/{pid}/mem")).unwrap();
        let elf = Elf::parse(&fs::read(core).unwrap());
        let (mut bytes, mut other) = (0, 0);
        for (address, _, content) in &elf.segments {
            for (index, page) in (0u64..).zip(content.chunks(4096)) {
                let mut expected = vec![0; page.len()];
                let address = address + index * 4096;
                // Past the end of a file there is nothing to read.
                if live.read_exact_at(&mut expected, address).is_ok() {
                    bytes += page.len();
                    // The kernel writes to rseq(2) of each thread when it goes on.
                    let differs = |(one, other): (&u8, &u8)| one != other;
                    let count = page
                        .iter()
                        .zip(&expected)
                        .filter(|pair| differs(*pair))
                        .count();
                    assert!(count <= 32, "{address:#x}: {count} bytes differ");
                    other += usize::from(count > 0);
                }
            }
        }
        assert!(bytes > 20 * 4096, "{bytes}");
        assert!(other <= 3, "{other} pages differ");
    }
}
