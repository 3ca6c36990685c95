//! What is outside of a tree, in CRIU's words: `--external` of `criu(8)`.

use crate::error::{Error, Result};

/// How what a dump leaves out is written: `--external` of `criu dump`.
const OF_DUMP: [&str; 8] = [
    "mnt[/data]:NAME",
    "mnt[]:FLAGS",
    "dev[MAJOR/MINOR]:NAME",
    "file[MNT:INODE]",
    "tty[RDEV:DEV]",
    "unix[INODE]",
    "net[INODE]:NAME",
    "pid[INODE]:NAME",
];

/// How what a restore fills in is written: `--external` of `criu restore`.
const OF_RESTORE: [&str; 5] = [
    "mnt[NAME]:/srv/data",
    "mnt[]",
    "dev[NAME]:/dev/sdb",
    "veth[INNER]:OUTER@BRIDGE",
    "macvlan[INNER]:OUTER",
];

/// Sees that CRIU knows something that a dump is to leave out: it passes over anything else,
/// and leaves out nothing.
///
/// # Errors
/// [`Error::External`], with the forms there are.
pub fn external_of_dump(text: &str) -> Result<()> {
    is_one_of(text, &OF_DUMP)
}

/// Sees that CRIU knows something that a restore is to fill in.
///
/// # Errors
/// [`Error::External`], with the forms there are.
pub fn external_of_restore(text: &str) -> Result<()> {
    is_one_of(text, &OF_RESTORE)
}

fn is_one_of(text: &str, forms: &'static [&'static str]) -> Result<()> {
    match forms.iter().any(|form| fits(text, form)) {
        true => Ok(()),
        false => Err(Error::External {
            text: text.to_owned(),
            forms,
        }),
    }
}

/// Whether it is of the kind of a form, and has something wherever that has.
fn fits(text: &str, form: &str) -> bool {
    let parts = |text| -> Option<(&str, bool, bool)> {
        let (kind, rest): (&str, &str) = str::split_once(text, '[')?;
        let (key, value) = rest.rsplit_once(']')?;
        let has_value = match value.strip_prefix(':') {
            Some(value) => !value.is_empty(),
            None if value.is_empty() => false,
            None => return None,
        };
        Some((kind, !key.is_empty(), has_value))
    };
    match (parts(text), parts(form)) {
        // The flags of all mounts can be left out.
        (Some(("mnt", false, _)), Some(("mnt", false, _))) => true,
        (Some(found), Some(wanted)) => found == wanted,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{external_of_dump, external_of_restore};

    #[test]
    fn what_criu_knows_is_taken_and_nothing_else() {
        for good in [
            "mnt[/data]:data",
            "mnt[]",
            "mnt[]:ms",
            "mnt[/a]b]:c",
            "dev[8/1]:disk",
            "file[1f:2a]",
            "tty[8800:5]",
            "unix[4711]",
            "net[4026]:outer",
            "pid[4026]:outer",
        ] {
            external_of_dump(good).unwrap();
        }
        for good in [
            "mnt[data]:/srv",
            "mnt[]",
            "dev[d]:/dev/sdb",
            "veth[eth0]:v@br",
        ] {
            external_of_restore(good).unwrap();
        }
        for bad in [
            "",
            "junk",
            "mnt",
            "mnt[/data]",
            "mnt[/data]:",
            "mnt[/data]x",
            "unix[]",
            "unix[4]:x",
            "disk[1]:x",
            "[1]",
            "file",
            "/data",
        ] {
            let said = external_of_dump(bad).unwrap_err().to_string();
            assert!(said.contains("mnt[/data]:NAME"), "{said}");
        }
        for bad in ["junk", "mnt[data]", "unix[4]", "net[4]:x"] {
            external_of_restore(bad).unwrap_err();
        }
    }
}
