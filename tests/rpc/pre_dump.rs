//! Chains of pre-dumps: rounds on one CRIU, and the dump that ends them.

use std::os::unix::net::UnixStream;

use criu_rpc::{Answer, Dump, Error, Operation, PageServerLink, PreDump, Stage};
use criu_rs_tests::Step;
use criu_rs_tests::proto::CriuReqType;

use crate::front::Front;
use crate::play::{Play, somebody};
use crate::words::{asked, dumping, inventory, no, yes};

fronts! {
    a_chain_is_one_criu,
    a_chain_can_be_a_dump_alone,
    whoever_asks_not_to_track_memory_is_heard,
    a_round_that_fails_ends_the_chain,
    a_criu_that_dies_between_rounds_has_died,
    a_round_that_is_refused_ends_the_chain,
    a_page_servers_socket_comes_with_the_first_round,
}

fn a_chain_is_one_criu(front: Front) {
    let script = asked()
        .send(&yes(CriuReqType::PreDump))
        .step(Step::Request)
        .notify("status-ready", None)
        .send(&yes(CriuReqType::PreDump))
        .step(Step::Request)
        .step(inventory())
        .notify("post-dump", None)
        .send(&yes(CriuReqType::Dump));
    let play = Play::of(script);
    let folder = |name| play.scratch().dir(name).unwrap();
    let folders = ["1", "2", "3"].map(folder);
    let mut stages = Vec::new();
    let chain = play.criu().pre_dump_chain();
    let chain = front
        .pre_dump(chain, PreDump::new(somebody(), &folders[0]))
        .unwrap();
    let round = PreDump::new(somebody(), &folders[1]).parent("../1");
    let round = round.hook(|notice| {
        stages.push(notice.stage().clone());
        Ok(Answer::Continue)
    });
    let chain = front.pre_dump(chain, round).unwrap();
    let dump = Dump::new(somebody(), &folders[2]).parent("../2");
    front.dump(chain, dump).unwrap();

    assert_eq!(play.peers().len(), 1);
    let [first, second, last] = play.requests().try_into().unwrap();
    let types = [&first, &second, &last].map(|request| request.r#type());
    assert_eq!(
        types,
        [
            CriuReqType::PreDump,
            CriuReqType::PreDump,
            CriuReqType::Dump
        ]
    );
    let opts = [first, second, last].map(|request| request.opts.unwrap());
    assert_eq!(
        opts.each_ref().map(|opts| opts.parent_img()),
        ["", "../1", "../2"]
    );
    assert!(opts.iter().all(|opts| opts.track_mem()), "{opts:?}");
    assert_eq!(
        opts.each_ref().map(|opts| opts.log_file()),
        ["pre-dump.log", "pre-dump.log", "dump.log"]
    );
    assert!(folders[2].join("inventory.img").exists());
    assert_eq!(stages, [Stage::StatusReady]);
}

fn a_chain_can_be_a_dump_alone(front: Front) {
    let script = dumping().send(&yes(CriuReqType::Dump));
    let play = Play::of(script);
    front
        .dump(play.criu().pre_dump_chain(), play.dump())
        .unwrap();
    assert_eq!(play.opts().track_mem, Some(true));
}

fn whoever_asks_not_to_track_memory_is_heard(front: Front) {
    let play = Play::of(dumping().send(&yes(CriuReqType::Dump)));
    front
        .dump(play.criu().pre_dump_chain(), play.dump().track_mem(false))
        .unwrap();
    assert_eq!(play.opts().track_mem, Some(false));
}

fn a_round_that_fails_ends_the_chain(front: Front) {
    let script = asked()
        .send(&yes(CriuReqType::PreDump))
        .step(Step::Request)
        .step(Step::Log(
            "(00.1) Error (criu/mem.c:46): Tracking memory is not available\n".into(),
        ))
        .send(&no(CriuReqType::PreDump))
        .step(Step::Exit(255));
    let play = Play::of(script);
    let chain = play.criu().pre_dump_chain();
    let round = || PreDump::new(somebody(), play.images());
    let chain = front.pre_dump(chain, round()).unwrap();
    let error = front.pre_dump(chain, round()).unwrap_err();
    let Error::Failed(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.operation, Operation::PreDump);
    assert_eq!(failure.cause, Some(criu_rpc::Cause::NoSoftDirty));
}

fn a_criu_that_dies_between_rounds_has_died(front: Front) {
    let script = asked().send(&yes(CriuReqType::PreDump)).step(Step::Die(9));
    let play = Play::of(script);
    let chain = play.criu().pre_dump_chain();
    let chain = front
        .pre_dump(chain, PreDump::new(somebody(), play.images()))
        .unwrap();
    let error = front.dump(chain, play.dump()).unwrap_err();
    let Error::Died(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.operation, Operation::Dump);
}

fn a_round_that_is_refused_ends_the_chain(front: Front) {
    let script = asked().send(&yes(CriuReqType::PreDump)).step(Step::Eof);
    let play = Play::of(script);
    let chain = play.criu().pre_dump_chain();
    let chain = front
        .pre_dump(chain, PreDump::new(somebody(), play.images()))
        .unwrap();
    let error = front
        .pre_dump(chain, PreDump::new(somebody(), "/no/such"))
        .unwrap_err();
    assert!(matches!(error, Error::Folder { .. }), "{error:?}");
}

/// CRIU inherits it when it starts.
fn a_page_servers_socket_comes_with_the_first_round(front: Front) {
    let script = asked().send(&yes(CriuReqType::PreDump)).step(Step::Eof);
    let play = Play::of(script);
    let (link, _other) = UnixStream::pair().unwrap();
    let round = PreDump::new(somebody(), play.images());
    let round = round.page_server(PageServerLink::Socket(link.into()));
    let chain = front.pre_dump(play.criu().pre_dump_chain(), round).unwrap();
    assert_eq!(
        play.requests()[0]
            .opts
            .as_ref()
            .unwrap()
            .ps
            .as_ref()
            .unwrap()
            .fd,
        Some(3)
    );
    assert!(play.states()[0].fds.contains_key(&3));

    let (link, _other) = UnixStream::pair().unwrap();
    let dump = play.dump().page_server(PageServerLink::Socket(link.into()));
    let error = front.dump(chain, dump).unwrap_err();
    assert!(
        matches!(error, Error::Option { option: "ps", .. }),
        "{error:?}"
    );
}
