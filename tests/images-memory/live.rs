//! Memory of real dumps: each byte is what the kernel says the stopped task had.

pub(crate) mod root {
    use std::fs;
    use std::os::unix::fs::FileExt as _;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use criu_images::{AddrRange, Chain, Memory, Origin, VirtAddr};
    use criu_rpc::{Criu, Dump, Pid};
    use criu_rs_tests::{
        Everything, Scratch, Settings, Spawned, State, Workload, eventually, real_criu,
    };
    use rustix::process::Signal;

    const PAGE: usize = 4096;
    const PATIENCE: Duration = Duration::from_secs(30);

    /// How many pages came from where.
    #[derive(Debug, Default)]
    pub(crate) struct Seen {
        pub(crate) stored: usize,
        zero: usize,
        file: usize,
        elsewhere: usize,
        /// Pages in which the kernel wrote since.
        rseq: usize,
    }

    /// Whether the pages differ in no more than what `rseq(2)` has the kernel write each
    /// time a thread goes on: 32 bytes, of which it has written to four words.
    fn differ_in_rseq(one: &[u8], other: &[u8]) -> bool {
        let differ = |(one, other): (&u8, &u8)| one != other;
        let first = one.iter().zip(other).position(differ).unwrap_or(0);
        let last = one.iter().zip(other).rposition(differ).unwrap_or(0);
        first / 32 == last / 32
    }

    pub(crate) fn stop(pid: i32) {
        let process = Spawned::adopt(pid).unwrap();
        process.signal(Signal::STOP).unwrap();
        eventually("stopped threads", PATIENCE, || {
            let threads = process.proc().threads()?;
            let all = threads.iter().all(|t| t.state == State::Stopped);
            Ok(all.then_some(()))
        })
        .unwrap();
        process.leave();
    }

    fn dump(pid: i32, images: &Path) {
        let root = Pid::from_raw(pid).unwrap();
        let dump = Dump::new(root, images).leave_running(true);
        Criu::at(real_criu()).unwrap().run(dump).unwrap();
    }

    /// Compares all memory that the kernel lets one read of a stopped task.
    pub(crate) fn compare(memory: &Memory, pid: i32, files: Option<&Path>) -> Seen {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let live = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
        let mut seen = Seen::default();
        let mut mapped = 0;
        for line in maps.lines() {
            let (range, rest) = line.split_once(' ').unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            let (start, end) = (number(start), number(end));
            let range = AddrRange::new(start, end).unwrap();
            mapped += 1;
            let known: u64 = memory.pieces(range).map(|p| p.range.bytes()).sum();
            // CRIU leaves the kernel's own areas out, or has them as such.
            if ["[vvar]", "[vvar_vclock]", "[vsyscall]"]
                .iter()
                .any(|name| rest.ends_with(name))
            {
                continue;
            }
            assert_eq!(known, range.bytes(), "{line}");
            for address in (start..end).step_by(PAGE) {
                let mut expected = vec![0; PAGE];
                let there = live.read_exact_at(&mut expected, address).is_ok();
                let address = VirtAddr::new(address);
                let mut found = vec![1; PAGE];
                let what = format!("{address}, {line}");
                match memory.origin_of(address).unwrap() {
                    Origin::Stored { .. } => seen.stored += 1,
                    Origin::Zero => seen.zero += 1,
                    Origin::File { id, offset, .. } => {
                        seen.file += 1;
                        let path = memory.path(id).unwrap();
                        let path = PathBuf::from(String::from_utf8(path.to_vec()).unwrap());
                        assert!(files.is_none_or(|_| path.is_absolute()));
                        // Past the end of the file, the kernel has nothing either.
                        if there {
                            assert_eq!(of_file(&path, offset), expected, "{what}");
                        }
                        memory.read(address, &mut found).unwrap_err();
                        continue;
                    }
                    Origin::Elsewhere => {
                        seen.elsewhere += 1;
                        continue;
                    }
                    other => panic!("{what}: {other:?}"),
                }
                if there {
                    memory.read(address, &mut found).unwrap();
                    if found != expected {
                        assert!(differ_in_rseq(&found, &expected), "{what}");
                        seen.rseq += 1;
                    }
                }
            }
        }
        // One for each thread.
        assert!(seen.rseq <= 4, "{seen:?}");
        assert!(mapped > 10, "{maps}");
        // All of it at once is the same as page by page.
        for piece in memory.pieces(AddrRange::ALL) {
            if matches!(piece.origin, Origin::Stored { .. } | Origin::Zero) {
                let start = piece.range.start();
                let mut all = vec![1; usize::try_from(piece.range.bytes()).unwrap()];
                memory.read(start, &mut all).unwrap();
                for (index, page) in (0u64..).zip(all.chunks(PAGE)) {
                    let mut found = vec![2; PAGE];
                    let address = start.checked_add(index * 4096).unwrap();
                    memory.read(address, &mut found).unwrap();
                    assert!(found == page, "{address}");
                }
            }
        }
        seen
    }

