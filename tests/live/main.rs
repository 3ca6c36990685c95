//! `criu-rpc` on a real CRIU: real processes, dumped and restored, and what goes wrong.
//!
//! `$CRIU` is the CRIU under test, `$CRIU_OLD` one that is too old for this kernel. The
//! targets are root's, since CRIU cannot dump another user's without `CAP_SYS_RESOURCE`.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows a #[test] function, not its helpers"
)]

mod embedder;
mod target;

mod root {
    mod asynchronous;
    mod caller;
    mod connections;
    mod control_groups;
    mod cpu_info;
    mod dump_restore;
    mod errors;
    mod files;
    mod inherit;
    mod killed;
    mod mounts;
    mod namespaces;
    mod obstacles;
    mod page_server;
    mod preflight;
    mod quick;
    mod self_dump;
    mod soak;
    mod standby;
    mod stopping;
    mod table;
    mod terminal;
    mod unprivileged;
}
