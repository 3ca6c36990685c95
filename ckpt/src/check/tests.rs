//! Judging hosts that are made up.

use std::collections::BTreeMap;

use criu_rpc::Version;

use super::{Check, CheckFinding, CheckedCriu, Level};
use crate::machine::{Capabilities, ConfigOption, Kerndat, Machine};

/// A host where all is green.
fn machine() -> Machine {
    let options = [
        "UNIX_DIAG",
        "INET_DIAG",
        "INET_UDP_DIAG",
        "PACKET_DIAG",
        "NETLINK_DIAG",
    ];
    let config: BTreeMap<_, _> = options.map(|name| (name.to_owned(), "m".to_owned())).into();
    Machine {
        name: "here".to_owned(),
        kernel: "6.12.1".to_owned(),
        kernel_version: (6, 12),
        architecture: "x86_64".to_owned(),
        page_size: 4096,
        user: 0,
        capabilities: Capabilities(u64::MAX),
        yama_scope: Some(1),
        checkpoint_restore: true,
        userfaultfd: true,
        pagemap_scan: true,
        config: Some(config),
        pipe_max_size: Some(1 << 20),
        socket_buffer: Some(212_992),
        huge_pages: Some("madvise".to_owned()),
        quick_processors: Some(true),
        kerndat: Kerndat::Kept,
        criu_config: vec![option("network-lock nftables")],
        iptables: true,
    }
}

fn option(line: &str) -> ConfigOption {
    ConfigOption {
        file: "/etc/criu/default.conf".into(),
        line: line.to_owned(),
    }
}

fn criu(version: Version) -> CheckedCriu {
    CheckedCriu {
        path: "/usr/sbin/criu".into(),
        version: Ok(version),
        works: Ok(()),
        mem_track: Some(true),
        lazy_pages: Some(true),
        pidfd_store: Some(true),
    }
}

const NEW: Version = Version::new(4, 2, 1);

/// The finding of this name, on a host that differs from the good one.
fn found(name: &str, change: impl FnOnce(&mut Machine, &mut CheckedCriu)) -> CheckFinding {
    let (mut machine, mut criu) = (machine(), criu(NEW));
    change(&mut machine, &mut criu);
    let check = Check::judge(machine, Ok(criu));
    let mut named = check.findings.into_iter().filter(|one| one.name == name);
    let one = named.next().expect(name);
    assert_eq!(named.next(), None, "two of {name}");
    assert_eq!(one.remedy.is_some(), one.level > Level::Green, "{one:?}");
    one
}

#[test]
fn a_good_host_is_green_all_over() {
    let check = Check::judge(machine(), Ok(criu(NEW)));
    let other: Vec<_> = check
        .findings
        .iter()
        .filter(|one| one.level > Level::Green)
        .collect();
    assert!(other.is_empty(), "{other:?}");
    assert!(check.is_usable());
}

