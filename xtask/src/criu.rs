//! A CRIU that works here.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::process;
use crate::provision::{SID, SUITES};

/// `cargo xtask criu`: the path, alone, on standard output.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Failure> {
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let criu = match args[..] {
        [] => find(root)?,
        ["--suite", name] => {
            let suite = SUITES
                .iter()
                .find(|suite| suite.name == name)
                .ok_or_else(|| {
                    let names = SUITES.map(|suite| suite.name).join(", ");
                    Failure::Usage(format!("no suite {name:?}: choose one of {names}"))
                })?;
            suite.provision(root)?
        }
        _ => {
            return Err(Failure::Usage(
                "criu takes nothing, or --suite and its name".to_owned(),
            ));
        }
    };
    println!("{}", criu.display());
    Ok(())
}

/// The first that passes `criu check`: `$CRIU`, one on PATH, an earlier
/// provision; else a new provision.
pub(crate) fn find(root: &Path) -> Result<PathBuf, Failure> {
    if !is_root() {
        return Err(needs_root());
    }
    if let Some(named) = env::var_os("CRIU").filter(|value| !value.is_empty()) {
        return from_environment(&named);
    }
    let installed = process::find_in_path("criu");
    let earlier = SUITES.iter().filter_map(|suite| suite.provisioned(root));
    for candidate in installed.into_iter().chain(earlier) {
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(cause) => eprintln!("passing over {}: {cause}", candidate.display()),
        }
    }
    SID.provision(root)
}

/// Whoever names a CRIU gets that one or an error, never another.
fn from_environment(named: &OsStr) -> Result<PathBuf, Failure> {
    let advice = "set CRIU to one that works, or unset it";
    let named = Path::new(named);
    let path = if named.components().count() == 1 && !named.has_root() {
        process::find_in_path(named)
    } else {
        absolute(named).ok()
    }
    .ok_or_else(|| {
        Failure::step(format!(
            "$CRIU is {}, which is not on PATH: {advice}",
            named.display()
        ))
    })?;
    match check(&path) {
        Ok(()) => Ok(path),
        Err(cause) => Err(Failure::step(format!(
            "$CRIU is {}, which does not work ({cause}): {advice}",
            path.display()
        ))),
    }
}

/// Whether this CRIU can work on this kernel, by its own word.
pub(crate) fn check(criu: &Path) -> Result<(), String> {
    ask(criu, "check").map(drop)
}

/// What this CRIU says of its version.
pub(crate) fn version(criu: &Path) -> Result<String, String> {
    ask(criu, "--version")
}

/// Whether it finds that this kernel tracks changed pages.
pub(crate) fn tracks_memory(criu: &Path) -> bool {
    let mut check = Command::new(criu);
    check.args(["check", "--feature", "mem_dirty_track"]);
    check.stdin(Stdio::null());
    check.output().is_ok_and(|output| output.status.success())
}

/// Whether root has the capabilities here that CRIU takes for processes of others.
pub(crate) fn is_almighty() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    let wanted = CapabilitySet::SYS_RESOURCE | CapabilitySet::SYS_PTRACE | CapabilitySet::SYS_ADMIN;
    capabilities(None).is_ok_and(|sets| sets.effective.contains(wanted))
}

fn ask(criu: &Path, question: &str) -> Result<String, String> {
    let output = Command::new(criu)
        .arg(question)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot be started: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // The first error is the cause and the ones after it are its echo, but
    // for a helper program that is not installed, which CRIU does without.
    let cause = said
        .lines()
        .find(|line| line.contains("Error") && !line.contains("exited, status="))
        .or_else(|| said.lines().next());
    let cause = cause.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned());
    Err(format!("`criu {question}`: {cause}"))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn needs_root() -> Failure {
    Failure::step("CRIU needs root: run this as root")
}
