//! A CRIU of a Debian suite, unpacked under `target/criu/SUITE` beside the
//! libraries it was built for; the system stays as it is. A suite moves on, its
//! provision does not: remove the folder to get a newer one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::apt::{self, PrivateApt};
use crate::criu;
use crate::failure::Failure;
use crate::sources::Archive;

/// A Debian suite whose CRIU can be provisioned.
#[derive(Debug, PartialEq)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// Whether its CRIU has to work on this kernel.
    pub(crate) must_pass: bool,
    /// The packages of `crit` and the compiled descriptors, where CRIU works.
    crit: &'static [&'static str],
}

const CRIT: &[&str] = &["python3-pycriu", "python3-protobuf"];

/// Newest first.
pub(crate) const SUITES: [Suite; 3] = [SID, TRIXIE, BOOKWORM];
pub(crate) const SID: Suite = Suite {
    name: "sid",
    must_pass: true,
    crit: CRIT,
};
pub(crate) const TRIXIE: Suite = Suite {
    name: "trixie",
    must_pass: true,
    crit: CRIT,
};
/// 3.17.1, for tests of a CRIU that is older than the kernel.
pub(crate) const BOOKWORM: Suite = Suite {
    name: "bookworm",
    must_pass: false,
    crit: &[],
};

impl Suite {
    /// The suite's folder, whether or not it is there.
    pub(crate) fn home(&self, root: &Path) -> PathBuf {
        root.join("target/criu").join(self.name)
    }

    /// An earlier provision's CRIU.
    pub(crate) fn provisioned(&self, root: &Path) -> Option<PathBuf> {
        Some(self.home(root).join("criu")).filter(|criu| criu.is_file())
    }

    /// The folder that Python finds the suite's `crit` in.
    pub(crate) fn crit(&self, root: &Path) -> PathBuf {
        self.home(root).join("prefix/usr/lib/python3/dist-packages")
    }

    /// The folder of the suite's Python package, which holds the compiled
    /// descriptors.
    pub(crate) fn descriptors(&self, root: &Path) -> PathBuf {
        self.crit(root).join("pycriu")
    }

    /// The suite's CRIU, unpacked first if it is not there yet.
    pub(crate) fn provision(&self, root: &Path) -> Result<PathBuf, Failure> {
        let home = self.home(root);
        let again = format!("remove {} and run this again", home.display());
        if let Some(criu) = self.provisioned(root) {
            self.verify(&criu, &again)?;
            return Ok(criu);
        }
        // Before the download: as somebody else CRIU could not be checked.
        if self.must_pass && !criu::is_root() {
            return Err(criu::needs_root());
        }
        apt::require()?;
        let folder = root.join("target/criu");
        fs::create_dir_all(&folder).map_err(|e| Failure::file("create", &folder, &e))?;
        let _lock = lock(&folder.join(format!(".{}.lock", self.name)))?;
        if let Some(criu) = self.provisioned(root) {
            self.verify(&criu, &again)?;
            return Ok(criu);
        }
        // Under another name until it is whole; what an interrupted run left
        // there is swept away.
        let aside = folder.join(format!(".{}.new", self.name));
        for leftover in [&aside, &home] {
            if leftover.exists() {
                fs::remove_dir_all(leftover).map_err(|e| Failure::file("remove", leftover, &e))?;
            }
        }
        let built = self.build(&aside).and_then(|()| {
            self.verify(
                &aside.join("criu"),
                "set CRIU to one that works on this kernel",
            )?;
            fs::rename(&aside, &home).map_err(|e| Failure::file("create", &home, &e))
        });
        if built.is_err() {
            // What matters is the failure; the next run sweeps as well.
            fs::remove_dir_all(&aside).unwrap_or_default();
        }
        built.map(|()| home.join("criu"))
    }

    fn build(&self, aside: &Path) -> Result<(), Failure> {
        let loader = Loader::of(&apt::architecture()?)?;
        let archive = Archive::of_this_machine()?;
        eprintln!("provisioning CRIU of Debian {} ...", self.name);
        let scratch = aside.join("apt");
        let apt = PrivateApt::create(&scratch, &archive, self.name)?;
        apt.update()?;
        let mut names = apt.with_libraries("criu", &[])?;
        names.extend(self.crit.iter().map(|name| (*name).to_owned()));
        let prefix = aside.join("prefix");
        apt.unpack(&names, &prefix)?;
        fs::remove_dir_all(&scratch).map_err(|e| Failure::file("remove", &scratch, &e))?;
        let wrapper = aside.join("criu");
        fs::write(
            &wrapper,
            loader.wrapper(&prefix, "prefix", "usr/sbin/criu")?,
        )
        .and_then(|()| fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)))
        .map_err(|e| Failure::file("write", &wrapper, &e))
    }

    fn verify(&self, criu: &Path, advice: &str) -> Result<(), Failure> {
        let result = if self.must_pass {
            criu::check(criu)
        } else {
            criu::version(criu).map(drop)
        };
        result.map_err(|cause| {
            Failure::step(format!(
                "CRIU of Debian {} does not work here ({cause}): {advice}",
                self.name
            ))
        })
    }
}

