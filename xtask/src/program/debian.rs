//! What a program is in at Debian: unpacked, never installed, so that the system stays as it
//! is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::apt::{self, PrivateApt};
use crate::failure::Failure;
use crate::provision::{BOOKWORM, Loader};
use crate::sources::Archive;

/// Packages, and a program in them.
pub(crate) struct Package {
    /// What it is in, and what that needs beside libraries.
    names: &'static [&'static str],
    /// Where it is in them.
    path: &'static str,
    start: Start,
}

/// How a program that is in no system's folders is started.
enum Start {
    /// By the loader it was built for, which finds its libraries.
    Loader,
    /// With the prefix for its root, for it opens files of its own by their full paths.
    Root,
}

impl Package {
    pub(crate) const fn new(names: &'static [&'static str], path: &'static str) -> Self {
        Self {
            names,
            path,
            start: Start::Loader,
        }
    }

    /// One that has to find its files where it would be installed.
    pub(crate) const fn rooted(self) -> Self {
        Self {
            start: Start::Root,
            ..self
        }
    }

    /// Unpacks it into a folder: `prefix`, and beside it `name`, which starts it.
    pub(crate) fn build(&self, name: &str, aside: &Path) -> Result<(), Failure> {
        let loader = Loader::of(&apt::architecture()?)?;
        let archive = Archive::of_this_machine()?;
        eprintln!("provisioning {name} of Debian {} ...", BOOKWORM.name);
        let scratch = aside.join("apt");
        let apt = PrivateApt::create(&scratch, &archive, BOOKWORM.name)?;
        apt.update()?;
        let mut names = Vec::new();
        for package in self.names {
            names.extend(apt.with_libraries(package)?);
        }
        names.sort();
        names.dedup();
        let prefix = aside.join("prefix");
        apt.unpack(&names, &prefix)?;
        fs::remove_dir_all(&scratch).map_err(|e| Failure::file("remove", &scratch, &e))?;
        let script = match self.start {
            Start::Loader => loader.wrapper(&prefix, self.path)?,
            Start::Root => rooted(self.path),
        };
        let wrapper = aside.join(name);
        fs::write(&wrapper, script)
            .and_then(|()| fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)))
            .map_err(|e| Failure::file("write", &wrapper, &e))
    }
}

/// A script that starts a program with the folder beside it for its root.
fn rooted(path: &str) -> String {
    format!(
        "#!/bin/sh\n\
         # A program that has the folder beside this file for its root; this needs root.\n\
         case $0 in */*) p=${{0%/*}}/prefix ;; *) p=./prefix ;; esac\n\
         exec /usr/sbin/chroot \"$p\" /{path} \"$@\"\n"
    )
}
