//! Real processes: checkpoints at intervals, and a process that moves to another store.

mod root {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use criu_rs_tests::{Proc, Scratch, Spawned, eventually, real_criu};
    use rustix::process::Signal;

    use crate::command::command;
    use crate::documents::assert_document;
    use crate::made::{below, store};
    use crate::ran::Ran;

    const PATIENCE: Duration = Duration::from_secs(120);

    /// So many that what each leaves would show.
    const ROUNDS: usize = 200;

    /// Closes what the test runner leaked into this process, and becomes a command.
    const CLEAN: &str = r#"for fd in /proc/self/fd/*; do fd=${fd##*/}
        [ "$fd" -gt 2 ] && eval "exec $fd>&-"; done; exec "$@""#;

    /// Counts in a file, without a program besides the shell.
    const COUNT: &str = r#"n=0; while :; do n=$((n + 1)); echo $n > "$1.new"; mv "$1.new" "$1"
        read -t 0.05 x <> <(:); done"#;

    fn detached(words: &[&str]) -> Spawned {
        let mut command = Command::new("bash");
        command.args(["-c", CLEAN, "bash", "setsid"]).args(words);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let spawned = Spawned::spawn(&mut command).unwrap();
        // Once it is the program, it has a session of its own and only what it was left.
        let name = Path::new(words[0]).file_name().unwrap().to_str().unwrap();
        eventually("the program", PATIENCE, || {
            Ok((spawned.proc().name()? == name).then_some(()))
        })
        .unwrap();
        spawned
    }

    fn ckpt(store: &Path, args: &[&str]) -> Command {
        let mut command = command(args);
        command.env("CKPT_STORE", store).env("CRIU", real_criu());
        command
    }

    fn run(store: &Path, args: &[&str]) -> Ran {
        let output = ckpt(store, args).stdin(Stdio::null()).output().unwrap();
        Ran::from(output)
    }

    #[test]
    #[ignore = "needs root and CRIU: cargo xtask test"]
    fn many_rounds_leave_nothing_but_what_is_kept_and_a_signal_ends_them() {
        let scratch = Scratch::new().unwrap();
        let store = store(&scratch, "store");
        let target = detached(&["sleep", "3600"]);
        let pid = target.pid().to_string();
        let words = ["every", "1ms", &pid, "--keep", "2", "--now"];
        let mut command = ckpt(store.path(), &words);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let every = Spawned::spawn(&mut command).unwrap();
        let mut seen = BTreeSet::new();
        let mut fds = Vec::new();
        while seen.len() < ROUNDS {
            for one in store.list().unwrap().checkpoints {
                if seen.insert(one.name().clone()) {
                    fds.push(every.proc().fds().unwrap().len());
                }
            }
            assert!(every.proc().exists());
            std::thread::yield_now();
        }
        every.signal(Signal::TERM).unwrap();
        let end = every.wait(PATIENCE).unwrap();
        assert_eq!(end, criu_rs_tests::End::Exited(0));
        assert_eq!(store.list().unwrap().checkpoints.len(), 2);
        assert!(store.fsck().unwrap().cleared.is_empty());
        // A round has a few files open, whichever it is; a leak would have one more each.
        let most = |fds: &[usize]| fds.iter().copied().max().unwrap();
        let (first, last) = (most(&fds[..5]), most(&fds[fds.len() - 5..]));
        assert!(last < first + 8, "{fds:?}");
        assert!(target.proc().children().unwrap().is_empty());
        assert!(target.proc().exists());
    }

    #[test]
    #[ignore = "needs root and CRIU: cargo xtask test"]
    fn it_ends_with_its_process_and_tells_all_as_json() {
        let scratch = Scratch::new().unwrap();
        let store = store(&scratch, "store");
        let target = detached(&["sleep", "3600"]);
        let pid = target.pid().to_string();
        let words = [
            "every", "1ms", &pid, "--keep", "1", "--rounds", "2", "--json",
        ];
        let told: serde_json::Value =
            serde_json::from_slice(&run(store.path(), &words).good()).unwrap();
        assert_document("every", &told);
        assert_eq!((&told["taken"], &told["failed"]), (&2.into(), &0.into()));
        assert_eq!(told["ended"], "that was enough");
        let rounds = told["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 2);
        for round in rounds {
            assert!(round["name"].is_string() && round["error"].is_null());
            assert!(round["pruned"]["removed"].is_array());
        }
        let words = ["every", "1h", &pid, "--keep", "1", "--json"];
        let mut command = ckpt(store.path(), &words);
        let waiting = command.stdout(Stdio::piped()).spawn().unwrap();
        target.kill_tree().unwrap();
        let output = waiting.wait_with_output().unwrap();
        // It may have started when the process was gone already, which is told too.
        if output.status.code() != Some(3) {
            let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(told["ended"], "the process has ended");
        }
    }

    #[test]
    #[ignore = "needs root and CRIU: cargo xtask test"]
    fn a_process_goes_on_from_another_store() {
        let scratch = Scratch::new().unwrap();
        let (here, there) = (store(&scratch, "here"), store(&scratch, "there"));
        let file = scratch.join("count");
        let count = || -> std::io::Result<Option<u64>> {
            let text = fs::read_to_string(&file).unwrap_or_default();
            Ok(text.trim().parse().ok())
        };
        let target = detached(&["bash", "-c", COUNT, "bash", file.to_str().unwrap()]);
        let pid = target.pid();
        eventually("a count", PATIENCE, || Ok(count()?.filter(|n| *n >= 3))).unwrap();
        run(here.path(), &["create", &pid.to_string(), "web", "--quiet"]).good();
        target.wait(PATIENCE).unwrap();
        eventually("a pid that is free", PATIENCE, || {
            Ok((!Proc::new(pid).exists()).then_some(()))
        })
        .unwrap();
        let last = count().unwrap().unwrap();

        let archive = scratch.join("web.tar.zst");
        let archive = archive.to_str().unwrap();
        let words = [
            "export",
            "web",
            "-o",
            archive,
            "--with-files",
            "--changed-files",
        ];
        run(here.path(), &words).good();
        run(here.path(), &["rm", "web"]).good();
        let other = scratch.dir("root").unwrap();
        let words = ["import", archive, "--place-files", other.to_str().unwrap()];
        let placed = run(there.path(), &words).text();
        // Its program came along.
        assert!(placed.contains("/bash: placed"), "{placed}");
        let has_program = |path: &std::path::PathBuf| path.ends_with("bin/bash");
        assert!(below(&other).iter().any(has_program));

        run(there.path(), &["restore", "web", "--detach", "--quiet"]).good();
        let back = Spawned::adopt(pid).unwrap();
        let next = eventually("it counts on", PATIENCE, || {
            Ok(count()?.filter(|n| *n > last))
        });
        // Had it begun anew, it would be at one.
        assert!(next.unwrap() > last);
        back.kill_tree().unwrap();
    }
}