/// Waits for its turn; the lock goes with the file.
pub(crate) fn lock(path: &Path) -> Result<File, Failure> {
    let file = File::create(path).map_err(|e| Failure::file("create", path, &e))?;
    let locked = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            eprintln!("waiting for another run that provisions the same ...");
            flock(&file, FlockOperation::LockExclusive)
        }
        other => other,
    };
    locked.map_err(|e| Failure::file("lock", path, &e))?;
    Ok(file)
}

/// How programs of a Debian architecture are started.
pub(crate) struct Loader {
    file: &'static str,
    triplet: &'static str,
}

impl Loader {
    pub(crate) fn of(architecture: &str) -> Result<Self, Failure> {
        match architecture {
            "amd64" => Ok(Self {
                file: "ld-linux-x86-64.so.2",
                triplet: "x86_64-linux-gnu",
            }),
            "arm64" => Ok(Self {
                file: "ld-linux-aarch64.so.1",
                triplet: "aarch64-linux-gnu",
            }),
            other => Err(Failure::step(format!(
                "cannot provision for {other}, only for amd64 and arm64: install CRIU 4.1 or newer and set CRIU to its path"
            ))),
        }
    }

    /// The folders of libraries below a prefix, and which of them has the loader.
    fn folders(&self, prefix: &Path) -> Result<(Vec<String>, String), Failure> {
        // Libraries of releases before the merged /usr are in /lib.
        let folders: Vec<_> = ["usr/lib", "lib"]
            .iter()
            .map(|folder| format!("{folder}/{}", self.triplet))
            .filter(|folder| prefix.join(folder).is_dir())
            .collect();
        let own = folders
            .iter()
            .find(|folder| prefix.join(folder).join(self.file).is_file())
            .cloned()
            .ok_or_else(|| Failure::step(format!("libc6 has no {}: report this", self.file)))?;
        Ok((folders, own))
    }

    /// A program of a prefix, with the prefix's own libraries.
    pub(crate) fn command(&self, prefix: &Path, program: &str) -> Result<Command, Failure> {
        let (folders, own) = self.folders(prefix)?;
        let mut path = OsString::new();
        for folder in &folders {
            if !path.is_empty() {
                path.push(":");
            }
            path.push(prefix.join(folder));
        }
        let mut command = Command::new(prefix.join(own).join(self.file));
        command.arg("--library-path").arg(path);
        command.arg(prefix.join(program));
        Ok(command)
    }

    /// A script that starts a program of the prefix, which is at `there` from where the
    /// script is, with the prefix's own libraries, wherever the folder has been moved to. It
    /// forks nothing: the process that was started is the one that becomes the program.
    pub(crate) fn wrapper(
        &self,
        prefix: &Path,
        there: &str,
        program: &str,
    ) -> Result<String, Failure> {
        let (folders, folder) = self.folders(prefix)?;
        let path: Vec<_> = folders
            .iter()
            .map(|folder| format!("$p/{folder}"))
            .collect();
        Ok(format!(
            "#!/bin/sh\n\
             # A program with the libraries it was built for, from a folder that this is moved with.\n\
             case $0 in */*) p=${{0%/*}}/{there} ;; *) p=./{there} ;; esac\n\
             exec \"$p/{folder}/{}\" --library-path \"{}\" \"$p/{program}\" \"$@\"\n",
            self.file,
            path.join(":"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::Loader;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::Command;

    fn executable(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn wrapper_finds_its_prefix_after_a_move() {
        let scratch = tempfile::tempdir().unwrap();
        let old = scratch.path().join("old");
        // An architecture of before the merged /usr: the loader is in /lib.
        let loader = Loader::of("arm64").unwrap();
        executable(
            &old.join("prefix/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"),
            "#!/bin/sh\nfor word; do echo \"$word\"; done; echo $PPID\n",
        );
        fs::create_dir_all(old.join("prefix/usr/lib/aarch64-linux-gnu")).unwrap();
        executable(
            &old.join("criu"),
            &loader
                .wrapper(&old.join("prefix"), "prefix", "usr/sbin/criu")
                .unwrap(),
        );
        let new = scratch.path().join("a new \"$place\"");
        fs::rename(&old, &new).unwrap();

        let output = Command::new(new.join("criu"))
            .args(["dump", "-t 1", ""])
            .output()
            .unwrap();
        let prefix = new.join("prefix").display().to_string();
        let expected = format!(
            "--library-path\n{prefix}/usr/lib/aarch64-linux-gnu:{prefix}/lib/aarch64-linux-gnu\n\
             {prefix}/usr/sbin/criu\ndump\n-t 1\n\n{}\n",
            std::process::id()
        );
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }

    #[test]
    fn wrapper_needs_the_loader() {
        let scratch = tempfile::tempdir().unwrap();
        let message = Loader::of("amd64")
            .unwrap()
            .wrapper(scratch.path(), "prefix", "usr/sbin/criu")
            .unwrap_err()
            .to_string();
        assert!(message.contains("ld-linux-x86-64.so.2"), "{message}");
    }

    #[test]
    fn architectures_without_a_recipe_are_named() {
        let message = Loader::of("riscv64").err().unwrap().to_string();
        assert!(message.contains("riscv64"), "{message}");
    }
}
