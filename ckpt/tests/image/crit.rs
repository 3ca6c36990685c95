//! The same words to `crit` of CRIU 4.2: the same output.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use criu_images::{Kind, Name};
use criu_rs_tests::Scratch;

use crate::command::{feed, run};
use crate::fixture;

/// Lines of arguments, and what `crit` says to each.
fn crit(scratch: &Scratch, lines: &[Vec<String>]) -> Vec<Vec<u8>> {
    let folder = env::var_os("CRIT").expect("CRIT is crit's folder: run cargo xtask test");
    let out = scratch.dir("crit").unwrap();
    let mut input = String::new();
    for line in lines {
        input += &serde_json::to_string(line).unwrap();
        input.push('\n');
    }
    let mut python = Command::new("python3");
    python
        .env("PYTHONPATH", folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-c", include_str!("crit.py")])
        .arg(&out);
    feed(&mut python, input.as_bytes()).good();
    (0..lines.len())
        .map(|number| fs::read(out.join(number.to_string())).unwrap())
        .collect()
}

fn line(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[track_caller]
fn compare(scratch: &Scratch, lines: &[Vec<String>]) {
    let theirs = crit(scratch, lines);
    for (line, theirs) in lines.iter().zip(theirs) {
        let mut ours = line.clone();
        if matches!(&line[0][..], "decode" | "show" | "encode") {
            ours.push("--crit-task-states".to_owned());
        }
        let ours = run(&ours).good();
        assert!(
            ours == theirs,
            "{line:?}\n--- ours\n{}\n--- theirs\n{}",
            String::from_utf8_lossy(&ours),
            String::from_utf8_lossy(&theirs)
        );
    }
}

/// An image of each kind that `crit` reads right: of a dump, or else a sample.
fn kinds(scratch: &Scratch) -> Vec<(Name, String)> {
    // It takes a segment after another for its content, and fails on `--nopl` of maps.
    const WRONG: [Kind; 2] = [Kind::IpcnsShm, Kind::BpfmapData];
    let mut found: Vec<(Name, String)> = Vec::new();
    for workload in fixture::EXPLORED.into_iter().chain(["samples"]) {
        let folder = fixture::unpack(scratch, workload);
        let files = fixture::files(workload);
        for (name, _) in fixture::images(&files) {
            let known = found.iter().any(|(known, _)| known.kind() == name.kind());
            let read = files.contains_key(&format!("{name}.plain"));
            if !known && read && !WRONG.contains(&name.kind()) {
                let path = folder.join(name.to_string());
                found.push((name, path.to_str().unwrap().to_owned()));
            }
        }
    }
    assert!(found.len() > 60, "only {} kinds", found.len());
    found
}

#[test]
#[ignore = "needs crit: run cargo xtask test"]
fn every_view_of_every_dump() {
    let scratch = Scratch::new().unwrap();
    let mut lines = Vec::new();
    for workload in fixture::EXPLORED {
        let folder = fixture::unpack(&scratch, workload);
        for view in ["ps", "fds", "mems", "rss"] {
            lines.push(line(&["x", folder.to_str().unwrap(), view]));
        }
    }
    compare(&scratch, &lines);
}

#[test]
#[ignore = "needs crit: run cargo xtask test"]
fn every_kind_decoded_and_shown() {
    let scratch = Scratch::new().unwrap();
    let mut lines = Vec::new();
    for (_, path) in kinds(&scratch) {
        lines.push(line(&["decode", "-i", &path]));
        lines.push(line(&["decode", "--pretty", "--in", &path]));
        lines.push(line(&["show", &path]));
        lines.push(line(&["show", &path, "--nopl"]));
    }
    compare(&scratch, &lines);
}

/// Theirs from ours, and ours from theirs; crit counts right where there is no payload.
#[test]
#[ignore = "needs crit: run cargo xtask test"]
fn every_kind_encoded_and_counted() {
    let scratch = Scratch::new().unwrap();
    let mut lines = Vec::new();
    let mut images = Vec::new();
    for (name, path) in kinds(&scratch) {
        let json = format!("{path}.json");
        run(&["decode", "--crit-task-states", &path, "-o", &json]).good();
        lines.push(line(&["encode", "-i", &json]));
        images.push(fs::read(&path).unwrap());
        let payload = matches!(
            name.kind(),
            Kind::PipesData
                | Kind::FifoData
                | Kind::SkQueues
                | Kind::TcpStream
                | Kind::IpcnsSem
                | Kind::IpcnsMsg
                | Kind::GhostFile
        );
        if !payload {
            lines.push(line(&["info", &path]));
            images.push(run(&["info", &path]).good());
        }
    }
    compare(&scratch, &lines);
    let again = scratch.join("crit");
    for (number, image) in images.iter().enumerate() {
        let theirs = fs::read(Path::new(&again).join(number.to_string())).unwrap();
        assert!(theirs == *image, "{:?}", lines[number]);
    }
}
