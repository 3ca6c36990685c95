//! Pages that come to us: whatever is killed and wherever the disk is full, the target lives
//! or its checkpoint is whole, and memory has a bound.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use criu_rs_tests::{End, Moments, eventually};
use rustix::process::{Pid, Signal, kill_process};

use super::full::Small;
use crate::bench::{Bench, PATIENCE};
use crate::holder::{Holder, let_go};

/// What moments are drawn from.
const SEED: u64 = 0x5eed_0008;

/// The ways of which each is broken off: those with a small buffer write while the tree is
/// stopped.
const WAYS: [&str; 8] = [
    "",
    "--buffer 4M",
    "--leave-running",
    "--leave-running --buffer 4M",
    "--leave-running --incremental --compress lz4",
    "--compress zstd --buffer 4M",
    "--copy-ahead always",
    "--leave-running --incremental --copy-ahead always",
];

fn started(bench: &Bench, line: &str) -> Child {
    let mut create = bench.command(line);
    let create = create.stdout(Stdio::null()).stderr(Stdio::null());
    create.spawn().unwrap()
}

/// Whether a target ended by a trap: CRIU has its tasks make system calls, each followed by
/// one. A CRIU that is killed before it takes that takes the task with it, whoever asked it.
fn was_in_its_hands(holder: &Holder<'_>) -> bool {
    let_go(holder.process.proc());
    let end = (!holder.lives()).then(|| holder.process.wait(PATIENCE).unwrap());
    end == Some(End::Killed(Signal::TRAP.as_raw()))
}

