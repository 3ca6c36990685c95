//! `Pid`: which process.

use std::fmt;
use std::num::NonZeroI32;
use std::process::Child;

/// A process id, in the pid namespace of this process; always positive.
///
/// It is a number, not a handle: when its process has ended and was reaped, another can
/// get it. Use it while the process is known to exist.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(NonZeroI32);

/// A number that cannot be the id of one process: zero, negative or too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a process id")]
pub struct InvalidPid(pub i64);

impl Pid {
    /// The pid with this number; `None` unless it is positive.
    pub const fn from_raw(raw: i32) -> Option<Self> {
        match NonZeroI32::new(raw) {
            Some(pid) if raw > 0 => Some(Self(pid)),
            _ => None,
        }
    }

    /// The number.
    pub const fn as_raw(self) -> i32 {
        self.0.get()
    }

    pub(crate) fn as_rustix(self) -> rustix::process::Pid {
        rustix::process::Pid::from_raw(self.as_raw()).expect("a Pid is never zero")
    }
}

impl TryFrom<u32> for Pid {
    type Error = InvalidPid;

    fn try_from(raw: u32) -> Result<Self, InvalidPid> {
        i32::try_from(raw)
            .ok()
            .and_then(Self::from_raw)
            .ok_or_else(|| InvalidPid(raw.into()))
    }
}

impl TryFrom<i32> for Pid {
    type Error = InvalidPid;

    fn try_from(raw: i32) -> Result<Self, InvalidPid> {
        Self::from_raw(raw).ok_or_else(|| InvalidPid(raw.into()))
    }
}

impl From<&Child> for Pid {
    fn from(child: &Child) -> Self {
        Self::try_from(child.id()).expect("a child has a positive process id")
    }
}

impl From<rustix::process::Pid> for Pid {
    fn from(pid: rustix::process::Pid) -> Self {
        Self(pid.as_raw_nonzero())
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidPid, Pid};

    #[test]
    fn only_positive_numbers_are_pids() {
        assert_eq!(Pid::try_from(0i32), Err(InvalidPid(0)));
        assert_eq!(Pid::try_from(-1i32), Err(InvalidPid(-1)));
        assert_eq!(
            Pid::try_from(u32::MAX),
            Err(InvalidPid(i64::from(u32::MAX)))
        );
        assert_eq!(Pid::try_from(42u32).map(Pid::as_raw), Ok(42));
        assert_eq!(Pid::from_raw(i32::MIN), None);
    }
}
