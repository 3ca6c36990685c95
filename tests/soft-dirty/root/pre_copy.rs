//! `ckpt create --pre-copy`: the rounds, what they are stopped by, and what is restored.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ckpt::{Checkpoint, Children, Create, Event, PageCompression, Phase, PreCopy, Restore, Store};
use criu_images::VirtAddr;
use criu_images::track::{Bounds, Decision, Policy, Rule};
use criu_rpc::PreDumpMode;
use criu_rs_tests::Scratch;

use crate::rounds::criu;
use crate::scribe::{PAGE, Scribe};

/// What a scribe that is told something writes besides.
const AROUND: u64 = 16;

fn store(scratch: &Scratch) -> Store {
    Store::open(scratch.join("store")).unwrap()
}

fn scribe(scratch: &Scratch) -> Scribe {
    let mut scribe = Scribe::start(scratch.path());
    scribe.map(0, 512);
    scribe.fill(0, 0, 512, 1 << 32);
    scribe
}

fn create(scribe: &Scribe, name: &str) -> Create {
    let pid = scribe.raw_pid().unsigned_abs();
    Create::new(pid, name.parse().unwrap()).auto(true)
}

/// So many rounds, whatever they find.
fn exactly(rounds: usize) -> PreCopy {
    PreCopy::new().policy(Policy {
        rule: Rule::Downtime(0.0),
        bounds: Bounds {
            rounds: Some(rounds),
            floor: None,
            growth: None,
            seconds: None,
            bytes: None,
        },
    })
}

#[track_caller]
fn restore(checkpoint: &Checkpoint, scribe: &mut Scribe) {
    let tree = Restore::of(checkpoint).run(&criu(), |_| {}).unwrap();
    assert_eq!(tree.pid(), scribe.pid());
    scribe.adopt();
}

/// Each round tells of the pages that were written since the one before, no more and no less,
/// and a dump that ends the tree has the rest.
fn rounds_of(rounds: usize, mode: PreDumpMode) {
    let scratch = Scratch::new().unwrap();
    let store = store(&scratch);
    let mut scribe = scribe(&scratch);
    let create = create(&scribe, "web").pre_copy(exactly(rounds).mode(mode));
    let mut told = Vec::new();
    let checkpoint = create
        .run(&criu(), &store, |event| {
            let Event::Round {
                number,
                round,
                decision,
                written,
            } = event
            else {
                return;
            };
            let [(_, found)] = &written[..] else {
                panic!("{written:?}");
            };
            let changed = scribe.take_changed();
            for page in &changed {
                assert!(
                    found.contains(VirtAddr::new(*page)),
                    "round {number}: {page:x}"
                );
            }
            let others = found.pages() - u64::try_from(changed.len()).unwrap();
            assert!(number == 1 || others <= AROUND, "round {number}: {others}");
            assert_eq!(round.pages, found.pages(), "round {number}");
            assert_eq!(round.bytes, round.pages * PAGE);
            // Nothing was told it since.
            assert!(round.remaining <= AROUND * PAGE, "{}", round.remaining);
            told.push((round, decision));
            scribe.fill(
                0,
                number * 37,
                10 * number,
                u64::try_from(number).unwrap() << 40,
            );
            scribe.fill(0, 511, 1, u64::try_from(number).unwrap() << 41);
        })
        .unwrap();
    scribe.wait_end();
    assert_eq!(told.len(), rounds);
    let copied = checkpoint.manifest().pre_copy.clone().unwrap();
    assert!(told.iter().map(|it| &it.0).eq(&copied.rounds));
    assert_eq!((copied.converged, &*copied.stopped_by), (false, "rounds"));
    assert!(matches!(told[rounds - 1].1, Decision::CannotConverge(_)));
    assert!(copied.predicted.is_some() && checkpoint.manifest().times.frozen.is_some());
    // The dump has what was written after the last round.
    let (found, others) = scribe.in_round(&checkpoint.images());
    assert_eq!(found, scribe.take_changed());
    assert!(others <= AROUND, "{others}");
    assert!(checkpoint.verify().unwrap().is_good());
    restore(&checkpoint, &mut scribe);
    scribe.assert_whole();
    scribe.fill(0, 5, 5, 7);
    scribe.assert_whole();
}

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn rounds_have_what_was_written_and_every_page_comes_back() {
    rounds_of(1, PreDumpMode::Splice);
    rounds_of(4, PreDumpMode::Splice);
    rounds_of(2, PreDumpMode::VmRead);
}

