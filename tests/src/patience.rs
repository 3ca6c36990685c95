//! Waiting for something that has no file descriptor to wait on.

use std::io;
use std::time::{Duration, Instant};

/// Asks `look` again and again until it finds something, for at most `patience`.
///
/// # Errors
///
/// What `look` fails with, at once; [`io::ErrorKind::TimedOut`], naming `what`, when time is up.
pub fn eventually<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() >= patience {
            let text = format!("{what}: not within {} ms", patience.as_millis());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
