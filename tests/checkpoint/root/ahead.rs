//! Memory that was copied while the tree ran: the checkpoint is of the moment when it stood
//! still all the same.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use ckpt::{
    Checkpoint, Children, CopyAhead, Create, Error, Event, Export, Import, PageCompression,
    Restore, Store,
};
use criu_rs_tests::{Everything, Scratch, Spawned, eventually};

use crate::snapshot::{assert_same, snapshot};
use crate::target::{Target, criu};

const MEMORY_MIB: u64 = 24;
const PATIENCE: Duration = Duration::from_secs(60);

fn ahead(create: Create) -> Create {
    create.copy_ahead(CopyAhead::Always)
}

/// Asserts that all but a little of its memory was copied ahead, and what is told of that.
#[track_caller]
fn assert_ahead(checkpoint: &Checkpoint) {
    let manifest = checkpoint.manifest();
    let told = manifest.pre_copy.as_ref().unwrap();
    assert_eq!((told.rounds.len(), told.stopped_by.as_str()), (1, "once"));
    let round = told.rounds[0];
    assert_eq!(round.bytes, round.pages << 12);
    assert!(round.took.is_some() && round.frozen.is_none());
    assert!(round.remaining < round.bytes / 2, "{round:?}");
    assert_eq!(manifest.version, 2);
    // The buffer is not for what is at hand.
    assert!(manifest.options.buffer.unwrap() < MEMORY_MIB << 20);
    let image = |folder: &str| {
        let files = manifest.files.iter();
        let pages = files.filter(|file| file.path.starts_with(&format!("{folder}/pages-")));
        pages.map(|file| file.bytes).sum::<u64>()
    };
    assert!(
        image("images") < image("rounds/1") / 2,
        "{:?}",
        manifest.files
    );
    assert!(checkpoint.verify().unwrap().is_good());
}

