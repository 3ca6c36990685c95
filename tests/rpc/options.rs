//! Each option sets its field of `criu_opts`, and no other.

mod tables;

use std::collections::BTreeSet;
use std::fmt::Debug;

use criu_rpc::{
    Cancel, CpuInfoCheck, CpuInfoDump, Criu, Dump, Error, LogLevel, PageServer, PidfdStore,
    PreDump, RawOption, Restore, SelfDump,
};
use criu_rs_tests::proto::{CriuOpts, CriuPageServerInfo, CriuReqType};
use criu_rs_tests::{FakeCriu, Step, alone};
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use crate::front::{Front, unchanged};
use crate::play::{Play, somebody};
use crate::words::{asked, bytes, newest, no, script};
use tables::Entry;

/// Fields that have no setter, and why.
const WITHOUT: [(u32, &str); 8] = [
    (19, "veths: `external` took its place"),
    (23, "ext_mnt: `external` took its place"),
    (24, "manage_cgroups: `manage_cgroups_mode` took its place"),
    (33, "unix_sk_ino: `external` took its place"),
    (40, "never given to an option"),
    (49, "status_fd: a hook is told"),
    (62, "pidfd_store_sk: its number is not known beforehand"),
    (68, "images_dir: a self-dump sets it"),
];

/// A CRIU whose release is told, and that has failed to restore.
fn known() -> FakeCriu {
    let script = newest().step(Step::Request).send(&no(CriuReqType::Restore));
    script.step(Step::NextRun)
}

/// Has it told, so that from now on a request is one run, whatever its options are.
fn learnt(play: &Play) -> Criu {
    let criu = play.criu();
    let restore = play.restore().leave_stopped(true);
    criu.run(restore).unwrap_err();
    criu
}

