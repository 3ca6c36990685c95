//! Page servers: one CRIU starts it, and tells how it ends.

use criu_rpc::{Ended, Error, Operation, PageServer, ProtocolError};
use criu_rs_tests::proto::{CriuPageServerInfo, CriuReq, CriuReqType};
use criu_rs_tests::{FakeCriu, Step, TASK_PID};

use crate::front::Front;
use crate::play::Play;
use crate::words::{ended, listens, newest, no, yes};

/// A CRIU that listens, and is asked how that ended.
fn serving(port: i32) -> FakeCriu {
    newest()
        .step(Step::Request)
        .step(Step::StartTask { sibling: false })
        .send(&listens(TASK_PID, port))
        .step(Step::Request)
}

fronts! {
    a_page_server_is_asked_for_and_waited_for,
    a_large_port_comes_as_a_negative_number,
    how_it_ended_is_a_wait_status,
    an_end_that_is_not_told_is_an_error,
    one_without_a_process_is_none,
    one_without_a_port_ends,
    one_that_is_not_there_is_none,
    one_that_cannot_listen_says_why,
    a_server_whose_criu_dies_ends_too,
}

fn a_page_server_is_asked_for_and_waited_for(front: Front) {
    let script = serving(4711).step(Step::KillTask).send(&ended(0));
    let play = Play::of(script.step(Step::Eof).step(Step::Exit(255)));
    let server = PageServer::new(play.images()).listen("127.0.0.1", 4711);
    let server = front.page_server(&play.criu(), server).unwrap();
    assert_eq!(
        (server.port(), server.pid().as_raw()),
        (4711, play.task().pid())
    );
    assert_eq!(front.wait(server).unwrap(), Ended::Exited(0));

    let [_, start, wait] = play.requests().try_into().unwrap();
    assert_eq!(start.r#type(), CriuReqType::PageServerChld);
    assert_eq!(start.keep_open, Some(true));
    let opts = start.opts.unwrap();
    let expected = CriuPageServerInfo {
        address: Some("127.0.0.1".into()),
        port: Some(4711),
        ..Default::default()
    };
    assert_eq!(opts.ps, Some(expected));
    assert_eq!(opts.log_file(), "page-server.log");
    let expected = CriuReq {
        r#type: CriuReqType::WaitPid.into(),
        pid: Some(play.task().pid().unsigned_abs()),
        ..Default::default()
    };
    assert_eq!(wait, expected);
}

/// The field is signed and has 32 bits, the port is not and has 16.
fn a_large_port_comes_as_a_negative_number(front: Front) {
    for (sent, port) in [(-1, 65_535), (-25_536, 40_000), (40_000, 40_000), (1, 1)] {
        let play = Play::of(serving(sent).step(Step::KillTask).send(&ended(0)));
        let server = front
            .page_server(&play.criu(), PageServer::new(play.images()))
            .unwrap();
        assert_eq!(server.port(), port);
        front.wait(server).unwrap();
    }
}

fn how_it_ended_is_a_wait_status(front: Front) {
    for (status, end) in [
        (0, Ended::Exited(0)),
        (1 << 8, Ended::Exited(1)),
        (255 << 8, Ended::Exited(255)),
        (9, Ended::Killed(9)),
        // With a core file.
        (11 | 0x80, Ended::Killed(11)),
    ] {
        let play = Play::of(serving(1).step(Step::KillTask).send(&ended(status)));
        let server = front
            .page_server(&play.criu(), PageServer::new(play.images()))
            .unwrap();
        assert_eq!(front.wait(server).unwrap(), end);
    }
}

fn an_end_that_is_not_told_is_an_error(front: Front) {
    let play = Play::of(
        serving(1)
            .step(Step::KillTask)
            .send(&yes(CriuReqType::WaitPid)),
    );
    let server = front
        .page_server(&play.criu(), PageServer::new(play.images()))
        .unwrap();
    let error = front.wait(server).unwrap_err();
    let Error::Protocol {
        operation: Operation::WaitPid,
        source,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(source, ProtocolError::Missing { field: "status" });

    let refused = serving(1)
        .step(Step::KillTask)
        .send(&no(CriuReqType::WaitPid));
    let play = Play::of(refused.step(Step::Exit(255)));
    let server = front
        .page_server(&play.criu(), PageServer::new(play.images()))
        .unwrap();
    let error = front.wait(server).unwrap_err();
    assert!(matches!(error, Error::Failed(_)), "{error:?}");
}

fn one_without_a_process_is_none(front: Front) {
    // So is the daemon that CRIU can start as well.
    for answer in [yes(CriuReqType::PageServer), listens(0, 1)] {
        let play = Play::of(newest().step(Step::Request).send(&answer).step(Step::Eof));
        let server = PageServer::new(play.images());
        let error = front.page_server(&play.criu(), server).unwrap_err();
        let Error::Protocol { source, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(source, ProtocolError::Missing { field: "ps.pid" });
    }
}

/// It is known already, so it must not stay.
fn one_without_a_port_ends(front: Front) {
    let mut portless = listens(TASK_PID, 0);
    portless.ps.as_mut().unwrap().port = None;
    let script = newest()
        .step(Step::Request)
        .step(Step::StartTask { sibling: false })
        .send(&portless)
        .step(Step::Request)
        .send(&ended(9));
    let play = Play::of(script);
    let error = front
        .page_server(&play.criu(), PageServer::new(play.images()))
        .unwrap_err();
    let Error::Protocol { source, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(source, ProtocolError::Missing { field: "ps.port" });
    play.assert_task_is_gone();
}

fn one_that_is_not_there_is_none(front: Front) {
    let play = Play::of(newest().step(Step::Request).send(&listens(i32::MAX, 1)));
    let error = front
        .page_server(&play.criu(), PageServer::new(play.images()))
        .unwrap_err();
    assert!(matches!(error, Error::System { .. }), "{error:?}");
}

fn one_that_cannot_listen_says_why(front: Front) {
    let script = newest()
        .step(Step::Request)
        .step(Step::Log(
            "(00.1) Error (criu/util.c:9): Can't bind: in use\n".into(),
        ))
        .send(&no(CriuReqType::PageServer))
        .step(Step::Exit(1));
    let play = Play::of(script);
    let error = front
        .page_server(&play.criu(), PageServer::new(play.images()))
        .unwrap_err();
    let Error::Failed(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.line(), Some("Can't bind: in use"));
    assert_eq!(failure.log.as_deref(), Some("page-server.log"));
}

/// Nobody could tell how it ends.
fn a_server_whose_criu_dies_ends_too(front: Front) {
    let script = newest()
        .step(Step::Request)
        .step(Step::StartTask { sibling: false })
        .send(&listens(TASK_PID, 1))
        .step(Step::Die(9));
    let play = Play::of(script);
    let server = front
        .page_server(&play.criu(), PageServer::new(play.images()))
        .unwrap();
    let error = front.wait(server).unwrap_err();
    let Error::Died(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (failure.operation, failure.ended),
        (Operation::WaitPid, Ended::Killed(9))
    );
    play.assert_task_is_gone();
}
