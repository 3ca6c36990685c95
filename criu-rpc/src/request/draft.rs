//! `Draft`: what a dump and a restore are both made of, until it is sent.

use std::fmt;
use std::os::fd::BorrowedFd;

use super::{Dir, Folders, Operation, Prepared};
use crate::error::Error;
use crate::notify::Hook;
use crate::proto;

/// Options as CRIU takes them, and what they refer to.
///
/// The options are kept in the message itself, so that none has to be listed twice.
pub(super) struct Draft<'a> {
    pub(super) options: proto::CriuOpts,
    pub(super) images: Dir<'a>,
    pub(super) work: Option<Dir<'a>>,
    pub(super) terminal: Option<BorrowedFd<'a>>,
    pub(super) hook: Option<Hook<'a>>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(images: Dir<'a>) -> Self {
        let options = proto::CriuOpts::default();
        Self {
            options,
            images,
            work: None,
            terminal: None,
            hook: None,
        }
    }

    pub(super) fn prepare(mut self, operation: Operation) -> Result<Prepared<'a>, Error> {
        let log_file = match self.options.log_file.take() {
            Some(name) => checked_log_file(operation, name)?,
            // CRIU's own default, criu.log, would make a restore overwrite the dump's log.
            None => format!("{operation}.log"),
        };
        let folders = Folders::open(operation, self.images, self.work, &log_file)?;
        let options = proto::CriuOpts {
            images_dir_fd: folders.images_number(),
            work_dir_fd: folders.work_number(),
            log_file: Some(log_file),
            // Errors name the last stage, and a restored tree's handle is taken at one.
            notify_scripts: Some(true),
            ..self.options
        };
        let message = proto::CriuReq {
            r#type: operation.request_type().into(),
            opts: Some(options),
            ..Default::default()
        };
        Ok(Prepared {
            operation,
            message,
            folders: Some(folders),
            terminal: self.terminal,
            hook: self.hook,
        })
    }
}

/// CRIU takes a bare name, and answers anything else with errno 56 and no word.
fn checked_log_file(operation: Operation, name: String) -> Result<String, Error> {
    let reason = if name.contains('/') {
        "it is a name in the work folder, not a path; set work_dir for another folder"
    } else if name.is_empty() || name == "." || name == ".." || name.contains('\0') {
        "it is not a file name"
    } else {
        return Ok(name);
    };
    Err(Error::Option {
        operation,
        option: "log_file",
        value: name,
        reason,
    })
}

impl fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("options", &self.options)
            .field("images", &self.images)
            .field("work", &self.work)
            .field("has_hook", &self.hook.is_some())
            .finish_non_exhaustive()
    }
}
