//! The process tree.

use std::io::Write as _;

use ckpt::Explorer;
use serde_json::json;

use super::{Form, processes};
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) fn show(explorer: &Explorer, output: &mut Output, form: Form) -> Result<(), Failure> {
    match form {
        Form::Text => text(explorer, output),
        Form::Json => json(explorer, output),
    }
}

fn text(explorer: &Explorer, output: &mut Output) -> Result<(), Failure> {
    let (pid, pgid, sid, comm) = ("PID", "PGID", "SID", "COMM");
    writeln!(output, "{pid:>7}{pgid:>7}{sid:>7}   {comm}").map_err(Failure::Stdout)?;
    for node in explorer.tree() {
        let process = node.process;
        let comm = ckpt::shown(&explorer.command(process.pid)?);
        let (pid, pgid, sid) = (process.pid, process.pgid, process.sid);
        let indent = 4 * node.depth;
        writeln!(output, "{pid:>7}{pgid:>7}{sid:>7}   {:indent$}{comm}", "")
            .map_err(Failure::Stdout)?;
    }
    Ok(())
}

fn json(explorer: &Explorer, output: &mut Output) -> Result<(), Failure> {
    let mut list = processes(output)?;
    for node in explorer.tree() {
        let process = node.process;
        let comm = explorer.command(process.pid)?;
        list.push(&json!({
            "pid": process.pid,
            "ppid": process.ppid,
            "pgid": process.pgid,
            "sid": process.sid,
            "depth": node.depth,
            "comm": String::from_utf8_lossy(&comm),
            "dead": explorer.is_dead(process.pid)?,
        }))?;
    }
    list.end()
}
