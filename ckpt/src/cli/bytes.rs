//! `Bar`: how far bytes have moved, on standard error.

use std::io::IsTerminal as _;

use ckpt::Moved;
use indicatif::{ProgressBar, ProgressStyle};

use super::progress::Loudness;

/// A bar on a terminal; nothing elsewhere, where the last line tells it all.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(what: &'static str, loudness: Loudness) -> Self {
        if loudness.quiet || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(0).with_prefix(what);
        let style = ProgressStyle::with_template(
            "{prefix} {bar:20} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left  {wide_msg}",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    pub(super) fn tell(&self, moved: Moved<'_>) {
        if self.0.is_hidden() {
            return;
        }
        self.0.set_length(moved.total);
        self.0.set_position(moved.done);
        self.0.set_message(ckpt::shown(moved.file.as_bytes()));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
