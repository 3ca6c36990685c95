//! What no source tells: why something is not offered, and how an answer is seen.

/// What is not offered, and why.
pub(super) const ABSENT: [(&str, &str); 11] = [
    ("criu_req_type.EMPTY", "an answer, never a request"),
    (
        "criu_req_type.PAGE_SERVER",
        "a daemon whose pid CRIU loses; `PAGE_SERVER_CHLD` does the same",
    ),
    ("criu_opts.veths", "superseded by `external`"),
    ("criu_opts.ext_mnt", "superseded by `external`"),
    ("criu_opts.unix_sk_ino", "superseded by `external`"),
    (
        "criu_opts.manage_cgroups",
        "superseded by `manage_cgroups_mode`",
    ),
    (
        "criu_opts.status_fd",
        "superseded by the stage `status-ready`",
    ),
    (
        "criu_resp.cr_errmsg",
        "the first error line since the request began, not the cause; the log is read instead",
    ),
    ("criu_version.gitid", NUMBERS),
    ("criu_version.extra", NUMBERS),
    ("criu_version.name", NUMBERS),
];

const NUMBERS: &str = "releases are told by their three numbers";

/// CRIU's stages (`criu/action-scripts.c`, 4.2): in the schema they are just strings.
pub(super) const STAGES: [&str; 14] = [
    "pre-stream",
    "pre-dump",
    "post-dump",
    "pre-restore",
    "post-restore",
    "network-lock",
    "network-unlock",
    "setup-namespaces",
    "post-setup-namespaces",
    "pre-resume",
    "post-resume",
    "orphan-pts-master",
    "status-ready",
    "query-ext-files",
];

/// How a user sees each field of an answer, and what a test that looks at it has in it.
pub(super) const REPLIES: [(&str, &str, &[&str]); 22] = [
    (
        "criu_resp.type",
        "ProtocolError::UnexpectedType",
        &["UnexpectedType"],
    ),
    ("criu_resp.success", "Error::Failed", &["Error :: Failed"]),
    ("criu_resp.dump", "SelfDumped", &["SelfDumped"]),
    ("criu_resp.restore", "Restored", &["tree . pid ( )"]),
    ("criu_resp.notify", "Notice", &[". stage ( )"]),
    ("criu_resp.ps", "RunningPageServer", &["server . port ( )"]),
    ("criu_resp.cr_errno", "Failure::errno", &[". errno"]),
    ("criu_resp.features", "Features", &["FeatureCheck"]),
    ("criu_resp.version", "Version", &["VersionQuery"]),
    ("criu_resp.status", "Ended", &["PageServer", "Ended ::"]),
    (
        "criu_dump_resp.restored",
        "SelfDumped::Restored",
        &["SelfDumped :: Restored"],
    ),
    (
        "criu_restore_resp.pid",
        "Restored::pid",
        &["tree . pid ( )"],
    ),
    ("criu_notify.script", "Notice::stage", &[". stage ( )"]),
    ("criu_notify.pid", "Notice::pid", &["notice . pid ( )"]),
    ("criu_version.major_number", "Version::major", VERSION),
    ("criu_version.minor_number", "Version::minor", VERSION),
    ("criu_version.sublevel", "Version::sublevel", VERSION),
    (
        "criu_features.mem_track",
        "Features::mem_track",
        &["found . mem_track"],
    ),
    (
        "criu_features.lazy_pages",
        "Features::lazy_pages",
        &["found . lazy_pages"],
    ),
    (
        "criu_features.pidfd_store",
        "Features::pidfd_store",
        &["found . pidfd_store"],
    ),
    (
        "criu_page_server_info.pid",
        "RunningPageServer::pid",
        &["server . pid ( )"],
    ),
    (
        "criu_page_server_info.port",
        "RunningPageServer::port",
        &["server . port ( )"],
    ),
];

const VERSION: &[&str] = &["VersionQuery", "Version :: new ("];
