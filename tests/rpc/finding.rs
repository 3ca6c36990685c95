#![allow(unsafe_code)]
//! Which CRIU is started.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use criu_rpc::{Criu, Error, VersionQuery};
use criu_rs_tests::{Scratch, alone};

use crate::front::{Front, unchanged};
use crate::play::Play;
use crate::words::{asked, version};

/// Sets a variable, or takes it away. For tests that run alone.
fn set(name: &str, value: Option<&Path>) {
    // SAFETY: this process has one thread.
    unsafe {
        match value {
            Some(value) => env::set_var(name, value),
            None => env::remove_var(name),
        }
    }
}

fn searched(result: Result<Criu, Error>) -> Vec<PathBuf> {
    match result {
        Err(Error::NotFound { searched }) => searched,
        other => panic!("{other:?}"),
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_path_must_lead_to_a_program() {
    let scratch = Scratch::new().unwrap();
    let plain = scratch.join("plain");
    write(&plain, "#!/bin/sh\n", 0o644);
    let dangling = scratch.join("dangling");
    symlink("nowhere", &dangling).unwrap();
    for path in [
        scratch.join("nothing"),
        scratch.path().to_owned(),
        plain.clone(),
        plain.join("criu"),
        dangling,
        PathBuf::new(),
    ] {
        let error = Criu::at(&path).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("$CRIU"), "it says what to do: {text}");
        assert_eq!(searched(Err(error)), [path]);
    }
}

#[test]
fn the_variable_comes_first_and_is_not_passed_over() {
    alone(|| {
        unchanged(|| {
            let play = Play::of(asked().send(&version(4, 2, None)));
            set("CRIU", Some(&play.path()));
            set("PATH", Some(Path::new("/no/such/folder")));
            let criu = Criu::find().unwrap();
            assert_eq!(criu.path(), play.path());
            assert_eq!(criu.version().unwrap().to_string(), "4.2");

            // Even if there is one elsewhere.
            let bad = play.scratch().join("bad");
            set("CRIU", Some(&bad));
            set("PATH", Some(play.scratch().path()));
            assert_eq!(searched(Criu::find()), [bad]);
        });
    });
}

#[test]
fn without_the_variable_the_path_is_searched() {
    alone(|| {
        unchanged(|| {
            let play = Play::of(asked().send(&version(4, 2, None)));
            let [empty, plain] = ["empty", "plain"].map(|name| play.scratch().dir(name).unwrap());
            write(&plain.join("criu"), "#!/bin/sh\n", 0o644);
            let path = env::join_paths([&empty, &plain, play.scratch().path()]).unwrap();
            set("PATH", Some(Path::new(&path)));
            for unset in [None, Some(Path::new(""))] {
                set("CRIU", unset);
                assert_eq!(Criu::find().unwrap().path(), play.path());
            }
            assert_eq!(Criu::find().unwrap().version().unwrap().to_string(), "4.2");

            let path = env::join_paths([&empty, &plain]).unwrap();
            for path in [Some(Path::new(&path)), None] {
                set("PATH", path);
                match Criu::find() {
                    // Debian's place is looked at in any case.
                    Ok(criu) => assert_eq!(criu.path(), Path::new("/usr/sbin/criu")),
                    error => {
                        assert_eq!(searched(error).last().unwrap(), Path::new("/usr/sbin/criu"))
                    }
                }
            }
        });
    });
}

fronts! {
    what_cannot_be_started_is_told,
    a_program_that_is_no_criu_has_died,
}

fn what_cannot_be_started_is_told(front: Front) {
    let scratch = Scratch::new().unwrap();
    let program = scratch.join("criu");
    for (text, kind) in [
        ("\u{1}\u{2}\u{3} no program", None),
        (
            "#!/no/such/interpreter\n",
            Some(std::io::ErrorKind::NotFound),
        ),
    ] {
        write(&program, text, 0o755);
        let criu = Criu::at(&program).unwrap();
        let error = front.run(&criu, VersionQuery::default()).unwrap_err();
        let Error::Spawn {
            program: named,
            source,
        } = error
        else {
            panic!("{error:?}")
        };
        assert_eq!(named, program);
        assert!(kind.is_none_or(|kind| source.kind() == kind), "{source:?}");
    }
    let criu = Criu::at(&program).unwrap();
    fs::remove_file(&program).unwrap();
    let error = front.run(&criu, VersionQuery::default()).unwrap_err();
    assert!(matches!(error, Error::Spawn { .. }), "{error:?}");
}

/// It reads its standard input, perhaps, and says nothing that is an answer.
fn a_program_that_is_no_criu_has_died(front: Front) {
    for program in ["/bin/true", "/bin/cat"] {
        let criu = Criu::at(program).unwrap();
        let error = front.run(&criu, VersionQuery::default()).unwrap_err();
        assert!(matches!(error, Error::Died(_)), "{program}: {error:?}");
    }
}
