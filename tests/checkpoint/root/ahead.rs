//! Memory that was copied while the tree ran: the checkpoint is of the moment when it stood
//! still all the same.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use ckpt::{
    Checkpoint, Children, CopyAhead, Create, Error, Event, Export, Import, PageCompression,
    Restore, Store,
};
use criu_rs_tests::{Everything, Scratch, Spawned, State, eventually};
use rustix::process::Signal;

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

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null())
}

/// Pages that a process has in memory.
fn resident(pid: i32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|it| it.parse().ok());
    pages.unwrap_or(0)
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

/// Images know it by the PID that it has there.
#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_task_in_a_pid_namespace_of_its_own_comes_back() {
    const HOLDER: &str = "\
import mmap, os, signal, sys
os.setsid()
size = 8 << 20
area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
area[: size // 2] = os.urandom(size // 2)
area[size // 2 :] = bytes(size // 2)
os.mkdir(sys.argv[1])
while True:
    signal.pause()
";
    let scratch = Scratch::new().unwrap();
    let store = Store::open(scratch.join("store")).unwrap();
    let mut command = Command::new("unshare");
    let ready = scratch.join("ready");
    command.args(["-fp", "python3", "-c", HOLDER]).arg(&ready);
    command.current_dir("/");
    let outside = Spawned::spawn(quiet(&mut command)).unwrap();
    let holder = eventually("a holder", PATIENCE, || {
        let children = format!("/proc/{0}/task/{0}/children", outside.pid());
        let child = fs::read_to_string(children)?.trim().parse::<i32>().ok();
        Ok(child.filter(|_| ready.is_dir()))
    });
    let holder = Spawned::adopt(holder.unwrap()).unwrap();
    holder.signal(Signal::STOP).unwrap();
    eventually("a stopped task", PATIENCE, || {
        Ok((holder.proc().state() == Some(State::Stopped)).then_some(()))
    })
    .unwrap();
    let before = snapshot(holder.pid());
    let pid = holder.pid().unsigned_abs();
    let create = ahead(Create::new(pid, "made".parse().unwrap())).auto(true);
    let made = create.run(&criu(), &store, |_| ()).unwrap();
    let manifest = made.manifest();
    assert!(manifest.pre_copy.is_some());
    assert!(
        manifest.sizes.zero_pages >= Some(4 << 8),
        "{:?}",
        manifest.sizes
    );
    assert!(made.path().join("rounds/1/pagemap-1.img").exists());
    outside.wait(PATIENCE).unwrap();
    let tree = Restore::of(&made).run(&criu(), |_| ()).unwrap();
    let tree = Spawned::adopt(tree.pid().as_raw()).unwrap();
    assert_same(&before, &snapshot(tree.pid()), 1);
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
    let writer = Spawned::spawn(quiet(&mut writer)).unwrap();
    eventually("a writer", PATIENCE, || {
        Ok((resident(writer.pid()) > 33 << 8).then_some(()))
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
