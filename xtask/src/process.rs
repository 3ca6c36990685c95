//! Other programs, run so that a failure says what to do.

use std::env;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::failure::Failure;

/// The cargo that runs us, in the workspace's root.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).stdin(Stdio::null());
    cargo
}

/// Runs a program with our output as its own. `advice` is what to do when it
/// fails.
pub(crate) fn run(command: &mut Command, advice: &str) -> Result<(), Failure> {
    eprintln!("+ {}", shown(command));
    let status = command
        .status()
        .map_err(|e| not_started(command, &e, advice))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::step(format!(
        "`{}` failed ({status}): {advice}",
        shown(command)
    )))
}

/// Runs a program for its standard output; shows what else it said only when
/// it fails.
pub(crate) fn capture(command: &mut Command, advice: &str) -> Result<String, Failure> {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| not_started(command, &e, advice))?;
    let program = command.get_program().display();
    if !status.success() {
        eprint!("{}", String::from_utf8_lossy(&stderr));
        return Err(Failure::step(format!(
            "`{program}` failed ({status}): {advice}"
        )));
    }
    String::from_utf8(stdout)
        .map_err(|e| Failure::step(format!("`{program}` gives no UTF-8 ({e}): {advice}")))
}

pub(crate) fn not_started(command: &Command, cause: &std::io::Error, advice: &str) -> Failure {
    let program = command.get_program().display();
    Failure::step(if cause.kind() == ErrorKind::NotFound {
        format!("there is no `{program}` here: {advice}")
    } else {
        format!("cannot start `{program}` ({cause}): {advice}")
    })
}

/// The file that a bare command name stands for.
pub(crate) fn find_in_path(name: impl AsRef<Path>) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&name))
        .find(|file| file.is_file())
}

/// A command as a person would type it, the program by its name alone.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", name.display(), quoted(value)));
        }
    }
    let program = Path::new(command.get_program());
    words.push(quoted(program.file_name().unwrap_or(program.as_os_str())));
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.contains([' ', '\'', '"', '$']) {
        format!("'{word}'")
    } else {
        word.into_owned()
    }
}

/// The target triple of this machine.
pub(crate) fn host() -> Result<String, Failure> {
    let said = capture(Command::new("rustc").arg("-vV"), "install Rust")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| Failure::step("`rustc -vV` names no host: install Rust anew"))
}
