//! Privileges and security modules.

use crate::request::setters::setters;
use crate::request::{CpuInfoCheck, CpuInfoDump, Dump, PageServer, PreDump, Restore, SelfDump};

setters! { Dump, SelfDump, PreDump, Restore, PageServer, CpuInfoDump, CpuInfoCheck => {
    /// Accept what a CRIU that is not root cannot do. It needs `CAP_CHECKPOINT_RESTORE`.
    /// CRIU 3.18.
    fn unprivileged(draft, on: bool) {
        draft.options.unprivileged = Some(on);
    }
}}

setters! { Restore => {
    /// Restores under another security profile: `kind` is `apparmor` or `selinux`.
    /// CRIU 3.12.
    fn lsm_profile(draft, kind: &str, name: &str) {
        draft.options.lsm_profile = Some(format!("{kind}:{name}"));
    }

    /// Replaces the `SELinux` context of mounts. CRIU 3.16.
    fn lsm_mount_context(draft, context: impl Into<String>) {
        draft.options.lsm_mount_context = Some(context.into());
    }
}}