    fn of_file(path: &Path, offset: u64) -> Vec<u8> {
        let file = fs::File::open(path).unwrap();
        let mut bytes = vec![0; PAGE];
        let mut found = 0;
        while found < PAGE {
            let at = offset + u64::try_from(found).unwrap();
            match file.read_at(&mut bytes[found..], at).unwrap() {
                0 => break,
                count => found += count,
            }
        }
        bytes
    }

    #[test]
    #[ignore = "needs root and CRIU: run cargo xtask test"]
    fn a_workload_has_its_pattern_in_the_images() {
        let scratch = Scratch::new().unwrap();
        let images = scratch.dir("images").unwrap();
        let mut settings = Settings::new(scratch.path().join("status"));
        settings.dirty = 64;
        let workload = Workload::start(env!("CARGO_BIN_EXE_workload"), settings.clone()).unwrap();
        workload.wait_count(100).unwrap();
        stop(workload.pid());
        let status = workload.status().unwrap();
        dump(workload.pid(), &images);
        assert_eq!(criu_images::verify(&images).unwrap(), []);
        let pid = u32::try_from(workload.pid()).unwrap();
        let memory = Chain::open(&images).unwrap().task(pid).unwrap().unwrap();
        let seen = compare(&memory, workload.pid(), None);
        assert!(
            seen.stored > 4096 && seen.zero > 0 && seen.file > 0,
            "{seen:?}"
        );

        // It may have been stopped in the middle of a tick, and before it said so.
        let pattern = settings.pattern();
        let mut found = vec![0; PAGE];
        let mut rewritten = 0;
        for page in 0..pattern.pages() {
            let address = VirtAddr::new(status.address + page * 4096);
            memory.read(address, &mut found).unwrap();
            let fits = |count| found == pattern.page_bytes(page, count);
            assert!(
                (0..3).any(|later| fits(status.count + later)),
                "page {page}"
            );
            rewritten += u64::from(pattern.generation(page, status.count) > 0);
        }
        assert!(rewritten > 1000, "{rewritten}");
    }

    #[test]
    #[ignore = "needs root and CRIU: run cargo xtask test"]
    fn every_kind_of_memory() {
        let scratch = Scratch::new().unwrap();
        let images = scratch.dir("images").unwrap();
        let tasks = Everything::stopped(&scratch).unwrap();
        dump(tasks.root.pid(), &images);
        assert_eq!(criu_images::verify(&images).unwrap(), []);
        let chain = Chain::open(&images).unwrap();
        assert_eq!(chain.tasks().unwrap().len(), 2);
        assert_eq!(chain.segments().unwrap().len(), 3);
        if tasks.huge.is_none() {
            eprintln!("this machine has no huge pages to give");
        }
        for pid in tasks.pids.iter().copied() {
            let id = u32::try_from(pid).unwrap();
            let memory = chain.task(id).unwrap().unwrap();
            let seen = compare(&memory, pid, Some(&tasks.files));
            assert!(seen.stored > 100, "{seen:?}");
            assert!(seen.zero > 100 && seen.file > 15, "{seen:?}");
        }
    }
}
