//! What a developer or CI does here, one command each: `cargo xtask`.

mod apt;
mod bench;
mod codegen;
mod coverage;
mod criu;
mod demo;
mod dist;
mod doc;
mod failure;
mod fuzz;
mod lint;
mod man;
mod process;
mod program;
mod provision;
mod record;
mod sources;
mod test;
mod vm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use failure::Failure;

struct Command {
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    run: fn(&Path, &[String]) -> Result<(), Failure>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "criu",
        arguments: "[--suite sid|trixie|bookworm]",
        help: "find a CRIU that works here, or unpack one under target/criu; print its path",
        run: criu::run,
    },
    Command {
        name: "program",
        arguments: "NAME",
        help: "find a program that tests start, or unpack Debian's under target; print its path",
        run: program::run,
    },
    Command {
        name: "demo",
        arguments: "",
        help: "the main job on real input, set-up included",
        run: demo::run,
    },
    Command {
        name: "test",
        arguments: "",
        help: "every test, set-up included",
        run: test::run,
    },
    Command {
        name: "vm",
        arguments: "[OPTION VALUE]... -- COMMAND",
        help: "run a command in a guest whose kernel has soft-dirty; --with FILE, --out TAR, --suite, --minutes",
        run: vm::run,
    },
    Command {
        name: "lint",
        arguments: "",
        help: "format, clippy, rustdoc, stale code, long modules, cargo-deny",
        run: lint::run,
    },
    Command {
        name: "doc",
        arguments: "",
        help: "build the documentation",
        run: doc::run,
    },
    Command {
        name: "man",
        arguments: "",
        help: "man pages and shell completions of ckpt, into target/pages",
        run: man::run,
    },
    Command {
        name: "bench",
        arguments: "[NAME]",
        help: "list the benchmarks, or run one: target/bench/NAME.{csv,md,svg}",
        run: bench::run,
    },
    Command {
        name: "dist",
        arguments: "",
        help: "ckpt as one static binary: target/dist/ckpt",
        run: dist::run,
    },
    Command {
        name: "fuzz",
        arguments: "[SECONDS]",
        help: "what a hostile peer could say or image hold, for so long each (60 s)",
        run: fuzz::run,
    },
    Command {
        name: "record",
        arguments: "",
        help: "record chains of real pre-dumps in the guest: tests/fixtures/chains.tar.zst",
        run: record::run,
    },
    Command {
        name: "codegen",
        arguments: "[--check]",
        help: "proto/ to checked-in Rust, or see whether that is stale",
        run: codegen::run,
    },
    Command {
        name: "coverage",
        arguments: "[--check]",
        help: "what of CRIU's RPC is reachable and tested, into criu-rpc/SUPPORT.md",
        run: coverage::run,
    },
];

fn main() -> ExitCode {
    begin_session();
    let mut args = env::args().skip(1);
    let Some(name) = args
        .next()
        .filter(|name| !matches!(&**name, "help" | "--help" | "-h"))
    else {
        print!("{}", help());
        return ExitCode::SUCCESS;
    };
    let args: Vec<_> = args.collect();
    let result = match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(&root(), &args),
        None => Err(Failure::Usage(format!("no command {name:?}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Command(status)) => ExitCode::from(status),
        Err(Failure::Step(line)) => {
            eprintln!("xtask {name}: {line}");
            ExitCode::FAILURE
        }
        Err(Failure::Usage(line)) => {
            eprintln!("{}\nxtask: {line}", help());
            ExitCode::from(2)
        }
    }
}

/// CRIU dumps nothing whose session was begun outside its PID namespace, as ours is when
/// whoever started us is out there; so what we start gets one of its own.
fn begin_session() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let sessions = status.lines().find_map(|line| line.strip_prefix("NSsid:"));
    if sessions.and_then(|ids| ids.split_whitespace().last()) == Some("0") {
        // It leads a group: then our caller has what it wants.
        let _ = rustix::process::setsid();
    }
}

fn help() -> String {
    let mut text = "usage: cargo xtask COMMAND\n\n".to_owned();
    for Command {
        name,
        arguments,
        help,
        ..
    } in COMMANDS
    {
        let call = format!("{name} {arguments}");
        text.push_str(&format!("  {call:<36} {help}\n"));
    }
    text
}

/// The workspace's root: where cargo runs us from now, and not where we were
/// built, which may have moved.
fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().unwrap_or(&package).to_owned()
}
