//! `verify` finds what was broken in images of real dumps, and nothing in those.

use std::fs;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};

use criu_images::source::{Archive, Source};
use criu_images::{
    Finding, Flaw, Image, ImageWriter, Kind, Name, Pagemap, Severity, proto, verify,
};
use criu_rs_tests::Scratch;

use crate::rounds::{LAZY, PARENT, PRESENT, Release, Rounds};

const WORKLOADS: [&str; 15] = [
    "deleted",
    "events",
    "locks",
    "memory",
    "namespaces",
    "paths",
    "pipes",
    "seccomp",
    "sysv",
    "tcp",
    "terminal",
    "threads",
    "timers",
    "tree",
    "unix",
];

/// The images of a dump, with pages, which the fixtures leave out.
fn images(workload: &str, folder: &Path) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/images.tar.zst");
    Archive::file(path)
        .folder(workload)
        .visit(&mut |name, file| {
            if Name::parse(name).is_some() {
                let mut content = Vec::new();
                file.read_to_end(&mut content).unwrap();
                fs::write(folder.join(name), content).unwrap();
            }
            Ok(())
        })
        .unwrap();
    for name in names(folder) {
        let kind = Name::parse(&name).unwrap().kind();
        if !matches!(kind, Kind::Pagemap | Kind::ShmemPagemap) {
            continue;
        }
        let bytes = fs::read(folder.join(&name)).unwrap();
        let runs = Pagemap::new(Image::with_kind(kind, &name, &bytes[..]).unwrap()).unwrap();
        let pages = folder.join(format!("pages-{}.img", runs.pages_id()));
        let count: u64 = runs.map(|run| run.unwrap().pages).sum();
        let bytes = vec![7; usize::try_from(count * 4096).unwrap()];
        fs::write(pages, bytes).unwrap();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[track_caller]
fn healthy(folder: &Path) {
    let findings = verify(folder).unwrap();
    assert!(findings.is_empty(), "{}", text(&findings));
}

fn text(findings: &[Finding]) -> String {
    findings.iter().map(|f| format!("{f}\n")).collect()
}

#[test]
fn real_images_are_without_a_flaw() {
    for workload in WORKLOADS {
        let scratch = Scratch::new().unwrap();
        images(workload, scratch.path());
        healthy(scratch.path());
    }
}

/// Numbers that are the same each time.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// What is not needed to restore, or says nothing that another image does too: that it is
/// gone cannot be seen. Cut inside of a record it can.
fn alone(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Stats
            | Kind::Seccomp
            | Kind::Timens
            | Kind::IpcnsSem
            | Kind::IpcnsMsg
            | Kind::SkQueues
            | Kind::PipesData
            | Kind::FifoData
            | Kind::TtyData
            | Kind::FileLocks
    ) || (kind.is_raw() && kind != Kind::Pages)
}

/// Where records end: a file cut there is a whole one to its reader.
fn borders(name: Name, bytes: &[u8]) -> Vec<usize> {
    let mut image = Image::open(name, bytes).unwrap();
    let mut borders = Vec::new();
    while let Some(record) = image.next().unwrap() {
        borders.push(usize::try_from(record.offset()).unwrap());
    }
    borders
}

fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// What can happen to a set: a file gone, cut, or without one of its bytes; the runs of a
/// pagemap changed; the parent link moved; a page punched.
const WAYS: usize = 6;

