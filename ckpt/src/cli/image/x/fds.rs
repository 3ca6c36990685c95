//! The files each process has open.

use std::io::{self, Write as _};

use ckpt::{Descriptors, Explorer, FileRef};
use serde_json::{Value, json};

use super::{Form, file, processes};
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) fn show(explorer: &Explorer, output: &mut Output, form: Form) -> Result<(), Failure> {
    match form {
        Form::Text => {
            for process in explorer.processes() {
                let descriptors = explorer.descriptors(process.pid)?;
                text(output, process.pid, &descriptors).map_err(Failure::Stdout)?;
            }
            Ok(())
        }
        Form::Json => {
            let mut list = processes(output)?;
            for process in explorer.processes() {
                list.push(&json(process.pid, &explorer.descriptors(process.pid)?))?;
            }
            list.end()
        }
    }
}

fn text(output: &mut Output, pid: u32, descriptors: &Descriptors) -> io::Result<()> {
    writeln!(output, "{pid}")?;
    for descriptor in &descriptors.open {
        writeln!(output, "\t{:>7}: {}", descriptor.fd, descriptor.file)?;
    }
    for (what, file) in [("cwd", &descriptors.cwd), ("root", &descriptors.root)] {
        if let Some(file) = file {
            writeln!(output, "\t{what:>7}: {file}")?;
        }
    }
    Ok(())
}

fn json(pid: u32, descriptors: &Descriptors) -> Value {
    let open = descriptors.open.iter().map(|descriptor| {
        let mut value = file(&descriptor.file);
        value["fd"] = descriptor.fd.into();
        value
    });
    let folder = |folder: &Option<FileRef>| folder.as_ref().map(super::text);
    json!({
        "pid": pid,
        "files": open.collect::<Vec<_>>(),
        "cwd": folder(&descriptors.cwd),
        "root": folder(&descriptors.root),
    })
}
