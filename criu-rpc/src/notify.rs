//! Notifications: CRIU stops at a stage, tells, and waits for the answer.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::external::DumpExternal;
use crate::pid::Pid;
use crate::proto;

/// Where CRIU is in a dump or a restore (`criu_notify.script`).
///
/// A plain tree passes `PreDump`, `QueryExtFiles`, `PostDump` on a dump and `PreRestore`,
/// `PostRestore`, `PreResume`, `PostResume` on a restore. The names are those of CRIU 4.2
/// (`criu/action-scripts.c`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// An image stream is about to be opened. CRIU does not stream over RPC.
    PreStream,
    /// The dump is about to begin; the tree still runs.
    PreDump,
    /// The images are written; the tree is still stopped.
    PostDump,
    /// The restore is about to begin; no task exists yet.
    PreRestore,
    /// The whole tree is restored and stopped. Carries the root's pid.
    PostRestore,
    /// The tree's network is about to be cut off.
    NetworkLock,
    /// The tree's network is back.
    NetworkUnlock,
    /// The root task exists, in its new namespaces, not yet set up. Carries its pid.
    SetupNamespaces,
    /// The namespaces are set up.
    PostSetupNamespaces,
    /// The restored tree is about to run. From here on it cannot be stopped by refusing.
    PreResume,
    /// The restored tree runs.
    PostResume,
    /// The master of the restored tree's terminal. Carries a file descriptor.
    OrphanPtsMaster,
    /// The page server listens.
    StatusReady,
    /// The tree is stopped, and CRIU asks which of its files are external.
    QueryExtFiles,
    /// A stage this crate does not know, by CRIU's name.
    Other(Box<str>),
}

impl Stage {
    /// All stages that have a name here, with CRIU's word for each.
    const NAMES: [(Self, &'static str); 14] = [
        (Self::PreStream, "pre-stream"),
        (Self::PreDump, "pre-dump"),
        (Self::PostDump, "post-dump"),
        (Self::PreRestore, "pre-restore"),
        (Self::PostRestore, "post-restore"),
        (Self::NetworkLock, "network-lock"),
        (Self::NetworkUnlock, "network-unlock"),
        (Self::SetupNamespaces, "setup-namespaces"),
        (Self::PostSetupNamespaces, "post-setup-namespaces"),
        (Self::PreResume, "pre-resume"),
        (Self::PostResume, "post-resume"),
        (Self::OrphanPtsMaster, "orphan-pts-master"),
        (Self::StatusReady, "status-ready"),
        (Self::QueryExtFiles, "query-ext-files"),
    ];

    pub(crate) fn from_name(name: &str) -> Self {
        Self::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map_or_else(|| Self::Other(name.into()), |(stage, _)| stage.clone())
    }

    /// CRIU's word for it, such as `post-restore`.
    pub fn name(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => Self::NAMES
                .iter()
                .find(|(stage, _)| stage == known)
                .map_or("", |(_, name)| name),
        }
    }

    /// Whether a restored tree is whole from here on, and runs whatever the answer is, even
    /// if CRIU is killed (`restore_root_task` in `cr-restore.c`).
    pub(crate) fn is_past_return(&self) -> bool {
        matches!(self, Self::PreResume | Self::PostResume)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What CRIU tells at a stage. It waits for the hook's answer.
#[derive(Debug)]
pub struct Notice {
    stage: Stage,
    pid: Option<Pid>,
    criu: Pid,
    fd: Option<OwnedFd>,
}

impl Notice {
    pub(crate) fn new(notify: proto::CriuNotify, criu: Pid, fd: Option<OwnedFd>) -> Self {
        Self {
            stage: Stage::from_name(&notify.script.unwrap_or_default()),
            pid: notify.pid.and_then(Pid::from_raw),
            criu,
            fd,
        }
    }

    /// Where CRIU is.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The root of the tree, at the stages that carry it, as CRIU's pid namespace counts.
    pub fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// The CRIU at work, to place it in a control group, say. It ends with the request.
    pub fn criu(&self) -> Pid {
        self.criu
    }

    /// The file descriptor that came along, if one did.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Takes the file descriptor out, to keep it. It is close-on-exec.
    pub fn into_fd(self) -> Option<OwnedFd> {
        self.fd
    }
}

/// What a hook says to CRIU. To refuse, return an error instead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Go on.
    #[default]
    Continue,
    /// Go on, and take these for external; an answer to [`Stage::QueryExtFiles`] only.
    Externals(Vec<DumpExternal>),
}

/// Why a hook refuses.
pub type HookError = Box<dyn std::error::Error + Send + Sync>;

/// What runs at each stage.
pub(crate) type Hook<'a> = Box<dyn FnMut(Notice) -> Result<Answer, HookError> + Send + 'a>;

#[cfg(test)]
mod tests {
    use super::Stage;

    #[test]
    fn each_stage_has_its_name_and_comes_back_from_it() {
        for (stage, name) in Stage::NAMES {
            assert_eq!(stage.name(), name);
            assert_eq!(Stage::from_name(name), stage);
        }
        assert_eq!(
            Stage::from_name("pre-lunch"),
            Stage::Other("pre-lunch".into())
        );
        assert_eq!(Stage::from_name("pre-lunch").name(), "pre-lunch");
    }
}
