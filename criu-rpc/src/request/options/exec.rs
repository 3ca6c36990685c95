//! What becomes of CRIU after a restore.

use crate::request::Restore;
use crate::request::setters::setters;

setters! { Restore => {
    /// After the restore, makes CRIU this command (`execvp`), so that the command has the
    /// restored tree as its child, to watch over it. Its output goes to CRIU's log.
    ///
    /// [`Restored::command`](crate::Restored::command) is the running command.
    #[doc(alias = "exec_cmd")]
    fn exec_command(draft, command: impl IntoIterator<Item = impl Into<String>>) {
        draft.options.exec_cmd = command.into_iter().map(Into::into).collect();
    }
}}
