//! Where output goes, and what becomes of it when that ends early.

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use criu_images::Kind;
use criu_rs_tests::Scratch;

use crate::command::{command, run};
use crate::ran::Ran;
use crate::{fixture, made};

/// `| head -n 1` is no failure, in the middle of anything.
#[test]
fn a_reader_that_has_enough_is_no_error() {
    let scratch = Scratch::new().unwrap();
    let folder = scratch.dir("images").unwrap();
    let tree = [made::process(1, 0)];
    made::put(&folder, Kind::Pstree, 0, &tree);
    made::put(&folder, Kind::Core, 1, &[made::core(b"x", 6)]);
    made::put_bytes(&folder, Kind::Pagemap, 1, &made::pagemap(100_000));
    let image = folder.join("pagemap-1.img");
    let json = scratch.join("json");
    let (image, json) = (image.to_str().unwrap(), json.to_str().unwrap());
    run(&["decode", image, "-o", json]).good();
    let folder = folder.to_str().unwrap();
    for args in [
        &["decode", image][..],
        &["decode", "--ndjson", image],
        &["show", image],
        &["encode", json],
        &["x", folder, "rss"],
        &["x", folder, "rss", "--json"],
    ] {
        let mut child = command(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Far less than it has to say.
        let mut start = [0; 16];
        let mut pipe = child.stdout.take().unwrap();
        pipe.read_exact(&mut start).unwrap();
        drop(pipe);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!((ran.status, &ran.stderr[..]), (0, ""), "{args:?}");
    }
}

/// Unlike a disk that is full.
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let scratch = Scratch::new().unwrap();
    let folder = fixture::unpack(&scratch, "tree");
    let image = folder.join("pstree.img");
    let json = scratch.join("json");
    let (image, json) = (image.to_str().unwrap(), json.to_str().unwrap());
    run(&["decode", image, "-o", json]).good();
    let folder = folder.to_str().unwrap();
    for args in [
        &["decode", image][..],
        &["decode", image, "-o", "/dev/full"],
        &["show", image],
        &["encode", json],
        &["encode", json, "-o", "/dev/full"],
        &["info", image],
        &["info", folder],
        &["x", folder, "ps"],
        &["x", folder, "mems", "--json"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(args).stdout(full).output().unwrap();
        let error = Ran::from(output).failed(1);
        assert!(error.contains("No space left"), "{args:?}: {error}");
    }
    assert!(fs::metadata("/dev/full").unwrap().len() == 0);
}

/// What is in place of an output stays until there is all of the new.
#[test]
fn a_file_is_replaced_as_a_whole_or_not_at_all() {
    let scratch = Scratch::new().unwrap();
    let folder = fixture::unpack(&scratch, "tree");
    let image = folder.join("pstree.img");
    let bytes = fs::read(&image).unwrap();
    let cut = folder.join("ids-1.img");
    fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    let out = scratch.join("out");
    fs::write(&out, "before").unwrap();
    fs::set_permissions(&out, Permissions::from_mode(0o640)).unwrap();
    let link = scratch.join("link");
    symlink("out", &link).unwrap();
    let listed = || fs::read_dir(scratch.path()).unwrap().count();
    let before = listed();
    let convert = |from: &std::path::Path, to: &std::path::Path| {
        run(&[
            "decode".as_ref(),
            from.as_os_str(),
            "-o".as_ref(),
            to.as_os_str(),
        ])
    };
    convert(&cut, &link).failed(1);
    assert_eq!(fs::read_to_string(&out).unwrap(), "before");
    assert_eq!(listed(), before, "something is left behind");

    convert(&image, &link).good();
    assert!(fs::read_to_string(&out).unwrap().starts_with("{\"magic\""));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(
        fs::metadata(&out).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(listed(), before, "something is left behind");

    // In place, as crit can; and back.
    convert(&image, &image).good();
    assert!(
        fs::read_to_string(&image)
            .unwrap()
            .starts_with("{\"magic\"")
    );
    let path = image.to_str().unwrap();
    run(&["encode", "-i", path, "-o", path]).good();
    assert_eq!(fs::read(&image).unwrap(), bytes);

    let error = convert(&image, &scratch.join("none/out")).failed(1);
    assert!(error.contains("none/out: No such file"), "{error}");
    convert(&image, &folder).failed(1);
}

/// A new file is one that the umask allows, not one for its owner alone.
#[test]
fn a_new_file_has_the_mode_of_any_other() {
    let scratch = Scratch::new().unwrap();
    let folder = fixture::unpack(&scratch, "tree");
    let image = folder.join("pstree.img");
    let script = "umask 027 && cd \"$0\" && \"$1\" image decode \"$2\" -o new && stat -c %a new";
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(scratch.path())
        .arg(env!("CARGO_BIN_EXE_ckpt"))
        .arg(image)
        .output()
        .unwrap();
    let ran = Ran::from(output);
    let mut lines = BufReader::new(&ran.stdout[..]).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "640", "{}", ran.stderr);
}
