//! The `ckpt` command on real jobs, from outside: what a shell sees of it. What needs no
//! CRIU is in [`words`], the rest in `root`; those of its tests that begin `a_…_survives`
//! can be read as sessions.

// What `#[test]` functions may do, their helpers may.
#![allow(clippy::unwrap_used)]

mod bench;
mod contract;
#[path = "../documents.rs"]
mod documents;
mod holder;
mod mistakes;
mod network;
mod screen;
mod words;

mod root {
    mod batch;
    mod contract;
    mod elsewhere;
    mod full;
    mod java;
    mod killed;
    mod mistakes;
    mod node;
    mod pipeline;
    mod postgres;
    mod pre_copy;
    mod redis;
    mod servers;
    mod shell_job;
    mod status;
    mod streamed;
    mod tmux;
    mod twice;
}
