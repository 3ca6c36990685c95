//! `Refusal`: what a preflight found, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use crate::pid::Pid;

/// Why a request was not even sent: CRIU could not carry it out here.
///
/// Each is a fact read from the system when the request was looked over. Its message holds
/// the [remedy](Self::remedy) too.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// CRIU would have neither `CAP_CHECKPOINT_RESTORE` nor `CAP_SYS_ADMIN`, one of which
    /// it always wants (`check_caps` in `cr-check.c`).
    MissingCapability {
        /// The CRIU that would be started.
        program: PathBuf,
    },
    /// CRIU would not be root, and only works then when it is told that this is meant.
    NotUnprivileged {
        /// The user it would run as.
        uid: u32,
    },
    /// No process has that pid.
    NoSuchProcess {
        /// The pid.
        pid: Pid,
    },
    /// The pid is that of a thread. CRIU takes whole processes; it aborts on a thread.
    Thread {
        /// The id of the thread.
        thread: Pid,
        /// The process it is in.
        process: Pid,
    },
    /// The process has ended, and waits to be reaped.
    Zombie {
        /// The process.
        pid: Pid,
    },
    /// The main thread of the process has ended while others of it run.
    NoMainThread {
        /// The process.
        pid: Pid,
    },
    /// A debugger or a tracer holds the process. A process can have only one, and CRIU has
    /// to be it.
    Traced {
        /// The process.
        pid: Pid,
        /// What holds it.
        tracer: Pid,
    },
    /// This process, and so the CRIU it starts, is within the tree that is to be dumped.
    DumpsItself {
        /// The root of that tree.
        root: Pid,
    },
    /// The leader of the process's session is outside its pid namespace, so the session has
    /// no number there that a restore could give it (`dump_one_task` in `cr-dump.c`).
    SessionOutside {
        /// The process.
        pid: Pid,
    },
    /// A process of the tree does not belong, in all of its ids, to the user and group that
    /// CRIU would run as, and CRIU lacks what it takes.
    OtherUser {
        /// The process.
        pid: Pid,
        /// Its real user.
        uid: u32,
        /// Its real group.
        gid: u32,
        /// The capability that CRIU would lack.
        capability: &'static str,
    },
    /// The security module Yama keeps CRIU from taking hold of processes.
    Yama {
        /// `kernel.yama.ptrace_scope`: 2 or 3.
        scope: u32,
    },
    /// The parent folder of a dump holds no images; CRIU would fail, or say nothing and
    /// write all pages.
    NoParent {
        /// The path that was given.
        parent: String,
        /// The folder it is relative to, if that can be told.
        images: Option<PathBuf>,
        /// Whether there is anything at that path.
        exists: bool,
    },
    /// The parent of a dump was written without `track_mem`, so CRIU cannot tell what has
    /// changed since.
    UntrackedParent {
        /// The path that was given.
        parent: String,
    },
    /// The folder to restore from holds no images.
    NoImages {
        /// The folder, if that can be told.
        images: Option<PathBuf>,
    },
    /// A process or a thread of the tree that is to be restored needs a pid that is taken.
    PidTaken {
        /// The pid.
        pid: Pid,
        /// The name of the process that has it, if that can be read.
        holder: Option<String>,
        /// The parent of that process, when it has ended and only waits to be reaped.
        unreaped_by: Option<Pid>,
    },
    /// The kernel does not tell which pages changed
    /// ([`Features::mem_track`](crate::Features::mem_track)).
    NoSoftDirty,
    /// Memory cannot be filled in later
    /// ([`Features::lazy_pages`](crate::Features::lazy_pages)).
    NoLazyPages,
    /// Handles of processes cannot be kept between dumps
    /// ([`Features::pidfd_store`](crate::Features::pidfd_store)).
    NoPidfdStore,
}

