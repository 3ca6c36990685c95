//! What a program is in at Debian: unpacked, never installed, so that the system stays as it
//! is.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::apt::{self, PrivateApt};
use crate::failure::Failure;
use crate::provision::{BOOKWORM, Loader};
use crate::sources::Archive;

/// Stands for the architecture, in Debian's words, in a path.
const ARCHITECTURE: &str = "ARCHITECTURE";

/// Packages, and a program in them.
pub(crate) struct Package {
    /// What it is in, and what that needs beside libraries.
    names: &'static [&'static str],
    /// Libraries of these that it does without, and what only they need.
    without: &'static [&'static str],
    /// What else of the packages is not kept.
    dropped: &'static [&'static str],
    /// Where it is in them; [`ARCHITECTURE`] in it is the machine's.
    path: &'static str,
    start: Start,
}

/// How a program that is in no system's folders is started.
enum Start {
    /// By the loader it was built for, which finds its libraries.
    Loader,
    /// With the prefix for its root, for it opens files of its own by their full paths.
    Root,
    /// As by `Loader`, from where it is: by its own path it finds its files and these programs
    /// beside it, which it starts.
    Place(&'static [&'static str]),
}

/// The folder that packages are unpacked into.
pub(super) const PREFIX: &str = "prefix";

impl Package {
    pub(crate) const fn new(names: &'static [&'static str], path: &'static str) -> Self {
        Self {
            names,
            without: &[],
            dropped: &[],
            path,
            start: Start::Loader,
        }
    }

    /// One that is smaller by these libraries, and by these files and folders.
    pub(crate) const fn without(
        self,
        libraries: &'static [&'static str],
        dropped: &'static [&'static str],
    ) -> Self {
        Self {
            without: libraries,
            dropped,
            ..self
        }
    }

    /// One that finds what it needs, and these programs, from where it is.
    pub(crate) const fn in_place(self, beside: &'static [&'static str]) -> Self {
        Self {
            start: Start::Place(beside),
            ..self
        }
    }

    /// One that has to find its files where it would be installed.
    pub(crate) const fn rooted(self) -> Self {
        Self {
            start: Start::Root,
            ..self
        }
    }

    /// What starts it, once it is built into a folder.
    pub(crate) fn program(&self, name: &str, home: &Path) -> PathBuf {
        match self.start {
            Start::Loader | Start::Root => home.join(name),
            Start::Place(_) => home.join(PREFIX).join(self.path),
        }
    }

    /// Unpacks it into a folder, and writes there what starts it.
    pub(crate) fn build(&self, name: &str, aside: &Path) -> Result<(), Failure> {
        let architecture = apt::architecture()?;
        let loader = Loader::of(&architecture)?;
        let path = self.path.replace(ARCHITECTURE, &architecture);
        let archive = Archive::of_this_machine()?;
        eprintln!("provisioning {name} of Debian {} ...", BOOKWORM.name);
        let scratch = aside.join("apt");
        let apt = PrivateApt::create(&scratch, &archive, BOOKWORM.name)?;
        apt.update()?;
        let mut names = Vec::new();
        for package in self.names {
            names.extend(apt.with_libraries(package, self.without)?);
        }
        names.sort();
        names.dedup();
        let prefix = aside.join(PREFIX);
        apt.unpack(&names, &prefix)?;
        remove(&scratch)?;
        for path in self.dropped {
            remove(&prefix.join(path))?;
        }
        let wrapper = aside.join(name);
        match self.start {
            Start::Loader => {
                relink(&prefix, &prefix)?;
                executable(&wrapper, loader.wrapper(&prefix, PREFIX, &path)?)?;
            }
            Start::Root => executable(&wrapper, rooted(&path))?,
            Start::Place(beside) => {
                let (folder, name) = path.rsplit_once('/').unwrap_or((".", &path));
                let up = vec![".."; folder.split('/').count()].join("/");
                for name in beside.iter().chain([&name]) {
                    let moved = format!("{folder}/{name}.elf");
                    let program = prefix.join(folder).join(name);
                    fs::rename(&program, prefix.join(&moved))
                        .map_err(|e| Failure::file("rename", &program, &e))?;
                    executable(&program, loader.wrapper(&prefix, &up, &moved)?)?;
                }
            }
        }
        Ok(())
    }
}

/// Links below `folder` by full paths lead into the prefix, as they would if its packages
/// were installed; those that lead to nothing there are left.
fn relink(prefix: &Path, folder: &Path) -> Result<(), Failure> {
    let entries = fs::read_dir(folder).map_err(|e| Failure::file("list", folder, &e))?;
    for entry in entries {
        let path = entry.map_err(|e| Failure::file("list", folder, &e))?.path();
        let kind = path
            .symlink_metadata()
            .map_err(|e| Failure::file("look at", &path, &e))?;
        if kind.is_dir() {
            relink(prefix, &path)?;
        }
        if !kind.is_symlink() {
            continue;
        }
        let leads = fs::read_link(&path).map_err(|e| Failure::file("read", &path, &e))?;
        let Ok(inside) = leads.strip_prefix("/") else {
            continue;
        };
        if prefix.join(inside).symlink_metadata().is_ok() {
            // Relative, so that the folder can be moved.
            let below = folder.strip_prefix(prefix).unwrap_or(folder);
            let up: PathBuf = below.components().map(|_| "..").collect();
            fs::remove_file(&path)
                .and_then(|()| symlink(up.join(inside), &path))
                .map_err(|e| Failure::file("write", &path, &e))?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Failure> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    removed.map_err(|e| Failure::file("remove", path, &e))
}

fn executable(path: &Path, script: String) -> Result<(), Failure> {
    fs::write(path, script)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .map_err(|e| Failure::file("write", path, &e))
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

#[cfg(test)]
mod tests {
    use super::relink;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    #[test]
    fn links_by_full_paths_lead_into_the_prefix() {
        let scratch = tempfile::tempdir().unwrap();
        let (old, new) = (scratch.path().join("old"), scratch.path().join("new"));
        for folder in ["usr/lib/java", "etc/java"] {
            fs::create_dir_all(old.join(folder)).unwrap();
        }
        fs::write(old.join("etc/java/conf"), "ours").unwrap();
        let links = [
            ("usr/lib/java/conf", "/etc/java/conf"),
            ("usr/lib/java/all", "/etc/java"),
            ("top", "/usr/lib/java/conf"),
            ("usr/outside", "/etc/hostname"),
            ("usr/near", "lib"),
        ];
        for (link, leads) in links {
            symlink(leads, old.join(link)).unwrap();
        }
        relink(&old, &old).unwrap();
        fs::rename(&old, &new).unwrap();
        for link in ["usr/lib/java/conf", "usr/lib/java/all/conf", "top"] {
            let read = fs::read_to_string(new.join(link));
            assert_eq!(read.unwrap(), "ours", "{link}");
        }
        for (link, leads) in &links[3..] {
            assert_eq!(fs::read_link(new.join(link)).unwrap(), Path::new(leads));
        }
    }
}
