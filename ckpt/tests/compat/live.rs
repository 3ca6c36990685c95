//! What is found of real dumps, and that CRIU finds it too.

mod root {
    use std::fs;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use ckpt::{Compat, FileChange, Finding, Host, Images, Mismatch, Obstacle};
    use criu_rpc::{Criu, Dump, Pid, Restore};
    use criu_rs_tests::{Scratch, Spawned, eventually, real_criu};

    const PATIENCE: Duration = Duration::from_secs(60);

    fn found(images: &std::path::Path) -> Vec<Finding> {
        let criu = Criu::at(real_criu()).unwrap();
        let version = criu.version().unwrap();
        let mut host = Host::here().unwrap();
        host.criu = Some((version.major, version.minor, version.sublevel));
        Compat::of(&Images::open(images).unwrap(), &host).unwrap()
    }

    #[test]
    #[ignore = "needs root and CRIU: run cargo xtask test"]
    fn what_would_stop_a_restore_is_told_before() {
        let scratch = Scratch::new().unwrap();
        let images = scratch.dir("images").unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "content").unwrap();
        let mut command = Command::new("setsid");
        command
            .args(["sleep", "1000"])
            .current_dir("/")
            .stdin(fs::File::open(&file).unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let task = Spawned::spawn(&mut command).unwrap();
        let pid = task.pid();
        eventually("sleep", PATIENCE, || {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"))?;
            Ok((name == "sleep\n").then_some(()))
        })
        .unwrap();
        let criu = Criu::at(real_criu()).unwrap();
        let dump = Dump::new(Pid::from_raw(pid).unwrap(), &images);
        criu.run(dump.leave_running(true)).unwrap();

        // It still runs.
        let pids = vec![u32::try_from(pid).unwrap()];
        let taken = Mismatch::PidsTaken { pids };
        let told = found(&images);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].severity, &told[0].what), (Obstacle::Error, &taken));
        drop(task);
        let gone = || {
            eventually("the end of sleep", PATIENCE, || {
                Ok((!fs::exists(format!("/proc/{pid}"))?).then_some(()))
            })
            .unwrap();
        };
        gone();
        // Here it was dumped, so everything fits: build ids of its program and libraries,
        // modes, the processor.
        assert_eq!(found(&images), []);

        fs::write(&file, "other content").unwrap();
        let told = found(&images);
        assert_eq!(told.len(), 1, "{told:?}");
        let what = FileChange::Size {
            dumped: 7,
            here: 13,
        };
        let path = file.to_str().unwrap().as_bytes().to_vec();
        assert_eq!(told[0].what, Mismatch::File { path, what });
        let refused = criu.run(Restore::new(&images)).unwrap_err();
        assert!(refused.to_string().contains("size"), "{refused}");

        fs::write(&file, "content").unwrap();
        // What CRIU had begun with ends after it.
        gone();
        assert_eq!(found(&images), []);
        let tree = criu.run(Restore::new(&images)).unwrap();
        let restored = Spawned::adopt(tree.pid().as_raw()).unwrap();
        drop(restored);
    }
}
