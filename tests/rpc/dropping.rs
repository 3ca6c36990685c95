//! What is let go before it has come to its end.

use std::future::Future;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use criu_rpc::{Check, Criu, Error, PageServer, PreDump, VersionQuery};
use criu_rs_tests::proto::CriuReqType;
use criu_rs_tests::{FakeCriu, State, Step, TASK_PID, alone, eventually};

use crate::front::{Front, on_tokio, unchanged};
use crate::play::{Play, somebody};
use crate::words::{asked, dumping, ended, listens, newest, notice, script, version, yes};

/// Is told to end by the end of its socket, and leaves the mark `closed`.
fn heeding(script: FakeCriu) -> FakeCriu {
    script
        .step(Step::Mark("here".into()))
        .step(Step::Eof)
        .step(Step::Mark("closed".into()))
}

/// Waits for something until the script comes to the mark `here`, then drops it.
fn drop_at_mark<T>(play: &Play, future: impl Future<Output = T>) {
    on_tokio(async {
        let mark = async {
            while !play.scratch().join("mark.here").exists() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            _ = future => panic!("it came to its end"),
            () = mark => {}
        }
    });
}

fn was_closed(play: &Play) -> bool {
    play.scratch().join("mark.closed").exists()
}

#[test]
fn a_future_that_is_never_polled_starts_nothing() {
    alone(|| {
        unchanged(|| {
            let play = Play::of(script());
            let criu = play.criu();
            drop(criu.run_async(play.dump()));
            assert!(play.peers().is_empty());
        });
    });
}

#[test]
fn a_future_can_be_dropped_at_each_stage() {
    alone(|| {
        unchanged(|| {
            for stages in [&[][..], &["pre-dump"], &["pre-dump", "query-ext-files"]] {
                let script = stages
                    .iter()
                    .fold(dumping(), |script, stage| script.notify(stage, None));
                let play = Play::of(heeding(script));
                drop_at_mark(&play, play.criu().run_async(play.dump()));
                assert!(was_closed(&play), "{stages:?}");
            }
        });
    });
}

#[test]
fn a_future_can_be_dropped_while_its_dump_is_at_work() {
    alone(|| {
        unchanged(|| {
            let script = dumping()
                .notify("query-ext-files", None)
                .step(Step::Mark("here".into()))
                .step(Step::WriteOn)
                .step(Step::Mark("closed".into()));
            let play = Play::of(script);
            drop_at_mark(&play, play.criu().run_async(play.dump()));
            assert!(was_closed(&play));
        });
    });
}

/// CRIU has answered, and ends slowly.
#[test]
fn a_future_can_be_dropped_after_the_answer() {
    alone(|| {
        unchanged(|| {
            let slow = Step::Sleep(Duration::from_millis(100));
            let play = Play::of(heeding(asked().send(&yes(CriuReqType::Check))).step(slow));
            drop_at_mark(&play, play.criu().run_async(Check::default()));
        });
    });
}

#[test]
fn a_dropped_restore_leaves_no_tree() {
    alone(|| {
        unchanged(|| {
            for sibling in [true, false] {
                let script = asked()
                    .step(Step::StartTask { sibling })
                    .notify("post-restore", Some(TASK_PID));
                let play = Play::of(heeding(script));
                drop_at_mark(
                    &play,
                    play.criu().run_async(play.restore().as_child(sibling)),
                );
                assert!(was_closed(&play));
                play.assert_task_is_gone();
            }
        });
    });
}

/// While CRIU is given time to stop, which it does not heed.
#[test]
fn a_restore_dropped_while_it_stops_leaves_no_tree() {
    alone(|| {
        unchanged(|| {
            let script = asked()
                .step(Step::StartTask { sibling: false })
                .step(Step::BlockSignals)
                .step(Step::Eof)
                .step(Step::Mark("here".into()))
                .step(Step::Hang);
            let play = Play::of(script);
            drop_at_mark(
                &play,
                play.criu()
                    .run_async(play.restore().time_limit(Duration::from_millis(20))),
            );
            play.assert_task_is_gone();
        });
    });
}

