//! While a tree is stopped processors are quick, and not any longer.

use std::fs;
use std::path::Path;

use criu_rpc::{Answer, Criu, Dump, Pid, Stage};
use criu_rs_tests::real_criu;

use crate::embedder::embedder;
use crate::target::Target;

const QUALITY: &str = "/dev/cpu_dma_latency";

/// Whether this process holds it.
fn is_held() -> bool {
    let fds = fs::read_dir("/proc/self/fd").unwrap();
    let targets = fds.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    targets
        .into_iter()
        .any(|target| target == Path::new(QUALITY))
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn only_until_a_hook_has_the_last_word_and_only_if_that_is_wanted() {
    let asking = embedder(|words| {
        let [pid, images, quick] = words.try_into().unwrap();
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        // Not every machine has it.
        let quick = quick == "quick" && fs::File::options().write(true).open(QUALITY).is_ok();
        let mut seen = Vec::new();
        let dump = Dump::new(pid, Path::new(&images)).leave_running(true);
        let dump = dump.quick_processors(quick).hook(|notice| {
            seen.push((notice.stage().clone(), is_held()));
            Ok(Answer::Continue)
        });
        Criu::at(real_criu()).unwrap().run(dump).unwrap();
        assert!(!is_held());
        let told = |stage| seen.iter().find(|(it, _)| *it == stage).map(|it| it.1);
        assert_eq!(told(Stage::PreDump), Some(quick), "{seen:?}");
        assert_eq!(told(Stage::PostDump), Some(false), "{seen:?}");
    });
    let target = Target::start();
    for how in ["quick", "slow"] {
        let images = target.images(how);
        let words = [&*target.pid().to_string(), images.to_str().unwrap(), how];
        asking.run(&[], &words);
        target.assert_sound();
    }
}
