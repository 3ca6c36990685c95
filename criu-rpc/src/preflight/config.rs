//! Options that CRIU takes from files, behind a request's back.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::proto;

/// The configuration files that CRIU will read for a request.
#[derive(Debug)]
pub(super) struct ConfigFiles(Vec<PathBuf>);

impl ConfigFiles {
    /// The default ones (`next_config` in `config.c`), if they are read, and the request's.
    pub(super) fn of(options: &proto::CriuOpts, reads_default: bool) -> Self {
        let home = env::var_os("HOME").map(PathBuf::from);
        let defaults = [
            Some(PathBuf::from("/etc/criu/default.conf")),
            home.map(|home| home.join(".criu/default.conf")),
        ];
        let defaults = defaults.into_iter().flatten().filter(|_| reads_default);
        Self(
            defaults
                .chain(options.config_file.as_ref().map(PathBuf::from))
                .collect(),
        )
    }

    /// Whether one of them sets one of these options, or may do so.
    pub(super) fn may_set(&self, options: &[&str]) -> bool {
        self.0.iter().any(|path| may_set(path, options))
    }
}

fn may_set(path: &Path, options: &[&str]) -> bool {
    match fs::read(path) {
        Ok(text) => sets(&String::from_utf8_lossy(&text), options),
        // What this user may not read, CRIU will pass over.
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::PermissionDenied
        ),
    }
}

/// Whether a line begins with one of these options, by its long name.
fn sets(text: &str, options: &[&str]) -> bool {
    let mut words = text.lines().filter_map(|line| {
        let end = |c: char| c.is_whitespace() || matches!(c, '=' | '#');
        line.trim_start().split(end).next()
    });
    words.any(|word| options.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::{ConfigFiles, sets};
    use crate::proto;

    #[test]
    fn an_option_is_the_first_word_of_a_line() {
        let text = "# unprivileged\n\n  tcp-close # unprivileged\nlog-file unprivileged\n";
        assert!(!sets(text, &["unprivileged"]));
        assert!(sets(text, &["unprivileged", "tcp-close"]));
        assert!(sets("unprivileged", &["unprivileged"]));
        assert!(sets("\timages-dir=/tmp", &["images-dir"]));
        assert!(!sets("images-dirs /tmp", &["images-dir"]));
    }

    #[test]
    fn a_file_that_is_not_there_sets_nothing_and_one_that_cannot_be_read_may() {
        let with = |path: &str| {
            let options = proto::CriuOpts {
                config_file: Some(path.to_owned()),
                ..Default::default()
            };
            ConfigFiles::of(&options, false)
        };
        assert!(!with("/nonexistent/criu.conf").may_set(&["unprivileged"]));
        assert!(with("/proc/self").may_set(&["unprivileged"]));
        assert!(!ConfigFiles::of(&proto::CriuOpts::default(), false).may_set(&["unprivileged"]));
    }
}
