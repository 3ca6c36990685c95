//! Claims, and what becomes of one that does not hold.

use std::error::Error;
use std::fmt::{self, Debug, Display};
use std::io;
use std::ops::RangeInclusive;

use nix::sys::signal::Signal;

/// Why the demo ends early.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Something is not as it has to be.
    Check {
        check: String,
        expected: String,
        found: String,
    },
    /// CRIU did not do it.
    Criu(Box<criu_rpc::Error>),
    /// The system did not.
    System {
        doing: &'static str,
        source: io::Error,
    },
    /// It was told to end.
    Told(Signal),
}

impl Failed {
    pub(crate) fn check(
        check: impl Into<String>,
        expected: impl Display,
        found: impl Display,
    ) -> Self {
        Self::Check {
            check: check.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}

/// One line.
impl Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check {
                check,
                expected,
                found,
            } => write!(
                f,
                "check failed: {check}: expected {expected}, found {found}"
            ),
            Self::Criu(error) => {
                write!(f, "CRIU: {error}")?;
                let mut cause = error.source();
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
            Self::System { doing, source } => write!(f, "cannot {doing}: {source}"),
            Self::Told(signal) => write!(f, "{signal}: everything is cleaned up"),
        }
    }
}

impl Error for Failed {}

impl From<criu_rpc::Error> for Failed {
    fn from(error: criu_rpc::Error) -> Self {
        match error {
            // A check that failed while CRIU waited is still that check.
            criu_rpc::Error::Hook { source, .. } | criu_rpc::Error::TooLate { source, .. }
                if source.is::<Self>() =>
            {
                *source.downcast().expect("it is one")
            }
            error => Self::Criu(Box::new(error)),
        }
    }
}

/// Says what could not be done.
pub(crate) trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T, Failed>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, Failed> {
        self.map_err(|error| Failed::System {
            doing,
            source: error.into(),
        })
    }
}

/// Checks that this is what it has to be.
pub(crate) fn equal<T: PartialEq + Debug>(
    check: &str,
    found: T,
    expected: T,
) -> Result<(), Failed> {
    if found == expected {
        return Ok(());
    }
    Err(Failed::check(
        check,
        format_args!("{expected:?}"),
        format_args!("{found:?}"),
    ))
}

/// Checks that a number is neither too small nor too large.
pub(crate) fn within(check: &str, found: u64, expected: RangeInclusive<u64>) -> Result<(), Failed> {
    if expected.contains(&found) {
        return Ok(());
    }
    let (least, most) = expected.into_inner();
    let expected = if most == u64::MAX {
        format!("at least {least}")
    } else {
        format!("{least} to {most}")
    };
    Err(Failed::check(check, expected, found))
}

/// Checks a list, and tells of the lines that differ only.
pub(crate) fn same_lines(check: &str, found: &[String], expected: &[String]) -> Result<(), Failed> {
    if found == expected {
        return Ok(());
    }
    let only_in = |these: &[String], those: &[String]| {
        let only = these.iter().filter(|line| !those.contains(line));
        let only: Vec<_> = only.map(String::as_str).collect();
        only.join(", ")
    };
    let missing = only_in(expected, found);
    let added = only_in(found, expected);
    Err(match (missing.is_empty(), added.is_empty()) {
        (true, true) => {
            let order = format!("{} in this order", expected.join(", "));
            Failed::check(check, order, found.join(", "))
        }
        (true, false) => Failed::check(check, "no other", added),
        (false, true) => Failed::check(check, missing, "no such"),
        (false, false) => Failed::check(check, missing, added),
    })
}

#[cfg(test)]
mod tests {
    use super::{Failed, equal, same_lines, within};

    fn lines(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn said(result: Result<(), Failed>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn what_holds_holds() {
        equal("it", 1, 1).unwrap();
        for found in [1, 2, 3] {
            within("it", found, 1..=3).unwrap();
        }
        same_lines("it", &lines("a b"), &lines("a b")).unwrap();
    }

    #[test]
    fn what_does_not_hold_is_told_with_both_sides() {
        let told = "check failed: it: expected ";
        assert_eq!(said(equal("it", 1, 2)), format!("{told}2, found 1"));
        assert_eq!(
            said(within("it", 0, 1..=3)),
            format!("{told}1 to 3, found 0")
        );
        let most = within("it", 4, 5..=u64::MAX);
        assert_eq!(said(most), format!("{told}at least 5, found 4"));
        for (found, expected, tells) in [
            ("a c", "a b", "b, found c"),
            ("a", "a b c", "b, c, found no such"),
            ("a b c", "a b", "no other, found c"),
            ("b a", "a b", "a, b in this order, found b, a"),
            ("a a", "a", "a in this order, found a, a"),
        ] {
            let result = same_lines("it", &lines(found), &lines(expected));
            assert_eq!(said(result), format!("{told}{tells}"));
        }
    }
}