/// It writes all of its memory, over and over: no round is faster. That is told, and the
/// checkpoint is made all the same; restored, it does the rest of what it was about.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn one_that_never_converges_is_told_and_kept() {
    let scratch = Scratch::new().unwrap();
    let store = store(&scratch);
    let mut scribe = scribe(&scratch);
    let create = create(&scribe, "busy").leave_running(true).pre_copy(
        PreCopy::new()
            .max_downtime(Duration::from_micros(1))
            .max_rounds(3),
    );
    let stop = AtomicBool::new(false);
    let checkpoint = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut value = 2u64;
            while !stop.load(Ordering::Relaxed) {
                scribe.fill(0, 0, 512, value << 32);
                value += 1;
            }
            value
        });
        let made = create.run(&criu(), &store, |_| {});
        stop.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > 3);
        made.unwrap()
    });
    // It ran on.
    scribe.assert_whole();
    let copied = checkpoint.manifest().pre_copy.clone().unwrap();
    assert!(!copied.converged, "{copied:?}");
    assert!(
        ["rounds", "growth"].contains(&&*copied.stopped_by),
        "{copied:?}"
    );
    assert_eq!(copied.rounds.len(), 3);
    assert!(
        copied
            .rounds
            .iter()
            .any(|round| round.remaining > 100 * PAGE),
        "{copied:?}"
    );

    scribe.kill();
    restore(&checkpoint, &mut scribe);
    // What it was doing, it does to the end: all pages are of one order.
    let first = scribe.settled(0);
    assert!(
        first >= 1 << 32 && first.trailing_zeros() >= 32,
        "{first:x}"
    );
}

/// Those that build on one with rounds find all of it: by CRIU's own tracking, compared and
/// compressed, and flattened.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn others_build_on_it() {
    let scratch = Scratch::new().unwrap();
    let store = store(&scratch);
    let mut scribe = scribe(&scratch);
    let first = create(&scribe, "first").leave_running(true);
    let first = first
        .pre_copy(exactly(2))
        .run(&criu(), &store, |_| {})
        .unwrap();
    scribe.take_changed();
    scribe.fill(0, 10, 5, 2 << 32);

    // The first of its rounds leaves to the one before what has not changed.
    let second = create(&scribe, "second").leave_running(true);
    let second = second.parent("first".parse().unwrap());
    let second = second
        .pre_copy(exactly(1))
        .run(&criu(), &store, |_| {})
        .unwrap();
    let (found, _) = scribe.in_round(&second.path().join("rounds/1"));
    assert_eq!(found, scribe.take_changed());
    assert!(second.verify().unwrap().is_good());

    scribe.fill(0, 30, 5, 3 << 32);
    let third = create(&scribe, "third")
        .incremental(true)
        .compress(Some(PageCompression::Zstd(1)));
    let third = third.run(&criu(), &store, |_| {}).unwrap();
    scribe.wait_end();
    assert_eq!(
        third.manifest().parent.as_ref().unwrap().name.to_string(),
        "second"
    );
    assert!(third.manifest().sizes.pages < 64 * PAGE);
    assert!(third.verify().unwrap().is_good());
    restore(&third, &mut scribe);
    scribe.assert_whole();

    scribe.kill();
    drop(first);
    store
        .remove(&["first".parse().unwrap()], Children::Flatten)
        .unwrap();
    let second = store.get(&"second".parse().unwrap()).unwrap();
    assert!(!second.path().join("rounds").exists());
    assert_eq!(second.manifest().pre_copy.as_ref().unwrap().rounds.len(), 1);
    assert!(second.verify().unwrap().is_good());
    let third = store.get(&"third".parse().unwrap()).unwrap();
    restore(&third, &mut scribe);
    scribe.assert_whole();
}

