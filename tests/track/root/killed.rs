//! A tracker that is killed leaves its target as it was.

use std::process::Stdio;
use std::time::{Duration, Instant};

use criu_images::track::{Choice, Fit, Obstacle, TrackError, Way, best_for};
use criu_rs_tests::{Proc, Scratch, Settings, Spawned, Workload, eventually};
use rustix::process::Signal;

use crate::embedder::embedder;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn workload(scratch: &Scratch) -> Workload {
    let settings = Settings {
        memory_mib: 4,
        child: true,
        file: Some(scratch.join("counts")),
        // Threads in all kinds of system calls, and one that never makes any.
        threads: 4,
        ..Settings::new(scratch.join("status"))
    };
    Workload::start(env!("CARGO_BIN_EXE_workload"), settings).unwrap()
}

pub(crate) fn is_untouched(pid: i32) -> bool {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fds = Proc::new(pid).fds().unwrap();
    !smaps
        .lines()
        .any(|line| line.starts_with("VmFlags") && line.contains(" uw"))
        && status.contains("TracerPid:\t0\n")
        && !fds
            .values()
            .any(|target| target.to_string_lossy().contains("userfaultfd"))
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn killed_at_any_moment() {
    // Over and over, as fast as it can: most of its time is spent at the injection, or while
    // the threads are stopped.
    let tracker = embedder(|words| {
        let pid = words[0].parse().unwrap();
        let is_named = |way: &&Way| way.to_string() == words[2];
        let way = *Way::ALL.iter().find(is_named).unwrap();
        for round in 0u64.. {
            let mut tracker = match Choice::by(way, pid) {
                Ok(tracker) => tracker,
                // The guardian of the one before is still at work.
                Err(TrackError::Impossible {
                    obstacle: Obstacle::Traced,
                    ..
                }) => continue,
                Err(error) => panic!("{error}"),
            };
            if round % 3 == 0 || way == Way::SoftDirty {
                match tracker.look() {
                    Ok(_) => {}
                    Err(TrackError::Impossible {
                        obstacle: Obstacle::Traced,
                        ..
                    }) => continue,
                    Err(error) => panic!("{error}"),
                }
            }
            std::fs::write(&words[1], "armed").unwrap();
        }
    });
    let scratch = Scratch::new().unwrap();
    let workload = workload(&scratch);
    let mark = scratch.join("mark");
    let choice = best_for(workload.pid().unsigned_abs()).unwrap();
    let works = choice.fits().iter().filter(|(_, fit)| *fit == Fit::Works);
    // The best is the one that does most to it.
    let kills = works.flat_map(|(way, _)| {
        (0..if *way == choice.way() { 60 } else { 20 }).map(move |n| (*way, n))
    });
    let before = workload.count().unwrap();
    for (way, kill) in kills {
        drop(std::fs::remove_file(&mark));
        let pid = workload.pid().to_string();
        let words = [&*pid, &*mark.to_string_lossy(), &*way.to_string()];
        let mut command = tracker.command(&[], &words);
        command.stdout(Stdio::null());
        let victim = Spawned::spawn(&mut command).unwrap();
        eventually("a tracker at work", PATIENCE, || {
            Ok(mark.exists().then_some(()))
        })
        .unwrap();
        // At another moment each time.
        let moment = Instant::now() + Duration::from_micros(u64::from(kill * 37u32));
        while Instant::now() < moment {}
        victim.signal(Signal::KILL).unwrap();
        victim.wait(PATIENCE).unwrap();
    }
    assert!(workload.count().unwrap() > before);
    // A guardian may still be at work.
    eventually("a target that is let go", PATIENCE, || {
        Ok(is_untouched(workload.pid()).then_some(()))
    })
    .unwrap();
    workload.assert_sound();
}
