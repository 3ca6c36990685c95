#![allow(unsafe_code)]
//! Having another process open a userfaultfd on itself, and taking that out of it.
//!
//! One of its threads is stopped, made to run the instruction `syscall` where its own code
//! has one, and given back its registers: no code and no memory of it is changed. While it
//! has registers of ours it must not be let go, and a tracer that is killed lets go. So the
//! tracer is a process of its own, the guardian, that shares our memory and descriptors and
//! lives for some hundred microseconds: in a session of its own, with all signals blocked, it
//! ends its work also if we are killed meanwhile. Only a SIGKILL of its own pid, which nobody
//! knows, or of the whole control group can hit it.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::error::{Act, Obstacle, TrackError};
use super::ptrace::{Errno, Stop, Thread, errno};
use super::stop::{is_alive, refusal, status};
use super::task::Task;
use super::uffd::Uffd;
use crate::track::Way;
use crate::track::vma::Vma;

/// The guardian's stack, in bytes; it uses a few hundred.
const STACK: usize = 64 << 10;

/// How often it is tried when another is in the way.
const ATTEMPTS: u32 = 30;

/// `syscall`.
const INSTRUCTION: [u8; 2] = [0x0f, 0x05];

/// Bytes of a mapping that are searched for it.
const SEARCHED: u64 = 1 << 20;

/// What the guardian is to do, and what it did.
struct Job {
    thread: Thread,
    process: libc::pid_t,
    pidfd: libc::c_int,
    instruction: u64,
    suspend_seccomp: bool,
    flags: u32,
    result: Result<libc::c_int, (Act, Errno)>,
}

/// Makes a userfaultfd in the task, and gives it.
pub(super) fn userfaultfd_of(task: &Task) -> Result<OwnedFd, TrackError> {
    for _ in 0..ATTEMPTS {
        match attempt(task) {
            // Its thread ended meanwhile, or it became another program.
            Err(TrackError::System { source, .. })
                if matches!(source.raw_os_error(), Some(libc::ESRCH | libc::EAGAIN)) => {}
            // The guardian of a tracker that was killed is about to let it go.
            Err(TrackError::Impossible {
                obstacle: Obstacle::Traced | Obstacle::Privilege,
                ..
            }) => {}
            done => return done,
        }
        thread::sleep(Duration::from_millis(1));
    }
    attempt(task)
}

fn attempt(task: &Task) -> Result<OwnedFd, TrackError> {
    let pid = task.pid();
    let way = Way::WriteProtect;
    let impossible = |obstacle| TrackError::Impossible { pid, way, obstacle };
    if cfg!(not(target_arch = "x86_64")) {
        return Err(impossible(Obstacle::Architecture));
    }
    let instruction = instruction(task)?.ok_or_else(|| impossible(Obstacle::NoInstruction))?;
    let tid = idle_thread(task)?;
    let mode = status(task, tid, "Seccomp:");
    let mut job = Job {
        thread: Thread(tid),
        process: pid.cast_signed(),
        pidfd: task.pidfd().as_raw_fd(),
        instruction,
        suspend_seccomp: mode.is_some_and(|mode| mode != "0"),
        flags: Uffd::flags().bits(),
        result: Err((Act::Seize, libc::ECANCELED)),
    };
    guard(&mut job).map_err(|source| TrackError::system(pid, Act::Inject, source))?;
    let (act, errno) = match job.result {
        // SAFETY: the guardian put it into our table of descriptors, for us.
        Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Err(failed) => failed,
    };
    task.check()?;
    Err(match (act, errno) {
        (Act::Seize, libc::EPERM) if job.suspend_seccomp => impossible(Obstacle::Seccomp),
        (Act::Seize, libc::EPERM) => impossible(refusal(task, tid)),
        (Act::Stop, libc::EPERM) => impossible(Obstacle::Architecture),
        (Act::Inject, libc::ENOSYS | libc::EINVAL) => impossible(Obstacle::NoWriteProtect),
        // Of the thread, that is: the process is there.
        (act, errno) => TrackError::System {
            pid,
            act,
            source: io::Error::from_raw_os_error(errno),
        },
    })
}

