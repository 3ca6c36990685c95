//! The main job, on a process tree that works while it is watched: dumped as it runs,
//! dumped again and ended, restored; and each claim checked from outside.

mod check;
mod interrupt;
mod ledger;
mod portrait;
mod report;
mod subject;
mod traces;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use criu_rpc::{Answer, Criu, Dump, Ended, Pid, Request, Restore, Restored, Stage};
use criu_rs_tests::{Scratch, Settings, close_fds_on_exec};

use check::{Doing as _, Failed, equal, within};
use interrupt::Interrupt;
use portrait::Portrait;
use report::{Images, Size, checked, fact, step};
use subject::Subject;
use traces::Traces;

/// MiB of memory that the workload keeps changing.
const MEMORY: u64 = 256;

/// How much further it must count for us to believe that it goes on. Less than its file
/// holds, so that the counts before and after a dump are in it together.
const FURTHER: u64 = 100;

/// How long CRIU may take for what is a matter of a second.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match demo() {
        Ok((dumped, restored)) => {
            report::line(format_args!(
                "demo: ok, count {dumped} -> {restored}, {MEMORY} MiB intact"
            ));
            ExitCode::SUCCESS
        }
        Err(failed) => {
            eprintln!("demo: {failed}");
            ExitCode::FAILURE
        }
    }
}

/// Tells the story, and leaves nothing behind however it ends. Returns the counts at the
/// final dump and after the restore.
fn demo() -> Result<(u64, u64), Failed> {
    // A terminal or an editor may have left some open, and they are none of the workload's.
    close_fds_on_exec();
    let interrupt = Interrupt::take()?;
    let traces = Traces::watch()?;
    let told = story(&interrupt);
    let left = traces.check();
    if let Err(failed) = traces::sweep() {
        eprintln!("demo: {failed}");
    }
    let counts = told?;
    left?;
    checked("left behind", "no process, zombie, thread or descriptor");
    Ok(counts)
}

fn story(interrupt: &Interrupt) -> Result<(u64, u64), Failed> {
    let demo = Demo::prepare(interrupt)?;
    let mut workload = demo.start()?;
    demo.dump_running_on(&mut workload)?;
    let last = demo.dump_and_end(workload)?;
    let (tree, mut workload) = demo.restore(&last)?;
    let counted = demo.compare(&mut workload, &last)?;
    demo.end(&tree, &workload)?;
    drop(workload);
    checked("the images", traces::remove(demo.scratch)?);
    Ok((last.count, counted))
}

struct Demo<'a> {
    interrupt: &'a Interrupt,
    criu: Criu,
    /// For the images, and the workload's files.
    scratch: Scratch,
}

/// What the workload was when the second dump ended it.
struct Last {
    pid: Pid,
    settings: Settings,
    count: u64,
    portrait: Portrait,
}

impl<'a> Demo<'a> {
    fn prepare(interrupt: &'a Interrupt) -> Result<Self, Failed> {
        let criu = Criu::find()?;
        let version = criu.version()?;
        criu.check()?;
        fact("CRIU", format_args!("{version}, {}", criu.path().display()));

        let scratch = Scratch::new().doing("make a folder for the images")?;
        let path = scratch.path().display();
        let free = report::free(scratch.path()).doing("see how much room there is")?;
        fact("images", format_args!("{path} (CRIU_RS_KEEP=1 keeps them)"));
        // Two dumps, and some air.
        let needed = (2 * MEMORY + 64) << 20;
        if free < needed {
            let check = format!("room in {path} (TMPDIR names another place)");
            return Err(Failed::check(check, Size(needed), Size(free)));
        }
        Ok(Self {
            interrupt,
            criu,
            scratch,
        })
    }

    /// Three threads, a child, two pipes, a file, and memory.
    fn start(&self) -> Result<Subject, Failed> {
        let settings = Settings {
            memory_mib: MEMORY,
            threads: 2,
            child: true,
            file: Some(self.scratch.join("counts")),
            dirty: 16,
            scatter: true,
            ..Settings::new(self.scratch.join("status"))
        };
        let (dirty, pages) = (settings.dirty, settings.pattern().pages());
        let demo = env::current_exe().doing("find the program workload")?;
        let program = demo.with_file_name("workload");

        let started = Instant::now();
        let mut workload = Subject::start(&program, settings)?;
        let took = started.elapsed();
        let (pid, child) = (workload.pid(), workload.child());
        let what = format!("process {pid} with {MEMORY} MiB, and its child {child}");
        step("start a workload", took, what);

        checked("it has", workload.portrait()?);
        let count = workload.count_on(FURTHER)?;
        let what = format!("to {count}; each time it rewrites {dirty} of {pages} pages");
        checked("it counts", what);
        workload.check_sound()?;
        Ok(workload)
    }

