//! tmp
use criu_rpc::*;
use std::process::{Command as C, Stdio};
fn kids() -> String { let p = std::process::id(); std::fs::read_to_string(format!("/proc/{p}/task/{p}/children")).unwrap() }
fn main() {
    let criu = Criu::find().unwrap();
    let d = tempfile::tempdir().unwrap();
    let mut sleep = C::new("setsid").args(["sleep","100"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    criu.run(Dump::new(&sleep, d.path())).unwrap();
    sleep.wait().unwrap();
    for _ in 0..3 {
        let cancel = Cancel::new().unwrap();
        let asked = cancel.clone();
        let t = std::time::Instant::now();
        let r = criu.run(Restore::new(d.path()).as_child(true).cancel_with(&cancel).hook(move |n| { if *n.stage() == Stage::PostRestore { asked.cancel() } Ok(Answer::Continue) }));
        println!("{} {:?} kids {:?}", r.unwrap_err(), t.elapsed(), kids());
        let r = criu.run(Restore::new(d.path()).log_file("second.log").log_level(LogLevel::Debug).time_limit(std::time::Duration::from_secs(5)));
        println!("{r:?} {:?}", t.elapsed());
        if let Ok(t) = r { C::new("kill").arg("-9").arg(t.pid().to_string()).status().unwrap(); std::thread::sleep(std::time::Duration::from_secs(3)); }
    }
    println!("{}", std::fs::read_to_string(d.path().join("restore.log")).unwrap());
}
