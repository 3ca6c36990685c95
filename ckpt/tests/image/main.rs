//! `ckpt image`, from outside: what a shell sees of it.

// What `#[test]` functions may do, their helpers may.
#![allow(clippy::unwrap_used)]

mod command;
mod convert;
mod crit;
#[path = "../documents.rs"]
mod documents;
mod explore;
mod fixture;
mod info;
mod made;
mod memory;
mod output;
#[path = "../ran.rs"]
mod ran;
mod usage;