    fn dump_running_on(&self, workload: &mut Subject) -> Result<(), Failed> {
        let before = workload.portrait()?;
        let images = self.scratch.dir("first").doing("make a folder")?;
        let dump = Dump::new(workload.pid(), &images).leave_running(true);
        let held = self.dump("dump, running on", dump, &images, workload)?;

        workload.portrait()?.check_same(&before)?;
        checked("it is as it was", before);
        let count = workload.count_on(FURTHER)?;
        let what = format!("held at {held} for the dump, now at {count}");
        checked("it counts on", what);
        workload.check_sound()
    }

    fn dump_and_end(&self, mut workload: Subject) -> Result<Last, Failed> {
        let portrait = workload.portrait()?;
        let images = self.scratch.dir("second").doing("make a folder")?;
        let dump = Dump::new(workload.pid(), &images);
        let held = self.dump("dump, and end", dump, &images, &mut workload)?;

        workload.check_killed()?;
        let what = "both processes are killed and reaped, their ids free";
        checked("it is gone", what);
        let count = workload.count()?;
        equal("count after the end", count, held)?;
        checked("it counted", format_args!("to {count}"));
        Ok(Last {
            pid: workload.pid(),
            settings: workload.settings().clone(),
            count,
            portrait,
        })
    }

    /// Dumps it, and looks at its count at each stage. Returns the one that it is held at.
    fn dump(
        &self,
        what: &str,
        dump: Dump<'_>,
        images: &Path,
        workload: &mut Subject,
    ) -> Result<u64, Failed> {
        let mut held = None;
        let started = Instant::now();
        let dump = dump
            .time_limit(LIMIT)
            .cancel_with(self.interrupt.cancel())
            .hook(|notice| {
                let count = workload.count()?;
                if *notice.stage() != Stage::PreDump {
                    let held = *held.get_or_insert(count);
                    equal("count while it is dumped", count, held)?;
                }
                Ok(Answer::Continue)
            });
        self.run(dump)?;
        let took = started.elapsed();

        let images = Images::count(images).doing("look at the images")?;
        step(what, took, &images);
        within("bytes of the images", images.bytes, MEMORY << 20..=u64::MAX)?;
        held.ok_or_else(|| Failed::check("stages of the dump", "one where it is held", "none"))
    }

    fn restore(&self, last: &Last) -> Result<(Restored, Subject), Failed> {
        let images = self.scratch.join("second");
        let started = Instant::now();
        let restore = Restore::new(&images)
            .as_child(true)
            .time_limit(LIMIT)
            .cancel_with(self.interrupt.cancel());
        let tree = self.run(restore)?;
        let (took, pid) = (started.elapsed(), tree.pid());
        equal("process id after the restore", pid, last.pid)?;
        equal("whether it is our child", tree.is_child(), true)?;
        step("restore", took, format_args!("process {pid}, as our child"));
        let workload = Subject::restored(pid, last.settings.clone(), last.count, started)?;
        Ok((tree, workload))
    }

    /// Asks CRIU. What comes of a request that was interrupted is not looked at.
    fn run<R: Request>(&self, request: R) -> Result<R::Reply, Failed> {
        let reply = self.criu.run(request);
        self.interrupt.check()?;
        Ok(reply?)
    }

    /// Returns what the restored workload has counted to.
    fn compare(&self, workload: &mut Subject, last: &Last) -> Result<u64, Failed> {
        workload.portrait()?.check_same(&last.portrait)?;
        let what = format!("{}, under their old ids", last.portrait);
        checked("it is as it was", what);
        let count = workload.count_on(FURTHER)?;
        checked(
            "it counts on",
            format_args!("from {} to {count}", last.count),
        );
        workload.check_sound()?;
        Ok(count)
    }

    fn end(&self, tree: &Restored, workload: &Subject) -> Result<(), Failed> {
        let started = Instant::now();
        workload.kill()?;
        let ended = tree.wait().doing("wait for the workload's end")?;
        equal("how the workload ended", ended, Ended::Killed(9))?;
        workload.check_child_left()?;
        let what = "killed and reaped; its child left when the pipe closed";
        step("end it", started.elapsed(), what);
        Ok(())
    }
}
