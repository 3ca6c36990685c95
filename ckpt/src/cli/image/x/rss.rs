//! The pages of each process that are in the images, and the areas they are in.

use std::io::{self, Write as _};

use ckpt::{Explorer, ResidentRun};
use serde_json::{Value, json};

use super::{Form, List, processes};
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) fn show(
    explorer: &Explorer,
    output: &mut Output,
    form: Form,
    page: u64,
) -> Result<(), Failure> {
    match form {
        Form::Text => text(explorer, output, page),
        Form::Json => json(explorer, output, page),
    }
}

fn text(explorer: &Explorer, output: &mut Output, page: u64) -> Result<(), Failure> {
    for process in explorer.processes() {
        writeln!(output, "{}", process.pid).map_err(Failure::Stdout)?;
        let mut last = None;
        for run in explorer.resident(process.pid, page)? {
            line(output, &run?, page, &mut last).map_err(Failure::Stdout)?;
        }
    }
    Ok(())
}

/// A run; its first area beside it, the others below, and after each a blank line, as
/// `crit` has it. An area told before is `~`.
fn line(
    output: &mut Output,
    run: &ResidentRun,
    page: u64,
    last: &mut Option<usize>,
) -> io::Result<()> {
    let pages = format!("\t{:x} / {:<8}", run.run.vaddr, run.run.pages);
    write!(output, "{pages:<24}")?;
    for area in &run.areas {
        if last.replace(area.index) == Some(area.index) {
            write!(output, " ~")?;
        } else {
            let pages = area.end.saturating_sub(area.start) / page;
            write!(output, " {:08x} / {pages:<8}", area.start)?;
            if let Some(file) = &area.file {
                write!(output, " {file}")?;
            }
        }
        write!(output, "\n\t{:23}", "")?;
    }
    writeln!(output)
}

fn json(explorer: &Explorer, output: &mut Output, page: u64) -> Result<(), Failure> {
    let mut list = processes(output)?;
    for process in explorer.processes() {
        let open = format!("{{\"pid\":{},\"runs\":[", process.pid);
        let mut runs = List::begin(list.next()?, &open, "]}")?;
        for run in explorer.resident(process.pid, page)? {
            runs.push(&value(&run?))?;
        }
        runs.end()?;
    }
    list.end()
}

fn value(run: &ResidentRun) -> Value {
    let areas = run.areas.iter().map(|area| {
        json!({
            "start": area.start,
            "end": area.end,
            "file": area.file.as_ref().map(super::text),
        })
    });
    json!({
        "vaddr": run.run.vaddr,
        "pages": run.run.pages,
        "in_parent": run.run.in_parent(),
        "lazy": run.run.lazy(),
        "present": run.run.present(),
        "areas": areas.collect::<Vec<_>>(),
    })
}
