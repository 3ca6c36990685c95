//! A restored tree gets another open file in place of one it had.

use std::fs::{self, File};
use std::time::Duration;

use criu_rpc::{Dump, InheritKey, Pid, Restore};
use criu_rs_tests::{Scratch, Spawned, eventually};

use crate::target::{criu, detached};

const PATIENCE: Duration = Duration::from_secs(20);

/// Writes a line into descriptor 3 ten times a second.
const WRITER: &str = "while sleep 0.1; do echo line >&3; done 3>>\"$0\"";

fn lines(path: &std::path::Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_file_is_replaced_by_a_descriptor_that_is_handed_on() {
    let scratch = Scratch::new().unwrap();
    let (before, after) = (scratch.join("before"), scratch.join("after"));
    let mut writer = detached(&["sh", "-c", WRITER, before.to_str().unwrap()]);
    let writer = Spawned::spawn(&mut writer).unwrap();
    eventually(
        "a line",
        PATIENCE,
        || Ok((lines(&before) > 2).then_some(())),
    )
    .unwrap();

    let pid = Pid::from_raw(writer.pid()).unwrap();
    let images = scratch.dir("images").unwrap();
    criu().run(Dump::new(pid, &images)).unwrap();
    writer.wait(PATIENCE).unwrap();
    let written = lines(&before);

    let key = before.to_str().unwrap().trim_start_matches('/').to_owned();
    let file = File::options()
        .append(true)
        .create(true)
        .open(&after)
        .unwrap();
    let restore = Restore::new(&images).inherit_fd(InheritKey::Path(key), file.into());
    let tree = criu().run(restore).unwrap();
    let _guard = Spawned::adopt(tree.pid().as_raw()).unwrap();
    eventually("a line elsewhere", PATIENCE, || {
        Ok((lines(&after) > 2).then_some(()))
    })
    .unwrap();
    assert_eq!(lines(&before), written);
}
