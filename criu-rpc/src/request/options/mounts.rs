//! Mounts.

use crate::request::setters::setters;
use crate::request::{Dump, Restore, SelfDump};

setters! { Dump, SelfDump, Restore => {
    /// Find out by itself which mounts are external, and where they come from.
    fn auto_ext_mnt(draft, on: bool) {
        draft.options.auto_ext_mnt = Some(on);
    }

    /// Allow external mounts that are shared.
    fn ext_sharing(draft, on: bool) {
        draft.options.ext_sharing = Some(on);
    }

    /// Allow external mounts that are slaves.
    fn ext_masters(draft, on: bool) {
        draft.options.ext_masters = Some(on);
    }
}}

setters! { Dump, SelfDump => {
    /// Leave out this mount; repeat for more.
    #[doc(alias = "skip_mnt")]
    fn skip_mount(draft, path: impl Into<String>) {
        draft.options.skip_mnt.push(path.into());
    }

    /// Take file systems of this name for ones that can just be mounted again; `all` for
    /// all. Repeat for more.
    fn enable_fs(draft, name: impl Into<String>) {
        draft.options.enable_fs.push(name.into());
    }
}}

setters! { Restore => {
    /// The folder that becomes the tree's root. It must be a mount point, and is needed for
    /// a tree that has a mount namespace of its own.
    fn root(draft, path: impl Into<String>) {
        draft.options.root = Some(path.into());
    }

    /// Use the mount engine from before CRIU 3.17.
    fn mntns_compat_mode(draft, on: bool) {
        draft.options.mntns_compat_mode = Some(on);
    }
}}
