//! What a person can get wrong, and what is said of it: one line, which ends with what to do.
//! What needs a CRIU is in `root`.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use crate::bench::Bench;
use crate::words::made_up;

#[test]
fn what_a_person_can_get_wrong_has_a_remedy() {
    let bench = Bench::new();
    made_up(&bench, "web");
    for (status, line, told) in [
        (1, "show db", "list what there is with `ckpt ls`"),
        (1, "rm web db", "there is no checkpoint db"),
        (1, "restore db", "there is no checkpoint db"),
        (1, "verify db", "there is no checkpoint db"),
        (2, "show ../web", "letters, digits"),
        (2, "create 1 a/b", "letters, digits"),
        (2, "create web 1", "invalid value 'web'"),
        (2, "create 1", "NAME"),
        (2, "rm", "NAMES"),
        (
            2,
            "create 1 x --tcp-established --tcp-close",
            "cannot be used with",
        ),
        (2, "restore web --inherit-fd 7", "write fd[N]:KEY"),
        (
            2,
            "restore web --inherit-fd fd[999]:pipe:[1]",
            "no descriptor of this command",
        ),
        (1, "ls --store /dev/null", "no store of checkpoints"),
        (1, "ls --store /proc", "no store of checkpoints"),
        (1, "prune --keep 1 --store /proc", "no store of checkpoints"),
        // What may have been meant.
        (1, "show wbe", "did you mean web?"),
        (1, "rm WEB", "did you mean web?"),
        (1, "export web1 -o x", "did you mean web?"),
        (
            1,
            "show web --store /nonexistent",
            "name another with --store",
        ),
        (2, "list", "take `ckpt ls`"),
        (2, "inspect web", "take `ckpt show`"),
        (2, "delete web", "take `ckpt rm`"),
        (2, "start web", "take `ckpt restore`"),
        (2, "craete 1 x", "'create'"),
        // Numbers.
        (2, "create web x", "told by its number"),
        (2, "create 99999999999 x", "told by its number"),
        (2, "create -5 x", "below zero"),
        (2, "every 1h web --keep 1", "told by its number"),
        (2, "track web", "told by its number"),
        (2, "every 1h 1 --keep 0", "whole number above 0"),
        (2, "every 1h 1 --keep 1 --rounds 0", "whole number above 0"),
        (2, "every 1h 1 --keep 1 --jitter x", "a number and a unit"),
        (2, "prune --keep x", "take a whole number"),
        (2, "prune --keep -1", "below zero"),
        (2, "prune --older-than x", "a number and a unit"),
        (2, "prune --older-than 5", "a number and a unit"),
        (2, "create 1 x --timeout x", "a number and a unit"),
        (2, "create 1 x --timeout 0s", "longer than nothing"),
        (2, "create 1 x --ghost-limit x", "K, M, G or T"),
        (2, "create 1 x --ghost-limit 4G", "less than 4G"),
        (2, "create 1 x --buffer x", "512M"),
        (2, "track 1 --seconds 0", "take a number above 0"),
        (2, "track 1 --seconds 1e30", "take a shorter one"),
        (2, "image mem . 7 x 1", "decimal or hexadecimal"),
        // What would do more, or less, than was meant.
        (2, "prune --keep 0", "say so with --all"),
        (2, "prune --older-than 0s", "say so with --all"),
        (2, "prune --keep 0 --all --prefix w", "cannot be used with"),
        (2, "prune --keep 1 --prefix ../", "letters, digits"),
        (2, "create 1 x --external junk", "mnt[/data]:NAME"),
        (2, "create 1 x --external mnt[/data]", "mnt[/data]:NAME"),
        (2, "every 1h 1 --keep 1 --external junk", "mnt[/data]:NAME"),
        (2, "restore web --external junk", "mnt[NAME]:/srv/data"),
        (2, "create 1 x --root /nonexistent", "no such folder"),
        (2, "restore web --root /nonexistent", "no such folder"),
        (2, "restore web --scratch /nonexistent", "no such folder"),
        (2, "restore web --inherit-fd fd[1]:", "write fd[N]:KEY"),
        // Files.
        (1, "verify /nonexistent", "/nonexistent: No such file"),
        (1, "import /nonexistent", "see that the path is right"),
        (1, "import /", "name a file that `ckpt export` wrote"),
        (1, "import /dev/null", "it is empty"),
        (1, "import /proc/version", "no archive of a checkpoint"),
        (
            1,
            "export web -o /nonexistent/x",
            "the folder it is to be in",
        ),
        (1, "export web -o /", "name a file in it"),
        (1, "image x /nonexistent ps", "see that the path is right"),
        (1, "image verify /nonexistent", "/nonexistent: No such file"),
        (1, "image stats /proc", "no image of CRIU is in it"),
        (2, "image mem . 7 0 1 -o - --json", "name a file with -o"),
    ] {
        let said = bench.refused(status, line);
        assert!(said.contains(told), "ckpt {line}: {said}");
        assert_eq!(said.lines().count(), 1, "ckpt {line}: {said}");
        assert!(
            said.contains("; ") && !said.contains("byte 0"),
            "ckpt {line}: {said}"
        );
        // What a parser says to who wrote it.
        for word in ["digit found", "expected number", "non-zero type", "use '--"] {
            assert!(!said.contains(word), "ckpt {line}: {said}");
        }
    }
    assert_eq!(bench.listed(), ["web"]);
}

