//! Dump and restore Linux process trees: a typed client for the RPC of
//! [CRIU](https://criu.org).
//!
//! ```text
//!  Criu ── request ──> wire ──> socket ──> `criu swrk`        one CRIU a request,
//!   │    (Dump, Restore,                      │  ▲             always reaped
//!   │     …, consumed)                notices │  │ answers
//!   │                                         ▼  │
//!   └── reply, or an error that says why ── session ⇄ hook    your closure, each stage
//! ```
//!
//! ```no_run
//! use criu_rpc::{Criu, Dump, Restore};
//!
//! # fn main() -> Result<(), criu_rpc::Error> {
//! # let mut child = std::process::Command::new("sleep").arg("9").spawn().unwrap();
//! let criu = Criu::find()?; // $CRIU, then PATH
//! criu.run(Dump::new(&child, "/var/lib/images"))?;
//! child.wait().expect("it is our child"); // or its pid stays taken
//! let tree = criu.run(Restore::new("/var/lib/images"))?;
//! println!("back as process {}", tree.pid());
//! # Ok(())
//! # }
//! ```
//!
//! A request is a value: it is built, then consumed by [`Criu::run`], which starts one
//! `criu swrk` for it and reaps it, whatever happens. There is no state between requests,
//! so one that failed leaves no trace in the next. What CRIU could not carry out here is
//! refused before that, with what to do about it: see [`Criu::preflight`] and [`Refusal`].
//!
//! # What it does not do
//! - It does not read images, but for the pids that a restore needs; that is for the crate
//!   `criu-images`.
//! - It does not talk to a CRIU service socket, which is writable for everyone and has let
//!   local users become root (criu issue 3025).
//! - It starts no thread, installs no signal handler and prints nothing.
//!
//! # Requirements
//! Linux 5.3 (`pidfd_open`), CRIU 3.0 for [`Criu::version`]; dump and restore are tested
//! with CRIU 4.1.1 and 4.2.1. A process that is dumped or restored needs root or
//! `CAP_CHECKPOINT_RESTORE` and `CAP_SYS_PTRACE`.

mod apart;
mod awake;
mod cancel;
mod cause;
mod criu;
mod error;
mod external;
mod family;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod log;
mod notify;
mod operation;
mod pid;
mod preflight;
mod program;
mod progress;
mod proto;
mod refusal;
mod reply;
mod request;
mod session;
mod since;
mod socket;
mod spawn;
mod swrk;
mod wire;

pub use cancel::Cancel;
pub use cause::Cause;
pub use criu::Criu;
pub use error::{CancelReason, Error, Failure, ProtocolError};
pub use external::{DumpExternal, RestoreExternal};
pub use log::LogLine;
pub use notify::{Answer, HookError, Notice, Stage};
pub use operation::Operation;
pub use pid::{InvalidPid, Pid};
pub use progress::Progress;
pub use refusal::Refusal;
pub use reply::{Command, Dumped, Features, PreDumped, Restored, SelfDumped, Version};
pub use request::{
    Check, CpuCapability, CpuInfoCheck, CpuInfoDump, Dir, Dump, FeatureCheck, ImageIo, InheritKey,
    JoinNamespace, LogLevel, ManageCgroups, NetworkLock, PageServer, PageServerLink, PidfdStore,
    PreDump, PreDumpMode, RawOption, Request, Restore, SelfDump, Tls, VersionQuery,
};
pub use session::{PreDumpChain, RunningPageServer, Standby};
pub use swrk::Ended;
