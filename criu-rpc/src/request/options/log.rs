//! What CRIU logs, and where.

use crate::request::setters::setters;
use crate::request::{
    CpuInfoCheck, CpuInfoDump, Dir, Dump, PageServer, PreDump, Restore, SelfDump,
};

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

setters! { Dump, PreDump, Restore, PageServer, CpuInfoDump, CpuInfoCheck => {
    /// Where CRIU works: its log and its statistics go there. Without it, the images folder.
    #[doc(alias = "work_dir_fd")]
    fn work_dir(draft, dir: impl Into<Dir<'a>>) {
        draft.work = Some(dir.into());
    }
}}

setters! { Dump, SelfDump, PreDump, Restore, PageServer, CpuInfoDump, CpuInfoCheck => {
    /// How much CRIU logs. Without it, errors and warnings.
    fn log_level(draft, level: LogLevel) {
        draft.options.log_level = Some(level as i32);
    }

    /// The log's name, in the work folder; not a path. Without it, the operation's name,
    /// such as `dump.log`. An earlier log of that name is overwritten.
    fn log_file(draft, name: impl Into<String>) {
        draft.options.log_file = Some(name.into());
    }

    /// Logs to CRIU's standard error instead of a file; the end of it is in
    /// [`Failure::output`](crate::Failure::output). CRIU 3.19.
    fn log_to_stderr(draft, on: bool) {
        draft.options.log_to_stderr = on.then_some(true);
    }
}}

setters! { Dump, SelfDump, PreDump, Restore => {
    /// Prints statistics to CRIU's standard output at the end. CRIU 3.19.
    fn display_stats(draft, on: bool) {
        draft.options.display_stats = Some(on);
    }
}}