/// A thread that will stop soon: the leader, unless it has ended or is deep in the kernel.
fn idle_thread(task: &Task) -> Result<i32, TrackError> {
    let threads = task.threads()?;
    let alive = || threads.iter().copied().filter(|tid| is_alive(task, *tid));
    let idle = |tid: &i32| status(task, *tid, "State:").is_some_and(|s| !s.starts_with('D'));
    alive()
        .find(idle)
        .or_else(|| alive().next())
        .ok_or_else(|| TrackError::Gone { pid: task.pid() })
}

/// Where its memory has an instruction for a system call: in the vDSO, or in any other code.
fn instruction(task: &Task) -> Result<Option<u64>, TrackError> {
    let memory = task.file("mem", Act::Read)?;
    let vmas = task.maps()?;
    let is_code = |vma: &&Vma| vma.executable && vma.readable && vma.name != b"[vsyscall]";
    let (vdso, others): (Vec<&Vma>, Vec<_>) = vmas
        .iter()
        .filter(is_code)
        .partition(|vma| vma.name == b"[vdso]");
    Ok(vdso
        .into_iter()
        .chain(others)
        .find_map(|vma| instruction_in(&memory, vma)))
}

fn instruction_in(memory: &File, vma: &Vma) -> Option<u64> {
    let start = vma.range.start().get();
    let length = usize::try_from(vma.range.bytes().min(SEARCHED)).ok()?;
    let mut code = vec![0; length];
    let read = memory.read_at(&mut code, start).ok()?;
    let at = code
        .get(..read)?
        .windows(INSTRUCTION.len())
        .position(|bytes| bytes == INSTRUCTION)?;
    start.checked_add(u64::try_from(at).ok()?)
}

/// Starts the guardian, and waits for its end.
fn guard(job: &mut Job) -> io::Result<()> {
    // SAFETY: a new mapping, wherever the kernel likes.
    let stack = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            STACK,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::STACK,
        )
    }?;
    let done = blocking_signals(|| {
        // SAFETY: it is the end of the mapping, which is aligned.
        let top = unsafe { stack.cast::<u8>().add(STACK) };
        // The memory is shared, since the result comes back in it, and since a copy of all
        // page tables would take longer than the work; the descriptors are, since what it
        // takes is for us. Without a signal at its end nobody else waits for it, and no
        // handler of the program is called.
        let flags = libc::CLONE_VM | libc::CLONE_FILES;
        // SAFETY: the function gets a stack of its own and a job that outlives it, for this
        // thread waits below for its end. This thread's own storage, which it shares, holds
        // `errno`, and this thread does not use that meanwhile. It neither allocates nor
        // takes a lock, so no state of another thread matters.
        let child = unsafe {
            libc::clone(
                guardian,
                top.cast::<c_void>(),
                flags,
                std::ptr::from_mut(job).cast::<c_void>(),
            )
        };
        if child < 0 {
            return Err(io::Error::last_os_error());
        }
        loop {
            let mut status = 0;
            // SAFETY: `status` is ours.
            let found = unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) };
            match found {
                found if found == child => return Ok(()),
                _ if errno() == libc::EINTR => {}
                // Someone else may have waited for any child; it has ended all the same.
                _ => return Ok(()),
            }
        }
    });
    // SAFETY: the guardian has ended, so nobody uses its stack.
    unsafe { munmap(stack, STACK) }?;
    done
}

/// Calls with all signals blocked, which a child inherits.
fn blocking_signals<T>(act: impl FnOnce() -> T) -> T {
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: both sets are ours; how signals are blocked is put back below.
    unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, before.as_mut_ptr());
    }
    let done = act();
    // SAFETY: what was filled in above.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
    }
    done
}

/// The guardian's life. It must not panic, allocate, or take a lock.
extern "C" fn guardian(job: *mut c_void) -> libc::c_int {
    // SAFETY: `guard` gave it, and does not touch it until this process has ended.
    let job = unsafe { &mut *job.cast::<Job>() };
    // SAFETY: no pointers; out of the reach of what is sent to our process group.
    unsafe { libc::setsid() };
    job.result = inject(job);
    0
}

#[cfg(not(target_arch = "x86_64"))]
fn inject(_: &Job) -> Result<libc::c_int, (Act, Errno)> {
    Err((Act::Inject, libc::ENOSYS))
}

#[cfg(target_arch = "x86_64")]
fn inject(job: &Job) -> Result<libc::c_int, (Act, Errno)> {
    let thread = job.thread;
    thread
        .seize(job.suspend_seccomp)
        .map_err(|errno| (Act::Seize, errno))?;
    let mut guest = match Guest::enter(job) {
        Ok(guest) => guest,
        Err(errno) => {
            let _ = thread.detach();
            return Err((Act::Stop, errno));
        }
    };
    let taken = guest.take(job);
    guest.leave(job);
    taken
}

