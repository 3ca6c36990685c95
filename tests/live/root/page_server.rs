//! A page server takes the pages of a dump, over TCP, over a socket that is handed on, and
//! encrypted; and ends when it has them, or when nobody wants it any more.

use std::net::TcpStream;
use std::process::Command;

use criu_rpc::{Ended, PageServer, PageServerLink, RunningPageServer, Tls};
use criu_rs_tests::{Proc, Scratch};

use crate::target::{Target, criu};

/// The pages images in a folder, which a page server numbers from 65537 on.
fn pages(scratch: &Scratch, images: &str) -> Vec<String> {
    let names = scratch.join(images).read_dir().unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("pages-")).collect()
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn it_takes_the_pages_over_tcp_and_the_tree_comes_back() {
    let target = Target::start();
    let server = PageServer::new(target.images("images")).listen("127.0.0.1", 0);
    let server = criu().page_server(server).unwrap();
    assert!(Proc::new(server.pid().as_raw()).exists());
    let link = PageServerLink::Tcp {
        address: "127.0.0.1".into(),
        port: server.port(),
    };

    let gone = target.dump_away_with("images", |dump| dump.page_server(link));
    assert_eq!(server.wait().unwrap(), Ended::Exited(0));
    let numbers = pages(&gone.scratch, "images");
    assert!(!numbers.is_empty() && numbers.iter().all(|name| name > &"pages-65536".to_owned()));

    let tree = criu().run(gone.restore()).unwrap();
    gone.back(&tree);
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn it_takes_them_over_a_socket_that_criu_inherits() {
    let target = Target::start();
    let server: RunningPageServer = criu()
        .page_server(PageServer::new(target.images("images")))
        .unwrap();
    let socket = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let link = PageServerLink::Socket(socket.into());

    let gone = target.dump_away_with("images", |dump| dump.page_server(link));
    assert_eq!(server.wait().unwrap(), Ended::Exited(0));
    assert!(!pages(&gone.scratch, "images").is_empty());
    let tree = criu().run(gone.restore()).unwrap();
    gone.back(&tree);
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn it_ends_when_it_is_dropped() {
    let scratch = Scratch::new().unwrap();
    let server = criu().page_server(PageServer::new(scratch.path())).unwrap();
    let process = Proc::new(server.pid().as_raw());
    assert!(process.exists());
    drop(server);
    assert!(!process.exists(), "its CRIU has reaped it");
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn it_takes_them_encrypted_and_refuses_a_stranger() {
    let target = Target::start();
    let keys = Keys::make(&target.scratch, "keys");
    let strangers = Keys::make(&target.scratch, "strangers");

    for (client, ends_well) in [(&keys, true), (&strangers, false)] {
        let server = PageServer::new(target.images("images")).listen("127.0.0.1", 0);
        let server = criu().page_server(server.tls(keys.tls())).unwrap();
        let link = PageServerLink::Tcp {
            address: "127.0.0.1".into(),
            port: server.port(),
        };
        let dump = target.dump("images").page_server(link).tls(client.tls());
        let dumped = criu().run(dump);
        assert_eq!(dumped.is_ok(), ends_well, "{dumped:?}");
        assert_eq!(server.wait().unwrap() == Ended::Exited(0), ends_well);
        target.assert_sound();
    }
}

/// Keys that both sides know.
struct Keys {
    folder: std::path::PathBuf,
}

impl Keys {
    fn make(scratch: &Scratch, name: &str) -> Self {
        let folder = scratch.dir(name).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ]);
        openssl.args([
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ]);
        openssl.arg("-keyout").arg(folder.join("key.pem"));
        openssl.arg("-out").arg(folder.join("cert.pem"));
        let output = openssl.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self { folder }
    }

    fn tls(&self) -> Tls {
        let path = |name: &str| self.folder.join(name).to_str().unwrap().to_owned();
        Tls::new()
            .ca(path("cert.pem"))
            .certificate(path("cert.pem"))
            .key(path("key.pem"))
            .any_name(true)
    }
}
