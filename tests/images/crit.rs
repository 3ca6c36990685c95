//! Dumps made here and now: what `crit` says of them is what this crate says, and what
//! either says makes the same bytes again.

mod root {
    use std::env;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use criu_images::source::{Folder, Source};
    use criu_images::{Header, Image, ImageWriter, Kind, Name, json, proto};
    use criu_rs_tests::{HugePages, Scratch, Spawned, real_criu};

    use crate::{raw, sample};

    const PRELUDE: &str = "import os, sys\nos.setsid()\nD = sys.argv[1]\n";
    const END: &str =
        "\nopen(D + '/ready', 'w').close()\nimport time\nwhile True:\n    time.sleep(1000)\n";

    /// Kinds whose `crit` decoding is known to be wrong: it takes the record after a
    /// segment for the segment's content.
    const WRONG: [Kind; 1] = [Kind::IpcnsShm];

    macro_rules! workloads {
        ($($name:ident in $namespaces:expr;)*) => {$(
            #[test]
            #[ignore = "needs root and CRIU: run cargo xtask test"]
            fn $name() {
                let script = include_str!(concat!("workloads/", stringify!($name), ".py"));
                check(script, $namespaces);
            }
        )*};
    }

    workloads! {
        deleted in "";
        events in "";
        locks in "";
        memory in "";
        mounts in "-mn";
        namespaces in "-iun";
        paths in "";
        pipes in "";
        seccomp in "";
        sysv in "-i";
        tcp in "";
        terminal in "";
        threads in "";
        timers in "";
        tree in "";
        unix in "";
    }

    /// Private, shared, and of a file in memory; where the machine has huge pages.
    #[test]
    #[ignore = "needs root and CRIU: run cargo xtask test"]
    fn hugetlb() {
        // Twice what the workload needs, for a test beside this one may take some.
        let Some(_pages) = HugePages::take(8) else {
            eprintln!("this machine has no huge pages to give");
            return;
        };
        let (_scratch, images) = check(include_str!("workloads/hugetlb.py"), "");
        let folder = Folder::open(&images).unwrap();
        let name = |file: &str| Name::parse(file).filter(|name| name.kind() == Kind::Mm);
        let name = folder.names().unwrap().iter().find_map(|file| name(file));
        let areas = folder.image(name.unwrap()).unwrap().unwrap();
        let mm: proto::MmEntry = areas.entries().next().unwrap().unwrap();
        let huge = mm.vmas.iter().filter(|area| area.flags & 0x40000 != 0);
        assert_eq!(huge.count(), 3, "{:?}", mm.vmas);
        let name = Name::single(Kind::MemfdInode).unwrap();
        let files = folder.image(name).unwrap().unwrap();
        let file: proto::MemfdInodeEntry = files.entries().next().unwrap().unwrap();
        assert!(file.hugetlb_flag.is_some_and(|flag| flag != 0), "{file:?}");
    }

    /// Every field of every message, and every bit of most flags.
    #[test]
    #[ignore = "needs root and CRIU: run cargo xtask test"]
    fn samples_of_every_kind() {
        let scratch = Scratch::new().unwrap();
        let images = scratch.dir("images").unwrap();
        let crit = scratch.dir("crit").unwrap();
        for kind in sample::kinds() {
            let file = images.join(format!("{}", sample::name(kind)));
            // What compare.py takes for an image.
            let file = match kind {
                Kind::IrmapCache => images.join("stats-irmap"),
                _ => file,
            };
            fs::write(file, sample::image(kind, Header::default())).unwrap();
        }
        run(python()
            .args(["-c", include_str!("compare.py")])
            .args([&images, &crit]));
        let mut compared = 0;
        for kind in sample::kinds() {
            let name = sample::name(kind);
            let bytes = sample::image(kind, Header::default());
            let theirs = match kind {
                Kind::IrmapCache => crit.join("stats-irmap"),
                _ => crit.join(name.to_string()),
            };
            compared += usize::from(compare(name, &bytes, &theirs));
        }
        // crit has no handler for binfmt-misc, signals and pidfds, and is wrong about
        // shared memory.
        assert_eq!(sample::kinds().count() - compared, 6);
    }

    /// Gives the folder of the images, and what it goes away with.
    fn check(script: &str, namespaces: &str) -> (Scratch, PathBuf) {
        let scratch = Scratch::new().unwrap();
        let images = dump(&scratch, script, namespaces);
        let crit = scratch.dir("crit").unwrap();
        run(python()
            .args(["-c", include_str!("compare.py")])
            .args([&images, &crit]));
        let mut compared = 0;
        let folder = Folder::open(&images).unwrap();
        for file in folder.names().unwrap() {
            let Some(name) = Name::parse(&file) else {
                continue;
            };
            let bytes = fs::read(images.join(&file)).unwrap();
            assert_eq!(copied(name, &bytes), bytes, "{file} is not copied as it is");
            match name.kind() {
                Kind::Pages => continue,
                Kind::TmpfsDev => {
                    listed(&bytes);
                    continue;
                }
                kind if kind.is_raw() => {
                    raw::comes_back(kind, &bytes);
                    continue;
                }
                _ => {}
            }
            compared += usize::from(compare(name, &bytes, &crit.join(&file)));
        }
        // inventory, pstree, core, mm, ids, fs, files, fdinfo, pagemap, stats.
        assert!(compared >= 9, "only {compared} images are compared");
        (scratch, images)
    }

