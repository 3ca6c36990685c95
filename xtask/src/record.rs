//! `cargo xtask record`: chains of real pre-dumps, made in the guest, for `tests/fixtures`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, no_arguments};
use crate::process;
use crate::provision::SID;
use crate::test::soft_dirty_in_guest;

const FILE: &str = "tests/fixtures/chains.tar.zst";

pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Failure> {
    no_arguments("record", args)?;
    let tar = root.join("target/vm/chains.tar");
    let mut record = soft_dirty_in_guest(root, &SID, &[("--out", &tar)])?;
    record.arg("record::").env("CRIU_RS_RECORD", "1");
    process::run(&mut record, "mend what failed above")?;
    let file = root.join(FILE);
    let mut zstd = Command::new("zstd");
    // The window is what every reader has.
    zstd.args(["-19", "--long=23", "--force", "--quiet"]);
    zstd.arg(&tar).arg("-o").arg(&file);
    process::run(&mut zstd, "install zstd")?;
    fs::remove_file(&tar).map_err(|e| Failure::file("remove", &tar, &e))
}
