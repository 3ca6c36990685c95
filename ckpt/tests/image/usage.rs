//! Wrong usage, and files that are not what they should be: the status, and one line that
//! says what to do.

use std::fs;
use std::process::Command;

use criu_images::Kind;
use criu_rs_tests::Scratch;

use crate::command::{pipe, run};
use crate::ran::Ran;
use crate::{fixture, made};

fn ckpt(args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    Ran::from(command.args(args).output().unwrap())
}

#[test]
fn wrong_usage_has_a_status_of_its_own() {
    for args in [
        &[][..],
        &["image"],
        &["imagine"],
        &["image", "cat"],
        &["image", "info"],
        &["image", "info", "a", "b"],
        &["image", "show"],
        &["image", "show", "--pretty", "a"],
        &["image", "decode", "-i"],
        &["image", "decode", "-i", "a", "b"],
        &["image", "decode", "--json", "a"],
        &["image", "encode", "--pretty", "a"],
        &["image", "x", "."],
        &["image", "x", ".", "fd"],
        &["image", "x", "ps", "."],
    ] {
        let ran = ckpt(args);
        assert!(ran.stdout.is_empty(), "{args:?}");
        let error = ran.failed(2);
        assert!(error.ends_with("; see --help"), "{error}");
    }
    let error = ckpt(&["image", "x", ".", "fd"]).failed(2);
    assert!(error.contains("ps, fds, mems, rss"), "{error}");
}

#[test]
fn help_and_version_are_no_failure() {
    for args in [
        &["--help"][..],
        &["help"],
        &["image", "--help"],
        &["image", "decode", "-h"],
        &["image", "help", "x"],
    ] {
        assert!(ckpt(args).text().contains("Usage: ckpt"), "{args:?}");
    }
    let version = concat!("ckpt ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(ckpt(&["--version"]).text(), version);
}

#[test]
fn files_that_are_not_there_or_not_images() {
    let scratch = Scratch::new().unwrap();
    let none = scratch.join("none.img");
    let none = none.to_str().unwrap();
    let folder = scratch.path().to_str().unwrap();
    for args in [
        &["info", none][..],
        &["show", none],
        &["decode", none],
        &["decode", "-i", none],
        &["encode", "-i", none],
        &["x", none, "ps"],
    ] {
        let error = run(args).failed(1);
        let wanted = format!("{none}: No such file or directory (os error 2); see that");
        assert!(error.starts_with(&wanted), "{args:?}: {error}");
    }
    for command in ["show", "decode", "encode"] {
        let error = run(&[command, folder]).failed(1);
        assert!(error.contains("name one of the files in it"), "{error}");
    }
    for args in [&["info", folder][..], &["x", folder, "ps"]] {
        let error = run(args).failed(1);
        assert!(error.contains("took for its images"), "{error}");
    }
    let text = scratch.join("notes.txt");
    fs::write(&text, "some text that is no image at all\n".repeat(50)).unwrap();
    let text = text.to_str().unwrap();
    for args in [&["info", text][..], &["show", text], &["decode", text]] {
        let error = run(args).failed(1);
        assert!(
            error.starts_with(&format!("{text}, byte 0: unknown magic")),
            "{error}"
        );
    }
    let error = run(&["x", text, "ps"]).failed(1);
    assert!(error.contains("a tar archive of one"), "{error}");
    let error = run(&["encode", text]).failed(1);
    assert!(
        error.starts_with(&format!("{text}, byte 0: an object expected")),
        "{error}"
    );
    for command in ["decode", "show"] {
        let error = pipe(&[command, "-"], b"").failed(1);
        assert!(
            error.starts_with("standard input, byte 0: ends inside"),
            "{error}"
        );
    }
}

#[test]
fn images_that_are_not_as_their_name_says() {
    let scratch = Scratch::new().unwrap();
    let folder = scratch.dir("images").unwrap();
    let folder_text = folder.to_str().unwrap();
    let tree = made::image(Kind::Pstree, &[made::process(1, 0)]);
    made::put_bytes(&folder, Kind::Inventory, 0, &tree);
    let wrong = format!("{folder_text}/inventory.img");
    let error = run(&["decode", &wrong]).failed(1);
    assert!(
        error.contains("the name is that of inventory.img"),
        "{error}"
    );
    // The remedy of that message works.
    pipe(&["decode"], &tree).good();

    made::put_bytes(&folder, Kind::Pages, 1, &[0; 4096]);
    let pages = format!("{folder_text}/pages-1.img");
    for args in [
        &["decode", &pages][..],
        &["info", &pages],
        &["show", &pages],
    ] {
        let error = run(args).failed(1);
        assert!(
            error.contains("raw image") && error.contains("pagemap"),
            "{error}"
        );
    }
    let sorted = br#"{"entries": [], "magic": "PSTREE"}"#;
    let error = pipe(&["encode"], sorted).failed(1);
    assert!(error.contains("do not sort keys"), "{error}");
    let half = br#"{"magic": "PSTREE", "entries": [{"pid": 1}]}"#;
    let error = pipe(&["encode"], half).failed(1);
    assert!(
        error.contains("pstree_entry without its required ppid"),
        "{error}"
    );
}

/// A cut, at every byte, of an image with payloads: a line, never a panic.
#[test]
fn a_cut_image_is_told_with_its_place() {
    let files = fixture::files("unix");
    let (_, bytes) = fixture::images(&files)
        .find(|(name, _)| name.kind() == Kind::SkQueues)
        .unwrap();
    let mut told = 0;
    for end in (0..bytes.len()).step_by(7) {
        let ran = pipe(&["decode"], &bytes[..end]);
        // Between two records the format cannot tell.
        if ran.status != 0 {
            assert!(ran.failed(1).starts_with("standard input, "));
            told += 1;
        }
    }
    assert!(told > bytes.len() / 10, "{told} of {}", bytes.len());
}
