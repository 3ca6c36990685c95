//! Control groups.

use crate::proto;
use crate::request::setters::setters;
use crate::request::{Dump, PreDump, Restore, SelfDump};

/// What CRIU does with the tree's control groups (`criu_cg_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManageCgroups {
    /// Leave them alone: the restored tree is in the groups CRIU is in.
    Ignore,
    /// Put the tree into its groups, which must exist.
    None,
    /// Also set the properties of groups that exist.
    Props,
    /// Create groups that do not exist, and set the properties of those created.
    Soft,
    /// Create, and set the properties of all.
    Full,
    /// Create all; none may exist.
    Strict,
    /// CRIU's default, `Soft`.
    Default,
}

impl From<ManageCgroups> for proto::CriuCgMode {
    fn from(mode: ManageCgroups) -> Self {
        match mode {
            ManageCgroups::Ignore => Self::Ignore,
            ManageCgroups::None => Self::CgNone,
            ManageCgroups::Props => Self::Props,
            ManageCgroups::Soft => Self::Soft,
            ManageCgroups::Full => Self::Full,
            ManageCgroups::Strict => Self::Strict,
            ManageCgroups::Default => Self::Default,
        }
    }
}

setters! { Dump, SelfDump, Restore => {
    /// What CRIU does with the tree's control groups.
    #[doc(alias = "manage_cgroups_mode")]
    fn manage_cgroups(draft, mode: ManageCgroups) {
        draft.options.manage_cgroups_mode = Some(proto::CriuCgMode::from(mode).into());
    }

    /// Takes `path` for the root of a controller, or of all when none is named.
    #[doc(alias = "cg_root")]
    fn cgroup_root(draft, controller: Option<&str>, path: impl Into<String>) {
        draft.options.cg_root.push(proto::CgroupRoot {
            ctrl: controller.map(str::to_owned),
            path: path.into(),
        });
    }

    /// Which properties of which controllers are kept: CRIU's YAML, as text.
    fn cgroup_props(draft, yaml: impl Into<String>) {
        draft.options.cgroup_props = Some(yaml.into());
    }

    /// The same, from a file that CRIU reads.
    fn cgroup_props_file(draft, path: impl Into<String>) {
        draft.options.cgroup_props_file = Some(path.into());
    }

    /// A folder in which the controllers are mounted already, so that CRIU mounts none.
    /// CRIU 3.14.
    fn cgroup_yard(draft, path: impl Into<String>) {
        draft.options.cgroup_yard = Some(path.into());
    }
}}

setters! { Dump, SelfDump => {
    /// Dump this controller only; repeat for more.
    fn cgroup_dump_controller(draft, name: impl Into<String>) {
        draft.options.cgroup_dump_controller.push(name.into());
    }
}}

setters! { Dump, SelfDump, PreDump => {
    /// Stop the tree through this freezer group, which must hold all of it.
    fn freeze_cgroup(draft, path: impl Into<String>) {
        draft.options.freeze_cgroup = Some(path.into());
    }
}}