/// What must be true after a checkpoint was broken off: the target lives, or is restored
/// from a checkpoint that is whole.
#[track_caller]
fn settled(bench: &Bench, holder: &mut Holder<'_>, name: &str) {
    let_go(holder.process.proc());
    // A CRIU without a master may still be about to end, and write meanwhile.
    eventually("a store without leftovers", PATIENCE, || {
        let swept = bench.try_ckpt("fsck --quiet").status == 0;
        let entries = fs::read_dir(bench.store())?;
        let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
        let mut left = names.filter(|it| it.starts_with(".new.") || it.starts_with(".view."));
        Ok((swept && left.next().is_none()).then_some(()))
    })
    .unwrap();
    let is_kept = bench.listed().iter().any(|it| it == name);
    if is_kept {
        bench.ckpt(&format!("verify {name} --quiet"));
    }
    if holder.lives() {
        holder.assert_sound();
    } else {
        let end = holder.process.wait(PATIENCE).unwrap();
        assert!(
            is_kept,
            "{name}: the target is gone without a checkpoint: {end:?}"
        );
        holder.restored(name);
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn when_ckpt_is_killed_the_target_lives_or_its_checkpoint_is_whole() {
    let bench = Bench::new();
    let mut holder = Holder::start(&bench, 24);
    bench.ckpt(&format!("create {} first --leave-running", holder.pid()));
    let mut moments = Moments::new(SEED);
    for round in 0..3 {
        for (number, way) in WAYS.iter().enumerate() {
            let name = format!("c{round}-{number}");
            let mut create = started(&bench, &format!("create {} {name} {way}", holder.pid()));
            thread::sleep(Duration::from_millis(moments.below(400)));
            create.kill().unwrap();
            create.wait().unwrap();
            settled(&bench, &mut holder, &name);
        }
    }
    // The last CRIU without a master may still be about to end.
    eventually("a checkpoint", PATIENCE, || {
        let said = bench.try_ckpt(&format!("create {} last", holder.pid()));
        Ok((said.status == 0).then_some(()))
    })
    .unwrap();
    holder.process.wait(PATIENCE).unwrap();
    holder.restored("last");
}

/// The CRIU that a command has started, once pages have come to the disk.
fn criu_at_work(create: &mut Child, staged: &Path) -> Option<Pid> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && create.try_wait().unwrap().is_none() {
        let files = fs::read_dir(staged).into_iter().flatten().flatten();
        let pages = files.filter(|it| it.file_name().to_string_lossy().starts_with("pages-"));
        if pages
            .filter_map(|it| it.metadata().ok())
            .any(|it| it.len() > 0)
        {
            let threads = fs::read_dir(format!("/proc/{}/task", create.id())).ok()?;
            let children = threads
                .flatten()
                .filter_map(|it| fs::read_to_string(it.path().join("children")).ok());
            let children: Vec<_> = children.collect();
            let mut pids = children
                .iter()
                .flat_map(|it| it.split_whitespace())
                .filter_map(|it| Pid::from_raw(it.parse().ok()?));
            return pids.find(|pid| {
                // Its name may be that of the loader that runs it.
                let line = fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
                line.is_ok_and(|line| line.contains("criu"))
            });
        }
    }
    None
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn when_criu_is_killed_the_target_lives_and_ckpt_says_so() {
    let bench = Bench::new();
    let mut holder = Holder::start(&bench, 48);
    let mut moments = Moments::new(SEED);
    let (mut killed, mut lost) = (0, 0);
    for (number, way) in WAYS.iter().cycle().take(12).enumerate() {
        let name = format!("c{number}");
        // Slow enough to be met at it.
        let way = match way.contains("--buffer") {
            true => way.to_string(),
            false => format!("{way} --buffer 4M"),
        };
        let mut create = started(&bench, &format!("create {} {name} {way}", holder.pid()));
        let staged = bench.store().join(format!(".new.{name}/images"));
        if let Some(criu) = criu_at_work(&mut create, &staged) {
            thread::sleep(Duration::from_millis(moments.below(40)));
            killed += u32::from(kill_process(criu, Signal::KILL).is_ok());
        }
        let status = create.wait().unwrap();
        let is_listed = bench.listed().contains(&name);
        assert_eq!(status.success(), is_listed, "{name}: {way}");
        if !is_listed && was_in_its_hands(&holder) {
            lost += 1;
            holder = Holder::start(&bench, 48);
        }
        settled(&bench, &mut holder, &name);
    }
    // How often it was met at work is up to the machine.
    assert!(killed > lost);
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn wherever_the_disk_is_full_the_target_lives_and_nothing_is_listed() {
    let bench = Bench::new();
    let mut holder = Holder::start(&bench, 24);
    let small = Small::mount(&bench, "72m");
    // A store already, whatever else is in it.
    fs::write(bench.store().join(".lock"), "").unwrap();
    let filler = bench.store().join(".filler");
    for free in [0, 1, 13, 25, 40] {
        // What is not free is taken by somebody else.
        let taken = fs::File::create(&filler).unwrap();
        let length = (72 - free) << 20;
        let done = rustix::fs::fallocate(
            &taken,
            rustix::fs::FallocateFlags::empty(),
            0,
            u64::try_from(length).unwrap().saturating_sub(64 << 10),
        );
        done.unwrap();
        drop(taken);
        for way in WAYS {
            let said = bench.refused(1, &format!("create {} full {way}", holder.pid()));
            assert!(said.contains("No space left"), "{free}, {way}: {said}");
            assert!(said.contains("make room"), "{free}, {way}: {said}");
            assert_eq!(bench.listed(), [""; 0]);
            settled(&bench, &mut holder, "full");
        }
        fs::remove_file(&filler).unwrap();
    }
    // With room, it is done.
    bench.ckpt(&format!("create {} whole", holder.pid()));
    holder.process.wait(PATIENCE).unwrap();
    holder.restored("whole");
    drop(holder);
    drop(small);
}

/// The most memory that a process had, in bytes, until it ended.
fn peak(process: &mut Child) -> u64 {
    let mut peak = 0;
    while process.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", process.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"));
        let kib = line.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) << 10);
        thread::sleep(Duration::from_millis(1));
    }
    peak
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn memory_stays_within_the_buffer_whatever_the_target_has() {
    const BUFFER: u64 = 64 << 20;
    /// The program, batches, and what each run of pages takes beside its content.
    const BESIDE: u64 = 32 << 20;
    let bench = Bench::new();
    // A child shares it, and so has it, too.
    let holder = Holder::start(&bench, 256);
    for way in [
        "",
        "--copy-ahead never",
        "--incremental --copy-ahead never",
        "--compress lz4 --copy-ahead never",
    ] {
        let name = format!("c{}", way.len());
        let line = format!(
            "create {} {name} --leave-running --buffer 64M {way}",
            holder.pid()
        );
        let mut create = started(&bench, &line);
        let peak = peak(&mut create);
        assert!(create.wait().unwrap().success(), "{way}");
        assert!(peak > BUFFER, "{way}: {peak}");
        assert!(peak < BUFFER + BESIDE, "{way}: {} MiB", peak >> 20);
        holder.assert_sound();
    }
    let said = bench.ckpt("show c0 --json");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let raw = said["manifest"]["sizes"]["raw"].as_u64().unwrap();
    assert!(raw > 512 << 20, "{raw}");
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn an_incremental_checkpoint_holds_what_changed_and_no_more() {
    let bench = Bench::new();
    let mut holder = Holder::start(&bench, 96);
    let size = |name: &str| {
        let shown = bench.ckpt(&format!("show {name} --json"));
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["manifest"]["sizes"]["total"].as_u64().unwrap()
    };
    let create = |pid: i32, name: &str, how: &str| {
        let said = bench.try_ckpt(&format!("create {pid} {name} --incremental {how}"));
        assert_eq!(said.status, 0, "{}", said.err);
        said.err
    };
    let said = create(holder.pid(), "full", "--leave-running");
    assert!(said.contains("no checkpoint of this process yet"), "{said}");
    for (name, before) in [("second", "full"), ("third", "second")] {
        holder.change();
        let said = create(holder.pid(), name, "--leave-running");
        assert!(said.contains(&format!("differs from {before}")), "{said}");
        let (full, now) = (size("full"), size(name));
        assert!(now * 100 <= full * 7, "{name}: {now} of {full}");
    }
    holder.change();
    create(holder.pid(), "last", "");
    holder.process.wait(PATIENCE).unwrap();
    bench.refused(1, "rm second");
    holder.restored("last");
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn every_round_may_build_on_the_one_before() {
    let bench = Bench::new();
    let mut holder = Holder::start(&bench, 8);
    let how = "--keep 2 --rounds 4 --now --prefix web --incremental --quiet";
    bench.ckpt(&format!("every 300ms {} {how}", holder.pid()));
    assert!(holder.lives());
    let names = bench.listed();
    assert_eq!(names.len(), 2, "{names:?}");
    let shown = |name: &str| -> serde_json::Value {
        serde_json::from_str(&bench.ckpt(&format!("show {name} --json"))).unwrap()
    };
    // The older one was made whole when what it built on went.
    assert!(shown(&names[0])["manifest"]["parent"].is_null());
    let newest = shown(&names[1]);
    assert_eq!(newest["manifest"]["parent"]["name"], *names[0]);
    let sizes = &newest["manifest"]["sizes"];
    assert!(sizes["pages"].as_u64() < Some(4 << 20), "{sizes}");
    holder.process.kill_tree().unwrap();
    holder.process.wait(PATIENCE).unwrap();
    bench.ckpt(&format!("verify {}", names[1]));
    holder.restored(&names[1]);
}

/// Beside a copy that was expanded.
#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn compressed_pages_are_read_like_others() {
    let bench = Bench::new();
    let mut holder = Holder::start(&bench, 8);
    let pid = holder.pid();
    bench.ckpt(&format!(
        "create {pid} packed --leave-running --compress zstd"
    ));
    holder.change();
    bench.ckpt(&format!(
        "create {pid} later --leave-running --incremental --compress lz4"
    ));
    let plain = bench.path("plain");
    fs::create_dir(&plain).unwrap();
    for name in ["packed", "later"] {
        let from = bench.store().join(name);
        let copied = Command::new("cp").arg("-a").args([&from, &plain]).status();
        assert!(copied.unwrap().success());
        let images = plain.join(name).join("images");
        assert!(criu_stream::expand(&images).unwrap() > 0, "{name}");
        criu_stream::forget(&images).unwrap();
    }
    let core = bench.path("core");
    for name in ["packed", "later"] {
        for word in ["stats", "search PATH=", "core PID -o CORE", "verify"] {
            let [packed, expanded] = [&bench.store(), &plain].map(|root| {
                let folder = root.join(name);
                let (first, rest) = word.split_once(' ').unwrap_or((word, ""));
                let rest = rest.replace("PID", &pid.to_string());
                let rest = rest.replace("CORE", core.to_str().unwrap());
                let (folder, root) = (folder.display(), root.display());
                let line = format!("image {first} {folder} {rest} --root {root}");
                let said = bench.ckpt(&line);
                (said, fs::read(&core).unwrap_or_default())
            });
            assert!(packed == expanded, "{name}: {word}");
            assert!(!packed.0.is_empty() || word.starts_with("core"), "{word}");
        }
    }
    assert!(fs::metadata(&core).unwrap().len() > 8 << 20);
    bench.ckpt(&format!(
        "verify {}",
        bench.store().join("packed").display()
    ));
    let left = fs::read_dir(bench.store()).unwrap();
    let left = left.map(|it| it.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|it| it.starts_with(".view.")).count(), 0);

    // In no store, it is done where temporary files go.
    let [elsewhere, temporary] = ["elsewhere", "temporary"].map(|name| bench.path(name));
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir(&temporary).unwrap();
    let packed = bench.store().join("packed");
    let copied = Command::new("cp")
        .arg("-a")
        .args([&packed, &elsewhere])
        .status();
    assert!(copied.unwrap().success());
    let stats = |folder: &Path, place: &Path| {
        let mut command = bench.command(&format!("image stats {}", folder.display()));
        command.env("TMPDIR", place).output().unwrap()
    };
    let told = stats(&elsewhere.join("packed"), &temporary);
    assert!(told.status.success(), "{told:?}");
    assert_eq!(told.stdout, stats(&packed, &temporary).stdout);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    let nowhere = stats(&elsewhere.join("packed"), &bench.path("nowhere"));
    assert!(!nowhere.status.success(), "{nowhere:?}");
}
