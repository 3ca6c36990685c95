//! A CRIU that dies, or is none.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use criu_rpc::{Ended, Error, Failure, Operation, ProtocolError, Stage, VersionQuery};
use criu_rs_tests::proto::CriuReqType;
use criu_rs_tests::{FakeCriu, Step, Stream};
use nix::sys::signal::Signal;

use crate::front::Front;
use crate::play::Play;
use crate::words::{answer, asked, bytes, notice, script, version, yes};

/// The largest answer that is read.
const LIMIT: usize = 1 << 20;

fn died<T: std::fmt::Debug>(result: Result<T, Error>) -> Box<Failure> {
    match result {
        Err(Error::Died(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// Asks a CRIU for its version.
fn ask(front: Front, fake: FakeCriu) -> Result<criu_rpc::Version, Error> {
    front.run(&Play::of(fake).criu(), VersionQuery::default())
}

fn protocol<T: std::fmt::Debug>(result: Result<T, Error>) -> ProtocolError {
    match result {
        Err(Error::Protocol {
            operation: Operation::Version,
            source,
        }) => source,
        other => panic!("{other:?}"),
    }
}

/// Whether this process may make a socket take datagrams of any size.
fn may_send_large() -> bool {
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    one.shutdown(Shutdown::Both).unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size_force(&one, 4 * LIMIT).is_ok()
}

fronts! {
    an_end_without_an_answer_is_told,
    a_criu_that_never_listens_has_died,
    an_answer_counts_even_if_the_request_was_not_read,
    a_death_in_the_middle_tells_all_that_is_known,
    a_death_without_a_word_is_told_once,
    an_empty_datagram_is_an_end,
    a_socket_that_closes_is_an_end,
    half_a_message_is_malformed,
    bytes_that_are_no_message_are_malformed,
    a_datagram_larger_than_any_answer_is_not_read,
    an_answer_to_another_request_is_none,
    a_notification_of_nothing_is_none,
    a_second_answer_is_not_listened_to,
    a_notification_after_the_answer_is_not_waited_for,
    an_answer_counts_whatever_the_end,
    a_socket_that_somebody_else_holds_does_not_hang,
}

fn an_end_without_an_answer_is_told(front: Front) {
    for (step, ended) in [
        (Step::Exit(0), Ended::Exited(0)),
        (Step::Exit(255), Ended::Exited(255)),
        (Step::Die(Signal::SIGSEGV as i32), Ended::Killed(11)),
        (Step::Die(Signal::SIGKILL as i32), Ended::Killed(9)),
    ] {
        let failure = died(ask(front, asked().step(step)));
        assert_eq!((failure.ended, &failure.stage), (ended, &None));
        assert!(
            failure.to_string().contains(&ended.to_string()),
            "{failure}"
        );
    }
}

/// The request may be sent to a socket that is closed, or be lost with it.
fn a_criu_that_never_listens_has_died(front: Front) {
    for _ in 0..10 {
        let failure = died(ask(front, script().step(Step::Exit(3))));
        assert_eq!(failure.ended, Ended::Exited(3));
    }
    let slow = script()
        .step(Step::Sleep(Duration::from_millis(30)))
        .step(Step::Exit(3));
    assert_eq!(died(ask(front, slow)).ended, Ended::Exited(3));
}

/// The end of a peer that has not read all is told before what it said.
fn an_answer_counts_even_if_the_request_was_not_read(front: Front) {
    let script = script()
        .step(Step::Sleep(Duration::from_millis(30)))
        .send(&version(4, 2, None))
        .step(Step::Exit(0));
    assert_eq!(ask(front, script).unwrap().to_string(), "4.2");
}

fn a_death_in_the_middle_tells_all_that_is_known(front: Front) {
    let script = asked()
        .notify("pre-dump", None)
        .step(Step::Log(
            "(00.2) Error (criu/cr-dump.c:9): Can't get rlimit 0\n".into(),
        ))
        .step(Step::Print(Stream::Err, "free(): invalid pointer\n".into()))
        .step(Step::Die(Signal::SIGABRT as i32));
    let play = Play::of(script);
    let failure = died(front.run(&play.criu(), play.dump()));
    assert_eq!(failure.stage, Some(Stage::PreDump));
    assert_eq!(failure.ended, Ended::Killed(6));
    assert_eq!(failure.output, "free(): invalid pointer\n");
    assert_eq!(failure.log.as_deref(), Some("dump.log"));
    assert_eq!(failure.cause, Some(criu_rpc::Cause::OtherUser));
    let text = failure.to_string();
    assert!(
        text.starts_with("dump failed after pre-dump: CRIU was killed by signal 6: the process"),
        "{text}"
    );
}

fn a_death_without_a_word_is_told_once(front: Front) {
    let script = asked()
        .notify("pre-dump", None)
        .step(Step::Die(Signal::SIGKILL as i32));
    let play = Play::of(script);
    let failure = died(front.run(&play.criu(), play.dump()));
    assert_eq!(
        failure.to_string(),
        "dump failed after pre-dump: CRIU was killed by signal 9 and gave no reason"
    );
}

/// CRIU sees an end in it too.
fn an_empty_datagram_is_an_end(front: Front) {
    let failure = died(ask(
        front,
        asked().step(Step::Send(Vec::new())).step(Step::Exit(7)),
    ));
    assert_eq!(failure.ended, Ended::Exited(7));
}

fn a_socket_that_closes_is_an_end(front: Front) {
    let script = asked()
        .step(Step::Close)
        .step(Step::Sleep(Duration::from_millis(50)))
        .step(Step::Exit(3));
    assert_eq!(died(ask(front, script)).ended, Ended::Exited(3));
}

fn half_a_message_is_malformed(front: Front) {
    let whole = bytes(&version(4, 2, Some(1)));
    for length in [1, 2, 3, whole.len() - 1] {
        let script = asked().step(Step::Send(whole[..length].to_vec()));
        assert_eq!(
            protocol(ask(front, script)),
            ProtocolError::Malformed { bytes: length }
        );
    }
}

fn bytes_that_are_no_message_are_malformed(front: Front) {
    for bytes in [
        b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
        vec![0xff; 40],
        vec![0; 2],
    ] {
        let length = bytes.len();
        // Also in the middle of things.
        let script = asked().notify("pre-dump", None).step(Step::Send(bytes));
        let play = Play::of(script.step(Step::Eof));
        let error = front.run(&play.criu(), play.dump()).unwrap_err();
        let Error::Protocol {
            operation: Operation::Dump,
            source,
        } = error
        else {
            panic!("{error:?}")
        };
        assert_eq!(source, ProtocolError::Malformed { bytes: length });
    }
}

fn a_datagram_larger_than_any_answer_is_not_read(front: Front) {
    let send = |count| asked().step(Step::SendZeros(count));
    if may_send_large() {
        let limit = ProtocolError::TooLarge {
            bytes: LIMIT + 1,
            limit: LIMIT,
        };
        assert_eq!(protocol(ask(front, send(LIMIT + 1))), limit);
        let read = ProtocolError::Malformed { bytes: LIMIT };
        assert_eq!(protocol(ask(front, send(LIMIT))), read);
    } else {
        eprintln!("without CAP_NET_ADMIN no datagram can be so large");
    }
    let read = ProtocolError::Malformed { bytes: 200_000 };
    assert_eq!(protocol(ask(front, send(200_000))), read);
}

fn an_answer_to_another_request_is_none(front: Front) {
    let version = i32::from(CriuReqType::Version);
    let mut unknown = yes(CriuReqType::Empty);
    unknown.r#type = 99;
    for (answer, found) in [
        (yes(CriuReqType::Dump), 1),
        (answer(CriuReqType::Empty, false), 0),
        (unknown, 99),
    ] {
        let expected = ProtocolError::UnexpectedType {
            found,
            expected: version,
        };
        assert_eq!(protocol(ask(front, asked().send(&answer))), expected);
    }
}

fn a_notification_of_nothing_is_none(front: Front) {
    let script = asked().send(&yes(CriuReqType::Notify));
    assert_eq!(
        protocol(ask(front, script)),
        ProtocolError::Missing { field: "notify" }
    );
}

/// `FEATURE_CHECK` of CRIU 3.11 to 3.15 sent a second one, a wrong one.
fn a_second_answer_is_not_listened_to(front: Front) {
    let script = asked()
        .send(&version(4, 2, None))
        .send(&answer(CriuReqType::Version, false));
    assert_eq!(ask(front, script).unwrap().to_string(), "4.2");
}

fn a_notification_after_the_answer_is_not_waited_for(front: Front) {
    let script = asked()
        .send(&version(4, 2, None))
        .send(&notice("post-dump", None))
        .step(Step::Ack);
    assert_eq!(ask(front, script).unwrap().to_string(), "4.2");
}

/// Its status does not matter then: kept-open connections end with 255.
fn an_answer_counts_whatever_the_end(front: Front) {
    for end in [Step::Exit(255), Step::Die(Signal::SIGKILL as i32)] {
        for _ in 0..10 {
            let script = asked().send(&version(4, 2, None)).step(end.clone());
            assert_eq!(ask(front, script).unwrap().to_string(), "4.2");
        }
    }
}

/// Waiting for the end of the file alone would hang: a process that CRIU started holds
/// the socket.
fn a_socket_that_somebody_else_holds_does_not_hang(front: Front) {
    let start = Instant::now();
    let script = asked()
        .step(Step::LeaveHolder)
        .step(Step::Die(Signal::SIGKILL as i32));
    assert_eq!(died(ask(front, script)).ended, Ended::Killed(9));

    let script = asked().step(Step::LeaveHolder).send(&version(4, 2, None));
    ask(front, script).unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}
