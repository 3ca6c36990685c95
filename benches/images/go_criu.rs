//! The peer in Go, built where there are a toolchain and `go-criu` to build it of.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The module, and the release to ask the network for.
const MODULE: &str = "github.com/checkpoint-restore/go-criu/v7";
const RELEASE: &str = "v7.2.0";

/// Where Debian's package `golang-github-checkpoint-restore-go-criu-dev` puts it.
const DEBIAN: &str = "/usr/share/gocode";

/// Builds this program in `folder`; the error is why there is none.
pub(crate) fn build(folder: &Path, source: &str) -> Result<PathBuf, String> {
    match go(folder, &["version"], &[]) {
        Ok(version) => eprintln!("{}", version.trim()),
        Err(_) => return Err("there is no `go` in PATH".to_owned()),
    }
    let failed = |e| format!("{}: {e}", folder.display());
    fs::write(folder.join("main.go"), source).map_err(failed)?;
    let build = ["build", "-o", "go_criu", "main.go"];
    if let Some(path) = installed() {
        go(folder, &build, &[("GO111MODULE", "off"), ("GOPATH", &path)])?;
    } else {
        go(folder, &["mod", "init", "peer"], &[])?;
        go(folder, &["get", &format!("{MODULE}@{RELEASE}")], &[])?;
        go(folder, &build, &[])?;
    }
    Ok(folder.join("go_criu"))
}

/// The workspaces of `$GOPATH` or Debian's, if `go-criu` is in one.
fn installed() -> Option<String> {
    let paths = env::var("GOPATH").unwrap_or_else(|_| DEBIAN.to_owned());
    env::split_paths(&paths)
        .any(|path| path.join("src").join(MODULE).is_dir())
        .then_some(paths)
}

/// Runs `go` and gives what it prints; the error is its last line.
fn go(folder: &Path, words: &[&str], settings: &[(&str, &str)]) -> Result<String, String> {
    let output = Command::new("go")
        .args(words)
        .current_dir(folder)
        // A toolchain that it would fetch is not the one that is present.
        .envs([("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")])
        .envs(settings.iter().copied())
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.map_err(|e| format!("go: {e}"))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        let last = said.lines().rfind(|line| !line.is_empty());
        return Err(format!("go {}: {}", words[0], last.unwrap_or("failed")));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}
