//! What a process holds: to show that something left nothing behind.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::io;

use crate::proc::Proc;

/// The fds, threads, children and signal state of this process at one moment.
///
/// Other threads of the process make a census worthless, so take it in a test that
/// runs [`alone`](crate::alone()).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census(BTreeMap<String, String>);

impl Census {
    /// Takes it now.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be read.
    pub fn take() -> io::Result<Self> {
        let me = Proc::myself();
        let mut facts = BTreeMap::new();
        for (fd, target) in me.fds()? {
            facts.insert(format!("fd {fd}"), target.display().to_string());
        }
        for thread in me.threads()? {
            facts.insert(format!("thread {}", thread.tid), thread.name);
        }
        for child in me.children()? {
            let name = child.name().unwrap_or_default();
            facts.insert(
                format!("child {}", child.pid()),
                format!("{name} {:?}", child.state()),
            );
        }
        for line in std::fs::read_to_string("/proc/thread-self/status")?.lines() {
            if let Some((name, value)) = line.split_once(':') {
                // Pending signals come and go; what is blocked, ignored and caught is ours.
                if matches!(name, "SigBlk" | "SigIgn" | "SigCgt") {
                    facts.insert(name.to_owned(), value.trim().to_owned());
                }
            }
        }
        facts.insert(
            "folder".to_owned(),
            std::env::current_dir()?.display().to_string(),
        );
        Ok(Self(facts))
    }

    /// What `after` has that this has not (`+`), lacks (`-`) or has otherwise (both); empty
    /// when they are the same.
    #[must_use]
    pub fn diff(&self, after: &Self) -> String {
        let mut text = String::new();
        for (key, old) in &self.0 {
            if after.0.get(key) != Some(old) {
                line(&mut text, '-', key, old);
            }
        }
        for (key, new) in &after.0 {
            if self.0.get(key) != Some(new) {
                line(&mut text, '+', key, new);
            }
        }
        text
    }

    /// Takes another census and compares.
    ///
    /// # Panics
    ///
    /// With the difference, when there is one.
    #[track_caller]
    pub fn assert_unchanged(&self) {
        let now = Self::take().expect("a census of this process");
        let diff = self.diff(&now);
        assert!(diff.is_empty(), "this process is not as it was:\n{diff}");
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(key, value)| writeln!(f, "{key}: {value}"))
    }
}

fn line(text: &mut String, sign: char, key: &str, value: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{sign} {key}: {value}");
}