#[test]
fn each_question_has_its_own_name() {
    let check = Check::judge(machine(), Ok(criu(NEW)));
    let mut names: Vec<_> = check.findings.iter().map(|one| one.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn no_criu_is_red_and_the_host_is_told_all_the_same() {
    let error = "no CRIU found: /bin/no is not an executable file; install CRIU";
    let check = Check::judge(machine(), Err(error.to_owned()));
    assert!(!check.is_usable());
    let first = &check.findings[0];
    assert_eq!((first.name, first.level), ("criu", Level::Red));
    assert_eq!(first.remedy.as_deref(), Some("install CRIU"));
    assert!(check.findings.iter().any(|one| one.name == "pipe-max-size"));
    // What CRIU would have to say is not taken for good.
    let lazy = check.findings.iter().find(|one| one.name == "lazy-pages");
    assert_eq!(lazy.unwrap().level, Level::Yellow);
}

#[test]
fn releases() {
    let level = |version, kernel| {
        found("criu-version", |machine, criu| {
            criu.version = Ok(version);
            machine.kernel_version = kernel;
        })
        .level
    };
    assert_eq!(level(Version::new(3, 13, 0), (5, 10)), Level::Red);
    assert_eq!(level(Version::new(3, 14, 0), (5, 10)), Level::Yellow);
    assert_eq!(level(Version::new(3, 17, 1), (6, 13)), Level::Red);
    assert_eq!(level(Version::new(4, 1, 1), (6, 15)), Level::Green);
    assert_eq!(level(Version::new(4, 1, 1), (6, 16)), Level::Yellow);
    assert_eq!(level(NEW, (6, 18)), Level::Green);
    let old = found("criu-version", |_, criu| {
        criu.version = Ok(Version::new(3, 17, 0))
    });
    assert!(old.finding.contains("3.18 has working without being root"));
    assert!(!old.finding.contains("3.16"), "{}", old.finding);
}

#[test]
fn a_criu_that_cannot_work_says_why() {
    let one = found("criu-check", |_, criu| {
        criu.works = Err("check failed: no vDSO; use a newer CRIU".to_owned());
    });
    assert_eq!(one.level, Level::Red);
    assert_eq!(one.remedy.as_deref(), Some("use a newer CRIU"));
}

#[test]
fn the_kernel() {
    let level = |name, change: fn(&mut Machine, &mut CheckedCriu)| found(name, change).level;
    assert_eq!(
        level("kernel", |machine, _| machine.kernel_version = (4, 19)),
        Level::Red
    );
    assert_eq!(
        level("checkpoint-restore", |machine, _| machine
            .checkpoint_restore =
            false),
        Level::Red
    );
    assert_eq!(
        level("soft-dirty", |_, criu| criu.mem_track = Some(false)),
        Level::Yellow
    );
    assert_eq!(
        level("soft-dirty", |_, criu| criu.mem_track = None),
        Level::Yellow
    );
    assert_eq!(
        level("lazy-pages", |_, criu| criu.lazy_pages = Some(false)),
        Level::Yellow
    );
    assert_eq!(
        level("pidfd-store", |_, criu| criu.pidfd_store = Some(false)),
        Level::Yellow
    );
    assert_eq!(
        level("pagemap-scan", |machine, _| machine.pagemap_scan = false),
        Level::Yellow
    );
    let sockets = found("socket-diagnostics", |machine, _| {
        machine.config.as_mut().unwrap().remove("UNIX_DIAG");
    });
    assert_eq!(sockets.level, Level::Yellow);
    assert!(
        sockets
            .finding
            .contains("CONFIG_UNIX_DIAG for unix sockets")
    );
    // A host that does not tell is not thought ill of.
    assert_eq!(
        level("socket-diagnostics", |machine, _| machine.config = None),
        Level::Green
    );
}

#[test]
fn privileges() {
    let without = |mask: u64| Capabilities(!mask);
    let resource = 1 << Capabilities::SYS_RESOURCE;
    let admin = 1 << Capabilities::SYS_ADMIN;
    let checkpoint = 1 << Capabilities::CHECKPOINT_RESTORE;
    let level =
        |name, change: &dyn Fn(&mut Machine)| found(name, |machine, _| change(machine)).level;
    assert_eq!(
        level("other-users", &|machine| machine.capabilities =
            without(resource)),
        Level::Yellow
    );
    assert_eq!(
        level("capabilities", &|machine| machine.capabilities =
            without(admin)),
        Level::Yellow
    );
    assert_eq!(
        level("capabilities", &|machine| machine.capabilities =
            without(admin | checkpoint)),
        Level::Red
    );
    assert_eq!(
        level("capabilities", &|machine| machine.user = 1000),
        Level::Yellow
    );
    assert_eq!(
        level("ptrace-scope", &|machine| machine.yama_scope = Some(3)),
        Level::Red
    );
    assert_eq!(
        level("ptrace-scope", &|machine| machine.yama_scope = None),
        Level::Green
    );
    let scope = |scope| {
        level("ptrace-scope", &|machine| {
            machine.yama_scope = Some(scope);
            machine.capabilities = Capabilities(0);
        })
    };
    assert_eq!(
        [0, 1, 2].map(scope),
        [Level::Green, Level::Yellow, Level::Red]
    );
}

#[test]
fn what_is_slow() {
    let level = |name, change: fn(&mut Machine, &mut CheckedCriu)| found(name, change).level;
    let pipes = found("pipe-max-size", |machine, _| {
        machine.capabilities = Capabilities(0)
    });
    assert_eq!(pipes.level, Level::Yellow);
    assert!(pipes.finding.contains("4 times"), "{}", pipes.finding);
    assert_eq!(
        level("pipe-max-size", |machine, _| {
            machine.capabilities = Capabilities(0);
            machine.pipe_max_size = Some(4 << 20);
        }),
        Level::Green
    );
    assert_eq!(
        level("kerndat-cache", |machine, _| machine.kerndat =
            Kerndat::Never),
        Level::Yellow
    );
    assert_eq!(
        level("kerndat-cache", |machine, _| machine.kerndat =
            Kerndat::Coming),
        Level::Green
    );
    assert_eq!(
        level("network-lock", |machine, _| machine.criu_config.clear()),
        Level::Yellow
    );
    let socket = found("socket-buffer", |machine, _| {
        machine.capabilities = Capabilities(0)
    });
    assert_eq!(socket.level, Level::Yellow);
    assert!(socket.finding.contains("208 KiB"), "{}", socket.finding);
    assert_eq!(
        level("socket-buffer", |machine, _| {
            machine.capabilities = Capabilities(0);
            machine.socket_buffer = Some(32 << 20);
        }),
        Level::Green
    );
    assert_eq!(
        level("huge-pages", |machine, _| machine.huge_pages =
            Some("never".to_owned())),
        Level::Yellow
    );
    assert_eq!(
        level("processor-sleep", |machine, _| machine.quick_processors =
            Some(false)),
        Level::Yellow
    );
    assert_eq!(
        level("processor-sleep", |machine, _| machine.quick_processors =
            None),
        Level::Green
    );
    let log = found("log-level", |machine, _| {
        machine.criu_config.push(option("verbosity 4"))
    });
    assert_eq!(log.level, Level::Yellow);
    assert!(
        log.finding
            .contains("/etc/criu/default.conf has `verbosity 4`")
    );
}
