//! Programs of Debian that the tests work with: `cargo xtask program`.

mod debian;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt;
use crate::failure::Failure;
use crate::process;
use crate::provision::lock;

use debian::Package;

/// A program that tests start.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// Where its path can be named.
    pub(crate) variable: &'static str,
    /// Whether the first on PATH will do.
    installed: bool,
    /// What it tells its version for.
    version: &'static str,
    package: Package,
    advice: &'static str,
}

/// What opens core files; without Python.
pub(crate) const GDB: Program = Program {
    name: "gdb",
    variable: "GDB",
    installed: true,
    version: "--version",
    package: Package::new(&["gdb-minimal"], "usr/bin/gdb"),
    advice: "install gdb, or set GDB to its path",
};

/// A server that is checkpointed.
pub(crate) const REDIS: Program = Program {
    name: "redis-server",
    variable: "REDIS",
    installed: true,
    version: "--version",
    package: Package::new(&["redis-server", "redis-tools"], "usr/bin/redis-server"),
    advice: "install redis-server, or set REDIS to its path",
};

/// What jobs are left running in.
pub(crate) const TMUX: Program = Program {
    name: "tmux",
    variable: "TMUX_PROGRAM",
    installed: true,
    version: "-V",
    package: Package::new(&["tmux"], "usr/bin/tmux"),
    advice: "install tmux, or set TMUX_PROGRAM to its path",
};

/// A runtime with an event loop and threads. Debian's, whatever is on PATH, for others are
/// built otherwise.
pub(crate) const NODE: Program = Program {
    name: "node",
    variable: "NODE",
    installed: false,
    version: "--version",
    package: Package::new(
        &[
            "nodejs",
            "node-acorn",
            "node-cjs-module-lexer",
            "node-undici",
        ],
        "usr/bin/node",
    )
    .rooted(),
    advice: "set NODE to the path of a Node.js",
};

/// A virtual machine, with a compiler in it. Debian's, whatever is on PATH, which may have
/// none.
pub(crate) const JAVA: Program = Program {
    name: "java",
    variable: "JAVA",
    installed: false,
    version: "-version",
    package: Package::new(
        &["openjdk-17-jre-headless"],
        "usr/lib/jvm/java-17-openjdk-ARCHITECTURE/bin/java",
    ),
    advice: "set JAVA to the path of a Java of release 11 or newer with its compiler",
};

/// What lays networks between servers.
pub(crate) const IP: Program = Program {
    name: "ip",
    variable: "IP",
    installed: true,
    version: "-V",
    package: Package::new(&["iproute2"], "bin/ip"),
    advice: "install iproute2, or set IP to the path of ip",
};

/// A database, with `initdb`, `psql` and its other programs beside it. It starts itself.
pub(crate) const POSTGRES: Program = Program {
    name: "postgres",
    variable: "POSTGRES",
    installed: false,
    version: "--version",
    package: Package::new(
        &["postgresql-15", "postgresql-client-15"],
        "usr/lib/postgresql/15/bin/postgres",
    )
    .in_place(&["initdb", "psql"])
    // What compiles queries, which is larger than all the rest.
    .without(
        &["libllvm14"],
        &[
            "usr/lib/postgresql/15/lib/bitcode",
            "usr/lib/postgresql/15/lib/llvmjit.so",
            "usr/share/doc",
            "usr/share/locale",
            "usr/share/man",
            "usr/share/postgresql/15/man",
        ],
    ),
    advice: "set POSTGRES to the path of a postgres with initdb and psql beside it",
};

/// Every program there is.
pub(crate) const PROGRAMS: [&Program; 7] = [&GDB, &REDIS, &TMUX, &NODE, &JAVA, &IP, &POSTGRES];

/// `cargo xtask program NAME`: its path, alone.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Failure> {
    let names = || {
        let names: Vec<_> = PROGRAMS.iter().map(|program| program.name).collect();
        Failure::Usage(format!("program NAME, one of {}", names.join(", ")))
    };
    let [name] = args else { return Err(names()) };
    let program = PROGRAMS.iter().find(|program| program.name == name);
    let path = program.ok_or_else(names)?.find(root)?;
    println!("{}", path.display());
    Ok(())
}

impl Program {
    /// The one that is named, the first on PATH if that will do, an earlier provision; else
    /// that of Debian, unpacked below `target`.
    pub(crate) fn find(&self, root: &Path) -> Result<PathBuf, Failure> {
        if let Some(named) = env::var_os(self.variable).filter(|value| !value.is_empty()) {
            return self.works(PathBuf::from(named));
        }
        if let Some(installed) = process::find_in_path(self.name).filter(|_| self.installed) {
            return self.works(installed);
        }
        self.provision(root)
    }

    /// That of Debian, unpacked first if it is not there yet.
    pub(crate) fn provision(&self, root: &Path) -> Result<PathBuf, Failure> {
        let target = root.join("target");
        let home = target.join(self.name);
        let program = self.package.program(self.name, &home);
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
            self.package.build(self.name, &aside)?;
            fs::rename(&aside, &home).map_err(|e| Failure::file("create", &home, &e))?;
        }
        self.works(program)
    }

    /// The folder that its packages are unpacked into.
    pub(crate) fn prefix(&self, root: &Path) -> PathBuf {
        root.join("target").join(self.name).join(debian::PREFIX)
    }

    fn works(&self, program: PathBuf) -> Result<PathBuf, Failure> {
        process::capture(Command::new(&program).arg(self.version), self.advice)?;
        Ok(program)
    }
}
