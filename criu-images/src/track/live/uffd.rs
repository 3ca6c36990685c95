#![allow(unsafe_code)]
//! A userfaultfd that does nothing but write-protect, asynchronously: no fault ever waits for
//! a reader (`UFFD_FEATURE_WP_ASYNC`, Linux 6.7).

use std::io;
use std::os::fd::OwnedFd;

use linux_raw_sys::general::{
    UFFD_API, UFFD_FEATURE_WP_ASYNC, UFFD_USER_MODE_ONLY, UFFDIO_REGISTER_MODE_WP, uffdio_api,
    uffdio_range, uffdio_register, uffdio_writeprotect,
};
use rustix::ioctl::{Updater, ioctl};
use rustix::mm::{UserfaultfdFlags, userfaultfd};

use crate::memory::AddrRange;

const API: rustix::ioctl::Opcode = linux_raw_sys::ioctl::UFFDIO_API;
const WRITEPROTECT: rustix::ioctl::Opcode = linux_raw_sys::ioctl::UFFDIO_WRITEPROTECT;
const REGISTER: rustix::ioctl::Opcode = linux_raw_sys::ioctl::UFFDIO_REGISTER;

/// Memory is registered with it until it is dropped; then the kernel takes all protection
/// back.
#[derive(Debug)]
pub(super) struct Uffd(OwnedFd);

impl Uffd {
    /// One on this process.
    pub(super) fn of_this_process() -> io::Result<Self> {
        // SAFETY: with asynchronous write-protection the kernel resolves each fault itself:
        // nobody waits for this descriptor, and no memory is changed through it.
        let fd = unsafe { userfaultfd(Self::flags()) }?;
        Self::set_up(fd)
    }

    /// User mode only needs no privilege, and is enough: writes that the kernel makes for a
    /// system call are seen too when they are resolved asynchronously.
    pub(super) fn flags() -> UserfaultfdFlags {
        UserfaultfdFlags::CLOEXEC
            | UserfaultfdFlags::NONBLOCK
            | UserfaultfdFlags::from_bits_retain(UFFD_USER_MODE_ONLY)
    }

    /// Takes one that was just made, on whatever process made it.
    ///
    /// # Errors
    /// `EINVAL` if the kernel cannot write-protect asynchronously.
    pub(super) fn set_up(fd: OwnedFd) -> io::Result<Self> {
        let mut api = uffdio_api {
            api: UFFD_API.into(),
            features: UFFD_FEATURE_WP_ASYNC.into(),
            ioctls: 0,
        };
        // SAFETY: the opcode is that of `UFFDIO_API`, whose argument is a `uffdio_api`.
        unsafe { ioctl(&fd, Updater::<{ API }, _>::new(&mut api)) }?;
        Ok(Self(fd))
    }

    /// Whether the address space it was made in is gone, as after an `execve`. It is asked to
    /// take protection from a range that is not registered with it.
    pub(super) fn is_orphan(&self, unregistered: AddrRange) -> bool {
        let done = self.unprotect(unregistered);
        done.is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH))
    }

    /// Takes protection from a registered range.
    ///
    /// Kernels before 6.13 leave it on pages that were moved (`mremap`) to where nothing was
    /// registered: such a page seems to be protected, and can be written to.
    pub(super) fn unprotect(&self, range: AddrRange) -> io::Result<()> {
        let mut range = uffdio_writeprotect {
            range: uffdio_range {
                start: range.start().get(),
                len: range.bytes(),
            },
            mode: 0,
        };
        // SAFETY: the opcode is that of `UFFDIO_WRITEPROTECT`, whose argument is a
        // `uffdio_writeprotect`; it changes no memory.
        unsafe { ioctl(&self.0, Updater::<{ WRITEPROTECT }, _>::new(&mut range)) }?;
        Ok(())
    }

    /// Registers the mappings in a range.
    ///
    /// # Errors
    /// `EBUSY` if another userfaultfd has one of them; `ENOMEM` if the address space
    /// [is gone](Self::is_orphan).
    pub(super) fn register(&self, range: AddrRange) -> io::Result<()> {
        let mut register = uffdio_register {
            range: uffdio_range {
                start: range.start().get(),
                len: range.bytes(),
            },
            mode: UFFDIO_REGISTER_MODE_WP.into(),
            ioctls: 0,
        };
        // SAFETY: the opcode is that of `UFFDIO_REGISTER`, whose argument is a
        // `uffdio_register`; registering changes no memory.
        unsafe { ioctl(&self.0, Updater::<{ REGISTER }, _>::new(&mut register)) }?;
        Ok(())
    }
}
