//! Who hears of each stage, and of progress.

use crate::notify::{Answer, HookError, Notice};
use crate::progress::Progress;
use crate::request::setters::setters;
use crate::request::{Dump, PreDump, Restore};

setters! { Dump, PreDump, Restore => {
    /// Calls a closure at each stage; CRIU waits for its answer. An error refuses.
    ///
    /// A dump that is refused leaves its tree running; a restore that is refused before
    /// [`PreResume`](crate::Stage::PreResume) leaves nothing. A panic counts as a refusal
    /// and goes on to the caller.
    #[doc(alias = "notify_scripts")]
    #[doc(alias = "status_fd")]
    fn hook(draft, hook: impl FnMut(Notice) -> Result<Answer, HookError> + Send + 'a) {
        draft.hook = Some(Box::new(hook));
    }

    /// Tells a closure how far the request is. Raises the log level to
    /// [`Info`](crate::LogLevel::Info), and reads the log ten times a second.
    fn progress(draft, watcher: impl FnMut(Progress) + Send + 'a) {
        draft.watcher = Some(Box::new(watcher));
    }
}}
