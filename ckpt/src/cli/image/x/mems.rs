//! The memory areas of each process.

use std::io::{self, Write as _};

use ckpt::{AddressSpace, Area, Backing, Explorer, Process};
use serde_json::{Value, json};

use super::{Form, processes};
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) fn show(
    explorer: &mut Explorer,
    output: &mut Output,
    form: Form,
) -> Result<(), Failure> {
    let all: Vec<Process> = explorer.processes().to_vec();
    match form {
        Form::Text => {
            for process in all {
                let memory = explorer.memory(process.pid)?;
                text(output, process.pid, memory.as_ref()).map_err(Failure::Stdout)?;
            }
            Ok(())
        }
        Form::Json => {
            let mut list = processes(output)?;
            for process in all {
                list.push(&json(process.pid, explorer.memory(process.pid)?.as_ref()))?;
            }
            list.end()
        }
    }
}

fn text(output: &mut Output, pid: u32, memory: Option<&AddressSpace>) -> io::Result<()> {
    writeln!(output, "{pid}")?;
    let Some(memory) = memory else {
        return Ok(());
    };
    writeln!(output, "\t{:<36}    {}", "exe", memory.program)?;
    for area in &memory.areas {
        let range = format!("{:08x}-{:08x}", area.start, area.end);
        write!(output, "\t{range:<36}{}", area.protection())?;
        if area.backing != Backing::Anonymous {
            write!(output, " {}", area.backing)?;
        }
        writeln!(output, "{}", if area.regular { "" } else { " *" })?;
    }
    Ok(())
}

fn json(pid: u32, memory: Option<&AddressSpace>) -> Value {
    json!({
        "pid": pid,
        "exe": memory.map(|memory| super::text(&memory.program)),
        "areas": memory.map_or(&[][..], |memory| &memory.areas).iter().map(area).collect::<Vec<_>>(),
    })
}

fn area(area: &Area) -> Value {
    let (kind, segment) = match &area.backing {
        Backing::SystemV(segment) => ("sysv", Some(*segment)),
        Backing::Shared(segment) => ("shared", Some(*segment)),
        Backing::Packet(segment) => ("packet", Some(*segment)),
        Backing::File { .. } => ("file", None),
        Backing::Stack => ("stack", None),
        Backing::Vsyscall => ("vsyscall", None),
        Backing::Vdso => ("vdso", None),
        Backing::GrowsDown => ("grows-down", None),
        _ => ("anonymous", None),
    };
    let file = match &area.backing {
        Backing::File {
            file,
            offset,
            shared,
        } => json!({ "file": super::text(file), "offset": offset, "shared": shared }),
        _ => Value::Null,
    };
    json!({
        "start": area.start,
        "end": area.end,
        "prot": area.protection(),
        "regular": area.regular,
        "kind": kind,
        "segment": segment,
        "file": file,
    })
}
