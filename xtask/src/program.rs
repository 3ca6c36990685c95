//! Programs of Debian that the tests work with.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{self, PrivateApt};
use crate::failure::Failure;
use crate::process;
use crate::provision::{BOOKWORM, Loader, lock};
use crate::sources::Archive;

pub(crate) struct Program {
    name: &'static str,
    /// Where its path can be named.
    variable: &'static str,
    /// What it is in, and what that needs beside libraries.
    packages: &'static [&'static str],
    /// Where it is in them.
    path: &'static str,
    advice: &'static str,
}

/// What opens core files; without Python.
pub(crate) const GDB: Program = Program {
    name: "gdb",
    variable: "GDB",
    packages: &["gdb-minimal"],
    path: "usr/bin/gdb",
    advice: "install gdb, or set GDB to its path",
};

/// A server that is checkpointed.
pub(crate) const REDIS: Program = Program {
    name: "redis-server",
    variable: "REDIS",
    packages: &["redis-server", "redis-tools"],
    path: "usr/bin/redis-server",
    advice: "install redis-server, or set REDIS to its path",
};

impl Program {
    /// The one that is named, the first on PATH, an earlier provision; else that of Debian,
    /// unpacked below `target`.
    pub(crate) fn find(&self, root: &Path) -> Result<PathBuf, Failure> {
        if let Some(named) = env::var_os(self.variable).filter(|value| !value.is_empty()) {
            return self.works(PathBuf::from(named));
        }
        if let Some(installed) = process::find_in_path(self.name) {
            return self.works(installed);
        }
        let target = root.join("target");
        let home = target.join(self.name);
        let program = home.join(self.name);
        if program.is_file() {
            return self.works(program);
        }
        apt::require()?;
        fs::create_dir_all(&target).map_err(|e| Failure::file("create", &target, &e))?;
        let _lock = lock(&target.join(format!(".{}.lock", self.name)))?;
        if !program.is_file() {
            let aside = target.join(format!(".{}.new", self.name));
            for leftover in [&aside, &home] {
                if leftover.exists() {
                    fs::remove_dir_all(leftover)
                        .map_err(|e| Failure::file("remove", leftover, &e))?;
                }
            }
            self.build(&aside)?;
            fs::rename(&aside, &home).map_err(|e| Failure::file("create", &home, &e))?;
        }
        self.works(program)
    }

    fn build(&self, aside: &Path) -> Result<(), Failure> {
        let loader = Loader::of(&apt::architecture()?)?;
        let archive = Archive::of_this_machine()?;
        let name = self.name;
        eprintln!("provisioning {name} of Debian {} ...", BOOKWORM.name);
        let scratch = aside.join("apt");
        let apt = PrivateApt::create(&scratch, &archive, BOOKWORM.name)?;
        apt.update()?;
        let mut names = Vec::new();
        for package in self.packages {
            names.extend(apt.with_libraries(package)?);
        }
        names.sort();
        names.dedup();
        apt.unpack(&names, &aside.join("prefix"))?;
        fs::remove_dir_all(&scratch).map_err(|e| Failure::file("remove", &scratch, &e))?;
        let wrapper = aside.join(name);
        fs::write(&wrapper, loader.wrapper(&aside.join("prefix"), self.path)?)
            .and_then(|()| fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)))
            .map_err(|e| Failure::file("write", &wrapper, &e))
    }

    fn works(&self, program: PathBuf) -> Result<PathBuf, Failure> {
        process::capture(Command::new(&program).arg("--version"), self.advice)?;
        Ok(program)
    }
}