#[test]
fn a_task_that_is_aborted_leaves_nothing() {
    alone(|| {
        unchanged(|| {
            let play = Play::of(heeding(dumping().notify("pre-dump", None)));
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let (criu, dump) = (play.criu(), play.dump());
            let task = runtime.spawn(async move { criu.run_async(dump).await });
            play.wait_mark("here");
            task.abort();
            assert!(runtime.block_on(task).unwrap_err().is_cancelled());
            assert!(was_closed(&play));
        });
    });
}

#[test]
fn a_runtime_that_ends_leaves_nothing() {
    alone(|| {
        unchanged(|| {
            let play = Play::of(heeding(dumping().notify("pre-dump", None)));
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let (criu, dump) = (play.criu(), play.dump());
            drop(runtime.spawn(async move { criu.run_async(dump).await }));
            play.wait_mark("here");
            drop(runtime);
            assert!(was_closed(&play));
        });
    });
}

#[test]
fn other_tasks_go_on_while_criu_works() {
    alone(|| {
        unchanged(|| {
            // CRIU goes on only when the other task has run, on the same thread.
            let script = asked()
                .step(Step::Mark("here".into()))
                .step(Step::Gate("go".into()))
                .send(&version(4, 2, None));
            let play = Play::of(script);
            let criu = play.criu();
            let other = async {
                while !play.scratch().join("mark.here").exists() {
                    tokio::task::yield_now().await;
                }
                play.open_gate("go");
            };
            let (found, ()) =
                on_tokio(async { tokio::join!(criu.run_async(VersionQuery::default()), other) });
            assert_eq!(found.unwrap().to_string(), "4.2");
        });
    });
}

/// A waker is kept: a future that is polled again and again for nothing does not spin or
/// lose its turn.
#[test]
fn a_future_can_be_polled_for_nothing() {
    alone(|| {
        unchanged(|| {
            let script = asked().step(Step::Sleep(Duration::from_millis(30)));
            let play = Play::of(script.send(&version(4, 2, None)));
            let criu = play.criu();
            let found = on_tokio(async {
                let mut future = std::pin::pin!(criu.run_async(VersionQuery::default()));
                std::future::poll_fn(|context| {
                    for _ in 0..5 {
                        if let Poll::Ready(found) = future.as_mut().poll(context) {
                            return Poll::Ready(found);
                        }
                    }
                    Poll::Pending
                })
                .await
            });
            assert_eq!(found.unwrap().to_string(), "4.2");
        });
    });
}

/// CRIU waits for the server, and sees nothing else.
#[test]
fn a_page_server_that_is_no_longer_waited_for_ends() {
    alone(|| {
        unchanged(|| {
            let script = newest()
                .step(Step::Request)
                .step(Step::StartTask { sibling: false })
                .send(&listens(TASK_PID, 1))
                .step(Step::Request)
                .step(Step::Mark("here".into()))
                .step(Step::Hang);
            let play = Play::of(script);
            let server = play
                .criu()
                .page_server(PageServer::new(play.images()))
                .unwrap();
            // As CRIU does when its child ends.
            let (server_process, criu) = (play.task(), play.peers()[0]);
            let watch = move || {
                let ended = || {
                    Ok(matches!(server_process.state(), None | Some(State::Zombie)).then_some(()))
                };
                eventually("the server's end", Duration::from_secs(20), ended).unwrap();
                assert!(criu.exists(), "CRIU ended first");
                let criu = rustix::process::Pid::from_raw(criu.pid()).unwrap();
                rustix::process::kill_process(criu, rustix::process::Signal::KILL).unwrap();
            };
            thread::scope(|scope| {
                scope.spawn(watch);
                drop_at_mark(&play, server.wait_async());
            });
        });
    });
}

