//! What is outside the tree: left out of a dump, filled in on restore.

use crate::external::{DumpExternal, RestoreExternal};
use crate::request::setters::setters;
use crate::request::{Dump, PreDump, Restore, SelfDump};

setters! { Dump, SelfDump, PreDump => {
    /// Leaves out something that is outside the tree; repeat for more. CRIU 2.0.
    #[doc(alias = "ext_mnt")]
    #[doc(alias = "unix_sk_ino")]
    fn external(draft, external: DumpExternal) {
        draft.options.external.push(external.to_string());
    }
}}

setters! { Restore => {
    /// Fills in something that the dump left out; repeat for more. CRIU 2.0.
    #[doc(alias = "ext_mnt")]
    #[doc(alias = "veths")]
    fn external(draft, external: RestoreExternal) {
        draft.options.external.push(external.to_string());
    }
}}
