//! A CRIU that was started before the dump.

use std::net::TcpStream;

use criu_rpc::{Error, PageServer, PageServerLink};

use crate::target::{Target, criu};

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn it_dumps_and_what_it_dumped_comes_back() {
    let target = Target::start();
    let standby = criu().standby(None).unwrap();
    assert_eq!(standby.version(), criu().version().unwrap());
    let gone = target.dump_away_by("images", |dump| standby.dump(dump));
    let tree = criu().run(gone.restore()).unwrap();
    gone.back(&tree);
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn pages_go_to_the_socket_it_was_started_with() {
    let target = Target::start();
    let images = target.images("images");
    let server = criu().page_server(PageServer::new(images)).unwrap();
    let socket = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let standby = criu().standby(Some(socket.into())).unwrap();
    let gone = target.dump_away_by("images", |dump| {
        standby.dump(dump.page_server(PageServerLink::Standby))
    });
    server.wait().unwrap();
    let pages = gone.scratch.join("images/pages-1.img");
    assert!(!pages.exists(), "those of the server have other numbers");
    let tree = criu().run(gone.restore()).unwrap();
    gone.back(&tree);
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn one_that_fails_leaves_the_target_as_it_was() {
    let target = Target::holding(&["tcp"]);
    let standby = criu().preflight_checks(false).standby(None).unwrap();
    let error = standby.dump(target.dump("images")).unwrap_err();
    assert!(matches!(error, Error::Failed(_)), "{error:?}");
    target.assert_sound();
}