    /// Compares with what `crit` made of it, unless it failed or is known to be wrong.
    fn compare(name: Name, bytes: &[u8], crit: &Path) -> bool {
        let mut equal = false;
        for (pretty, end) in [(false, "plain"), (true, "pretty")] {
            let text = decoded(name, bytes, pretty);
            let mut back = Vec::new();
            let names = json::Names::Crit;
            json::encode_kind(Some(name.kind()), names, text.as_bytes(), &mut back).unwrap();
            assert_eq!(back, bytes, "{name} does not come back from JSON");
            let theirs = fs::read_to_string(format!("{}.{end}", crit.display()));
            let Ok(theirs) = theirs else { continue };
            if WRONG.contains(&name.kind()) || older(name, &theirs) {
                continue;
            }
            assert_eq!(text, theirs, "{name}, {end}");
            equal = true;
        }
        equal
    }

    /// The one tmpfs there is, with what the workload put into it.
    fn listed(archive: &[u8]) {
        let name = Name::numbered(Kind::TmpfsDev, 1).unwrap();
        let mut text = Vec::new();
        let image = Image::open(name, archive).unwrap();
        json::decode(image, &mut text, &json::Format::new()).unwrap();
        let text: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let mut entries = text["entries"].as_array().unwrap().clone();
        entries.sort_by_key(|entry| entry["name"].to_string());
        let of = |key: &str| -> Vec<_> {
            let values = entries.iter().map(|entry| entry[key].to_string());
            values.map(|value| value.replace('"', "")).collect()
        };
        let long = format!("./folder/{}", "long".repeat(40));
        let names = [
            "./",
            "./fifo",
            "./file",
            "./folder/",
            &long,
            "./same",
            "./sparse",
            "./symlink",
        ];
        assert_eq!(of("name"), names);
        // Which of the two names of a file comes first is the folder's order.
        let types = of("type").join(" ").replacen("link", "file", 1);
        assert_eq!(types, "folder fifo file folder file file file symlink");
        assert_eq!(entries[6]["size"], 1 << 20);
        assert_eq!(entries[7]["target"], "file");
        assert_eq!(entries[1]["mode"], "0600");
    }

    /// Before 4.2, `compat_nr_pages` had the name that another field has now.
    fn older(name: Name, theirs: &str) -> bool {
        let pagemap = matches!(name.kind(), Kind::Pagemap | Kind::ShmemPagemap);
        pagemap && theirs.contains("nr_pages") && !theirs.contains("compat_nr_pages")
    }

    fn decoded(name: Name, bytes: &[u8], pretty: bool) -> String {
        let image = Image::open(name, bytes).unwrap();
        let format = json::Format::new().pretty(pretty).names(json::Names::Crit);
        let mut text = Vec::new();
        json::decode(image, &mut text, &format).unwrap_or_else(|e| panic!("{e}"));
        String::from_utf8(text).unwrap()
    }

    fn copied(name: Name, bytes: &[u8]) -> Vec<u8> {
        let mut image = Image::open(name, bytes).unwrap();
        let mut writer = ImageWriter::new(image.kind(), image.header(), Vec::new()).unwrap();
        if let Some(whole) = image.whole() {
            whole.for_each(|piece| writer.payload(piece)).unwrap();
        }
        while let Some(mut record) = image.next().unwrap() {
            writer.copy(&mut record).unwrap();
        }
        writer.finish().unwrap()
    }

    fn dump(scratch: &Scratch, script: &str, namespaces: &str) -> PathBuf {
        let images = scratch.dir("images").unwrap();
        let files = scratch.dir("files").unwrap();
        let script = format!("{PRELUDE}{script}{END}");
        let mut command = match namespaces {
            "" => Command::new("python3"),
            flags => {
                let mut unshare = Command::new("unshare");
                unshare.arg(flags).arg("python3");
                unshare
            }
        };
        command
            .args(["-c", &script])
            .arg(&files)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let task = Spawned::spawn(&mut command).unwrap();
        let start = Instant::now();
        while !files.join("ready").exists() {
            assert!(start.elapsed() < Duration::from_secs(120), "never ready");
            sleep(Duration::from_millis(20));
        }
        run(Command::new(real_criu())
            .args([
                "dump",
                "-R",
                "--shell-job",
                "--tcp-established",
                "--file-locks",
            ])
            .args([
                "--ext-unix-sk",
                "--link-remap",
                "--network-lock",
                "skip",
                "-t",
            ])
            .arg(task.pid().to_string())
            .arg("-D")
            .arg(&images));
        task.kill_tree().unwrap();
        images
    }

    /// Python with the `crit` of the suite.
    fn python() -> Command {
        let folder = env::var_os("CRIT").expect("CRIT is crit's folder: run cargo xtask test");
        let mut python = Command::new("python3");
        python
            .env("PYTHONPATH", folder)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        python
    }

    fn run(command: &mut Command) {
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