/// Breaks one thing in this way, and tells what, or nothing if it would not be one.
fn corrupt(folder: &Path, way: usize, seeded: &mut Seeded) -> Option<String> {
    let mut names = names(folder);
    let only = [(3, "pagemap-"), (5, "pages-")];
    if let Some((_, prefix)) = only.into_iter().find(|(only, _)| *only == way) {
        names.retain(|name| name.starts_with(prefix));
    }
    let file = &names[seeded.below(names.len())];
    let name = Name::parse(file).unwrap();
    let path = folder.join(file);
    let bytes = fs::read(&path).unwrap();
    let kind = name.kind();
    if bytes.is_empty() {
        return None;
    }
    // Where the record of a deleted file ends; its content may have no length.
    let length = |word: &[u8; 4]| usize::try_from(u32::from_le_bytes(*word)).unwrap();
    let flat = bytes
        .get(8..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, length)
        + 12;
    match way {
        0 if !alone(kind) => {
            fs::remove_file(path).unwrap();
            Some(format!("{file} removed"))
        }
        1 => {
            let cut = seeded.below(bytes.len());
            let told = !alone(kind) || (!kind.is_raw() && !borders(name, &bytes).contains(&cut));
            // A file may be open many times, and a task have none open.
            let again = kind == Kind::Fdinfo && borders(name, &bytes).contains(&cut);
            if !told || again || (kind == Kind::GhostFile && cut > flat) {
                return None;
            }
            replace(&path, &bytes[..cut]);
            Some(format!("{file} cut at {cut} of {}", bytes.len()))
        }
        2 => {
            let at = seeded.below(bytes.len());
            if (kind == Kind::GhostFile && at >= flat) || (kind.is_raw() && kind != Kind::Pages) {
                return None;
            }
            let rest = [&bytes[..at], &bytes[at + 1..]].concat();
            replace(&path, &rest);
            Some(format!("{file} without byte {at}"))
        }
        3 if kind == Kind::Pagemap => {
            let change = seeded.below(4);
            let mut records: Vec<(proto::PagemapHead, Vec<proto::PagemapEntry>)> = Vec::new();
            let mut image = Image::open(name, &bytes[..]).unwrap();
            let header = image.header();
            while let Some(record) = image.next().unwrap() {
                match records.last_mut() {
                    None => records.push((record.decode().unwrap(), Vec::new())),
                    Some((_, runs)) => runs.push(record.decode().unwrap()),
                }
            }
            let (head, mut runs) = records.pop().unwrap();
            let at = seeded.below(runs.len());
            match change {
                0 => runs[at].nr_pages = runs[at].nr_pages.map(|n| n + 1),
                1 => runs[at].nr_pages = Some(1 << 60),
                2 => drop(runs.remove(at)),
                _ => {
                    let last = runs.len() - 1;
                    runs.swap(at, (at + 1) % (last + 1));
                }
            }
            let mut writer = ImageWriter::new(kind, header, Vec::new()).unwrap();
            writer.entry(&head).unwrap();
            runs.iter().for_each(|run| writer.entry(run).unwrap());
            replace(&path, &writer.finish().unwrap());
            Some(format!("{file}, run {at} changed in way {change}"))
        }
        4 => {
            let target = ["/nowhere", ".", "../../etc", "pstree.img"][seeded.below(4)];
            symlink(target, folder.join("parent")).unwrap();
            Some(format!("parent leads to {target}"))
        }
        5 if kind == Kind::Pages => {
            replace(&path, &bytes);
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            let page = seeded.below(bytes.len() / 4096);
            rustix::fs::fallocate(
                &file,
                rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE,
                u64::try_from(page).unwrap() * 4096,
                4096,
            )
            .unwrap();
            let mut byte = [1];
            fs::File::open(&path)
                .unwrap()
                .read_exact_at(&mut byte, u64::try_from(page).unwrap() * 4096)
                .unwrap();
            assert_eq!(byte, [0]);
            Some(format!("page {page} punched"))
        }
        _ => None,
    }
}

#[test]
fn three_hundred_corruptions_are_found() {
    let mut seeded = Seeded(0x2545_f491_4f6c_dd1d);
    let mut missed = Vec::new();
    let mut done = 0;
    let whole = WORKLOADS.map(|workload| {
        let scratch = Scratch::new().unwrap();
        images(workload, scratch.path());
        scratch
    });
    while done < 300 {
        let which = seeded.below(WORKLOADS.len());
        let (workload, whole) = (WORKLOADS[which], whole[which].path());
        let scratch = Scratch::new().unwrap();
        for name in names(whole) {
            // Whoever changes a file makes a new one.
            fs::hard_link(whole.join(&name), scratch.path().join(&name)).unwrap();
        }
        // Fifty of each way.
        let Some(what) = corrupt(scratch.path(), done % WAYS, &mut seeded) else {
            continue;
        };
        done += 1;
        if verify(scratch.path()).unwrap().is_empty() {
            missed.push(format!("{workload}: {what}"));
        }
    }
    assert!(missed.is_empty(), "{} of {done}: {missed:#?}", missed.len());
}

