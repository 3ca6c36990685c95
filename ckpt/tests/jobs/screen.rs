//! A terminal, and who looks at it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::bench::PATIENCE;

/// Answers each line, and counts them; `bye` ends it.
pub(crate) const JOB: &str = r#"n=0
while read line; do
    n=$((n + 1)); echo "got $line, the $n."
    if [ "$line" = bye ]; then exit 7; fi
done"#;

/// The terminal's other side: what is typed and shown.
pub(crate) struct Screen {
    master: File,
    shown: String,
}

impl Screen {
    pub(crate) fn of(master: OwnedFd) -> Self {
        Self {
            master: master.into(),
            shown: String::new(),
        }
    }

    /// Types, and waits until this is shown.
    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str, answer: &str) {
        writeln!(self.master, "{line}").unwrap();
        self.until(answer);
    }

    /// Waits until this is shown.
    #[track_caller]
    pub(crate) fn until(&mut self, answer: &str) {
        while !self.shown.contains(answer) {
            let patience = Timespec::try_from(PATIENCE).unwrap();
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            let ready = poll(&mut fds, Some(&patience)).unwrap();
            assert_eq!(ready, 1, "only {:?}", self.shown);
            let mut bytes = [0; 256];
            let count = self.master.read(&mut bytes).unwrap();
            self.shown += &String::from_utf8_lossy(&bytes[..count]);
        }
    }
}

/// A terminal of 80 columns and 24 lines: the side of the screen, and that of programs.
pub(crate) fn terminal() -> (OwnedFd, OwnedFd) {
    let size = nix::pty::Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pair = nix::pty::openpty(Some(&size), None).unwrap();
    for end in [&pair.master, &pair.slave] {
        rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC).unwrap();
    }
    (pair.master, pair.slave)
}