/// A thread that stands still, and what it was before.
#[cfg(target_arch = "x86_64")]
struct Guest {
    thread: Thread,
    registers: libc::user_regs_struct,
    blocked: u64,
    instruction: u64,
    /// It was to be stopped meanwhile, which cannot be blocked.
    is_to_stop: bool,
}

#[cfg(target_arch = "x86_64")]
impl Guest {
    fn enter(job: &Job) -> Result<Self, Errno> {
        let thread = job.thread;
        thread.halt()?;
        // It may have become another program since its code was searched.
        let word = thread.peek(job.instruction).map_err(|_| libc::EAGAIN)?;
        if word.to_le_bytes().get(..2) != Some(&INSTRUCTION) {
            return Err(libc::EAGAIN);
        }
        let guest = Self {
            thread,
            registers: thread.registers()?,
            blocked: thread.blocked()?,
            instruction: job.instruction,
            is_to_stop: false,
        };
        // Or a signal would be handled with registers of ours.
        thread.block(u64::MAX)?;
        Ok(guest)
    }

    /// Has it open the userfaultfd, takes that, and has it close its own.
    fn take(&mut self, job: &Job) -> Result<libc::c_int, (Act, Errno)> {
        let failed = |act| move |errno| (act, errno);
        let opened = self.call(libc::SYS_userfaultfd, job.flags.into());
        let fd = opened.map_err(failed(Act::Inject))?;
        // SAFETY: no pointers. It shares our descriptors, so it is ours from here on.
        let ours = unsafe { libc::syscall(libc::SYS_pidfd_getfd, job.pidfd, fd, 0) };
        let ours = match libc::c_int::try_from(ours) {
            Ok(ours) if ours >= 0 => Ok(ours),
            _ => Err((Act::Take, errno())),
        };
        let closed = self.call(libc::SYS_close, fd);
        match (ours, closed) {
            // It has one too many, but is whole, and so are we.
            (Ok(ours), Ok(_) | Err(_)) => Ok(ours),
            (Err(error), _) => Err(error),
        }
    }

    /// Makes one system call, and gives what that gives.
    fn call(&mut self, number: libc::c_long, argument: u64) -> Result<u64, Errno> {
        let mut registers = self.registers;
        registers.rip = self.instruction;
        registers.rax = number.cast_unsigned();
        registers.rdi = argument;
        // In no system call, so that none is restarted.
        registers.orig_rax = u64::MAX;
        self.thread.set_registers(&registers)?;
        // Its begin, and its end.
        for _ in 0..2 {
            self.thread.to_syscall()?;
            self.wait_for(Stop::Syscall)?;
        }
        let result = self.thread.registers()?.rax.cast_signed();
        if result < 0 {
            return Err(libc::c_int::try_from(result.unsigned_abs()).unwrap_or(libc::EIO));
        }
        Ok(result.unsigned_abs())
    }

    fn wait_for(&mut self, wanted: Stop) -> Result<(), Errno> {
        loop {
            match self.thread.wait()? {
                stop if stop == wanted => return Ok(()),
                Stop::Signal(libc::SIGSTOP) => self.is_to_stop = true,
                // A fault at our instruction, which there was before.
                Stop::Signal(_) => return Err(libc::EFAULT),
                Stop::Event | Stop::Syscall => {}
            }
            match wanted {
                Stop::Syscall => self.thread.to_syscall()?,
                _ => self.thread.go_on(0)?,
            }
        }
    }

    /// Gives it back what it had, at a stop like the one it was found at, so that a system
    /// call that was interrupted is restarted.
    fn leave(&mut self, job: &Job) {
        let thread = self.thread;
        if thread.interrupt().is_ok() && thread.go_on(0).is_ok() {
            let _ = self.wait_for(Stop::Event);
        }
        let _ = thread.set_registers(&self.registers);
        let _ = thread.block(self.blocked);
        let _ = thread.detach();
        if self.is_to_stop {
            // SAFETY: no pointers.
            unsafe { libc::syscall(libc::SYS_tgkill, job.process, thread.0, libc::SIGSTOP) };
        }
    }
}
