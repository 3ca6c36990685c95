//! The gdb that opens core files in the tests.

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

const ADVICE: &str = "install gdb, or set GDB to its path";

/// `$GDB`, the first on PATH, an earlier provision; else that of Debian, without Python,
/// unpacked under `target/gdb`.
pub(crate) fn find(root: &Path) -> Result<PathBuf, Failure> {
    if let Some(named) = env::var_os("GDB").filter(|value| !value.is_empty()) {
        return works(PathBuf::from(named));
    }
    if let Some(installed) = process::find_in_path("gdb") {
        return works(installed);
    }
    let home = root.join("target/gdb");
    let gdb = home.join("gdb");
    if gdb.is_file() {
        return works(gdb);
    }
    apt::require()?;
    let target = root.join("target");
    fs::create_dir_all(&target).map_err(|e| Failure::file("create", &target, &e))?;
    let _lock = lock(&target.join(".gdb.lock"))?;
    if !gdb.is_file() {
        let aside = target.join(".gdb.new");
        for leftover in [&aside, &home] {
            if leftover.exists() {
                fs::remove_dir_all(leftover).map_err(|e| Failure::file("remove", leftover, &e))?;
            }
        }
        build(&aside)?;
        fs::rename(&aside, &home).map_err(|e| Failure::file("create", &home, &e))?;
    }
    works(gdb)
}

fn build(aside: &Path) -> Result<(), Failure> {
    let loader = Loader::of(&apt::architecture()?)?;
    let archive = Archive::of_this_machine()?;
    eprintln!("provisioning gdb of Debian {} ...", BOOKWORM.name);
    let scratch = aside.join("apt");
    let apt = PrivateApt::create(&scratch, &archive, BOOKWORM.name)?;
    apt.update()?;
    let names = apt.with_libraries("gdb-minimal")?;
    let prefix = aside.join("prefix");
    apt.unpack(&names, &prefix)?;
    fs::remove_dir_all(&scratch).map_err(|e| Failure::file("remove", &scratch, &e))?;
    let wrapper = aside.join("gdb");
    fs::write(&wrapper, loader.wrapper(&prefix, "usr/bin/gdb")?)
        .and_then(|()| fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)))
        .map_err(|e| Failure::file("write", &wrapper, &e))
}

fn works(gdb: PathBuf) -> Result<PathBuf, Failure> {
    process::capture(Command::new(&gdb).arg("--version"), ADVICE)?;
    Ok(gdb)
}
