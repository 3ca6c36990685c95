//! `decode`, `encode` and `show`: JSON as `crit` has it, and the same bytes back.

use std::fs;

use criu_images::Kind;
use criu_rs_tests::Scratch;
use serde_json::Value;

use crate::command::{feed, pipe, run};
use crate::{fixture, made};

/// Enough to see each kind of payload.
const WORKLOADS: [&str; 5] = ["deleted", "pipes", "sysv", "tcp", "unix"];

/// By file name, and by magic alone from standard input; both ways are `crit`'s.
#[test]
fn json_is_that_of_crit_and_comes_back() {
    let scratch = Scratch::new().unwrap();
    let mut compared = 0;
    for workload in WORKLOADS {
        let files = fixture::files(workload);
        let folder = fixture::unpack(&scratch, workload);
        for (name, bytes) in fixture::images(&files) {
            let path = folder.join(name.to_string());
            for (pretty, end) in [(false, "plain"), (true, "pretty")] {
                let mut args = vec!["decode", "--crit-task-states"];
                args.extend(pretty.then_some("--pretty"));
                let piped = pipe(&args, bytes).good();
                args.extend(["-i", path.to_str().unwrap()]);
                let text = run(&args).good();
                assert!(text == piped, "{name} is another on standard input");
                let back = pipe(&["encode", "--crit-task-states"], &text).good();
                assert!(back == *bytes, "{workload}/{name} does not come back");
                // crit takes the record after a segment for its content.
                if name.kind() != Kind::IpcnsShm {
                    let theirs = &files[&format!("{name}.{end}")];
                    let text = text.strip_suffix(b"\n").unwrap();
                    assert!(text == theirs, "{workload}/{name}, {end}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 140, "only {compared}");
}

#[test]
fn one_document_a_line_comes_back() {
    let files = fixture::files("sysv");
    for (name, bytes) in fixture::images(&files) {
        for args in [
            &["decode", "--ndjson"][..],
            &["decode", "--ndjson", "--pretty"],
        ] {
            let text = pipe(args, bytes).text();
            let lines: Vec<Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            assert!(lines[0]["magic"].is_string(), "{name}: {text:.100}");
            assert!(lines[1..].iter().all(|line| line.get("magic").is_none()));
            assert_eq!(pipe(&["encode"], text.as_bytes()).good(), *bytes, "{name}");
        }
    }
}

#[test]
fn names_are_right_unless_crits_are_asked_for() {
    let zombie = made::image(Kind::Core, &[made::core(b"gone", 6)]);
    for command in [&["decode", "--pretty"][..], &["show", "-"]] {
        let right = pipe(command, &zombie).text();
        assert!(right.contains("\"task_state\": \"Zombie\""), "{right:.200}");
        let crits = [command, &["--crit-task-states"]].concat();
        let crits = pipe(&crits, &zombie).text();
        assert!(
            crits.contains("\"task_state\": \"Stopped\""),
            "{crits:.200}"
        );
        // Text of crit's is only read right as such.
        let back = |args: &[&str]| pipe(args, crits.as_bytes()).good();
        assert_eq!(back(&["encode", "--crit-task-states"]), zombie);
        assert_ne!(back(&["encode"]), zombie);
    }
}

#[test]
fn show_is_pretty_and_leaves_payloads_out_when_told() {
    let scratch = Scratch::new().unwrap();
    let folder = fixture::unpack(&scratch, "pipes");
    let image = fixture::find(&folder, Kind::PipesData);
    let image = image.to_str().unwrap();
    let whole = run(&["show", image]).text();
    assert_eq!(whole, run(&["decode", "--pretty", image]).text());
    let short = run(&["show", "--nopl", image]).text();
    assert!(short.contains("\"extra\": \"... <4.9KB>\""), "{short}");
    assert!(short.len() + 5000 < whole.len());
    let error = pipe(&["encode"], short.as_bytes()).failed(1);
    assert!(error.contains("show --nopl"), "{error}");
}

/// Every way to say the same.
#[test]
fn files_come_by_flag_by_place_and_from_standard_input() {
    let scratch = Scratch::new().unwrap();
    let folder = fixture::unpack(&scratch, "unix");
    let image = fixture::find(&folder, Kind::Files);
    let bytes = fs::read(&image).unwrap();
    let image = image.to_str().unwrap();
    let text = run(&["decode", image]).good();
    for args in [
        &["decode", "-i", image][..],
        &["decode", "--in", image],
        &["decode", "-o", "-", image],
    ] {
        assert_eq!(run(args).good(), text, "{args:?}");
    }
    for args in [&["decode"][..], &["decode", "-"], &["decode", "-i", "-"]] {
        assert_eq!(pipe(args, &bytes).good(), text, "{args:?}");
    }
    let json = scratch.join("files.json");
    let json = json.to_str().unwrap();
    assert!(
        run(&["decode", "-i", image, "--out", json])
            .good()
            .is_empty()
    );
    // As with crit, the newline is for people.
    assert_eq!(fs::read(json).unwrap(), text[..text.len() - 1]);
    let back = scratch.join("back.img");
    let back = back.to_str().unwrap();
    for args in [
        &["encode", "-i", json, "-o", back][..],
        &["encode", json, "-o", back],
        &["encode", "--in", json, "--out", back],
    ] {
        assert!(run(args).good().is_empty());
        assert_eq!(fs::read(back).unwrap(), bytes, "{args:?}");
        fs::remove_file(back).unwrap();
    }
    assert_eq!(run(&["encode", json]).good(), bytes);
    assert_eq!(run(&["encode", json, "-o", "-"]).good(), bytes);
}

/// An image in an archive has a path through it.
#[test]
fn an_image_in_an_archive_is_read_where_it_lies() {
    let files = fixture::files("tcp");
    let (name, bytes) = fixture::images(&files)
        .find(|(name, _)| name.kind() == Kind::TcpStream)
        .unwrap();
    let path = fixture::archive().join("tcp").join(name.to_string());
    let path = path.to_str().unwrap();
    assert_eq!(
        run(&["decode", path]).good(),
        pipe(&["decode"], bytes).good()
    );
    assert_eq!(
        run(&["show", path]).good(),
        pipe(&["show", "-"], bytes).good()
    );
    assert_eq!(
        run(&["info", path]).good(),
        pipe(&["info", "-"], bytes).good()
    );
    let error = run(&["decode", &path.replace("tcp-stream", "tcp-scream")]).failed(1);
    assert!(error.contains("no such file in the archive"), "{error}");
    let whole = fixture::archive();
    let error = run(&["decode", whole.to_str().unwrap()]).failed(1);
    assert!(error.contains("ARCHIVE/pstree.img"), "{error}");
}

/// Memory is that of a record and some buffers, whatever passes through.
#[test]
fn what_passes_through_is_not_held() {
    const LIMIT: &str = "6144"; // KiB of writable memory: the program's code is not in it
    let limited = |words: &[&str], input: &[u8]| {
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", "ulimit -d \"$0\" && exec \"$@\"", LIMIT])
            .arg(env!("CARGO_BIN_EXE_ckpt"))
            .arg("image")
            .args(words);
        feed(&mut shell, input)
    };
    for image in [made::ghost(9 << 20), made::pagemap(150_000)] {
        let text = limited(&["decode"], &image).good();
        assert!(text.len() > 10 << 20, "{} bytes prove nothing", text.len());
        let back = limited(&["encode"], &text).good();
        assert!(back == image, "the image does not come back");
    }
}

/// `crit` has no form for raw images; ours makes the same bytes again.
#[test]
fn raw_images_are_decoded_shown_and_counted() {
    let scratch = Scratch::new().unwrap();
    let files = fixture::files("namespaces");
    let mut seen = 0;
    for (file, bytes) in &files {
        let Some(name) = criu_images::Name::parse(file) else {
            continue;
        };
        if !name.kind().is_raw() || name.kind() == Kind::Pages {
            continue;
        }
        let path = scratch.join(file);
        fs::write(&path, bytes).unwrap();
        let path = path.to_str().unwrap();
        let text = run(&["decode", path]).good();
        assert_eq!(pipe(&["encode"], &text).good(), *bytes, "{file}");
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document["magic"], name.kind().magic_name());
        let count = document["entries"].as_array().unwrap().len();
        let info = run(&["info", path]).text();
        assert!(info.contains(&format!("\"count\": {count}\n")), "{info}");
        let shown = run(&["show", "--nopl", path]).text();
        assert!(
            count == 0 || shown.contains("\"extra\": \"... <"),
            "{shown}"
        );
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
}