impl Refusal {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        let remedy = match self {
            Self::MissingCapability { program } => {
                return format!(
                    "run as root, or `setcap cap_checkpoint_restore+eip {}` and set unprivileged",
                    program.display()
                );
            }
            Self::NotUnprivileged { .. } => {
                "set unprivileged, and expect less of CRIU, or run as root"
            }
            Self::NoSuchProcess { .. } => "check the pid: it is that of this pid namespace",
            Self::Thread { process, .. } => return format!("dump process {process}"),
            Self::Zombie { .. } => "wait for it: there is nothing left to dump",
            Self::NoMainThread { .. } => "let its main thread wait for the others",
            Self::Traced { tracer, .. } => return format!("detach process {tracer} from it first"),
            Self::DumpsItself { .. } => "dump it from a process outside the tree",
            Self::SessionOutside { .. } => {
                "start it in a session of its own (setsid), or from inside the pid namespace"
            }
            Self::OtherUser { capability, .. } => {
                return format!("give this process {capability}, or run it as that user and group");
            }
            Self::Yama { scope: 3 } => "boot with another kernel.yama.ptrace_scope: 3 stays",
            Self::Yama { .. } => {
                "give this process CAP_SYS_PTRACE, or set kernel.yama.ptrace_scope to 1"
            }
            Self::NoParent { .. } => {
                "name the folder of an earlier dump or pre-dump, relative to the images folder, \
                 such as ../1, or none"
            }
            Self::UntrackedParent { .. } => {
                "set track_mem, or pre-dump, for what is to be a parent, or name none"
            }
            Self::NoImages { .. } => "name the folder of a dump that succeeded",
            Self::PidTaken {
                unreaped_by: Some(parent),
                ..
            } => return format!("let process {parent}, its parent, wait for it"),
            Self::PidTaken { .. } => {
                "end that process, or restore in a pid namespace of its own (unshare --pid)"
            }
            Self::NoSoftDirty => {
                "use a kernel with CONFIG_MEM_SOFT_DIRTY, or do without pre-dump and track_mem \
                 and find changed pages without CRIU: by comparing contents, or with \
                 userfaultfd write-protection"
            }
            Self::NoLazyPages => {
                "restore without lazy_pages, or allow userfaultfd: as root, with \
                 CONFIG_USERFAULTFD"
            }
            Self::NoPidfdStore => "leave the pidfd store out, or use Linux 5.6 and CRIU 3.16",
        };
        remedy.to_owned()
    }

    fn finding(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingCapability { .. } => {
                f.write_str("CRIU would have neither CAP_CHECKPOINT_RESTORE nor CAP_SYS_ADMIN here")
            }
            Self::NotUnprivileged { uid } => {
                write!(f, "CRIU would run as user {uid}, not as root")
            }
            Self::NoSuchProcess { pid } => write!(f, "there is no process {pid}"),
            Self::Thread { thread, process } => {
                write!(f, "{thread} is a thread of process {process}")
            }
            Self::Zombie { pid } => write!(f, "process {pid} has ended and is a zombie"),
            Self::NoMainThread { pid } => {
                write!(f, "the main thread of process {pid} has ended, others run")
            }
            Self::Traced { pid, tracer } => write!(f, "process {tracer} traces process {pid}"),
            Self::DumpsItself { root } => {
                write!(f, "this process is within the tree of process {root}")
            }
            Self::SessionOutside { pid } => write!(
                f,
                "the session of process {pid} was begun outside its pid namespace"
            ),
            Self::OtherUser {
                pid,
                uid,
                gid,
                capability,
            } => write!(
                f,
                "process {pid} belongs to another user or group ({uid}:{gid}), and {capability} \
                 is missing"
            ),
            Self::Yama { scope } => write!(
                f,
                "kernel.yama.ptrace_scope is {scope}, so CRIU cannot take hold of a process"
            ),
            Self::NoParent {
                parent,
                images,
                exists,
            } => {
                write!(f, "the parent {parent}")?;
                if let Some(images) = images {
                    write!(f, " of {}", images.display())?;
                }
                f.write_str(if *exists {
                    " holds no images (no inventory.img)"
                } else {
                    " does not exist"
                })
            }
            Self::UntrackedParent { parent } => {
                write!(f, "the parent {parent} was dumped without track_mem")
            }
            Self::NoImages { images } => {
                f.write_str("the images folder")?;
                if let Some(images) = images {
                    write!(f, " {}", images.display())?;
                }
                f.write_str(" holds no images (no inventory.img)")
            }
            Self::PidTaken {
                pid,
                holder,
                unreaped_by,
            } => {
                write!(f, "pid {pid}, which the tree needs, is taken")?;
                if let Some(holder) = holder {
                    write!(f, " by {holder}")?;
                }
                if unreaped_by.is_some() {
                    f.write_str(", which has ended and is a zombie")?;
                }
                Ok(())
            }
            Self::NoSoftDirty => {
                f.write_str("this kernel does not track changed pages (soft-dirty)")
            }
            Self::NoLazyPages => f.write_str("userfaultfd is not to be had here"),
            Self::NoPidfdStore => f.write_str("pidfds cannot be stored here"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.finding(f)?;
        write!(f, "; {}", self.remedy())
    }
}
