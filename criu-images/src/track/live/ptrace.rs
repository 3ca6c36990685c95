#![allow(unsafe_code)]
//! Tracing a thread: `ptrace(2)` on threads that were seized, so that nothing of it is left
//! when the tracer ends, however it does. `PTRACE_O_EXITKILL` is never set.
//!
//! Everything here can be called where nothing may be allocated: see `inject`.

use std::ffi::c_void;
use std::time::Duration;

use libc::{c_int, c_long, pid_t};

/// `PTRACE_EVENT_STOP` (`linux/ptrace.h`).
const EVENT_STOP: c_int = 128;

/// The bit that tells a stop at a system call from a signal.
const SYSCALL_STOP: c_int = libc::SIGTRAP | 0x80;

/// How long a thread may take to stop: one in the middle of input or output does so after it.
const PATIENCE: Duration = Duration::from_secs(10);

/// `errno`.
pub(super) type Errno = c_int;

#[cfg(target_env = "musl")]
type Request = c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;

/// Why a traced thread stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It was interrupted, or is stopped with its whole process.
    Event,
    /// At the begin or end of a system call.
    Syscall,
    /// It is about to get this signal.
    Signal(c_int),
}

/// A thread that this one traces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thread(pub(super) pid_t);

impl Thread {
    /// Begins to trace it, without stopping it. With `suspend`, its seccomp filter is
    /// ineffective meanwhile.
    pub(super) fn seize(self, suspend: bool) -> Result<(), Errno> {
        let suspend = if suspend {
            libc::PTRACE_O_SUSPEND_SECCOMP
        } else {
            0
        };
        let options = libc::PTRACE_O_TRACESYSGOOD | suspend;
        let options = usize::try_from(options).unwrap_or(0);
        self.call(libc::PTRACE_SEIZE, 0, options).map(drop)
    }

    /// Has it stop soon.
    pub(super) fn interrupt(self) -> Result<(), Errno> {
        self.call(libc::PTRACE_INTERRUPT, 0, 0).map(drop)
    }

    /// Lets it run, with this signal if it was about to get one.
    pub(super) fn go_on(self, signal: c_int) -> Result<(), Errno> {
        let signal = usize::try_from(signal).unwrap_or(0);
        self.call(libc::PTRACE_CONT, 0, signal).map(drop)
    }

    /// Lets it run to the next begin or end of a system call.
    pub(super) fn to_syscall(self) -> Result<(), Errno> {
        self.call(libc::PTRACE_SYSCALL, 0, 0).map(drop)
    }

    /// Traces it no longer, and lets it run.
    pub(super) fn detach(self) -> Result<(), Errno> {
        self.call(libc::PTRACE_DETACH, 0, 0).map(drop)
    }

