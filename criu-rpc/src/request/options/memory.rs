//! Memory: what is written, where to, and which CPU it needs.

use std::ops::BitOr;
use std::os::fd::OwnedFd;

use crate::proto;
use crate::request::setters::setters;
use crate::request::{CpuInfoCheck, CpuInfoDump, Dump, PreDump, Restore, SelfDump};

/// How a pre-dump takes the pages (`criu_pre_dump_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PreDumpMode {
    /// The tree is stopped while its pages are put into pipes: CRIU's default.
    Splice,
    /// The tree runs while its pages are read (`process_vm_readv`), so it is stopped for a
    /// shorter time. CRIU 3.14.
    VmRead,
}

/// Where a dump sends its pages.
#[derive(Debug)]
#[non_exhaustive]
pub enum PageServerLink {
    /// A page server that listens on TCP.
    Tcp {
        /// Its address.
        address: String,
        /// Its port.
        port: u16,
    },
    /// A page server at the other end of this socket, TCP or unix.
    Socket(OwnedFd),
    /// A page server at the other end of the socket that a CRIU in
    /// [standby](crate::Criu::standby) was started with.
    Standby,
}

/// Which abilities of the CPU are checked on restore; `a | b` for several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuCapability(u32);

impl CpuCapability {
    /// None: any CPU will do.
    pub const NONE: Self = Self(0);
    /// The floating point unit has what the tree uses.
    pub const FPU: Self = Self(1);
    /// The CPU is exactly the same.
    pub const CPU: Self = Self(1 << 1);
    /// The CPU has all the instructions.
    pub const INSTRUCTIONS: Self = Self(1 << 2);
}

impl BitOr for CpuCapability {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

setters! { Dump, SelfDump, Restore, CpuInfoDump, CpuInfoCheck => {
    /// Which abilities of the CPU are written and checked; `FPU | INSTRUCTIONS` without it.
    fn cpu_cap(draft, capability: CpuCapability) {
        draft.options.cpu_cap = Some(capability.0);
    }
}}

setters! { Dump, SelfDump => {
    /// Writes only pages that changed since the [parent](Self::parent), and watches for
    /// changes from now on. Needs a kernel with soft-dirty.
    fn track_mem(draft, on: bool) {
        draft.options.track_mem = Some(on);
    }

    /// Leaves the pages in place, and serves them on this TCP port to a lazy restore. The
    /// tree stays stopped until all are taken.
    ///
    /// CRIU up to 4.2 listens on every address of the host (criu issue 2959): keep the port
    /// closed to others.
    fn lazy_pages(draft, port: u16) {
        draft.options.lazy_pages = Some(true);
        draft.options.ps = Some(proto::CriuPageServerInfo {
            port: Some(port.into()),
            ..Default::default()
        });
    }
}}

setters! { Restore => {
    /// Fills in memory when the tree touches it, from `criu lazy-pages`, which listens on
    /// `lazy-pages.socket` in the work folder. CRIU 3.5.
    fn lazy_pages(draft, on: bool) {
        draft.options.lazy_pages = Some(on);
    }
}}

setters! { PreDump => {
    /// How the pages are taken.
    #[doc(alias = "pre_dump_mode")]
    fn mode(draft, mode: PreDumpMode) {
        let mode = match mode {
            PreDumpMode::Splice => proto::CriuPreDumpMode::Splice,
            PreDumpMode::VmRead => proto::CriuPreDumpMode::VmRead,
        };
        draft.options.pre_dump_mode = Some(mode.into());
    }
}}

setters! { Dump, SelfDump, PreDump => {
    /// Sends the pages to a page server instead of writing them into the images folder.
    #[doc(alias = "ps")]
    fn page_server(draft, link: PageServerLink) {
        draft.page_server(link);
    }
}}
