//! Options that several requests take, each written once, by what it is about.

use std::time::Duration;

use super::{Dir, Dump, Restore};
use crate::notify::{Answer, HookError, Notice};
use crate::proto;

/// How much CRIU writes into its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum LogLevel {
    /// Only messages for people.
    Message = 0,
    /// Errors.
    Error = 1,
    /// Errors and warnings: CRIU's default.
    #[default]
    Warning = 2,
    /// Also what it does.
    Info = 3,
    /// Also each detail: slow, and hundreds of megabytes for a large tree.
    Debug = 4,
}

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

/// Gives each of several requests the same setters.
macro_rules! setters {
    ($($request:ident),+ => $setters:tt) => { $(setters!(@one $request $setters);)+ };
    (@one $request:ident {
        $($(#[$attribute:meta])*
        fn $name:ident($draft:ident, $value:ident: $type:ty) $body:block)*
    }) => {
        impl<'a> $request<'a> {
            $($(#[$attribute])*
            #[must_use]
            pub fn $name(mut self, $value: $type) -> Self {
                let $draft = &mut self.0;
                $body
                self
            })*
        }
    };
}

// Images and log.
setters! { Dump, Restore => {
    /// Where CRIU works: its log and its statistics go there. Without it, the images folder.
    #[doc(alias = "work_dir_fd")]
    fn work_dir(draft, dir: impl Into<Dir<'a>>) {
        draft.work = Some(dir.into());
    }

    /// How much CRIU logs. Without it, errors and warnings.
    fn log_level(draft, level: LogLevel) {
        draft.options.log_level = Some(level as i32);
    }

    /// The log's name, in the work folder; not a path. Without it, `dump.log` or
    /// `restore.log`. An earlier log of that name is overwritten.
    fn log_file(draft, name: impl Into<String>) {
        draft.options.log_file = Some(name.into());
    }
}}

// Files and sockets.
setters! { Dump, Restore => {
    /// Dump or restore established TCP connections (`SK_EST_PARAM` in CRIU).
    fn tcp_established(draft, on: bool) {
        draft.options.tcp_established = Some(on);
    }

    /// Allow unix sockets whose other end is outside the tree.
    fn ext_unix_sk(draft, on: bool) {
        draft.options.ext_unix_sk = Some(on);
    }

    /// Dump or restore file locks. Nobody outside the tree may hold them.
    fn file_locks(draft, on: bool) {
        draft.options.file_locks = Some(on);
    }

    /// Allow open files that were deleted but have other names: they get a temporary one.
    fn link_remap(draft, on: bool) {
        draft.options.link_remap = Some(on);
    }
}}

// Control groups.
setters! { Dump, Restore => {
    /// What CRIU does with the tree's control groups.
    #[doc(alias = "manage_cgroups_mode")]
    fn manage_cgroups(draft, mode: ManageCgroups) {
        draft.options.manage_cgroups_mode = Some(proto::CriuCgMode::from(mode).into());
    }
}}

// Notifications.
setters! { Dump, Restore => {
    /// Calls a closure at each stage; CRIU waits for its answer. An error refuses.
    ///
    /// A dump that is refused leaves its tree running; a restore that is refused before
    /// [`PreResume`](crate::Stage::PreResume) leaves nothing. A panic counts as a refusal
    /// and goes on to the caller.
    #[doc(alias = "notify_scripts")]
    fn hook(draft, hook: impl FnMut(Notice) -> Result<Answer, HookError> + Send + 'a) {
        draft.hook = Some(Box::new(hook));
    }
}}

setters! { Dump => {
    /// How long CRIU tries to freeze and collect the tree, rounded up to seconds. Zero is
    /// without end; CRIU's default is 10 s. It does not bound the whole dump.
    fn timeout(draft, limit: Duration) {
        let seconds = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
        draft.options.timeout = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
    }
}}
