//! A CRIU that is started before it is known what it is to do.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use criu_rpc::{Error, Operation, PageServerLink, PreDump, Version};
use criu_rs_tests::proto::CriuReqType;
use criu_rs_tests::{FakeCriu, Step};

use crate::front::Front;
use crate::play::{Play, somebody};
use crate::words::{asked, dumping, inventory, version, yes};

fronts! {
    it_tells_its_release_and_dumps,
    its_release_is_known_to_all_from_then_on,
    pages_go_to_the_socket_it_was_started_with,
    it_need_not_use_that,
    it_inherits_nothing_any_more,
    it_has_no_socket_unless_it_was_given_one,
    what_is_too_new_is_not_sent,
    a_chain_begins_with_it,
    one_that_is_not_asked_ends,
    what_is_no_criu_is_none_in_standby,
}

/// A CRIU of release 4.2, and what it is asked next.
fn told() -> FakeCriu {
    asked().send(&version(4, 2, None))
}

/// One that dumps then.
fn dumps() -> FakeCriu {
    told()
        .step(Step::Request)
        .step(inventory())
        .send(&yes(CriuReqType::Dump))
}

fn socket() -> (UnixStream, OwnedFd) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (ours, theirs.into())
}

fn refused(error: &Error) -> bool {
    matches!(
        error,
        Error::Option {
            operation: Operation::Dump,
            option: "ps",
            ..
        }
    )
}

fn it_tells_its_release_and_dumps(front: Front) {
    let play = Play::of(dumps());
    let standby = front.standby(&play.criu(), None).unwrap();
    assert_eq!(standby.version(), Version::new(4, 2, 0));
    front
        .dump_by(standby, play.dump().leave_stopped(true))
        .unwrap();
    let [question, dump] = play.requests().try_into().unwrap();
    assert_eq!(question.r#type(), CriuReqType::Version);
    assert_eq!(question.keep_open, Some(true));
    assert_eq!(dump.r#type(), CriuReqType::Dump);
    assert_eq!(dump.keep_open, None, "it ends after that");
    assert_eq!(play.peers().len(), 1);
}

fn its_release_is_known_to_all_from_then_on(front: Front) {
    let script = told()
        .step(Step::Eof)
        .step(Step::NextRun)
        .step(Step::Request)
        .step(inventory())
        .send(&yes(CriuReqType::Dump));
    let play = Play::of(script);
    let criu = play.criu();
    drop(front.standby(&criu, None).unwrap());
    front.run(&criu, play.dump().leave_stopped(true)).unwrap();
    assert_eq!(play.requests().len(), 2);
}

fn pages_go_to_the_socket_it_was_started_with(front: Front) {
    let play = Play::of(dumps());
    let (_ours, theirs) = socket();
    let standby = front.standby(&play.criu(), Some(theirs)).unwrap();
    let dump = play.dump().page_server(PageServerLink::Standby);
    front.dump_by(standby, dump).unwrap();
    let options = play.requests().remove(1).opts.unwrap();
    assert_eq!(options.ps.unwrap().fd, Some(3));
    assert!(play.states()[0].fds.contains_key(&3));
}

fn it_need_not_use_that(front: Front) {
    let play = Play::of(dumps());
    let (_ours, theirs) = socket();
    let standby = front.standby(&play.criu(), Some(theirs)).unwrap();
    front.dump_by(standby, play.dump()).unwrap();
    assert_eq!(play.requests().remove(1).opts.unwrap().ps, None);
}

fn it_inherits_nothing_any_more(front: Front) {
    let play = Play::of(told().step(Step::Eof));
    let (_ours, theirs) = socket();
    let standby = front.standby(&play.criu(), None).unwrap();
    let dump = play.dump().page_server(PageServerLink::Socket(theirs));
    let error = front.dump_by(standby, dump).unwrap_err();
    assert!(refused(&error), "{error:?}");
}

fn it_has_no_socket_unless_it_was_given_one(front: Front) {
    let play = Play::of(told().step(Step::Eof));
    let standby = front.standby(&play.criu(), None).unwrap();
    let dump = play.dump().page_server(PageServerLink::Standby);
    let error = front.dump_by(standby, dump).unwrap_err();
    assert!(refused(&error), "{error:?}");

    // One that was started for this dump alone has none either.
    let play = Play::of(dumping());
    let dump = play.dump().page_server(PageServerLink::Standby);
    let error = front.run(&play.criu(), dump).unwrap_err();
    assert!(refused(&error), "{error:?}");
}

fn what_is_too_new_is_not_sent(front: Front) {
    let script = asked().send(&version(3, 17, None)).step(Step::Eof);
    let play = Play::of(script);
    let standby = front.standby(&play.criu(), None).unwrap();
    let error = front.dump_by(standby, play.dump().leave_stopped(true));
    let error = error.unwrap_err();
    assert!(matches!(error, Error::TooOld { .. }), "{error:?}");
    assert_eq!(play.requests().len(), 1);
}

fn a_chain_begins_with_it(front: Front) {
    let script = told()
        .step(Step::Request)
        .send(&yes(CriuReqType::PreDump))
        .step(Step::Request)
        .step(inventory())
        .send(&yes(CriuReqType::Dump));
    let play = Play::of(script);
    let standby = front.standby(&play.criu(), None).unwrap();
    let round = PreDump::new(somebody(), play.images());
    let chain = front.pre_dump(standby.pre_dump_chain(), round).unwrap();
    front.dump(chain, play.dump()).unwrap();
    assert_eq!(play.peers().len(), 1);
}

fn one_that_is_not_asked_ends(front: Front) {
    let play = Play::of(told().step(Step::Eof));
    drop(front.standby(&play.criu(), None).unwrap());
    assert!(!play.peers()[0].exists());
}

fn what_is_no_criu_is_none_in_standby(front: Front) {
    let play = Play::of(asked().step(Step::Exit(2)));
    let error = front.standby(&play.criu(), None).unwrap_err();
    assert!(matches!(error, Error::Died(_)), "{error:?}");
}