/// `ckpt` with a program in the place of CRIU, which refuses it with this.
#[track_caller]
fn refused_with(bench: &Bench, criu: &str, line: &str) -> String {
    let mut command = bench.command(line);
    let output = command.env("CRIU", criu).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{criu}, ckpt {line}: {said}");
    said
}

#[test]
fn a_criu_that_is_none_is_refused() {
    let bench = Bench::new();
    made_up(&bench, "web");
    let pid = std::process::id();
    let mute = bench.path("mute");
    fs::write(&mute, "#!/bin/sh\nexit 7\n").unwrap();
    fs::set_permissions(&mute, Permissions::from_mode(0o755)).unwrap();
    let create = format!("create {pid} x --quiet");
    let every = format!("every 1h {pid} --keep 1");
    for line in [
        &create,
        &every,
        "restore web --quiet",
        "restore web --dry-run",
    ] {
        let said = refused_with(&bench, "/nonexistent", line);
        assert!(said.contains("install CRIU"), "{said}");
        for program in ["/bin/true", "/bin/cat", mute.to_str().unwrap()] {
            let said = refused_with(&bench, program, line);
            assert_eq!(said.lines().count(), 1, "{said}");
            let told = format!("ckpt: {program}: this is no CRIU");
            assert!(said.starts_with(&told), "{said}");
            assert!(said.contains("name another one in $CRIU"), "{said}");
        }
    }
    assert_eq!(bench.listed(), ["web"]);
}

#[test]
fn a_failure_is_a_document_too() {
    let bench = Bench::new();
    for (status, line) in [
        (1, "show web"),
        (1, "rm web"),
        (1, "restore web"),
        (1, "export web -o x"),
        (1, "import /nonexistent"),
        (1, "verify web"),
        (1, "ls --store /dev/null"),
        (1, "track 0"),
        (1, "image verify /nonexistent"),
        (1, "image x /nonexistent ps"),
        (2, "prune --keep 0"),
    ] {
        let said = bench.try_ckpt(&format!("{line} --json"));
        assert_eq!(said.status, status, "{line}: {}", said.err);
        let document = said.json();
        let line = format!("ckpt: {}\n", document["error"].as_str().unwrap());
        assert!(said.err.ends_with(&line), "{}", said.err);
        assert_eq!(document.as_object().unwrap().len(), 1, "{document}");
    }
}

#[test]
fn a_store_that_is_not_there_is_empty_and_told() {
    let bench = Bench::new();
    for line in ["ls", "ls --json", "fsck", "prune --keep 1"] {
        let said = bench.try_ckpt(line);
        assert_eq!(said.status, 0, "{}", said.err);
        assert!(said.err.contains("there is no store yet"), "{}", said.err);
    }
    made_up(&bench, "web");
    assert_eq!(bench.try_ckpt("ls").err, "");
    assert!(!bench.path("store/.lock").is_dir());
}

#[test]
fn all_goes_only_when_that_is_said() {
    let bench = Bench::new();
    for name in ["a1", "a2", "b1"] {
        made_up(&bench, name);
    }
    // To look is no harm.
    let said = bench.ckpt("prune --keep 0 --dry-run");
    assert!(said.starts_with("a1\na2\nb1\n"), "{said}");
    bench.ckpt("prune --keep 0 --prefix a");
    assert_eq!(bench.listed(), ["b1"]);
    bench.ckpt("prune --keep 0 --all");
    assert!(bench.listed().is_empty());
}

/// Nobody reads it, or there is no room: no panic.
#[test]
fn output_that_goes_nowhere_ends_nothing() {
    let bench = Bench::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let status = bench.command("show web").stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let status = bench.command("ls").stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let output = bench.command("ls").stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("see that there is room where it goes"),
        "{said}"
    );
}
