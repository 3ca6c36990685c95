//! CRIU says no: the error has to say why.

use std::error::Error as _;
use std::fs;

use criu_rpc::{Cause, Check, Ended, Error, Failure, FeatureCheck, Operation, Stage};
use criu_rs_tests::proto::{CriuReqType, CriuResp};
use criu_rs_tests::{FakeCriu, Step, Stream};
use rustix::io::Errno;

use crate::front::Front;
use crate::play::Play;
use crate::words::{asked, dumping, no, yes};

/// Stands in every log of a root without `CAP_SYS_RESOURCE`.
const HARMLESS: &str = "(00.000177) Error (criu/util.c:1412): rlimit: Can't setup RLIMIT_NOFILE \
                        for self: Operation not permitted\n";

/// A line of a log.
fn line(message: &str) -> String {
    format!("(00.011873) Error (criu/some.c:98): {message}\n")
}

/// A CRIU that logs this and fails.
fn failing(log: &str) -> FakeCriu {
    asked()
        .step(Step::Log(log.into()))
        .send(&no(CriuReqType::Dump))
        .step(Step::Exit(1))
}

fn failure<T: std::fmt::Debug>(result: Result<T, Error>) -> Box<Failure> {
    match result {
        Err(Error::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

fn messages(failure: &Failure) -> Vec<&str> {
    let errors = failure.errors.iter();
    errors.map(|error| &*error.message).collect()
}

fronts! {
    a_number_tells_of_a_pid_that_is_gone_or_taken,
    the_cause_is_found_in_the_log,
    a_helper_that_failed_is_not_the_cause,
    a_warning_that_is_the_cause_is_shown,
    the_log_is_in_the_work_folder_under_its_name,
    the_log_of_an_earlier_run_is_not_taken,
    a_log_that_replaces_an_earlier_one_is_taken,
    the_message_on_the_wire_is_never_shown,
    a_message_beside_success_is_no_failure,
    what_is_printed_is_kept,
    only_the_end_of_much_output_is_kept,
    of_a_large_log_the_end_is_read,
    a_check_tells_what_is_missing,
    a_failure_tells_the_last_stage,
    a_failure_without_any_word_is_told_too,
}

fn a_number_tells_of_a_pid_that_is_gone_or_taken(front: Front) {
    let refused = |kind, errno: Errno| CriuResp {
        cr_errno: Some(errno.raw_os_error()),
        ..no(kind)
    };
    let gone = refused(CriuReqType::Dump, Errno::SRCH);
    let play = Play::of(asked().send(&gone).step(Step::Exit(1)));
    let dump = failure(front.run(&play.criu(), play.dump()));
    assert_eq!(dump.errno, Some(Errno::SRCH.raw_os_error()));
    assert_eq!(dump.cause, Some(Cause::NoSuchProcess));
    assert_eq!(
        (dump.operation, dump.ended),
        (Operation::Dump, Ended::Exited(1))
    );
    assert_eq!((&dump.log, &*dump.output), (&None, ""));
    assert!(dump.to_string().contains("no such process"), "{dump}");

    let taken = refused(CriuReqType::Restore, Errno::EXIST);
    let play = Play::of(asked().send(&taken).step(Step::Exit(1)));
    let restore = failure(front.run(&play.criu(), play.restore()));
    assert_eq!(restore.cause, Some(Cause::PidTaken));

    // Which option it was, the number does not tell.
    let bad = refused(CriuReqType::Dump, Errno::BADRQC);
    let play = Play::of(asked().send(&bad).step(Step::Exit(1)));
    let dump = failure(front.run(&play.criu(), play.dump()));
    assert_eq!(
        (dump.cause, dump.errno),
        (None, Some(Errno::BADRQC.raw_os_error()))
    );
}

fn the_cause_is_found_in_the_log(front: Front) {
    for (message, cause) in [
        (
            "Can't dump file 3 of that type [600] (unknown anon_inode:[userfaultfd])",
            Cause::UnsupportedFile,
        ),
        (
            "Can't get rlimit 0: Operation not permitted",
            Cause::OtherUser,
        ),
        ("Unable to drop capability 24: -1", Cause::MissingCapability),
        (
            "Running as non-root requires '--unprivileged'",
            Cause::NotUnprivileged,
        ),
        (
            "Unexpected rt vDSO area bounds: 7ffc 7ffd",
            Cause::KernelTooNew,
        ),
        (
            "inet: Connected TCP socket, consider using --tcp-established",
            Cause::TcpEstablished,
        ),
        (
            "Found dangling tty with sid 9 pgid 9 (pts). Consider using --shell-job",
            Cause::ShellJob,
        ),
        (
            "tty: Don't have tty to inherit session from, aborting",
            Cause::ShellJob,
        ),
        (
            "A session leader of 9516(9516) is outside of its pid namespace",
            Cause::SessionOutside,
        ),
        (
            "unix: External socket is used. Consider using --ext-unix-sk",
            Cause::ExternalUnixSocket,
        ),
        (
            "unix: Can't dump name-less external socket.",
            Cause::ExternalUnixSocket,
        ),
        (
            "Some file locks are hold by dumping tasks! You can try --file-locks",
            Cause::FileLocks,
        ),
        (
            "Can't create link-remap for /tmp/x. Use link-remap option.",
            Cause::LinkRemap,
        ),
        (
            "Can't dump ghost file /tmp/x of 2097152 size, increase limit",
            Cause::GhostFileTooLarge,
        ),
        (
            "mnt: 33:./proc/fs doesn't have a proper root mount",
            Cause::ExternalMount,
        ),
        (
            "mnt: Mount 42 ./data (master_id: 7 shared_id: 0) has unreachable sharing",
            Cause::ExternalMount,
        ),
        ("The criu itself is within dumped tree.", Cause::DumpsItself),
        ("Tracking memory is not available", Cause::NoSoftDirty),
        (
            "page-xfer: Missing 7fc01aa66000 in parent pagemap",
            Cause::NotInParent,
        ),
        (
            "Unseizable non-zombie 17805 found, state S, err -1/10",
            Cause::TraceRefused,
        ),
        (
            "suspending seccomp failed: Operation not permitted",
            Cause::SeccompFilter,
        ),
        (
            "remote mmap() failed: Cannot allocate memory",
            Cause::ParasiteRefused,
        ),
        (
            "Can't create memfd in victim: Too many open files",
            Cause::ParasiteRefused,
        ),
        (
            "Can't infect (pid: 30835) with parasite",
            Cause::ParasiteRefused,
        ),
        (
            "execvp(\"iptables-restore\", ...) failed: No such file or directory",
            Cause::NoIptables,
        ),
        (
            "net: Locking network failed: iptables-restore returned -1. This may be connected \
             to disabled CONFIG_NETFILTER_XT_MARK kernel build config option.",
            Cause::NoIptables,
        ),
        ("Iptables configuration failed", Cause::NoIptables),
        (
            "execvp(\"ip\", ...) failed: No such file or directory",
            Cause::NoIpTool,
        ),
        ("net: IP tool failed on addr save", Cause::NoIpTool),
        (
            "page-xfer: Unable to spice data: No space left on device",
            Cause::NoSpace,
        ),
        (
            "Can't open file tmp/x on restore: No such file or directory",
            Cause::FileChanged,
        ),
        ("File tmp/x has bad size 13 (expect 6)", Cause::FileChanged),
        (
            "File tmp/x has bad mode 0100600 (expect 0100644)",
            Cause::FileChanged,
        ),
        ("File usr/bin/x has bad build-ID", Cause::FileChanged),
        (
            "cpu: CPU instruction capabilities do not match run time",
            Cause::OtherCpu,
        ),
        ("cpu: CPU xsave size mismatch (2440/2696)", Cause::OtherCpu),
        (
            "cpu: CPU xfeatures has unsupported bits (0x20000)",
            Cause::OtherCpu,
        ),
        (
            "cpu: FPU feature required by image is not supported on host (fpu:0 fxsr:0 \
             osxsave:0 xsaves:1)",
            Cause::OtherCpu,
        ),
    ] {
        let log = format!("{HARMLESS}{}{}", line(message), line("Dumping FAILED."));
        let play = Play::of(failing(&log));
        let dump = failure(front.run(&play.criu(), play.dump()));
        assert_eq!(dump.cause, Some(cause), "{message}");
        assert_eq!(dump.log.as_deref(), Some("dump.log"));
        assert_eq!(messages(&dump)[1..], [message, "Dumping FAILED."]);
        let text = dump.to_string();
        for part in [message, "dump.log", cause.remedy().unwrap()] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        assert!(!text.contains("RLIMIT_NOFILE"), "{text}");
    }
}

/// As 3.17.1 logs it: it asks iptables something first, and can do without an answer.
fn a_helper_that_failed_is_not_the_cause(front: Front) {
    let helper = line("exited, status=1");
    let log = helper.clone() + &helper + &line("netlink: Can't connect") + &helper;
    let dump = |log: &str| {
        let play = Play::of(failing(log));
        failure(front.run(&play.criu(), play.dump())).to_string()
    };
    let said = dump(&log);
    assert!(
        said.starts_with("dump failed: netlink: Can't connect ("),
        "{said}"
    );
    let said = dump(&helper);
    assert!(
        said.starts_with("dump failed: CRIU exited with 1 and gave no reason ("),
        "{said}"
    );
}

/// CRIU 4.2.1, of a task that a debugger has: it says so in a warning only.
fn a_warning_that_is_the_cause_is_shown(front: Front) {
    let warning = "Unable to interrupt task: 31160 (Operation not permitted)";
    let log = format!("(00.051) Warn  (compel/src/lib/infect.c:132): {warning}\n")
        + &line("Unable to detach from 31160: No such process")
        + &line("Dumping FAILED.");
    let gone = CriuResp {
        cr_errno: Some(Errno::SRCH.raw_os_error()),
        ..no(CriuReqType::Dump)
    };
    let script = asked().step(Step::Log(log)).send(&gone).step(Step::Exit(1));
    let play = Play::of(script);
    let dump = failure(front.run(&play.criu(), play.dump()));
    assert_eq!(
        (dump.cause, dump.line()),
        (Some(Cause::TraceRefused), Some(warning))
    );
}

fn the_log_is_in_the_work_folder_under_its_name(front: Front) {
    let play = Play::of(failing(&line("Can't get rlimit 0")));
    let work = play.scratch().dir("work").unwrap();
    let dump = play.dump().work_dir(&work).log_file("other.log");
    let dump = failure(front.run(&play.criu(), dump));
    assert_eq!(dump.log.as_deref(), Some("other.log"));
    assert_eq!(dump.cause, Some(Cause::OtherUser));
    assert!(work.join("other.log").exists() && !play.images().join("other.log").exists());
}

fn the_log_of_an_earlier_run_is_not_taken(front: Front) {
    let silent = asked().send(&no(CriuReqType::Dump)).step(Step::Exit(1));
    let play = Play::of(silent);
    fs::write(play.images().join("dump.log"), line("Can't get rlimit 0")).unwrap();
    let dump = failure(front.run(&play.criu(), play.dump()));
    assert_eq!((dump.cause, &dump.log), (None, &None));
    assert!(dump.errors.is_empty(), "{dump:?}");
    assert!(!dump.to_string().contains("rlimit"), "{dump}");
}

fn a_log_that_replaces_an_earlier_one_is_taken(front: Front) {
    let play = Play::of(failing(&line("Can't get rlimit 0")));
    fs::write(play.images().join("dump.log"), "").unwrap();
    let dump = failure(front.run(&play.criu(), play.dump()));
    assert_eq!(dump.cause, Some(Cause::OtherUser));
}

/// Not a cause but the first error line since the request began; often the harmless one.
fn the_message_on_the_wire_is_never_shown(front: Front) {
    let refused = CriuResp {
        cr_errmsg: Some("Can't get rlimit: a RED HERRING".into()),
        ..no(CriuReqType::Dump)
    };
    let play = Play::of(asked().send(&refused).step(Step::Exit(1)));
    let error = front.run(&play.criu(), play.dump()).unwrap_err();
    let mut texts = vec![error.to_string(), format!("{error:?}")];
    let mut source = error.source();
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    assert!(
        !texts.iter().any(|text| text.contains("HERRING")),
        "{texts:?}"
    );
    assert_eq!(failure::<()>(Err(error)).cause, None);
}

fn a_message_beside_success_is_no_failure(front: Front) {
    let answer = CriuResp {
        cr_errmsg: Some("rlimit: Can't setup RLIMIT_NOFILE for self".into()),
        ..yes(CriuReqType::Dump)
    };
    let play = Play::of(dumping().step(Step::Log(HARMLESS.into())).send(&answer));
    front.run(&play.criu(), play.dump()).unwrap();
}

/// Before its log begins, CRIU has nowhere else to say it.
fn what_is_printed_is_kept(front: Front) {
    let script = asked()
        .step(Step::Print(
            Stream::Err,
            line("Can't open dir images").clone(),
        ))
        .step(Step::Print(
            Stream::Out,
            "criu needs the CAP_CHECKPOINT_RESTORE capability\n".into(),
        ))
        .step(Step::Print(Stream::Err, "bye".into()))
        .send(&no(CriuReqType::Dump))
        .step(Step::Exit(1));
    let play = Play::of(script);
    let dump = failure(front.run(&play.criu(), play.dump()));
    let said =
        line("Can't open dir images") + "criu needs the CAP_CHECKPOINT_RESTORE capability\nbye";
    assert_eq!(dump.output, said);
    assert_eq!(dump.cause, Some(Cause::MissingCapability));
    assert_eq!(messages(&dump), ["Can't open dir images"]);
    assert_eq!(dump.log, None);
}

fn only_the_end_of_much_output_is_kept(front: Front) {
    let many = "x".repeat(1000) + "\n";
    let script = (0..200).fold(asked(), |script, n| {
        script.step(Step::Print(Stream::Err, format!("{n} {many}")))
    });
    let play = Play::of(script.send(&no(CriuReqType::Dump)));
    let dump = failure(front.run(&play.criu(), play.dump()));
    assert_eq!(dump.output.len(), 64 << 10);
    assert!(dump.output.ends_with(&format!("199 {many}")));
}

fn of_a_large_log_the_end_is_read(front: Front) {
    let early = line("Can't get rlimit 0");
    let filler = "(00.01) pie: 7: nothing of interest\n".repeat(10_000);
    let last = line("Connected TCP socket").repeat(30);
    let play = Play::of(failing(&(early + &filler + &last)));
    let dump = failure(front.run(&play.criu(), play.dump()));
    assert_eq!(dump.cause, Some(Cause::TcpEstablished));
    assert_eq!(dump.errors.len(), 20);
}

/// There the log goes to CRIU's standard error, which is what is kept.
fn a_check_tells_what_is_missing(front: Front) {
    let missing = line("Tracking memory is not available");
    let script = asked()
        .step(Step::Log(missing.clone()))
        .step(Step::Print(
            Stream::Out,
            "Some features are missing\n".into(),
        ))
        .send(&no(CriuReqType::Check))
        .step(Step::Exit(1));
    let play = Play::of(script);
    let check = failure(front.run(&play.criu(), Check::default()));
    assert_eq!(check.cause, Some(Cause::NoSoftDirty));
    assert_eq!(check.output, missing + "Some features are missing\n");
}

fn a_failure_tells_the_last_stage(front: Front) {
    let script = asked()
        .notify("pre-dump", None)
        .notify("network-lock", None)
        .send(&no(CriuReqType::Dump))
        .step(Step::Exit(1));
    let play = Play::of(script);
    let dump = failure(front.run(&play.criu(), play.dump()));
    assert_eq!(dump.stage, Some(Stage::NetworkLock));
    assert_eq!(
        dump.to_string(),
        "dump failed after network-lock: CRIU exited with 1 and gave no reason"
    );
}

fn a_failure_without_any_word_is_told_too(front: Front) {
    let script = asked()
        .send(&no(CriuReqType::FeatureCheck))
        .step(Step::Exit(255));
    let play = Play::of(script);
    let error = front
        .run(&play.criu(), FeatureCheck::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "feature check failed: CRIU exited with 255 and gave no reason"
    );
}
