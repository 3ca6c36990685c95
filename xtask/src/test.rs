//! Every test, and what the tests need.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Failure, no_arguments};
use crate::program::{GDB, IP, JAVA, NODE, POSTGRES, REDIS, TMUX};
use crate::provision::{BOOKWORM, SID, Suite, TRIXIE};
use crate::{criu, process};

/// The programs that the soft-dirty tests start.
const SOFT_DIRTY: [&str; 4] = ["scribe", "mutator", "workload", "ckpt"];

/// The jobs that belong to another user.
const OTHERS: &str = "root::postgres::";

/// One run of the test harness.
struct Step {
    name: String,
    command: Command,
    /// Every test is wanted here, so none may be left out.
    all: bool,
}

pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Failure> {
    no_arguments("test", args)?;
    if !criu::is_root() {
        return Err(Failure::step(
            "the live tests need root: run this as root, or `cargo test` for the others",
        ));
    }
    let mut summary = Vec::new();
    for mut step in steps(root)? {
        let tally = step.run()?;
        summary.push(format!("{} {}", step.name, tally.passed));
    }
    println!("test: all passed: {}", summary.join(", "));
    Ok(())
}

/// Everything there is, in the order in which it fails soonest.
fn steps(root: &Path) -> Result<Vec<Step>, Failure> {
    let old = BOOKWORM.provision(root)?;
    let gdb = GDB.find(root)?;
    let jobs = [&REDIS, &TMUX, &NODE, &JAVA, &IP];
    let jobs = jobs.map(|program| Ok((program.variable, program.find(root)?)));
    let jobs = jobs.into_iter().collect::<Result<Vec<_>, Failure>>()?;
    let suites = [
        (TRIXIE.provision(root)?, TRIXIE),
        (SID.provision(root)?, SID),
    ];

    let mut workspace = process::cargo(root);
    workspace.args(["test", "--workspace", "--all-features", "--locked"]);
    let mut steps = vec![Step {
        name: "workspace".to_owned(),
        command: workspace,
        all: false,
    }];
    for (criu, suite) in &suites {
        let mut command = target(root, "live");
        command.env("CRIU", criu).env("CRIU_OLD", &old);
        steps.push(Step {
            name: format!("live on {}", suite.name),
            command,
            all: true,
        });
    }
    for (criu, suite) in &suites {
        let mut command = target(root, "images");
        command.env("CRIU", criu).env("CRIT", suite.crit(root));
        // 4.1.1 asks TCP sockets for an option that kernels since 6.16 refuse them, and
        // has not all fields of 4.2, which the samples have.
        if *suite == TRIXIE {
            command.args(["--skip", "root::tcp", "--skip", "root::samples"]);
        }
        steps.push(Step {
            name: format!("images of {}", suite.name),
            command,
            all: true,
        });
    }
    for (criu, suite) in &suites {
        let mut command = target(root, "memory");
        command.env("CRIU", criu).env("GDB", &gdb);
        steps.push(Step {
            name: format!("memory of {}", suite.name),
            command,
            all: true,
        });
    }
    for (criu, suite) in &suites {
        let mut command = target(root, "compat");
        command.env("CRIU", criu);
        steps.push(Step {
            name: format!("compat on {}", suite.name),
            command,
            all: true,
        });
    }
    for (criu, suite) in &suites {
        let mut command = target(root, "track");
        command.env("CRIU", criu);
        // The rest does not ask CRIU, and is the same with each.
        if *suite == TRIXIE {
            command.args(["root::dump", "root::incremental"]);
        }
        steps.push(Step {
            name: format!("tracking beside {}", suite.name),
            command,
            all: true,
        });
    }
    for (criu, suite) in &suites {
        for (name, what) in [("stream", "streams of"), ("checkpoint", "checkpoints by")] {
            let mut command = target(root, name);
            command.env("CRIU", criu);
            steps.push(Step {
                name: format!("{what} {}", suite.name),
                command,
                all: true,
            });
        }
    }
    for (_, suite) in &suites {
        let mut command = target(root, "schema");
        command.env("CRIU_DESCRIPTORS", suite.descriptors(root));
        steps.push(Step {
            name: format!("schema of {}", suite.name),
            command,
            all: true,
        });
    }
    steps.push(Step {
        name: "ckpt track".to_owned(),
        command: target(root, "watch"),
        all: true,
    });
    for (criu, suite) in &suites {
        steps.push(Step {
            name: format!("soft-dirty of {}", suite.name),
            command: soft_dirty(root, criu, suite)?,
            all: true,
        });
    }
    let mut command = target(root, "image");
    // The release whose words and output these are.
    command.env("CRIT", SID.crit(root));
    steps.push(Step {
        name: format!("ckpt image beside crit of {}", SID.name),
        command,
        all: true,
    });
    let (criu, suite) = &suites[1];
    for name in ["jobs", "move"] {
        let mut command = target(root, name);
        command.env("CRIU", criu).envs(jobs.iter().cloned());
        if name == "jobs" {
            command.args(["--skip", OTHERS]);
        }
        steps.push(Step {
            name: format!("ckpt {name} on {}", suite.name),
            command,
            all: true,
        });
    }
    steps.push(Step {
        name: format!("ckpt jobs of others on {}", suite.name),
        command: others(root, criu, suite)?,
        all: true,
    });
    Ok(steps)
}

fn target(root: &Path, name: &str) -> Command {
    let mut command = built(root, name);
    command.args(["--", "--include-ignored"]);
    command
}