fronts! {
    a_chain_that_is_dropped_ends_criu,
    a_page_server_that_is_dropped_ends,
    a_page_server_whose_criu_is_gone_ends,
    a_hook_may_ask_another_criu,
    a_request_that_is_refused_starts_nothing,
    a_hook_goes_with_its_request,
}

fn a_chain_that_is_dropped_ends_criu(front: Front) {
    let play = Play::of(script());
    drop(play.criu().pre_dump_chain());
    assert!(play.peers().is_empty(), "its first round starts CRIU");

    let script = asked().send(&yes(CriuReqType::PreDump));
    let play = Play::of(heeding(script));
    let chain = play.criu().pre_dump_chain();
    let chain = front
        .pre_dump(chain, PreDump::new(somebody(), play.images()))
        .unwrap();
    play.wait_mark("here");
    drop(chain);
    assert!(was_closed(&play));
}

fn a_page_server_that_is_dropped_ends(front: Front) {
    let script = newest()
        .step(Step::Request)
        .step(Step::StartTask { sibling: false })
        .send(&listens(TASK_PID, 1))
        .step(Step::Request)
        .send(&ended(9));
    let play = Play::of(heeding(script));
    let server = front
        .page_server(&play.criu(), PageServer::new(play.images()))
        .unwrap();
    play.assert_task_runs();
    drop(server);
    play.assert_task_is_gone();
    let [_, _, wait] = play.requests().try_into().unwrap();
    assert_eq!(wait.r#type(), CriuReqType::WaitPid);
    assert_eq!(wait.pid, Some(play.task().pid().unsigned_abs()));
    assert!(was_closed(&play));
}

/// Nobody is there to be asked.
fn a_page_server_whose_criu_is_gone_ends(front: Front) {
    let script = newest()
        .step(Step::Request)
        .step(Step::StartTask { sibling: false })
        .send(&listens(TASK_PID, 1))
        .step(Step::Die(9));
    let play = Play::of(script);
    let server = front
        .page_server(&play.criu(), PageServer::new(play.images()))
        .unwrap();
    thread::sleep(Duration::from_millis(20));
    drop(server);
    play.assert_task_is_gone();
}

/// A hook's own request, from within: nothing is locked.
fn a_hook_may_ask_another_criu(front: Front) {
    let inner = Play::of(asked().send(&version(4, 2, None)));
    let outer = Play::of(
        dumping()
            .notify("pre-dump", None)
            .send(&yes(CriuReqType::Dump)),
    );
    let asked: Criu = inner.criu();
    let dump = outer.dump().hook(move |_| {
        asked.version()?;
        Ok(criu_rpc::Answer::Continue)
    });
    front.run(&outer.criu(), dump).unwrap();
}

/// What was refused before it began has started nothing.
fn a_request_that_is_refused_starts_nothing(front: Front) {
    let play = Play::of(script());
    let error = front
        .run(&play.criu(), play.dump().log_file("a/b"))
        .unwrap_err();
    assert!(matches!(error, Error::Option { .. }), "{error:?}");
    let error = front
        .run(&play.criu(), play.restore().work_dir("/no/such"))
        .unwrap_err();
    assert!(matches!(error, Error::Folder { .. }), "{error:?}");
    assert!(play.peers().is_empty());
}

/// The hook is dropped with the request, and what it holds with it.
fn a_hook_goes_with_its_request(front: Front) {
    let held = std::sync::Arc::new(());
    let script = asked()
        .send(&notice("pre-dump", None))
        .step(Step::Ack)
        .step(Step::Exit(1));
    let play = Play::of(script);
    let kept = held.clone();
    let dump = play.dump().hook(move |_| {
        let _ = &kept;
        Ok(criu_rpc::Answer::Continue)
    });
    front.run(&play.criu(), dump).unwrap_err();
    assert_eq!(std::sync::Arc::strong_count(&held), 1);
}
