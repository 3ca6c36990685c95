//! `Draft`: what the requests with options are made of, until they are sent.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use super::options::{LogLevel, PageServerLink};
use super::{Dir, Folders, Prepared};
use crate::cancel::{Cancel, Stop};
use crate::error::Error;
use crate::notify::Hook;
use crate::operation::Operation;
use crate::preflight::{self, Pending, Subject};
use crate::program::Program;
use crate::progress::{Follower, Watcher};
use crate::proto;
use crate::swrk;

/// Options as CRIU takes them, and what they refer to.
///
/// The options are kept in the message itself, so that none has to be listed twice.
pub(super) struct Draft<'a> {
    pub(super) options: proto::CriuOpts,
    pub(super) images: Dir<'a>,
    pub(super) work: Option<Dir<'a>>,
    pub(super) terminal: Option<BorrowedFd<'a>>,
    pub(super) hook: Option<Hook<'a>>,
    pub(super) watcher: Option<Watcher<'a>>,
    pub(super) time_limit: Option<Duration>,
    pub(super) quick_processors: bool,
    pub(super) cancel: Option<Cancel>,
    /// Descriptors that CRIU inherits, in the order of their numbers there.
    inherited: Vec<Inherited>,
    /// Whether pages go to a socket that CRIU has by then.
    to_standby: bool,
    /// Encoded options that follow those of the message.
    pub(super) raw: Vec<u8>,
    /// The first value that CRIU would refuse; reported when the request is run, so that
    /// setters can be chained.
    refused: Option<Refused>,
}

/// A descriptor for CRIU, and which field of the options its number goes into.
struct Inherited {
    fd: OwnedFd,
    key: InheritedKey,
}

enum InheritedKey {
    File(String),
    PageServer,
}

struct Refused {
    option: &'static str,
    value: String,
    reason: &'static str,
}

impl<'a> Draft<'a> {
    pub(super) fn new(images: Dir<'a>) -> Self {
        Self {
            options: proto::CriuOpts::default(),
            images,
            work: None,
            terminal: None,
            hook: None,
            watcher: None,
            time_limit: None,
            quick_processors: true,
            cancel: None,
            inherited: Vec::new(),
            to_standby: false,
            raw: Vec::new(),
            refused: None,
        }
    }

    /// Notes a value that CRIU would refuse.
    pub(super) fn refuse(
        &mut self,
        option: &'static str,
        value: impl fmt::Display,
        reason: &'static str,
    ) {
        self.refused.get_or_insert_with(|| Refused {
            option,
            value: value.to_string(),
            reason,
        });
    }

    pub(super) fn inherit(&mut self, key: String, fd: OwnedFd) {
        self.inherited.push(Inherited {
            fd,
            key: InheritedKey::File(key),
        });
    }

    pub(super) fn page_server(&mut self, link: PageServerLink) {
        self.inherited
            .retain(|inherited| !matches!(inherited.key, InheritedKey::PageServer));
        self.to_standby = matches!(link, PageServerLink::Standby);
        match link {
            PageServerLink::Tcp { address, port } => {
                self.options.ps = Some(proto::CriuPageServerInfo {
                    address: Some(address),
                    port: Some(port.into()),
                    ..Default::default()
                });
            }
            PageServerLink::Socket(fd) => {
                self.inherited.push(Inherited {
                    fd,
                    key: InheritedKey::PageServer,
                });
            }
            PageServerLink::Standby => {
                self.options.ps = Some(proto::CriuPageServerInfo {
                    fd: Some(swrk::first_inherited(false)),
                    ..Default::default()
                });
            }
        }
    }

    /// Looks the request over as it is, without sending it.
    pub(super) fn preflight(&self, criu: &Program, operation: Operation) -> Result<Pending, Error> {
        self.check(operation)?;
        let (images, work) = (self.images.clone(), self.work.clone());
        let folders = Folders::open(operation, images, work, None)?;
        let subject = Subject::new(operation, &self.options, &self.raw, folders.images());
        preflight::check(criu, &subject)
    }

