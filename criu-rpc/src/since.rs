//! Which release of CRIU brought each request and option.
//!
//! CRIU ignores what it does not know, without a word: an option that is too new for it
//! would be taken for done. So it is refused here, before it is sent.

use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use crate::proto::{CriuNetworkLockMethod, CriuReq, CriuReqType};
use crate::reply::Version;

/// The oldest release whose version can be asked for, and so the oldest that is supported.
/// What it knows needs no question.
pub(crate) const OLDEST: Version = Version::new(3, 0, 0);

/// The fields of `criu_opts`: the first release whose schema has each.
const OPTIONS: [(u32, &str, Version); 71] = [
    (1, "images_dir_fd", Version::new(0, 8, 0)),
    (2, "pid", Version::new(0, 8, 0)),
    (3, "leave_running", Version::new(1, 2, 0)),
    (4, "ext_unix_sk", Version::new(0, 8, 0)),
    (5, "tcp_established", Version::new(0, 8, 0)),
    (6, "evasive_devices", Version::new(0, 8, 0)),
    (7, "shell_job", Version::new(0, 8, 0)),
    (8, "file_locks", Version::new(0, 8, 0)),
    (9, "log_level", Version::new(0, 8, 0)),
    (10, "log_file", Version::new(0, 8, 0)),
    (11, "ps", Version::new(1, 2, 0)),
    (12, "notify_scripts", Version::new(1, 2, 0)),
    (13, "root", Version::new(1, 2, 0)),
    (14, "parent_img", Version::new(1, 2, 0)),
    (15, "track_mem", Version::new(1, 2, 0)),
    (16, "auto_dedup", Version::new(1, 2, 0)),
    (17, "work_dir_fd", Version::new(1, 2, 0)),
    (18, "link_remap", Version::new(1, 2, 0)),
    (19, "veths", Version::new(1, 2, 0)),
    (20, "cpu_cap", Version::new(1, 3, 0)),
    (21, "force_irmap", Version::new(1, 3, 0)),
    (22, "exec_cmd", Version::new(1, 3, 0)),
    (23, "ext_mnt", Version::new(1, 3, 0)),
    (24, "manage_cgroups", Version::new(1, 3, 0)),
    (25, "cg_root", Version::new(1, 3, 0)),
    (26, "rst_sibling", Version::new(1, 3, 1)),
    (27, "inherit_fd", Version::new(1, 5, 1)),
    (28, "auto_ext_mnt", Version::new(1, 6, 0)),
    (29, "ext_sharing", Version::new(1, 6, 0)),
    (30, "ext_masters", Version::new(1, 6, 0)),
    (31, "skip_mnt", Version::new(1, 6, 0)),
    (32, "enable_fs", Version::new(1, 6, 0)),
    (33, "unix_sk_ino", Version::new(1, 7, 0)),
    (34, "manage_cgroups_mode", Version::new(1, 7, 0)),
    (35, "ghost_limit", Version::new(1, 7, 0)),
    (36, "irmap_scan_paths", Version::new(1, 8, 0)),
    (37, "external", Version::new(2, 0, 0)),
    (38, "empty_ns", Version::new(2, 0, 0)),
    (39, "join_ns", Version::new(2, 3, 0)),
    (41, "cgroup_props", Version::new(2, 4, 0)),
    (42, "cgroup_props_file", Version::new(2, 4, 0)),
    (43, "cgroup_dump_controller", Version::new(2, 4, 0)),
    (44, "freeze_cgroup", Version::new(2, 4, 0)),
    (45, "timeout", Version::new(2, 4, 0)),
    (46, "tcp_skip_in_flight", Version::new(2, 4, 0)),
    (47, "weak_sysctls", Version::new(2, 9, 0)),
    (48, "lazy_pages", Version::new(3, 5, 0)),
    (49, "status_fd", Version::new(2, 11, 0)),
    (50, "orphan_pts_master", Version::new(2, 12, 0)),
    (51, "config_file", Version::new(3, 11, 0)),
    (52, "tcp_close", Version::new(3, 12, 0)),
    (53, "lsm_profile", Version::new(3, 12, 0)),
    (54, "tls_cacert", Version::new(3, 13, 0)),
    (55, "tls_cacrl", Version::new(3, 13, 0)),
    (56, "tls_cert", Version::new(3, 13, 0)),
    (57, "tls_key", Version::new(3, 13, 0)),
    (58, "tls", Version::new(3, 13, 0)),
    (59, "tls_no_cn_verify", Version::new(3, 13, 0)),
    (60, "cgroup_yard", Version::new(3, 14, 0)),
    (61, "pre_dump_mode", Version::new(3, 14, 0)),
    (62, "pidfd_store_sk", Version::new(3, 16, 0)),
    (63, "lsm_mount_context", Version::new(3, 16, 0)),
    (64, "network_lock", Version::new(3, 16, 0)),
    (65, "mntns_compat_mode", Version::new(3, 17, 0)),
    (66, "skip_file_rwx_check", Version::new(3, 18, 0)),
    (67, "unprivileged", Version::new(3, 18, 0)),
    (68, "images_dir", Version::new(3, 19, 0)),
    (69, "leave_stopped", Version::new(3, 19, 0)),
    (70, "display_stats", Version::new(3, 19, 0)),
    (71, "log_to_stderr", Version::new(3, 19, 0)),
    (72, "image_io_mode", Version::new(4, 3, 0)),
];