type Setter = fn(Dump<'static>) -> Dump<'static>;

/// The numbers of the fields in a message.
fn fields(message: &impl Message) -> BTreeSet<u32> {
    let bytes = message.encode_to_vec();
    let mut rest = &bytes[..];
    std::iter::from_fn(|| {
        let (field, kind) = decode_key(&mut rest).ok()?;
        skip_field(kind, field, &mut rest, DecodeContext::default()).unwrap();
        Some(field)
    })
    .collect()
}

/// Makes a request of a kind with each option of a table in turn, and compares what CRIU
/// got. Tells which fields there were.
fn compare<R, T: Debug>(
    kind: CriuReqType,
    plain: &CriuOpts,
    table: Vec<Entry<R>>,
    new: impl Fn(&Play) -> R,
    run: impl Fn(&Criu, R) -> Result<T, Error>,
) -> BTreeSet<u32> {
    // CRIU answers as if it were the other kind.
    let answered = match kind {
        CriuReqType::PageServerChld => CriuReqType::PageServer,
        same => same,
    };
    let script = table.iter().fold(known(), |script, _| {
        let script = script.step(Step::Request).send(&no(answered));
        script.step(Step::Exit(1)).step(Step::NextRun)
    });
    let play = Play::of(script);
    let criu = learnt(&play);
    let mut expected = vec![];
    for Entry { name, set, expect } in table {
        let error = run(&criu, set(new(&play))).unwrap_err();
        assert!(matches!(error, Error::Failed(_)), "{name}: {error:?}");
        let mut opts = plain.clone();
        expect(&mut opts);
        expected.push((name, opts));
    }
    let mut received = play.requests().into_iter().skip(2);
    let mut seen = BTreeSet::new();
    for (name, mut expected) in expected {
        let request = received.next().unwrap();
        assert_eq!(request.r#type(), kind);
        let opts = request.opts.unwrap();
        // The number is whatever was free.
        assert_eq!(opts.images_dir_fd < 0, plain.images_dir_fd < 0, "{name}");
        expected.images_dir_fd = opts.images_dir_fd;
        if expected.work_dir_fd.is_some() {
            assert!(opts.work_dir_fd.is_some_and(|number| number > 2), "{name}");
            expected.work_dir_fd = opts.work_dir_fd;
        }
        assert_eq!(opts, expected, "{name}");
        seen.extend(fields(&opts));
    }
    assert!(received.next().is_none());
    seen
}

/// What is set without being asked for.
fn plain(log: &str) -> CriuOpts {
    CriuOpts {
        images_dir_fd: 3,
        log_file: Some(log.to_owned()),
        ..Default::default()
    }
}

fn with_stages(log: &str) -> CriuOpts {
    CriuOpts {
        notify_scripts: Some(true),
        ..plain(log)
    }
}

fn dump(front: Front) -> BTreeSet<u32> {
    let plain = CriuOpts {
        pid: Some(somebody().as_raw()),
        ..with_stages("dump.log")
    };
    let table = tables::dump();
    compare(CriuReqType::Dump, &plain, table, Play::dump, |criu, r| {
        front.run(criu, r)
    })
}

fn pre_dump(front: Front) -> BTreeSet<u32> {
    let plain = CriuOpts {
        pid: Some(somebody().as_raw()),
        track_mem: Some(true),
        ..with_stages("pre-dump.log")
    };
    let new = |play: &Play| PreDump::new(somebody(), play.images());
    let (kind, table) = (CriuReqType::SinglePreDump, tables::pre_dump());
    compare(kind, &plain, table, new, |criu, r| front.run(criu, r))
}

fn restore(front: Front) -> BTreeSet<u32> {
    let (plain, table) = (with_stages("restore.log"), tables::restore());
    compare(
        CriuReqType::Restore,
        &plain,
        table,
        Play::restore,
        |criu, r| front.run(criu, r),
    )
}

fn page_server(front: Front) -> BTreeSet<u32> {
    let plain = CriuOpts {
        ps: Some(CriuPageServerInfo::default()),
        ..plain("page-server.log")
    };
    let new = |play: &Play| PageServer::new(play.images());
    let (kind, table) = (CriuReqType::PageServerChld, tables::page_server());
    compare(kind, &plain, table, new, |criu, r| {
        front.page_server(criu, r)
    })
}

fn cpu_info(front: Front) -> BTreeSet<u32> {
    let new = |play: &Play| CpuInfoDump::new(play.images());
    let (kind, plain_dump) = (CriuReqType::CpuinfoDump, plain("cpuinfo-dump.log"));
    let run = |criu: &Criu, r| front.run(criu, r);
    let seen = compare(kind, &plain_dump, tables::cpu_info_dump(), new, run);
    let new = |play: &Play| CpuInfoCheck::new(play.images());
    let (kind, plain_check) = (CriuReqType::CpuinfoCheck, plain("cpuinfo-check.log"));
    let run = |criu: &Criu, r| front.run(criu, r);
    let same = compare(kind, &plain_check, tables::cpu_info_check(), new, run);
    assert_eq!(seen, same);
    seen
}

fn self_dump() -> BTreeSet<u32> {
    let plain = CriuOpts {
        images_dir_fd: -1,
        images_dir: Some("/proc/self/cwd".to_owned()),
        ..plain("self-dump.log")
    };
    let new = |play: &Play| SelfDump::new(play.images());
    let run = |criu: &Criu, r| criu.dump_this_process(r);
    compare(CriuReqType::Dump, &plain, tables::self_dump(), new, run)
}

fronts! {
    of_a_dump,
    of_a_pre_dump,
    of_a_restore,
    of_a_page_server,
    of_what_a_cpu_can_do,
    a_time_limit_a_cancel_and_a_hook_are_not_sent,
    a_store_for_handles_is_named,
    progress_raises_the_log_level,
    of_two_that_exclude_each_other_the_last_counts,
    names_that_criu_would_refuse_are_refused,
    of_several_mistakes_the_first_is_told,
    raw_options_are_merged,
}

fn of_a_dump(front: Front) {
    dump(front);
}

fn of_a_pre_dump(front: Front) {
    pre_dump(front);
}

fn of_a_restore(front: Front) {
    restore(front);
}

fn of_a_page_server(front: Front) {
    page_server(front);
}

fn of_what_a_cpu_can_do(front: Front) {
    cpu_info(front);
}

/// They are the caller's and ours, not CRIU's.
fn a_time_limit_a_cancel_and_a_hook_are_not_sent(front: Front) {
    let play = Play::of(asked().send(&no(CriuReqType::Restore)));
    let restore = play
        .restore()
        .time_limit(std::time::Duration::from_secs(60))
        .cancel_with(&Cancel::new().unwrap())
        .hook(|_| Ok(criu_rpc::Answer::Continue));
    front.run(&play.criu(), restore).unwrap_err();
    let opts = play.opts();
    assert_eq!(
        opts,
        CriuOpts {
            images_dir_fd: opts.images_dir_fd,
            ..with_stages("restore.log")
        }
    );
}

/// CRIU takes it out of this process by its number.
fn a_store_for_handles_is_named(front: Front) {
    let store = PidfdStore::new().unwrap();
    let play = Play::of(known().step(Step::Request).send(&no(CriuReqType::Dump)));
    let dump = Dump::new(somebody(), play.images()).pidfd_store(&store);
    front.run(&learnt(&play), dump).unwrap_err();
    let number = play
        .requests()
        .pop()
        .unwrap()
        .opts
        .unwrap()
        .pidfd_store_sk
        .unwrap();
    let on = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
    assert!(on.to_string_lossy().starts_with("socket:"), "{on:?}");
}

/// What is followed has to be logged.
fn progress_raises_the_log_level(front: Front) {
    for (asked_for, sent) in [
        (None, 3),
        (Some(LogLevel::Error), 3),
        (Some(LogLevel::Debug), 4),
    ] {
        let play = Play::of(asked().send(&no(CriuReqType::Dump)));
        let mut dump = play.dump().progress(|_| ());
        if let Some(level) = asked_for {
            dump = dump.log_level(level);
        }
        front.run(&play.criu(), dump).unwrap_err();
        assert_eq!(play.opts().log_level, Some(sent), "{asked_for:?}");
    }
}

fn of_two_that_exclude_each_other_the_last_counts(front: Front) {
    let cases: [(Setter, _, _); 4] = [
        (
            |dump| dump.leave_running(true).leave_stopped(true),
            None,
            Some(true),
        ),
        (
            |dump| dump.leave_stopped(true).leave_running(true),
            Some(true),
            None,
        ),
        (
            |dump| dump.leave_running(true).leave_stopped(false),
            Some(true),
            None,
        ),
        (
            |dump| dump.leave_running(true).leave_running(false),
            None,
            None,
        ),
    ];
    for (set, running, stopped) in cases {
        let play = Play::of(known().step(Step::Request).send(&no(CriuReqType::Dump)));
        let criu = learnt(&play);
        front.run(&criu, set(play.dump())).unwrap_err();
        let opts = play.requests().pop().unwrap().opts.unwrap();
        assert_eq!((opts.leave_running, opts.leave_stopped), (running, stopped));
    }
}

fn names_that_criu_would_refuse_are_refused(front: Front) {
    let play = Play::of(script());
    let criu = play.criu();
    for name in ["a/b", "/tmp/x.log", "..", ".", "", "a\0b", "/"] {
        let error = front.run(&criu, play.dump().log_file(name)).unwrap_err();
        let Error::Option { option, value, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!((option, &*value), ("log_file", name));
    }
    for parent in ["/", "/var/lib/images/1"] {
        let error = front.run(&criu, play.dump().parent(parent)).unwrap_err();
        let Error::Option { option, value, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!((option, &*value), ("parent_img", parent));
    }
    for field in [0, 1 << 29, u32::MAX] {
        let dump = play.dump().raw_option(field, RawOption::Number(1));
        let error = front.run(&criu, dump).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Option {
                    option: "raw_option",
                    ..
                }
            ),
            "{error:?}"
        );
    }
    assert!(play.peers().is_empty(), "nothing was started");
}

/// The first of several mistakes, so that they can be mended one by one.
fn of_several_mistakes_the_first_is_told(front: Front) {
    let play = Play::of(script());
    let dump = play
        .dump()
        .raw_option(0, RawOption::Number(1))
        .log_file("a/b");
    let error = front.run(&play.criu(), dump).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Option {
                option: "raw_option",
                ..
            }
        ),
        "{error:?}"
    );
}

