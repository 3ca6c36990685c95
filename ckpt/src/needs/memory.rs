//! Memory that is shared by a key.

use std::collections::BTreeSet;
use std::fs;

use criu_images::track::Vma;

use super::Need;
use crate::process::Tree;

/// How `/proc/PID/maps` names a piece of System V memory: with its key, in hexadecimal.
const NAME: &[u8] = b"/SYSV";

/// CRIU dumps System V memory with an IPC namespace, and takes that along only if the root's
/// is not its own (`check_sysvipc_map_dump` in `cr-dump.c`).
pub(super) fn look(tree: &Tree, found: &mut BTreeSet<Need>) {
    let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/ipc")).ok();
    let ours = space("self");
    if ours.is_none() || space(&tree.root().pid.to_string()) != ours {
        return;
    }
    for pid in tree.tasks.iter().map(|task| task.pid) {
        let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
        let mappings = Vma::parse_all(&maps).unwrap_or_default();
        let keys = mappings.iter().filter_map(|mapping| key(&mapping.name));
        found.extend(keys.map(|key| Need::SystemV { pid, key }));
    }
}

fn key(name: &[u8]) -> Option<String> {
    let digits = name.strip_prefix(NAME)?.get(..8)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let key = u32::from_str_radix(digits, 16).ok()?;
    Some(format!("{key:#x}"))
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn a_key_is_read_as_ipcs_shows_it() {
        assert_eq!(key(b"/SYSV00000077 (deleted)").unwrap(), "0x77");
        assert_eq!(key(b"/SYSV00000000 (deleted)").unwrap(), "0x0");
        for other in [&b"/SYSV"[..], b"/memfd:SYSV00000077", b"/SYSVxyz00077", b""] {
            assert_eq!(key(other), None);
        }
    }
}