/// The requests that are newer than [`OLDEST`].
const REQUESTS: [(CriuReqType, &str, Version); 3] = [
    (CriuReqType::WaitPid, "WAIT_PID", Version::new(3, 7, 0)),
    (
        CriuReqType::PageServerChld,
        "PAGE_SERVER_CHLD",
        Version::new(3, 7, 0),
    ),
    (
        CriuReqType::SinglePreDump,
        "SINGLE_PRE_DUMP",
        Version::new(3, 17, 0),
    ),
];

/// What a message needs that is newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// CRIU's name of the request or option.
    pub(crate) name: &'static str,
    pub(crate) since: Version,
}

/// The newest thing in a message; `None` when even [`OLDEST`] knows all of it.
pub(crate) fn need(message: &CriuReq) -> Option<Need> {
    let request = REQUESTS
        .iter()
        .find(|(request, ..)| *request == message.r#type())
        .map(|&(_, name, since)| Need { name, since });
    let Some(options) = &message.opts else {
        return request;
    };
    let encoded = options.encode_to_vec();
    let skip = options.network_lock == Some(CriuNetworkLockMethod::Skip.into());
    let value = skip.then_some(Need {
        name: "network_lock SKIP",
        since: Version::new(3, 19, 0),
    });
    fields(&encoded)
        .filter_map(|field| OPTIONS.iter().find(|(number, ..)| *number == field))
        .map(|&(_, name, since)| Need { name, since })
        .chain(request)
        .chain(value)
        .filter(|need| need.since > OLDEST)
        .max_by_key(|need| need.since)
}

/// The numbers of the fields in an encoded message.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let (field, wire_type) = decode_key(&mut rest).ok()?;
        skip_field(wire_type, field, &mut rest, DecodeContext::default()).ok()?;
        Some(field)
    })
}

#[cfg(test)]
mod tests {
    use super::{OPTIONS, need};
    use crate::proto::{CriuNetworkLockMethod, CriuOpts, CriuReq, CriuReqType};
    use crate::reply::Version;

    fn dump(opts: CriuOpts) -> CriuReq {
        CriuReq {
            r#type: CriuReqType::Dump.into(),
            opts: Some(opts),
            ..Default::default()
        }
    }

    #[test]
    fn a_plain_dump_needs_nothing_new() {
        let plain = CriuOpts {
            images_dir_fd: 5,
            pid: Some(7),
            log_file: Some("dump.log".into()),
            notify_scripts: Some(true),
            leave_running: Some(true),
            ..Default::default()
        };
        assert_eq!(need(&dump(plain)), None);
    }

    #[test]
    fn the_newest_option_counts() {
        let newer = CriuOpts {
            tcp_close: Some(true),
            leave_stopped: Some(true),
            lazy_pages: Some(true),
            ..Default::default()
        };
        let found = need(&dump(newer)).unwrap();
        assert_eq!(
            (found.name, found.since),
            ("leave_stopped", Version::new(3, 19, 0))
        );
    }

    #[test]
    fn a_value_can_be_newer_than_its_option() {
        let skip = CriuOpts {
            network_lock: Some(CriuNetworkLockMethod::Skip.into()),
            ..Default::default()
        };
        assert_eq!(need(&dump(skip)).unwrap().since, Version::new(3, 19, 0));
    }

    #[test]
    fn the_table_is_in_order_and_names_each_field_once() {
        assert!(OPTIONS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
