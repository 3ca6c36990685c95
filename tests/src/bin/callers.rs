//! Threads, each in a function of its own, for a debugger to find: `callers PATH`.
//!
//! Once all are there, PATH has the address of 16 bytes that say so.

use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::thread;
use std::{env, fs};

fn main() -> ExitCode {
    let Some(path) = env::args_os().nth(1) else {
        eprintln!("callers: a path is missing");
        return ExitCode::from(2);
    };
    let ready = Arc::new(Barrier::new(3));
    let first = Arc::clone(&ready);
    let second = Arc::clone(&ready);
    let threads = [
        thread::spawn(move || waits_in_the_first(&first, 1)),
        thread::spawn(move || waits_in_the_second(&second, 2)),
    ];
    waits_in_the_leader(&ready, Path::new(&path));
    drop(threads);
    ExitCode::SUCCESS
}

#[inline(never)]
fn waits_in_the_leader(ready: &Barrier, path: &Path) {
    let words: &'static mut [u8; 16] = Box::leak(Box::new(*b"all are waiting."));
    ready.wait();
    let place = format!("{:p}", black_box(words));
    let aside = path.with_extension("new");
    let written = fs::write(&aside, place).and_then(|()| fs::rename(&aside, path));
    written.expect("a file to tell it in");
    for_ever();
}

#[inline(never)]
fn waits_in_the_first(ready: &Barrier, number: u64) -> u64 {
    ready.wait();
    for_ever();
    black_box(number)
}

#[inline(never)]
fn waits_in_the_second(ready: &Barrier, number: u64) -> u64 {
    ready.wait();
    for_ever();
    black_box(number)
}

fn for_ever() {
    loop {
        thread::park();
    }
}