    pub(super) fn prepare(mut self, operation: Operation) -> Result<Prepared<'a>, Error> {
        self.check(operation)?;
        if self.watcher.is_some() {
            let level = self
                .options
                .log_level
                .unwrap_or_default()
                .max(LogLevel::Info as i32);
            self.options.log_level = Some(level);
        }
        // CRIU's own default, criu.log, would make a restore overwrite the dump's log.
        let to_stderr = self.options.log_to_stderr();
        let log_file = self.options.log_file.take();
        let log_file = log_file.or_else(|| (!to_stderr).then(|| operation.log_name()));
        let folders = Folders::open(operation, self.images, self.work, log_file.as_deref())?;

        let first = swrk::first_inherited(self.terminal.is_some());
        let mut inherited = Vec::with_capacity(self.inherited.len());
        for (number, Inherited { fd, key }) in (first..).zip(self.inherited) {
            inherited.push(fd);
            match key {
                InheritedKey::File(key) => {
                    self.options
                        .inherit_fd
                        .push(proto::InheritFd { key, fd: number });
                }
                InheritedKey::PageServer => {
                    self.options.ps = Some(proto::CriuPageServerInfo {
                        fd: Some(number),
                        ..Default::default()
                    });
                }
            }
        }
        let stop = Stop::new(self.time_limit, self.cancel.as_ref());
        let stop = stop.map_err(|source| Error::System {
            operation,
            what: "listen for a cancel",
            source,
        })?;
        let options = proto::CriuOpts {
            images_dir_fd: folders.images_number().unwrap_or(-1),
            // CRIU is started there. The path itself would not do: up to 4.1.1 CRIU wants a
            // symbolic link (readlink in cr-service.c).
            images_dir: folders.images_path().map(|_| "/proc/self/cwd".to_owned()),
            work_dir_fd: folders.work_number(),
            log_file,
            // Errors name the last stage, and a restored tree's handle is taken at one.
            notify_scripts: operation.is_notified().then_some(true),
            ..self.options
        };
        let message = proto::CriuReq {
            r#type: operation.request_type().into(),
            opts: Some(options),
            ..Default::default()
        };
        Ok(Prepared {
            // In a dump of this process it would be something that is open.
            awake: self.quick_processors && operation.is_notified(),
            operation,
            message,
            raw: self.raw,
            folders: Some(folders),
            terminal: self.terminal,
            inherited,
            to_standby: self.to_standby,
            hook: self.hook,
            follower: self.watcher.map(Follower::new),
            stop,
        })
    }

    /// The first value that CRIU would refuse.
    fn check(&self, operation: Operation) -> Result<(), Error> {
        let name = bad_name(&self.options);
        match self.refused.as_ref().or(name.as_ref()) {
            Some(refused) => Err(Error::Option {
                operation,
                option: refused.option,
                value: refused.value.clone(),
                reason: refused.reason,
            }),
            None => Ok(()),
        }
    }
}

/// CRIU answers these with errno 56, or a silent full dump, and no word.
fn bad_name(options: &proto::CriuOpts) -> Option<Refused> {
    let log = options.log_file.as_ref().and_then(|name| {
        let reason = match &**name {
            "" | "." | ".." => "it is not a file name",
            name if name.contains('/') => {
                "it is a name in the work folder, not a path; set work_dir for another folder"
            }
            name if name.contains('\0') => "it is not a file name",
            _ => return None,
        };
        Some(("log_file", name, reason))
    });
    let parent = options.parent_img.as_ref().map(|path| {
        let reason =
            "it is relative to the images folder, such as ../1, so that images can be moved";
        ("parent_img", path, reason)
    });
    let parent = parent.filter(|(_, path, _)| path.starts_with('/'));
    let (option, value, reason) = log.or(parent)?;
    Some(Refused {
        option,
        value: value.clone(),
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