fn raw_options_are_merged(front: Front) {
    let play = Play::of(asked().send(&no(CriuReqType::Dump)));
    let dump = play
        .dump()
        .freeze_timeout(std::time::Duration::from_secs(5))
        .raw_option(45, RawOption::Number(7))
        .external(criu_rpc::DumpExternal::Raw("one".into()))
        .raw_option(37, RawOption::Bytes(b"two".to_vec()))
        .raw_option(5, RawOption::Number(1))
        // Newer than this crate.
        .raw_option(4711, RawOption::Bytes(b"what is new".to_vec()));
    front.run(&play.criu(), dump).unwrap_err();
    let opts = play.opts();
    assert_eq!(opts.timeout, Some(7));
    assert_eq!(opts.external, ["one", "two"]);
    assert_eq!(opts.tcp_established, Some(true));
    assert_eq!(opts.pid, Some(somebody().as_raw()), "the others stay");
    let sent = &play.datagrams()[0].bytes;
    let newer = b"what is new";
    assert!(sent.windows(newer.len()).any(|window| window == newer));
    // Field 4711, length-delimited, 11 bytes.
    assert!(bytes(&play.request()).len() < sent.len());
    assert!(sent.ends_with(&[&[0xba, 0xa6, 0x02, 11][..], newer].concat()));
}

#[test]
fn of_a_self_dump() {
    alone(|| {
        unchanged(|| {
            self_dump();
        });
    });
}

#[test]
fn each_field_is_in_a_table_or_has_a_reason() {
    alone(|| {
        unchanged(|| {
            let front = Front::Blocking;
            let seen: BTreeSet<u32> = [
                dump(front),
                pre_dump(front),
                restore(front),
                page_server(front),
                cpu_info(front),
            ]
            .into_iter()
            .flatten()
            .collect();
            let lacking: Vec<u32> = (1..=72).filter(|field| !seen.contains(field)).collect();
            assert_eq!(lacking, WITHOUT.map(|(field, _)| field), "{WITHOUT:?}");
        });
    });
}

/// The sealed trait takes them by value; this is that each can be sent from anywhere.
#[test]
fn requests_can_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Dump<'_>>();
    is_send::<PreDump<'_>>();
    is_send::<Restore<'_>>();
    is_send::<PageServer<'_>>();
    is_send::<SelfDump<'_>>();
}