fn only(findings: Vec<Finding>) -> Finding {
    let [finding] = &findings[..] else {
        panic!("one finding, but {}", text(&findings));
    };
    finding.clone()
}

#[test]
fn what_a_chain_needs_of_its_parents() {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(1, 4, PRESENT)]);
    rounds.task(Release::Old, &[(1, 2, PARENT), (3, 2, PRESENT)]);
    rounds.task(Release::New, &[(1, 4, PARENT)]);
    healthy(&rounds.newest());
    let newest = rounds.newest();
    let file = newest.join("pagemap-7.img");

    rounds.task(
        Release::New,
        &[(1, 3, PARENT), (4, 3, PARENT), (9, 2, LAZY)],
    );
    let findings = verify(rounds.newest()).unwrap();
    assert_eq!(findings.len(), 2, "{}", text(&findings));
    assert_eq!(findings[0].severity, Severity::Error);
    assert!(matches!(findings[0].flaw, Flaw::Lost { range, .. }
        if range.start().get() == 5 * 4096 && range.bytes() == 2 * 4096));
    assert!(matches!(findings[1].flaw, Flaw::Lazy { .. }));

    // The oldest folder is gone.
    let away = rounds.root().join("away");
    fs::rename(rounds.folder(0), &away).unwrap();
    let findings = verify(&newest).unwrap();
    assert_eq!(findings.len(), 2, "{}", text(&findings));
    assert_eq!(findings[0].file, rounds.folder(1).join("parent"));
    assert_eq!(findings[0].severity, Severity::Error);
    assert_eq!(findings[1].file, file);
    fs::rename(&away, rounds.folder(0)).unwrap();

    // A pages image of the middle one is too short: both it and its place are told.
    let pages: PathBuf = rounds.folder(1).join("pages-1.img");
    let bytes = fs::read(&pages).unwrap();
    fs::write(&pages, &bytes[..4096]).unwrap();
    let finding = only(verify(&newest).unwrap());
    assert_eq!(finding.severity, Severity::Error);
    fs::write(&pages, bytes).unwrap();
    healthy(&newest);
}

/// Only its memory is needed, but CRIU left all of it there.
#[test]
fn a_parent_can_be_a_whole_dump() {
    let scratch = Scratch::new().unwrap();
    let [older, newer] = ["0", "1"].map(|name| scratch.dir(name).unwrap());
    images("tree", &older);
    images("threads", &newer);
    symlink("../0", newer.join("parent")).unwrap();
    healthy(&newer);
}

#[test]
fn links_are_told_and_not_followed() {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(1, 4, PRESENT)]);
    rounds.task(Release::New, &[(1, 1, PRESENT)]);
    let link = rounds.newest().join("parent");
    fs::remove_file(&link).unwrap();
    symlink(rounds.folder(0), &link).unwrap();
    let finding = only(verify(rounds.newest()).unwrap());
    assert!(matches!(finding.flaw, Flaw::Chain(_)));
    assert_eq!(finding.file, link);
    assert!(
        criu_images::verify_within(rounds.newest(), rounds.root())
            .unwrap()
            .is_empty()
    );
    verify(rounds.root().join("nothing")).unwrap_err();
}

#[test]
fn what_nothing_refers_to_is_left_over() {
    let scratch = Scratch::new().unwrap();
    images("tree", scratch.path());
    for name in ["pages-77.img", "core-3.img", "dump.log", "amdgpu-kfd-1.img"] {
        let core = names(scratch.path())
            .into_iter()
            .find(|name| name.starts_with("core-"))
            .unwrap();
        fs::copy(scratch.path().join(core), scratch.path().join(name)).unwrap();
    }
    let findings = verify(scratch.path()).unwrap();
    let files: Vec<_> = findings
        .iter()
        .map(|f| f.file.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(files, ["core-3.img", "pages-77.img"]);
    for finding in &findings {
        assert_eq!(finding.flaw, Flaw::Leftover);
        assert_eq!(finding.severity, Severity::Warning);
    }
}
