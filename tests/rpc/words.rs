//! What a CRIU says.

use criu_rs_tests::proto::{
    CriuNotify, CriuPageServerInfo, CriuReqType, CriuResp, CriuRestoreResp, CriuVersion,
};
use criu_rs_tests::{FakeCriu, Step};
use prost::Message;

/// A CRIU without a script.
pub(crate) fn script() -> FakeCriu {
    FakeCriu::new(env!("CARGO_BIN_EXE_fake-swrk"))
}

/// A CRIU that has heard a request.
pub(crate) fn asked() -> FakeCriu {
    script().step(Step::Request)
}

/// A CRIU that has heard a request and written the images of a dump.
pub(crate) fn dumping() -> FakeCriu {
    asked().step(inventory())
}

/// A CRIU that has said at first that it is newer than any option.
pub(crate) fn newest() -> FakeCriu {
    asked().send(&version(99, 0, None))
}

/// The image that a dump writes last.
pub(crate) fn inventory() -> Step {
    Step::Image("inventory.img".into(), vec![1])
}

pub(crate) fn answer(kind: CriuReqType, success: bool) -> CriuResp {
    CriuResp {
        r#type: kind.into(),
        success,
        ..Default::default()
    }
}

pub(crate) fn yes(kind: CriuReqType) -> CriuResp {
    answer(kind, true)
}

pub(crate) fn no(kind: CriuReqType) -> CriuResp {
    answer(kind, false)
}

pub(crate) fn version(major: i32, minor: i32, sublevel: Option<i32>) -> CriuResp {
    CriuResp {
        version: Some(CriuVersion {
            major_number: major,
            minor_number: minor,
            sublevel,
            ..Default::default()
        }),
        ..yes(CriuReqType::Version)
    }
}

pub(crate) fn restored(pid: i32) -> CriuResp {
    CriuResp {
        restore: Some(CriuRestoreResp { pid }),
        ..yes(CriuReqType::Restore)
    }
}

pub(crate) fn listens(pid: i32, port: i32) -> CriuResp {
    CriuResp {
        ps: Some(CriuPageServerInfo {
            pid: Some(pid),
            port: Some(port),
            ..Default::default()
        }),
        ..yes(CriuReqType::PageServer)
    }
}

/// The answer to `WAIT_PID`.
pub(crate) fn ended(status: i32) -> CriuResp {
    CriuResp {
        status: Some(status),
        ..yes(CriuReqType::WaitPid)
    }
}

/// A notification, without the receipt of its answer.
pub(crate) fn notice(stage: &str, pid: Option<i32>) -> CriuResp {
    CriuResp {
        notify: Some(CriuNotify {
            script: Some(stage.to_owned()),
            pid,
        }),
        ..yes(CriuReqType::Notify)
    }
}

pub(crate) fn bytes(message: &impl Message) -> Vec<u8> {
    message.encode_to_vec()
}