/// Nothing of a chain is left when it cannot be finished, and the tree runs.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn one_that_becomes_another_program_meanwhile_runs_on() {
    let scratch = Scratch::new().unwrap();
    let store = store(&scratch);
    let mut scribe = scribe(&scratch);
    let create = create(&scribe, "other").pre_copy(exactly(3));
    create
        .run(&criu(), &store, |event| {
            if matches!(event, Event::Round { number: 1, .. }) {
                scribe.exec();
                scribe.map(0, 32);
                scribe.fill(0, 5, 3, 2 << 32);
            }
        })
        .unwrap_err();
    scribe.assert_whole();
    scribe.fill(0, 1, 1, 4);
    assert_eq!(store.list().unwrap().checkpoints.len(), 0);
    let left: Vec<_> = std::fs::read_dir(store.path()).unwrap().flatten().collect();
    let left = left.iter().filter(|it| it.path().is_dir());
    assert_eq!(left.count(), 0);
}

/// The command, beside this test.
fn ckpt() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    me.parent().and_then(Path::parent).unwrap().join("ckpt")
}

#[track_caller]
fn run(store: &str, words: &[&str]) -> (String, String) {
    let mut command = Command::new(ckpt());
    let output = command
        .args(words)
        .args(["--store", store])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, told) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{words:?}: {out}{told}");
    (out, told)
}

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn by_the_command_there_and_back() {
    let scratch = Scratch::new().unwrap();
    let mut scribe = scribe(&scratch);
    let here = scratch.join("here").display().to_string();
    let there = scratch.join("there").display().to_string();
    let archive = scratch.join("web.tar").display().to_string();
    let pid = scribe.raw_pid().to_string();
    let words = ["create", &pid, "web", "--auto", "--pre-copy"];
    // Seconds are enough for anything.
    let aim = ["--max-downtime", "60000", "--max-rounds", "4", "--json"];
    let (out, told) = run(&here, &[&words[..], &aim].concat());
    scribe.wait_end();
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    let copied = &document["manifest"]["pre_copy"];
    assert_eq!(copied["stopped_by"], "downtime", "{copied}");
    assert_eq!(copied["converged"], true);
    assert_eq!(copied["rounds"].as_array().unwrap().len(), 1);
    assert!(copied["rounds"][0]["pages"].as_u64().unwrap() >= 512);
    assert!(document["manifest"]["times"]["frozen_us"].as_u64().unwrap() > 0);
    assert_eq!(document["manifest"]["version"], 2);
    assert!(told.contains("ckpt: pre-copy\n"), "{told}");
    assert!(told.contains("ckpt: round 1: "), "{told}");
    assert!(told.contains("dump: the downtime is reached"), "{told}");

    let (shown, _) = run(&here, &["show", "web"]);
    assert!(
        shown.contains("1 round before it, expected to be stopped for"),
        "{shown}"
    );
    run(&here, &["verify", "web"]);
    run(&here, &["export", "web", "-o", &archive]);
    run(&there, &["import", &archive]);
    run(&here, &["rm", "web"]);
    assert!(!run(&here, &["ls"]).0.contains("web"));
    run(&there, &["verify", "web"]);
    run(&there, &["restore", "web", "--detach"]);
    scribe.adopt();
    scribe.assert_whole();
    scribe.fill(0, 3, 1, 4);

    // And what does not converge, with one round of a known size between.
    let words = ["create", &pid, "again", "--auto", "--pre-copy", "-R"];
    let (out, told) = run(
        &there,
        &[&words[..], &["--max-downtime", "0", "--max-rounds", "1"]].concat(),
    );
    assert!(
        out.contains("cannot converge: the rounds are used up"),
        "{out}"
    );
    assert!(
        told.contains("cannot converge: the rounds are used up"),
        "{told}"
    );
    assert!(out.contains("; stopped for "), "{out}");
    scribe.assert_whole();
}

/// Phases are told in their order.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn what_is_told_meanwhile() {
    let scratch = Scratch::new().unwrap();
    let store = store(&scratch);
    let scribe = scribe(&scratch);
    let mut phases = Vec::new();
    let create = create(&scribe, "web").leave_running(true);
    create
        .pre_copy(exactly(2))
        .run(&criu(), &store, |event| match event {
            Event::Phase(phase) => phases.push(phase),
            Event::Round { .. } => phases.push(Phase::Restore),
            _ => {}
        })
        .unwrap();
    let (round, end) = (Phase::Restore, [Phase::Verify, Phase::Commit]);
    let begin = [
        Phase::Check,
        Phase::PreCopy,
        round,
        round,
        Phase::Dump,
        Phase::Write,
    ];
    assert_eq!(phases, [&begin[..], &end].concat());
}
