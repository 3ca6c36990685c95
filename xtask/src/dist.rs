//! `ckpt` as one static binary, which runs on any Linux of its architecture.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, no_arguments};
use crate::process;

/// Builds it, sees that it needs nothing but the kernel, and prints where it is.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Failure> {
    no_arguments("dist", args)?;
    let target = process::host()?;
    // Apart, for the flags of a build are those of all it builds.
    let built = root.join("target/dist");
    process::run(
        process::cargo(root)
            .args(["build", "--release", "--locked", "--package", "ckpt"])
            .args(["--bin", "ckpt", "--target", &target])
            .arg("--target-dir")
            .arg(&built)
            .env(
                "RUSTFLAGS",
                "-Ctarget-feature=+crt-static -Cstrip=debuginfo",
            ),
        "a static build needs libc.a: install it (Debian: libc6-dev), or mend what is said above",
    )?;
    let program = built.join(&target).join("release/ckpt");
    let bytes = fs::read(&program).map_err(|e| Failure::file("read", &program, &e))?;
    match interpreter(&bytes) {
        Some(None) => {}
        Some(Some(loader)) => {
            return Err(Failure::step(format!(
                "ckpt is started by {loader}, so it is not static: build where +crt-static works"
            )));
        }
        None => {
            return Err(Failure::step(
                "what cargo built is no ELF program of 64 bits",
            ));
        }
    }
    let version = process::capture(Command::new(&program).arg("--version"), "mend it")?;
    let place = place(&built, &program)?;
    eprintln!("{}, static, {} bytes", version.trim(), bytes.len());
    println!("{}", place.display());
    Ok(())
}

/// Puts the program where it is easily found.
fn place(built: &Path, program: &Path) -> Result<PathBuf, Failure> {
    let place = built.join("ckpt");
    let aside = built.join(".ckpt.new");
    fs::copy(program, &aside)
        .and_then(|_| fs::rename(&aside, &place))
        .map_err(|e| Failure::file("write", &place, &e))?;
    Ok(place)
}

/// The loader that an ELF program of 64 bits asks for, if any; none if it is no such program.
fn interpreter(elf: &[u8]) -> Option<Option<String>> {
    const PT_INTERP: u64 = 3;
    if !elf.starts_with(b"\x7fELF\x02") {
        return None;
    }
    let big = elf.get(5) == Some(&2);
    let number = |at: usize, length: usize| -> Option<u64> {
        let mut value = [0; 8];
        value[..length].copy_from_slice(elf.get(at..at.checked_add(length)?)?);
        if big {
            value[..length].reverse();
        }
        Some(u64::from_le_bytes(value))
    };
    let place = |at: usize, length| usize::try_from(number(at, length)?).ok();
    let (table, size, count) = (place(32, 8)?, place(54, 2)?, place(56, 2)?);
    for index in 0..count {
        let header = table.checked_add(size.checked_mul(index)?)?;
        if number(header, 4)? != PT_INTERP {
            continue;
        }
        let (start, length) = (place(header + 8, 8)?, place(header + 32, 8)?);
        let path = elf.get(start..start.checked_add(length)?)?;
        let path = String::from_utf8_lossy(path);
        return Some(Some(path.trim_end_matches('\0').to_owned()));
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::interpreter;
    use std::process::Command;

    /// This test is a program with a loader, unless it was built without.
    #[test]
    fn a_loader_is_found() {
        let own = std::env::current_exe().unwrap();
        let said = Command::new("ldd").arg(&own).output();
        let found = interpreter(&std::fs::read(own).unwrap()).unwrap();
        if let Ok(said) = said {
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            match found {
                Some(loader) => assert!(said.contains(&loader), "{loader} is not in {said}"),
                None => assert!(!said.contains("=>"), "{said}"),
            }
        }
    }

    #[test]
    fn what_is_no_program_has_none() {
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64, 0);
        assert_eq!(interpreter(&elf), Some(None));
        assert_eq!(interpreter(&elf[..40]), None);
        assert_eq!(interpreter(b"#!/bin/sh"), None);
        // A table that is not there.
        elf[32..40].fill(0xff);
        elf[56] = 1;
        assert_eq!(interpreter(&elf), None);
    }
}
