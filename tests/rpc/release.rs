//! What a CRIU is too old for is refused before it is sent.

use criu_rpc::{Error, NetworkLock, PageServer, PreDump, SelfDump, Version};
use criu_rs_tests::proto::CriuReqType;
use criu_rs_tests::{FakeCriu, Step};

use crate::front::Front;
use crate::play::{Play, somebody};
use crate::words::{asked, dumping, no, version, yes};

/// A CRIU of this release, and what it is asked then.
fn of_release(major: i32, minor: i32, sublevel: i32) -> FakeCriu {
    asked().send(&version(major, minor, Some(sublevel)))
}

/// What is too new: the option, and the release that brought it.
fn too_old<T: std::fmt::Debug>(result: Result<T, Error>) -> (&'static str, Version, Version) {
    match result {
        Err(Error::TooOld {
            option,
            needs,
            found,
            ..
        }) => (option, needs, found),
        other => panic!("{other:?}"),
    }
}

fronts! {
    an_option_that_is_too_new_is_not_sent,
    a_request_that_is_too_new_is_not_sent,
    what_the_release_knows_is_sent,
    what_every_release_knows_needs_no_question,
    a_criu_that_does_not_tell_its_release_is_not_asked_further,
    a_release_that_was_not_told_is_asked_for_again,
}

fn an_option_that_is_too_new_is_not_sent(front: Front) {
    let play = Play::of(of_release(3, 17, 1));
    let (criu, found) = (play.criu(), Version::new(3, 17, 1));
    let dump = play.dump().leave_stopped(true);
    let expected = ("leave_stopped", Version::new(3, 19, 0), found);
    assert_eq!(too_old(front.run(&criu, dump)), expected);
    let dump = play.dump().network_lock(NetworkLock::Skip);
    let expected = ("network_lock SKIP", Version::new(3, 19, 0), found);
    assert_eq!(too_old(front.run(&criu, dump)), expected);
    let restore = play.restore().skip_file_rwx_check(true);
    let expected = ("skip_file_rwx_check", Version::new(3, 18, 0), found);
    assert_eq!(too_old(front.run(&criu.clone(), restore)), expected);
    assert_eq!(play.peers().len(), 1, "the release is asked for once");
}

fn a_request_that_is_too_new_is_not_sent(front: Front) {
    let play = Play::of(of_release(3, 0, 0));
    let (criu, found) = (play.criu(), Version::new(3, 0, 0));
    let round = PreDump::new(somebody(), play.images());
    let expected = ("SINGLE_PRE_DUMP", Version::new(3, 17, 0), found);
    assert_eq!(too_old(front.run(&criu, round)), expected);
    let server = PageServer::new(play.images());
    let expected = ("PAGE_SERVER_CHLD", Version::new(3, 7, 0), found);
    assert_eq!(too_old(front.page_server(&criu, server)), expected);
    let own = criu.dump_this_process(SelfDump::new(play.images()));
    assert_eq!(too_old(own), ("images_dir", Version::new(3, 19, 0), found));
}

fn what_the_release_knows_is_sent(front: Front) {
    let script = of_release(3, 19, 0)
        .step(Step::Request)
        .step(crate::words::inventory())
        .send(&yes(CriuReqType::Dump));
    let play = Play::of(script);
    front
        .run(&play.criu(), play.dump().leave_stopped(true))
        .unwrap();
    let [question, dump] = play.requests().try_into().unwrap();
    assert_eq!(question.keep_open, Some(true));
    assert_eq!(dump.opts.unwrap().leave_stopped, Some(true));
    assert_eq!(play.peers().len(), 1, "the CRIU that dumps is asked");
}

fn what_every_release_knows_needs_no_question(front: Front) {
    let play = Play::of(dumping().send(&yes(CriuReqType::Dump)));
    let dump = play
        .dump()
        .leave_running(true)
        .tcp_established(true)
        .file_locks(true);
    front.run(&play.criu(), dump).unwrap();
    assert_eq!(play.peers().len(), 1);
}

/// Older than any that answers.
fn a_criu_that_does_not_tell_its_release_is_not_asked_further(front: Front) {
    let script = asked().send(&no(CriuReqType::Empty)).step(Step::Exit(255));
    let play = Play::of(script);
    let error = front
        .run(&play.criu(), play.dump().leave_stopped(true))
        .unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    assert_eq!(play.requests().len(), 1);
}

/// A failed question is asked again: it may have been an accident.
fn a_release_that_was_not_told_is_asked_for_again(front: Front) {
    let script = asked()
        .step(Step::Die(9))
        .step(Step::NextRun)
        .step(Step::Request)
        .send(&version(4, 2, None))
        .step(Step::Request)
        .step(crate::words::inventory())
        .send(&yes(CriuReqType::Dump));
    let play = Play::of(script);
    let criu = play.criu();
    front
        .run(&criu, play.dump().leave_stopped(true))
        .unwrap_err();
    front.run(&criu, play.dump().leave_stopped(true)).unwrap();
}
