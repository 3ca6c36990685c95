//! Mounts that come from outside.

use std::collections::BTreeSet;
use std::fs;

use super::Need;
use crate::process::Tree;

/// CRIU dumps mounts only where the tree has a mount namespace that is not its own.
pub(super) fn look(tree: &Tree, found: &mut BTreeSet<Need>) {
    let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let ours = space("self");
    let pid = tree.root().pid;
    let theirs = space(&pid.to_string());
    if theirs.is_none() || theirs == ours {
        return;
    }
    let table = fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    external(&String::from_utf8_lossy(&table), found);
}

struct Mount<'a> {
    device: &'a str,
    root: String,
    at: String,
}

fn external(table: &str, found: &mut BTreeSet<Need>) {
    let mounts: Vec<_> = table.lines().filter_map(mount).collect();
    for mount in &mounts {
        if mount.at == "/" {
            continue;
        }
        // CRIU makes a bind mount again if it finds what it was made from in the tree.
        let whole = mounts.iter().any(|other| {
            other.device == mount.device && (other.root == "/" || is_below(&mount.root, other))
        });
        if !whole {
            found.insert(Need::External {
                at: mount.at.clone(),
                from: mount.root.clone(),
            });
        }
    }
}

/// Whether this part of a file system is seen at the other mount, which is another one.
fn is_below(root: &str, other: &Mount<'_>) -> bool {
    other.at == "/"
        && root
            .strip_prefix(&*other.root)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// A line of `/proc/PID/mountinfo`: `id parent major:minor root mount-point …`.
fn mount(line: &str) -> Option<Mount<'_>> {
    let mut fields = line.split(' ').skip(2);
    let device = fields.next()?;
    Some(Mount {
        device,
        root: unescaped(fields.next()?),
        at: unescaped(fields.next()?),
    })
}

/// The kernel writes white space and backslashes in octal.
fn unescaped(text: &str) -> String {
    let mut out = text.to_owned();
    for (escaped, plain) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        out = out.replace(escaped, plain);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Need, external};

    #[test]
    fn a_bind_mount_whose_origin_is_not_in_the_tree_is_external() {
        let table = "\
21 1 8:1 /containers/c1 / rw - ext4 /dev/sda1 rw
22 21 0:5 / /proc rw - proc proc rw
23 21 8:1 /srv/my\\040data /data rw - ext4 /dev/sda1 rw
24 21 8:1 /containers/c1/var /mnt rw - ext4 /dev/sda1 rw
25 22 0:5 /sys /proc/sys ro - proc proc rw
";
        let mut found = BTreeSet::new();
        external(table, &mut found);
        let found: Vec<_> = found.into_iter().collect();
        let [Need::External { at, from }] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((&**at, &**from), ("/data", "/srv/my data"));
    }
}
