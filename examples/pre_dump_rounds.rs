//! Pre-dumps until a dump would stop the process for no longer than is wanted. Needs root and
//! a kernel with soft-dirty; on another one it says what to do instead.
//!
//! The one place where the two crates meet without `ckpt`: `criu-rpc` has CRIU write the
//! rounds, `criu-images` reads what they were and judges.

use std::error::Error;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use criu_images::source::{Folder, Source as _};
use criu_images::track::{Decision, Policy, Round, Rounds, best_for};
use criu_images::{Chain, Name, proto};
use criu_rpc::{Criu, Dump, PidfdStore, PreDump, Restore};

/// Rewrites a third of 32 MiB in each round through it, at its own pace.
const WORKLOAD: &str = "b = bytearray(b'x') * (32 << 20)\nimport time\nwhile 1:\n \
    for i in range(0, len(b) // 3, 4096): b[i] = (b[i] + 1) % 256\n time.sleep(0.02)";

fn main() -> Result<(), Box<dyn Error>> {
    let criu = Criu::find()?;
    let mut target = detached(&["python3", "-c", WORKLOAD])?;
    let images = tempfile::tempdir()?;
    let dumped = rounds(&criu, &target, images.path());
    if !matches!(dumped, Ok(true)) {
        target.kill()?;
    }
    target.wait()?;
    if dumped? {
        let tree = criu.run(Restore::new(images.path().join("last")).as_child(true))?;
        println!("restored as {}", tree.pid());
    }
    Ok(())
}

/// Whether it was dumped.
fn rounds(criu: &Criu, target: &Child, images: &Path) -> Result<bool, Box<dyn Error>> {
    // It is to have all of its memory first.
    std::thread::sleep(Duration::from_millis(500));
    let policy = Policy::default();
    let store = PidfdStore::new()?;
    let mut chain = criu.pre_dump_chain();
    let mut judged: Vec<Round> = Vec::new();
    let mut before = Instant::now();
    loop {
        let name = judged.len().to_string();
        let folder = images.join(&name);
        std::fs::create_dir(&folder)?;
        let mut round = PreDump::new(target, &folder).pidfd_store(&store);
        if let Some(last) = judged.len().checked_sub(1) {
            round = round.parent(format!("../{last}"));
        }
        let start = Instant::now();
        chain = match chain.pre_dump(round) {
            Ok(chain) => chain,
            Err(error) if judged.is_empty() => {
                println!("{error}");
                println!("what works here: {}", best_for(target.id())?);
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let took = start.elapsed().as_secs_f64();
        let wrote = Rounds::of_task(&Chain::open(&folder)?, target.id())?;
        let wrote = wrote.iter().last().ok_or("a round without memory")?;
        // All that is dirty was written since the round before; of the first that is not known.
        let rate = match judged.last() {
            Some(_) => wrote.written.rate(before.elapsed()).bytes,
            None => 0.0,
        };
        before = Instant::now();
        let (pages, skipped) = (wrote.written.pages(), wrote.in_parent.pages());
        let mut round = Round::measured(pages, skipped, wrote.written.bytes(), took, rate);
        round.fixed = 0.05;
        if judged.is_empty() {
            round.remaining = round.bytes;
        }
        judged.push(round);
        let verdict = policy.after(&judged);
        println!(
            "round {name}: {pages} pages written, {skipped} left to the parent, {:.0} ms, \
             stopped for {:.1} ms: {}, {:.0} ms if now",
            took * 1e3,
            f64::from(frozen(&folder)?) / 1e3,
            verdict.decision,
            verdict.downtime * 1e3
        );
        if verdict.decision != Decision::GoOn {
            break;
        }
    }
    let last = images.join("last");
    std::fs::create_dir(&last)?;
    let parent = format!("../{}", judged.len() - 1);
    let start = Instant::now();
    chain.dump(Dump::new(target, &last).parent(parent).pidfd_store(&store))?;
    println!("dumped, {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    Ok(true)
}

/// How long CRIU had the process stopped, in microseconds.
fn frozen(folder: &Path) -> Result<u32, Box<dyn Error>> {
    let name = Name::parse("stats-dump").ok_or("no such name")?;
    let source = Folder::open(folder)?;
    let image = source.image(name)?.ok_or("no statistics")?;
    let stats = image.entries::<proto::StatsEntry>().next();
    let stats = stats.ok_or("empty statistics")??;
    Ok(stats
        .dump
        .ok_or("statistics of something else")?
        .frozen_time)
}

/// Starts a process in a session of its own, so that nothing of it is outside its tree.
fn detached(command: &[&str]) -> std::io::Result<Child> {
    let mut setsid = Command::new("setsid");
    setsid.args(command);
    setsid
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}