    /// Waits until it stops; `ESRCH` if it ends, `ETIMEDOUT` if it does neither.
    pub(super) fn wait(self) -> Result<Stop, Errno> {
        const PAUSE: Duration = Duration::from_micros(20);
        let mut waited = Duration::ZERO;
        loop {
            let mut status = 0;
            // SAFETY: `status` is ours.
            let found =
                unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL | libc::WNOHANG) };
            if found < 0 {
                return Err(errno());
            }
            if found == self.0 {
                if !libc::WIFSTOPPED(status) {
                    return Err(libc::ESRCH);
                }
                return Ok(match (status >> 16, libc::WSTOPSIG(status)) {
                    (EVENT_STOP, _) => Stop::Event,
                    (_, SYSCALL_STOP) => Stop::Syscall,
                    (_, signal) => Stop::Signal(signal),
                });
            }
            if waited >= PATIENCE {
                return Err(libc::ETIMEDOUT);
            }
            let pause = libc::timespec {
                tv_sec: 0,
                tv_nsec: c_long::try_from(PAUSE.as_nanos()).unwrap_or(0),
            };
            // SAFETY: `pause` is ours, and what is left of it is not asked for.
            unsafe { libc::nanosleep(&raw const pause, std::ptr::null_mut()) };
            waited = waited.saturating_add(PAUSE);
        }
    }

    /// Interrupts it and waits until it has stopped. Signals that come first are handed on.
    pub(super) fn halt(self) -> Result<(), Errno> {
        self.interrupt()?;
        loop {
            match self.wait()? {
                Stop::Event => return Ok(()),
                Stop::Signal(signal) => self.go_on(signal)?,
                Stop::Syscall => self.go_on(0)?,
            }
        }
    }

    fn call(self, request: Request, address: usize, data: usize) -> Result<c_long, Errno> {
        let (address, data) = (
            std::ptr::without_provenance_mut::<c_void>(address),
            std::ptr::without_provenance_mut::<c_void>(data),
        );
        // SAFETY: those requests of the callers above take no pointer.
        let done = unsafe { libc::ptrace(request, self.0, address, data) };
        if done < 0 { Err(errno()) } else { Ok(done) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Thread {
    /// Its registers; `EPERM` if they are not those of a 64-bit program.
    pub(super) fn registers(self) -> Result<libc::user_regs_struct, Errno> {
        /// `__USER_CS` (`asm/segment.h`).
        const USER_CS: libc::c_ulonglong = 0x33;
        let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::zeroed();
        let none = std::ptr::null_mut::<c_void>();
        // SAFETY: the request fills in one `user_regs_struct`.
        let done =
            unsafe { libc::ptrace(libc::PTRACE_GETREGS, self.0, none, registers.as_mut_ptr()) };
        if done < 0 {
            return Err(errno());
        }
        // SAFETY: filled in, and zeros were fine too.
        let registers = unsafe { registers.assume_init() };
        if registers.cs != USER_CS {
            return Err(libc::EPERM);
        }
        Ok(registers)
    }

    pub(super) fn set_registers(self, registers: &libc::user_regs_struct) -> Result<(), Errno> {
        let none = std::ptr::null_mut::<c_void>();
        // SAFETY: the request reads one `user_regs_struct`.
        let done = unsafe {
            libc::ptrace(
                libc::PTRACE_SETREGS,
                self.0,
                none,
                std::ptr::from_ref(registers),
            )
        };
        if done < 0 { Err(errno()) } else { Ok(()) }
    }

    /// The signals it blocks.
    pub(super) fn blocked(self) -> Result<u64, Errno> {
        let mut mask = 0u64;
        let size = std::ptr::without_provenance_mut::<c_void>(size_of::<u64>());
        // SAFETY: the request fills in a kernel's `sigset_t`, of this size.
        let done = unsafe { libc::ptrace(libc::PTRACE_GETSIGMASK, self.0, size, &raw mut mask) };
        if done < 0 { Err(errno()) } else { Ok(mask) }
    }

    pub(super) fn block(self, mask: u64) -> Result<(), Errno> {
        let size = std::ptr::without_provenance_mut::<c_void>(size_of::<u64>());
        // SAFETY: the request reads a kernel's `sigset_t`, of this size.
        let done = unsafe { libc::ptrace(libc::PTRACE_SETSIGMASK, self.0, size, &raw const mask) };
        if done < 0 { Err(errno()) } else { Ok(()) }
    }

    /// The word of its memory that begins at an address.
    pub(super) fn peek(self, address: u64) -> Result<u64, Errno> {
        let address = usize::try_from(address).map_err(|_| libc::EFAULT)?;
        let address = std::ptr::without_provenance_mut::<c_void>(address);
        let none = std::ptr::null_mut::<c_void>();
        set_errno(0);
        // SAFETY: the address is one in the other process; glibc gives the word it has.
        let word = unsafe { libc::ptrace(libc::PTRACE_PEEKTEXT, self.0, address, none) };
        match (word, errno()) {
            (-1, errno) if errno != 0 => Err(errno),
            _ => Ok(word.cast_unsigned()),
        }
    }
}

pub(super) fn errno() -> Errno {
    // SAFETY: the place is that of this thread, always.
    unsafe { *libc::__errno_location() }
}

fn set_errno(errno: Errno) {
    // SAFETY: the place is that of this thread, always.
    unsafe { *libc::__errno_location() = errno }
}
