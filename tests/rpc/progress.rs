//! How far a request is: stages as they come, and the log as it grows.

use criu_rpc::{Pid, Progress, Stage};
use criu_rs_tests::Step;
use criu_rs_tests::proto::CriuReqType;

use crate::front::Front;
use crate::play::Play;
use crate::words::{dumping, no, yes};

fronts! {
    stages_and_log_are_told_in_order,
    a_log_is_followed_between_stages,
    what_was_logged_before_a_failure_is_told,
    an_old_log_is_not_followed,
}

fn stages_and_log_are_told_in_order(front: Front) {
    let script = dumping()
        .notify("pre-dump", None)
        .step(Step::Log(
            "(00.01) Seized task 77, state 1\n(00.02) Seized ta".into(),
        ))
        .notify("network-lock", None)
        .step(Step::Log(
            "sk 78, state 1\n(00.03) Dumping task (pid: 77 comm: sh)\n".into(),
        ))
        .step(Step::Log(
            "(00.04) Pagemap generated: 40 pages (0 lazy) 0 holes\n".into(),
        ))
        .notify("post-dump", None)
        .send(&yes(CriuReqType::Dump));
    let play = Play::of(script);
    let mut told = Vec::new();
    let dump = play.dump().progress(|progress| told.push(progress));
    front.run(&play.criu(), dump).unwrap();
    let pid = Pid::from_raw(77).unwrap();
    let expected = [
        Progress::Stage(Stage::PreDump),
        Progress::Stopped { tasks: 1 },
        Progress::Stage(Stage::NetworkLock),
        // The rest of a line that was cut.
        Progress::Stopped { tasks: 2 },
        Progress::Task {
            pid,
            number: 1,
            of: Some(2),
        },
        Progress::Pages(40),
        Progress::Stage(Stage::PostDump),
    ];
    assert_eq!(told, expected);
}

fn a_log_is_followed_between_stages(front: Front) {
    let script = dumping()
        .step(Step::Log("(00.01) Seized task 77, state 1\n".into()))
        .step(Step::Gate("told".into()))
        .send(&yes(CriuReqType::Dump));
    let play = Play::of(script);
    // CRIU says nothing on the socket until it was told.
    let dump = play.dump().progress(|progress| {
        if progress == (Progress::Stopped { tasks: 1 }) {
            play.open_gate("told");
        }
    });
    front.run(&play.criu(), dump).unwrap();
}

fn what_was_logged_before_a_failure_is_told(front: Front) {
    let script = dumping()
        .step(Step::Log("(00.01) Seized task 77, state 1\n".into()))
        .send(&no(CriuReqType::Dump));
    let play = Play::of(script);
    let mut told = Vec::new();
    let dump = play.dump().progress(|progress| told.push(progress));
    front.run(&play.criu(), dump).unwrap_err();
    assert_eq!(told, [Progress::Stopped { tasks: 1 }]);
}

/// The log of an earlier run is not this one's progress.
fn an_old_log_is_not_followed(front: Front) {
    let play = Play::of(
        dumping()
            .notify("pre-dump", None)
            .send(&yes(CriuReqType::Dump)),
    );
    let old = "(00.01) Seized task 77, state 1\n";
    std::fs::write(play.images().join("dump.log"), old).unwrap();
    let mut told = Vec::new();
    let dump = play.dump().progress(|progress| told.push(progress));
    front.run(&play.criu(), dump).unwrap();
    assert_eq!(told, [Progress::Stage(Stage::PreDump)]);
}
