//! A conversation with a peer that says anything.

use prost::Message;

use super::exchange::{Exchange, Next};
use crate::cause::Cause;
use crate::external::DumpExternal;
use crate::notify::{Answer, Hook};
use crate::operation::Operation;
use crate::pid::Pid;
use crate::proto::{CriuReq, CriuReqType};
use crate::request::{Check, Dump, FeatureCheck, PreDump, Prepared, Restore, Sealed, VersionQuery};
use crate::wire;

/// A seed begins with a place here.
const OPERATIONS: [Operation; 11] = [
    Operation::Version,
    Operation::FeatureCheck,
    Operation::Check,
    Operation::CpuInfoDump,
    Operation::CpuInfoCheck,
    Operation::Dump,
    Operation::PreDump,
    Operation::PageServer,
    Operation::WaitPid,
    Operation::Restore,
    Operation::SelfDump,
];

/// Takes datagrams as a session does, until one ends it.
pub fn conversation<'a>(request: u8, answers: u8, datagrams: impl Iterator<Item = &'a [u8]>) {
    let operation = OPERATIONS[usize::from(request) % OPERATIONS.len()];
    let message = Prepared::question(operation).message;
    let criu = Pid::from_raw(1).expect("a positive number");
    let mut exchange = Exchange::new(&message, operation, criu, Some(hook(answers)), None);
    for datagram in datagrams {
        let taken = wire::decode(datagram).and_then(|response| exchange.take(response, None));
        match taken {
            Err(_) => return,
            Ok(Next::Send(ack)) => {
                let ack = CriuReq::decode(&*ack).expect("what is sent can be read");
                assert_eq!(ack.r#type(), CriuReqType::Notify);
                assert!(ack.notify_success.is_some() && exchange.stage().is_some());
            }
            Ok(Next::Done(false)) => {
                let _ = Cause::find(exchange.errno(), std::iter::empty());
                return;
            }
            Ok(Next::Done(true)) => {
                read(operation, &mut exchange);
                return;
            }
        }
    }
}

/// Goes on, names files, or refuses, as the bits say in turn.
fn hook(answers: u8) -> Hook<'static> {
    let mut turn = 0;
    Box::new(move |notice| {
        turn += 1;
        let bit = |n: u32| answers.rotate_right(n) & 1 == 1;
        assert!(notice.fd().is_none());
        match (bit(turn), bit(turn + 1)) {
            (true, true) => Err(notice.stage().name().into()),
            (true, false) => Ok(Answer::Externals(vec![DumpExternal::Unix(turn.into())])),
            (false, _) => Ok(Answer::Continue),
        }
    })
}

/// Reads the reply out of the answer.
fn read(operation: Operation, exchange: &mut Exchange<'_>) {
    let Ok(outcome) = exchange.finish(false) else {
        return;
    };
    match operation {
        Operation::Version => drop(VersionQuery::answer(outcome)),
        Operation::FeatureCheck => drop(FeatureCheck::answer(outcome)),
        Operation::Check => drop(Check::answer(outcome)),
        Operation::Dump => drop(Dump::answer(outcome)),
        Operation::PreDump => drop(PreDump::answer(outcome)),
        Operation::Restore => drop(Restore::answer(outcome)),
        _ => {}
    }
}
