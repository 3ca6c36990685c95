//! The scribe, and what it must have in its memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use criu_images::Pagemap;
use criu_images::{Image, Kind, Name};
use criu_rpc::Pid;
use criu_rs_tests::{Spawned, eventually};
use rustix::process::Signal;

pub(crate) const PAGE: u64 = 4096;

/// The guest is slow, and its host may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A process that has written what it was told to, and nothing else.
#[derive(Debug)]
pub(crate) struct Scribe {
    process: Spawned,
    folder: PathBuf,
    name: String,
    number: u64,
    regions: BTreeMap<u8, Region>,
    /// Pages of its regions that it changed since somebody asked.
    changed: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
struct Region {
    start: u64,
    /// What each page is full of; zero where it never wrote, or forgot.
    pages: Vec<u64>,
}

/// What a scribe said.
struct Status {
    number: u64,
    pid: i32,
    starts: BTreeMap<u8, u64>,
}

impl Scribe {
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_as(folder, None)
    }

    /// As another user than this process.
    pub(crate) fn start_as(folder: &Path, user: Option<u32>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scribe"));
        command
            .arg(folder)
            .args(["root", "1"])
            .env_clear()
            // Else the kernel writes into its memory each time it is scheduled.
            .env("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("errors")).unwrap());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let mut scribe = Self {
            process: Spawned::spawn(&mut command).unwrap(),
            folder: folder.to_owned(),
            name: "root".to_owned(),
            number: 1,
            regions: BTreeMap::new(),
            changed: BTreeSet::new(),
        };
        scribe.done();
        scribe
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.process.pid()).unwrap()
    }

    pub(crate) fn raw_pid(&self) -> i32 {
        self.process.pid()
    }

    pub(crate) fn wait_end(&self) {
        self.process.wait(PATIENCE).unwrap();
        eventually("a pid that is free", PATIENCE, || {
            Ok((!self.process.proc().exists()).then_some(()))
        })
        .unwrap();
    }

    /// The same, after a restore.
    pub(crate) fn adopt(&mut self) {
        let process = Spawned::adopt(self.process.pid()).unwrap();
        std::mem::replace(&mut self.process, process).leave();
    }

    /// Ends it, and sees that its pid is free.
    pub(crate) fn kill(&self) {
        self.process.signal(Signal::KILL).unwrap();
        self.wait_end();
    }

    /// Waits until it has nothing left to do, and gives what the first page of a region holds;
    /// each other one has to hold as much as if one order had filled all.
    #[track_caller]
    pub(crate) fn settled(&self, id: u8) -> u64 {
        let region = &self.regions[&id];
        let memory = File::open(format!("/proc/{}/mem", self.process.pid())).unwrap();
        eventually("a scribe that waits", PATIENCE, || {
            let proc = self.process.proc();
            Ok((proc.state() == Some(criu_rs_tests::State::Sleeping)).then_some(()))
        })
        .unwrap();
        let mut bytes = [0; 4096];
        let mut first = 0;
        for page in 0..region.pages.len() {
            memory
                .read_exact_at(&mut bytes, region.address(page))
                .unwrap();
            let words = bytes.as_chunks::<8>().0;
            if page == 0 {
                first = u64::from_ne_bytes(words[0]);
            }
            let value = (first + u64::try_from(page).unwrap()).to_ne_bytes();
            let right = words.iter().all(|word| *word == value);
            assert!(right, "page {page} of region {id}: {:?}", &words[..2]);
        }
        first
    }

    /// Leaves it to whoever has its parent.
    pub(crate) fn leave(self) {
        self.process.leave();
    }

    fn order(&mut self, text: &str) {
        self.number += 1;
        self.send(text);
        self.done();
    }

    fn send(&self, text: &str) {
        let text = format!("{:<511}\n", format!("{} {text}", self.number));
        let file = File::options()
            .write(true)
            .open(self.path("order"))
            .unwrap();
        file.write_all_at(text.as_bytes(), 0).unwrap();
        self.process.signal(Signal::USR1).unwrap();
    }

    fn path(&self, end: &str) -> PathBuf {
        self.folder.join(format!("{}.{end}", self.name))
    }

    /// Waits until the last order is carried out.
    fn done(&mut self) {
        let status = eventually("a scribe that has done it", PATIENCE, || {
            let errors = fs::read_to_string(self.folder.join("errors"))?;
            assert_eq!(errors, "");
            Ok(self.status().filter(|status| status.number == self.number))
        })
        .unwrap();
        assert_eq!(status.pid, self.process.pid());
        for (id, start) in status.starts {
            let region = self.regions.entry(id).or_insert_with(|| Region {
                start,
                pages: Vec::new(),
            });
            region.start = start;
        }
        // What it still has to do for that is to wait.
        eventually("a scribe that waits", PATIENCE, || {
            Ok((self.process.proc().state() == Some(criu_rs_tests::State::Sleeping)).then_some(()))
        })
        .unwrap();
    }

    fn status(&self) -> Option<Status> {
        let text = fs::read_to_string(self.path("status")).ok()?;
        let mut words = text.trim().strip_suffix(" end")?.split(' ');
        let number = words.next()?.parse().ok()?;
        let pid = words.next()?.parse().ok()?;
        let start = |word: &str| {
            let mut parts = word.split(':');
            let id = parts.next()?.parse().ok()?;
            Some((id, parts.next()?.parse().ok()?))
        };
        Some(Status {
            number,
            pid,
            starts: words.map_while(start).collect(),
        })
    }

    pub(crate) fn map(&mut self, id: u8, pages: usize) {
        self.order(&format!("map {id} {pages}"));
        self.regions.get_mut(&id).unwrap().pages = vec![0; pages];
    }

    pub(crate) fn fill(&mut self, id: u8, first: usize, count: usize, value: u64) {
        self.order(&format!("fill {id} {first} {count} {value}"));
        let region = self.regions.get_mut(&id).unwrap();
        for (page, value) in (first..first + count).zip(value..) {
            region.pages[page] = value;
            self.changed.insert(region.address(page));
        }
    }

    /// It gives the pages back to the kernel.
    pub(crate) fn forget(&mut self, id: u8, first: usize, count: usize) {
        self.order(&format!("drop {id} {first} {count}"));
        let region = self.regions.get_mut(&id).unwrap();
        for page in first..first + count {
            region.pages[page] = 0;
            self.changed.remove(&region.address(page));
        }
    }

    /// To somewhere else, where it is longer or shorter.
    pub(crate) fn relocate(&mut self, id: u8, pages: usize) {
        let mut old = self.regions[&id].clone();
        self.order(&format!("move {id} {pages}"));
        let region = self.regions.get_mut(&id).unwrap();
        assert_ne!(old.start, region.start);
        for page in 0..old.pages.len() {
            self.changed.remove(&old.address(page));
        }
        old.pages.resize(pages, 0);
        region.pages = old.pages;
        // To the kernel, all of it is new there.
        for (page, value) in region.pages.iter().enumerate() {
            if *value != 0 {
                self.changed.insert(region.address(page));
            }
        }
    }

    pub(crate) fn unmap(&mut self, id: u8) {
        self.order(&format!("unmap {id}"));
        let region = self.regions.remove(&id).unwrap();
        for page in 0..region.pages.len() {
            self.changed.remove(&region.address(page));
        }
    }

    pub(crate) fn exec(&mut self) {
        self.regions.clear();
        self.changed.clear();
        self.order("exec");
    }

    /// A child with the same memory; with that pid, if one is given.
    pub(crate) fn fork(&mut self, name: &str, pid: Option<i32>) -> Self {
        drop(fs::remove_file(self.folder.join(format!("{name}.status"))));
        drop(fs::remove_file(self.folder.join(format!("{name}.order"))));
        self.order(&format!("fork {} {name}", pid.unwrap_or(0)));
        let path = self.folder.join(format!("{name}.status"));
        let said = eventually("a child", PATIENCE, || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let mut words = text.split(' ').skip(1);
            Ok(words.next().and_then(|word| word.parse::<i32>().ok()))
        })
        .unwrap();
        if let Some(pid) = pid {
            assert_eq!(said, pid);
        }
        let mut child = Self {
            process: Spawned::adopt(said).unwrap(),
            folder: self.folder.clone(),
            name: name.to_owned(),
            number: 0,
            regions: self.regions.clone(),
            changed: self.changed.clone(),
        };
        child.done();
        child
    }

    /// Ends, and its parent reaps it.
    pub(crate) fn quit(mut self, parent: &mut Self) {
        self.number += 1;
        self.send("quit");
        parent.order("reap");
        self.leave();
    }

    /// Asserts that its memory is what it wrote.
    #[track_caller]
    pub(crate) fn assert_whole(&self) {
        let memory = File::open(format!("/proc/{}/mem", self.process.pid())).unwrap();
        let mut bytes = [0; 4096];
        for (id, region) in &self.regions {
            for (page, value) in region.pages.iter().enumerate() {
                memory
                    .read_exact_at(&mut bytes, region.address(page))
                    .unwrap();
                let right = bytes.chunks(8).all(|word| word == value.to_ne_bytes());
                let first = &bytes[..8];
                assert!(right, "page {page} of region {id}: {first:?}, not {value}");
            }
        }
    }

    /// Whether an address is in one of its regions.
    pub(crate) fn has(&self, address: u64) -> bool {
        self.regions.values().any(|region| region.has(address))
    }

    /// The pages that it changed since this was asked last.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.changed)
    }

    /// The pages of its regions that a round has, and how many others.
    pub(crate) fn in_round(&self, images: &Path) -> (BTreeSet<u64>, u64) {
        let pid = u32::try_from(self.process.pid()).unwrap();
        let name = Name::numbered(Kind::Pagemap, pid.into()).unwrap();
        let bytes = fs::read(images.join(name.to_string())).unwrap();
        let runs = Pagemap::new(Image::open(name, &bytes[..]).unwrap()).unwrap();
        let (mut own, mut others) = (BTreeSet::new(), 0);
        for run in runs.map(Result::unwrap).filter(|run| run.present()) {
            for page in 0..run.pages {
                let address = run.vaddr + page * PAGE;
                if self.has(address) {
                    own.insert(address);
                } else {
                    others += 1;
                }
            }
        }
        (own, others)
    }
}

impl Region {
    fn address(&self, page: usize) -> u64 {
        self.start + PAGE * u64::try_from(page).unwrap()
    }

    fn has(&self, address: u64) -> bool {
        (self.start..self.address(self.pages.len())).contains(&address)
    }
}
