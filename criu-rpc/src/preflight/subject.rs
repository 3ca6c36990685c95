//! `Subject`: a request, as far as it is looked over, and which rule applies to it.

use std::borrow::Cow;
use std::os::fd::BorrowedFd;

use prost::Message as _;
use rustix::thread::CapabilitySet;

use super::caller::Caller;
use super::config::ConfigFiles;
use super::images::{self, Found};
use super::pending::{Needs, Pending};
use super::privileges::Privileges;
use super::{pids, target};
use crate::operation::Operation;
use crate::pid::Pid;
use crate::program::Program;
use crate::proto;
use crate::refusal::Refusal;

/// A request, as far as it is looked over.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    operation: Operation,
    options: Cow<'a, proto::CriuOpts>,
    images: Option<BorrowedFd<'a>>,
}

impl<'a> Subject<'a> {
    /// `raw`: encoded options that follow the others, and win over them.
    pub(crate) fn new(
        operation: Operation,
        options: &'a proto::CriuOpts,
        raw: &[u8],
        images: Option<BorrowedFd<'a>>,
    ) -> Self {
        let mut options = Cow::Borrowed(options);
        if !raw.is_empty() {
            let mut merged = options.clone().into_owned();
            // What cannot be read here, CRIU will not read either.
            if merged.merge(raw).is_ok() {
                options = Cow::Owned(merged);
            }
        }
        Self {
            operation,
            options,
            images,
        }
    }

    pub(crate) fn operation(&self) -> Operation {
        self.operation
    }

    /// Finds what stands in the way, or what takes time to know.
    pub(super) fn look(&self, criu: &Program) -> Result<Pending, Refusal> {
        // CRIU wants nothing for a question, and says itself what it lacks.
        if matches!(
            self.operation,
            Operation::Version | Operation::FeatureCheck | Operation::Check
        ) {
            return Ok(Pending::default());
        }
        let config = ConfigFiles::of(&self.options, criu.default_config);
        if let Some(caller) = Caller::of_this_thread() {
            let privileges = Privileges::of(&caller, criu.path());
            self.allowed(criu, &caller, &privileges, &config)?;
            self.target(&caller, &privileges)?;
        }
        let zombies = match self.operation {
            Operation::Dump | Operation::PreDump | Operation::SelfDump => {
                self.parent(&config)?;
                Vec::new()
            }
            Operation::Restore => self.tree(&config)?,
            _ => Vec::new(),
        };
        Ok(Pending::new(self.operation, self.needs(), zombies))
    }

    /// `check_caps` in `cr-check.c`, which all requests with options pass.
    fn allowed(
        &self,
        criu: &Program,
        caller: &Caller,
        privileges: &Privileges,
        config: &ConfigFiles,
    ) -> Result<(), Refusal> {
        let enough = [CapabilitySet::CHECKPOINT_RESTORE, CapabilitySet::SYS_ADMIN];
        if !enough.into_iter().any(|one| privileges.may_have(one)) {
            return Err(Refusal::MissingCapability {
                program: criu.path().to_owned(),
            });
        }
        let uid = caller.effective_uid;
        let needs_word = uid != 0 && privileges.keeps_user() && !self.options.unprivileged();
        if needs_word && !config.may_set(&["unprivileged"]) {
            return Err(Refusal::NotUnprivileged { uid });
        }
        Ok(())
    }

    /// The processes to be dumped, or the right to have any at all.
    fn target(&self, caller: &Caller, privileges: &Privileges) -> Result<(), Refusal> {
        let root = match self.operation {
            Operation::Dump | Operation::PreDump => self.options.pid.and_then(Pid::from_raw),
            Operation::SelfDump => Some(caller.process),
            Operation::Restore => return target::yama(None, privileges),
            _ => None,
        };
        match root {
            Some(root) => target::look(self.operation, root, caller, privileges),
            None => Ok(()),
        }
    }

    /// The images that a dump builds on.
    fn parent(&self, config: &ConfigFiles) -> Result<(), Refusal> {
        let (Some(images), Some(parent)) = (self.images, &self.options.parent_img) else {
            return Ok(());
        };
        let none = |exists| Refusal::NoParent {
            parent: parent.clone(),
            images: images::path_of(images),
            exists,
        };
        // With a page server, the images can be there alone.
        let is_here = self.options.ps.is_none();
        let refusal = match images::look(images, parent) {
            Found::Nothing => none(false),
            Found::NoDump if is_here => none(true),
            Found::Dump if is_here && self.is_untracked(images, parent) => {
                Refusal::UntrackedParent {
                    parent: parent.clone(),
                }
            }
            _ => return Ok(()),
        };
        if config.may_set(&["images-dir", "prev-images-dir", "stream"]) {
            return Ok(());
        }
        Err(refusal)
    }

    fn is_untracked(&self, images: BorrowedFd<'_>, parent: &str) -> bool {
        let root = self.options.pid.and_then(Pid::from_raw);
        // The store tells by itself whether a pid is another process now.
        let has_store = self.options.pidfd_store_sk.is_some();
        !has_store && root.is_some_and(|root| images::is_untracked(images, parent, root))
    }

