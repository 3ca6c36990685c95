//! `Operation`: what was asked, for errors and log names.

use std::fmt;

use crate::proto;

/// What a request does. Errors name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`VersionQuery`](crate::VersionQuery).
    Version,
    /// [`FeatureCheck`](crate::FeatureCheck).
    FeatureCheck,
    /// [`Check`](crate::Check).
    Check,
    /// [`CpuInfoDump`](crate::CpuInfoDump).
    CpuInfoDump,
    /// [`CpuInfoCheck`](crate::CpuInfoCheck).
    CpuInfoCheck,
    /// [`Dump`](crate::Dump).
    Dump,
    /// [`SelfDump`](crate::SelfDump).
    SelfDump,
    /// [`PreDump`](crate::PreDump).
    PreDump,
    /// [`PageServer`](crate::PageServer).
    PageServer,
    /// [`RunningPageServer::wait`](crate::RunningPageServer::wait).
    WaitPid,
    /// [`Restore`](crate::Restore).
    Restore,
}

impl Operation {
    pub(crate) fn request_type(self) -> proto::CriuReqType {
        match self {
            Self::Version => proto::CriuReqType::Version,
            Self::FeatureCheck => proto::CriuReqType::FeatureCheck,
            Self::Check => proto::CriuReqType::Check,
            Self::CpuInfoDump => proto::CriuReqType::CpuinfoDump,
            Self::CpuInfoCheck => proto::CriuReqType::CpuinfoCheck,
            Self::Dump | Self::SelfDump => proto::CriuReqType::Dump,
            Self::PreDump => proto::CriuReqType::SinglePreDump,
            Self::PageServer => proto::CriuReqType::PageServerChld,
            Self::WaitPid => proto::CriuReqType::WaitPid,
            Self::Restore => proto::CriuReqType::Restore,
        }
    }

    /// Whether CRIU has stages to tell of.
    pub(crate) fn is_notified(self) -> bool {
        matches!(self, Self::Dump | Self::PreDump | Self::Restore)
    }

    /// Whether CRIU only answers, and writes no images.
    pub(crate) fn is_asked(self) -> bool {
        matches!(self, Self::Version | Self::FeatureCheck | Self::Check)
    }

    /// Whether CRIU gets into tasks that are to live on, also when it fails.
    pub(crate) fn enters_tasks(self) -> bool {
        matches!(self, Self::Dump | Self::PreDump)
    }

    /// The log's name unless another is set.
    pub(crate) fn log_name(self) -> String {
        format!("{}.log", self.to_string().replace(' ', "-"))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "version",
            Self::FeatureCheck => "feature check",
            Self::Check => "check",
            Self::CpuInfoDump => "cpuinfo dump",
            Self::CpuInfoCheck => "cpuinfo check",
            Self::Dump => "dump",
            Self::SelfDump => "self-dump",
            Self::PreDump => "pre-dump",
            Self::PageServer => "page server",
            Self::WaitPid => "wait for the page server",
            Self::Restore => "restore",
        })
    }
}