/// How many mappings of a process are watched.
fn watched(pid: i32) -> usize {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let flags = smaps.lines().filter(|line| line.starts_with("VmFlags"));
    flags.filter(|line| line.contains(" uw")).count()
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_tree_in_motion_comes_back_as_it_was_when_it_stood_still() {
    // Less than half of it is written to, however long a busy machine takes to copy it.
    let target = Target::start_with(MEMORY_MIB, |it| {
        (it.dirty, it.tick) = (4, Duration::from_millis(10));
    });
    let zstd = Some(PageCompression::Zstd(1));
    let running = target.keep("running", ahead);
    assert_ahead(&running);
    assert_eq!(watched(target.workload.pid()), 0);
    let sizes = running.manifest().sizes;
    assert!(sizes.raw.unwrap() >= MEMORY_MIB << 20, "{sizes:?}");
    target.keep("zstd", |it| ahead(it).compress(zstd));
    let ended = target.end("ended", ahead);
    assert_ahead(&ended);
    target.back("ended").back("zstd").back("running");
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn what_builds_on_it_has_what_is_new_and_it_can_be_moved_and_removed() {
    let target = Target::start_with(MEMORY_MIB, |it| {
        (it.dirty, it.tick) = (1, Duration::from_millis(20));
    });
    let lz4 = Some(PageCompression::Lz4);
    let a = target.keep("a", |it| ahead(it).incremental(true));
    let b = target.keep("b", |it| ahead(it).incremental(true).compress(lz4));
    let c = target.keep("c", |it| it.incremental(true).copy_ahead(CopyAhead::Never));
    let d = target.end("d", |it| ahead(it).incremental(true));
    for (checkpoint, parent) in [
        (&a, None),
        (&b, Some("a")),
        (&c, Some("b")),
        (&d, Some("c")),
    ] {
        let told = checkpoint.manifest().parent.as_ref();
        assert_eq!(told.map(|parent| parent.name.as_str()), parent);
    }
    assert_eq!(c.manifest().pre_copy, None);
    let (whole, new) = (a.manifest().sizes, d.manifest().sizes);
    assert!(new.pages < whole.pages / 2, "{new:?} {whole:?}");
    assert!(new.parent_pages.unwrap() > 1000, "{new:?}");

    let archive = target.scratch.join("d.tar");
    let tar = File::create(&archive).unwrap();
    Export::new(&d)
        .write_to(&archive, tar, &mut |_| ())
        .unwrap();
    let moved = Store::open(target.scratch.join("moved")).unwrap();
    let tar = File::open(&archive).unwrap();
    Import::new(&moved)
        .read_from(&archive, tar, &mut |_| ())
        .unwrap();

    let target = target.back("d").back("b");
    let names = ["a", "b", "c"].map(|name| name.parse().unwrap());
    let removed = target.store.remove(&names, Children::Flatten).unwrap();
    assert_eq!(removed.flattened, ["d".parse().unwrap()]);
    let d = target.store.get(&"d".parse().unwrap()).unwrap();
    assert_eq!((d.manifest().version, &d.manifest().parent), (1, &None));
    let target = target.back("d");
    let target = Target {
        store: moved,
        ..target
    };
    target.back("d").back("a");
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn every_kind_of_memory_comes_back() {
    let scratch = Scratch::new().unwrap();
    let store = Store::open(scratch.join("store")).unwrap();
    let tasks = Everything::stopped(&scratch).unwrap();
    let before: Vec<_> = tasks.pids.iter().map(|pid| snapshot(*pid)).collect();
    let pid = u32::try_from(tasks.root.pid()).unwrap();
    let made = ahead(Create::new(pid, "made".parse().unwrap()))
        .run(&criu(), &store, |_| ())
        .unwrap();
    let round = made.manifest().pre_copy.as_ref().unwrap().rounds[0];
    // They stand still.
    assert_eq!(round.remaining, 0);
    tasks.wait_end().unwrap();
    let tree = Restore::of(&made).run(&criu(), |_| ()).unwrap();
    let tree = Spawned::adopt(tree.pid().as_raw()).unwrap();
    for (pid, before) in tasks.pids.iter().zip(&before) {
        assert!(before.len() > 1000);
        assert_same(before, &snapshot(*pid), 1);
    }
    tree.kill_tree().unwrap();
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn of_a_tree_that_writes_as_fast_it_is_of_no_use() {
    const WRITER: &str = "\
import mmap, os
size = 32 << 20
area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
some = os.urandom(1 << 20)
while True:
    for at in range(0, size, 1 << 20):
        area[at : at + (1 << 20)] = some
";
    let scratch = Scratch::new().unwrap();
    let store = Store::open(scratch.join("store")).unwrap();
    let mut writer = Command::new("python3");
    writer.args(["-c", WRITER]).current_dir("/");
    writer.stdin(Stdio::null()).stdout(Stdio::null());
    writer.stderr(Stdio::null());
    let writer = Spawned::spawn(&mut writer).unwrap();
    eventually("a writer", PATIENCE, || {
        let resident = fs::read_to_string(format!("/proc/{}/statm", writer.pid()))?;
        let pages = resident.split(' ').nth(1).and_then(|it| it.parse().ok());
        Ok((pages > Some(33u64 << 8)).then_some(()))
    })
    .unwrap();
    let pid = writer.pid().unsigned_abs();
    let create = |name: &str| {
        let create = Create::new(pid, name.parse().unwrap()).auto(true);
        ahead(create.leave_running(true))
    };
    let mut told = Vec::new();
    let made = create("fast").run(&criu(), &store, |event| match event {
        Event::Phase(phase) => told.push(phase.to_string()),
        Event::Ahead(round) => told.push(format!("{round:?}")),
        _ => {}
    });
    let made = made.unwrap();
    assert_eq!(told[..4], ["check", "pre-copy", "None", "dump"], "{told:?}");
    let manifest = made.manifest();
    assert_eq!((manifest.version, &manifest.pre_copy), (1, &None));
    assert!(!made.path().join("rounds").exists());
    assert!(manifest.sizes.pages > 32 << 20);
    assert!(made.verify().unwrap().is_good());
    writer.kill_tree().unwrap();
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn what_does_not_go_with_it_is_refused_and_what_is_small_is_not_copied_ahead() {
    let target = Target::start(4);
    let refused = |by, how: &dyn Fn(Create) -> Create| {
        let create = how(ahead(target.create("no")));
        match create.run(&criu(), &target.store, |_| ()).unwrap_err() {
            Error::NotStock { by: told, option } => {
                assert_eq!((told, option), (by, "--copy-ahead always"));
            }
            other => panic!("{other}"),
        }
    };
    refused("--stock", &|it| it.stock(true));
    refused("--track-mem", &|it| it.track_mem(true));
    let made = target.end("small", |it| it);
    assert_eq!(made.manifest().pre_copy, None);
    target.back("small");
}