fn built(root: &Path, name: &str) -> Command {
    let mut command = process::cargo(root);
    // As the whole workspace is built, so that it is not built again.
    command.args([
        "test",
        "--workspace",
        "--all-features",
        "--locked",
        "--test",
        name,
    ]);
    command
}

/// Here, if this machine can; else in the guest.
fn soft_dirty(root: &Path, criu: &Path, suite: &Suite) -> Result<Command, Failure> {
    if criu::tracks_memory(criu) && criu::is_almighty() {
        let mut command = target(root, "soft-dirty");
        command.env("CRIU", criu).arg("--test-threads=1");
        return Ok(command);
    }
    soft_dirty_in_guest(root, suite, &[])
}

/// The tests as they run in the guest, with more options of `cargo xtask vm`.
pub(crate) fn soft_dirty_in_guest(
    root: &Path,
    suite: &Suite,
    options: &[(&str, &Path)],
) -> Result<Command, Failure> {
    let mut command = in_guest(root, "soft-dirty", suite, &SOFT_DIRTY, options)?;
    // Its tests take pids from each other if they run side by side.
    command.args(["--", "--include-ignored", "--test-threads=1"]);
    if *suite == TRIXIE {
        // The trackers do not ask CRIU, and are the same with each.
        let trackers = ["choice", "killed", "looks", "own", "random"];
        for name in trackers {
            command.args(["--skip", &format!("root::{name}::")]);
        }
    }
    Ok(command)
}

/// Here, if root may dump the processes of others; else in the guest.
fn others(root: &Path, criu: &Path, suite: &Suite) -> Result<Command, Failure> {
    let mut command = if criu::is_almighty() {
        let mut command = built(root, "jobs");
        command.env("CRIU", criu);
        command.env(POSTGRES.variable, POSTGRES.find(root)?);
        command
    } else {
        let postgres = POSTGRES.provision(root)?;
        let with = POSTGRES.prefix(root);
        let mut command = in_guest(root, "jobs", suite, &["ckpt"], &[("--with", &with)])?;
        command.env(POSTGRES.variable, postgres);
        command
    };
    command.args(["--", "--include-ignored", "--test-threads=1", OTHERS]);
    Ok(command)
}

/// A test target, run in the guest with programs of ours.
fn in_guest(
    root: &Path,
    target: &str,
    suite: &Suite,
    programs: &[&str],
    options: &[(&str, &Path)],
) -> Result<Command, Failure> {
    let xtask = std::env::current_exe()
        .map_err(|e| Failure::file("find", Path::new("this program"), &e))?;
    let mut runner: Vec<_> = [xtask.as_path(), Path::new("vm")].map(quoted).into();
    for (option, value) in options {
        runner.extend([Path::new(option), value].map(quoted));
    }
    runner.extend([Path::new("--suite"), Path::new(suite.name)].map(quoted));
    for program in programs {
        // Beside us, for cargo has built it for the same.
        let program = xtask.with_file_name(program);
        runner.extend([Path::new("--with"), &program].map(quoted));
    }
    runner.push(quoted(Path::new("--")));
    let mut command = built(root, target);
    command.arg("--config").arg(format!(
        "target.'cfg(unix)'.runner = [{}]",
        runner.join(", ")
    ));
    Ok(command)
}

/// As TOML has it.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

impl Step {
    fn run(&mut self) -> Result<Tally, Failure> {
        let advice = "mend what failed above";
        eprintln!("== {}", self.name);
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| process::not_started(&self.command, &e, advice))?;
        let mut tally = Tally::default();
        for line in child
            .stdout
            .take()
            .into_iter()
            .flat_map(|out| BufReader::new(out).lines())
        {
            let line = line.map_err(|e| Failure::step(format!("{}: {e}", self.name)))?;
            println!("{line}");
            tally.add(&line);
        }
        let status = child
            .wait()
            .map_err(|e| Failure::step(format!("{}: {e}", self.name)))?;
        if !status.success() {
            let command = process::shown(&self.command);
            return Err(Failure::step(format!(
                "`{command}` failed ({status}): {advice}"
            )));
        }
        // A run that left tests out is no proof.
        if tally.passed == 0 || (self.all && tally.ignored > 0) {
            return Err(Failure::step(format!(
                "{}: {} tests ran and {} were left out: see that every test of it runs",
                self.name, tally.passed, tally.ignored
            )));
        }
        Ok(tally)
    }
}

/// What the test harness says of itself.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    passed: u32,
    ignored: u32,
}

impl Tally {
    /// Adds a line like `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ok. ") else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((n, "passed")) => self.passed += n.parse().unwrap_or(0),
                Some((n, "ignored")) => self.ignored += n.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Step, Tally};
    use std::process::Command;

    #[test]
    fn tally_of_several_targets() {
        let mut tally = Tally::default();
        for line in [
            "running 2 tests",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: ok. 40 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 9 passed; 1 failed; 9 ignored",
        ] {
            tally.add(line);
        }
        assert_eq!(
            tally,
            Tally {
                passed: 42,
                ignored: 3
            }
        );
    }

    fn step(all: bool, script: &str) -> Result<u32, String> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let step = Step {
            name: "x".to_owned(),
            command,
            all,
        }
        .run();
        step.map(|tally| tally.passed)
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_step_that_proves_nothing_fails() {
        let two = "echo 'test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured'";
        assert_eq!(step(false, two), Ok(2));
        assert!(step(true, two).unwrap_err().contains("1 were left out"));
        let none = "echo 'test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured'";
        assert!(step(true, none).unwrap_err().contains("0 tests ran"));
        assert!(
            step(false, &format!("{two}; exit 1"))
                .unwrap_err()
                .contains("exit status: 1")
        );
    }
}