    /// The tree to be restored, and that its pids are free but for those of zombies.
    fn tree(&self, config: &ConfigFiles) -> Result<Vec<Pid>, Refusal> {
        let Some(images) = self.images else {
            return Ok(Vec::new());
        };
        let found = match images::look(images, ".") {
            Found::Dump => match images::pids_needed(images) {
                Some(pids) => pids::zombies(&pids),
                None => Ok(Vec::new()),
            },
            Found::NoDump => Err(Refusal::NoImages {
                images: images::path_of(images),
            }),
            Found::Nothing | Found::Unknown => Ok(Vec::new()),
        };
        match found {
            Err(_) if config.may_set(&["images-dir", "stream"]) => Ok(Vec::new()),
            found => found,
        }
    }

    fn needs(&self) -> Needs {
        let options = &self.options;
        Needs {
            soft_dirty: match self.operation {
                Operation::PreDump => true,
                Operation::Dump | Operation::SelfDump => options.track_mem(),
                _ => false,
            },
            // To fill memory in. A lazy dump is one that serves its pages itself.
            userfaultfd: self.operation == Operation::Restore && options.lazy_pages(),
            pidfd_store: options.pidfd_store_sk.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd as _;

    use super::Subject;
    use crate::operation::Operation;
    use crate::preflight::config::ConfigFiles;
    use crate::preflight::pending::Needs;
    use crate::proto;
    use crate::refusal::Refusal;

    fn no_config() -> ConfigFiles {
        ConfigFiles::of(&proto::CriuOpts::default(), false)
    }

    #[test]
    fn a_raw_option_wins() {
        let options = proto::CriuOpts {
            track_mem: Some(false),
            ..Default::default()
        };
        // Field 15, a varint.
        let with = |raw| Subject::new(Operation::Dump, &options, raw, None).needs();
        assert_eq!(with(&[]), Needs::default());
        assert!(with(&[15 << 3, 1]).soft_dirty);
        assert_eq!(with(&[15 << 3]), Needs::default());
    }

    #[test]
    fn features_are_needed_where_they_are_used() {
        let options = proto::CriuOpts {
            track_mem: Some(true),
            lazy_pages: Some(true),
            pidfd_store_sk: Some(7),
            ..Default::default()
        };
        let none = proto::CriuOpts::default();
        let needs = |operation, options| {
            let needs = Subject::new(operation, options, &[], None).needs();
            [needs.soft_dirty, needs.userfaultfd, needs.pidfd_store]
        };
        assert_eq!(needs(Operation::Dump, &options), [true, false, true]);
        assert_eq!(needs(Operation::Restore, &options), [false, true, true]);
        assert_eq!(needs(Operation::PreDump, &none), [true, false, false]);
        assert_eq!(needs(Operation::Dump, &none), [false; 3]);
    }

    #[test]
    fn a_parent_holds_images_unless_a_page_server_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let images = folder.path().join("2");
        fs::create_dir(folder.path().join("1")).unwrap();
        fs::create_dir(&images).unwrap();
        let open = File::open(&images).unwrap();
        let looked = |parent: &str, ps| {
            let options = proto::CriuOpts {
                parent_img: Some(parent.to_owned()),
                ps,
                ..Default::default()
            };
            let subject = Subject::new(Operation::Dump, &options, &[], Some(open.as_fd()));
            subject.parent(&no_config())
        };
        let refusal = |parent: &str, exists| {
            Err(Refusal::NoParent {
                parent: parent.to_owned(),
                images: Some(images.clone()),
                exists,
            })
        };
        let server = Some(proto::CriuPageServerInfo::default());
        assert_eq!(looked("../1", None), refusal("../1", true));
        assert_eq!(looked("../1", server.clone()), Ok(()));
        assert_eq!(looked("../0", None), refusal("../0", false));
        assert_eq!(looked("../0", server), refusal("../0", false));
        fs::write(folder.path().join("1/inventory.img"), "").unwrap();
        assert_eq!(looked("../1", None), Ok(()));
    }

    #[test]
    fn a_restore_needs_images_unless_another_file_says_where() {
        let images = tempfile::tempdir().unwrap();
        let open = File::open(images.path()).unwrap();
        let options = proto::CriuOpts::default();
        let subject = Subject::new(Operation::Restore, &options, &[], Some(open.as_fd()));
        let refusal = Refusal::NoImages {
            images: Some(images.path().to_owned()),
        };
        assert_eq!(subject.tree(&no_config()), Err(refusal));

        let config = images.path().join("criu.conf");
        fs::write(&config, "images-dir /elsewhere\n").unwrap();
        let config = proto::CriuOpts {
            config_file: Some(config.to_str().unwrap().to_owned()),
            ..Default::default()
        };
        assert_eq!(subject.tree(&ConfigFiles::of(&config, false)), Ok(vec![]));
    }
}
