//! What a guest is given: programs with their libraries, CRIU, and the words of the job.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::process;
use crate::program::POSTGRES;
use crate::provision::Suite;

use super::cpio::Cpio;
use super::kit::Kit;

/// What of our environment the job sees too.
const ENVIRONMENT: [&str; 4] = [
    "RUST_BACKTRACE",
    "RUST_TEST_THREADS",
    "CRIU_RS_",
    POSTGRES.variable,
];

/// Where a suite's CRIU is in the guest.
const CRIU: &str = "/opt/criu";

/// Writes the archive that the kernel unpacks: what all guests have, and what this one is for.
pub(crate) fn write(
    root: &Path,
    kit: &Kit,
    suite: &Suite,
    programs: &[PathBuf],
    command: &[String],
    file: &Path,
) -> Result<(), Failure> {
    suite.provision(root)?;
    let home = suite.home(root);
    let cwd = env::current_dir().map_err(|e| Failure::file("find", Path::new("."), &e))?;
    let libraries = libraries(programs)?;
    let stripped = file.with_extension("stripped");
    let write = || -> io::Result<()> {
        let mut out = BufWriter::new(File::create(file)?);
        io::copy(&mut File::open(kit.base())?, &mut out)?;
        let mut cpio = Cpio::new(out);
        for program in programs {
            if program.is_dir() {
                cpio.tree(program, program)?;
            } else {
                cpio.file(program, &without_debug_info(program, &stripped)?)?;
            }
        }
        for library in &libraries {
            cpio.file(library, &fs::read(library)?)?;
        }
        let there = Path::new(CRIU);
        cpio.file(&there.join("criu"), &fs::read(home.join("criu"))?)?;
        for part in ["usr/lib", "usr/sbin", "lib"] {
            let from = home.join("prefix").join(part);
            if from.is_dir() {
                cpio.tree(&from, &there.join("prefix").join(part))?;
            }
        }
        // Programs that refuse root need another user, with a name.
        cpio.file(
            Path::new("/etc/passwd"),
            b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
        )?;
        cpio.file(Path::new("/etc/group"), b"root:x:0:\nnogroup:x:65534:\n")?;
        cpio.folder(&cwd)?;
        cpio.file(
            Path::new("/job/command"),
            script(command, &cwd, env::vars()).as_bytes(),
        )?;
        cpio.finish().map(drop)
    };
    write().map_err(|e| Failure::file("write", file, &e))
}

/// The job as the guest's shell runs it.
fn script(
    command: &[String],
    cwd: &Path,
    environment: impl Iterator<Item = (String, String)>,
) -> String {
    let mut text = format!(
        "cd {}\nexport CRIU={CRIU}/criu\n",
        quoted(&cwd.to_string_lossy())
    );
    for (name, value) in environment {
        if ENVIRONMENT.iter().any(|start| name.starts_with(start)) {
            text.push_str(&format!("export {name}={}\n", quoted(&value)));
        }
    }
    text.push_str("exec");
    for word in command {
        text.push(' ');
        text.push_str(&quoted(word));
    }
    text.push('\n');
    text
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A program without what only a debugger reads, which is most of it; as it is, where there
/// is no tool for that.
fn without_debug_info(program: &Path, scratch: &Path) -> io::Result<Vec<u8>> {
    let mut strip = Command::new("strip");
    strip
        .arg("--strip-debug")
        .arg("-o")
        .arg(scratch)
        .arg(program);
    let done = strip.output().is_ok_and(|output| output.status.success());
    let bytes = fs::read(if done { scratch } else { program });
    fs::remove_file(scratch).unwrap_or_default();
    bytes
}

/// What the loader would map for these programs.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>, Failure> {
    let mut found = BTreeSet::new();
    for program in programs.iter().filter(|program| !program.is_dir()) {
        let mut ldd = Command::new("ldd");
        ldd.arg(program).env("LC_ALL", "C");
        // It fails on what is static, and then there is nothing to carry.
        let advice = "give the guest a program that runs here";
        let output = ldd
            .output()
            .map_err(|e| process::not_started(&ldd, &e, advice))?;
        found.extend(listed(&String::from_utf8_lossy(&output.stdout)));
    }
    Ok(found)
}

/// The paths in what `ldd` prints: `name => path (address)`, or `path (address)`.
fn listed(output: &str) -> impl Iterator<Item = PathBuf> {
    output.lines().filter_map(|line| {
        let line = line.trim();
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        let (path, _) = path.rsplit_once(" (0x")?;
        path.starts_with('/').then(|| path.into())
    })
}

#[cfg(test)]
mod tests {
    use super::{listed, script};
    use std::path::{Path, PathBuf};
    use std::process::Command;

    #[test]
    fn libraries_that_ldd_lists() {
        let output = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0a)\n\
                      \tlibnone.so => not found\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f0b)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert!(listed(output).eq(expected.map(PathBuf::from)));
        assert_eq!(listed("\tstatically linked\n").count(), 0);
    }

    #[test]
    fn the_job_keeps_its_words() {
        let words = ["printf", "%s|", "it's", "a b", "$HOME", ""].map(str::to_owned);
        let environment = [("CRIU_RS_X", "1 '2'"), ("SECRET", "3")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let text = script(&words, Path::new("/"), environment.into_iter());
        assert!(!text.contains("SECRET"), "{text}");
        let shell = |text: &str| {
            let output = Command::new("sh").args(["-c", text]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(shell(&text), "it's|a b|$HOME||");
        let asked = text.replace("exec ", "echo $CRIU $CRIU_RS_X; exec ");
        assert!(shell(&asked).starts_with("/opt/criu/criu 1 '2'\n"));
    }
}
