#![allow(unsafe_code)]
#![no_main]
//! A CRIU that plays a script: see `FakeCriu`.
//!
//! Rust's own start-up would ignore SIGPIPE and fill in closed descriptors before `main`,
//! and so hide in what state this program was started; hence C's `main`.

use std::ffi::{c_char, c_int};

// SAFETY: the one symbol of that name in this program, with the signature C gives it.
#[unsafe(no_mangle)]
extern "C" fn main(_count: c_int, _args: *const *const c_char) -> c_int {
    criu_rs_tests::play_as_criu()
}
