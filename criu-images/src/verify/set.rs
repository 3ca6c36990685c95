//! One folder while it is looked through.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::finding::{Finding, Flaw, Severity};
use crate::entry::Entry;
use crate::error::Result;
use crate::header::Header;
use crate::image::Image;
use crate::kind::Kind;
use crate::name::{Id, Name};
use crate::proto::PagemapHead;
use crate::source::{Folder, Source};

/// The folder, which of its images are sound, and which are known to be wanted.
pub(crate) struct Set {
    path: PathBuf,
    folder: Folder,
    images: BTreeSet<Name>,
    sound: BTreeMap<Name, Header>,
    used: BTreeSet<Name>,
    /// System V memory by what tells of it, and what tasks have attached.
    pub(crate) segments: BTreeSet<u64>,
    pub(crate) attached: BTreeSet<(Name, u64)>,
    /// Inodes of connections.
    pub(crate) streams: BTreeSet<u64>,
    pub(crate) findings: Vec<Finding>,
}

/// Kinds of which CRIU writes one record a file.
const SINGLE: [Kind; 9] = [
    Kind::Inventory,
    Kind::Core,
    Kind::Ids,
    Kind::Mm,
    Kind::Fs,
    Kind::Creds,
    Kind::IpcVar,
    Kind::TcpStream,
    Kind::Stats,
];

/// Kinds that are there for something in another image.
const REFERRED: [Kind; 9] = [
    Kind::Core,
    Kind::Ids,
    Kind::Mm,
    Kind::Fs,
    Kind::Pagemap,
    Kind::ShmemPagemap,
    Kind::Pages,
    Kind::Fdinfo,
    Kind::GhostFile,
];

impl Set {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let folder = Folder::open(path)?;
        let names = folder.names()?;
        Ok(Self {
            path: path.to_owned(),
            images: names.iter().filter_map(|name| Name::parse(name)).collect(),
            folder,
            sound: BTreeMap::new(),
            used: BTreeSet::new(),
            segments: BTreeSet::new(),
            attached: BTreeSet::new(),
            streams: BTreeSet::new(),
            findings: Vec::new(),
        })
    }

    /// Whether no file of it is an image.
    pub(crate) fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Reads every image to its end.
    pub(crate) fn read_all(&mut self) {
        for name in self.images.clone() {
            if name.kind().is_raw() {
                continue;
            }
            match self.read(name) {
                Ok(Some((header, records))) => {
                    self.sound.insert(name, header);
                    let single = SINGLE.contains(&name.kind());
                    if (single && records != 1) || (name.kind() == Kind::Pstree && records == 0) {
                        self.flaw(name, Flaw::Records { found: records });
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    let path = self.file(name);
                    self.findings.push(Finding::of(&path, &error));
                }
            }
        }
        let inventory = Name::single(Kind::Inventory).and_then(|n| self.sound.get(&n).copied());
        let Some(inventory) = inventory else { return };
        // Only the first magic of other images tells the version: see `Version`.
        let others: Vec<_> = self
            .sound
            .iter()
            .filter(|(name, header)| {
                name.kind() != Kind::Inventory && header.order != inventory.order
            })
            .map(|(name, _)| *name)
            .collect();
        for name in others {
            self.flaw(name, Flaw::Header);
        }
    }

    fn read(&self, name: Name) -> Result<Option<(Header, u64)>> {
        let Some(mut image) = self.folder.image(name)? else {
            return Ok(None);
        };
        let mut records = 0;
        while let Some(record) = image.next()? {
            record.check()?;
            records += 1;
        }
        Ok(Some((image.header(), records)))
    }

    /// The records of an image that is sound, and that it is wanted.
    pub(crate) fn records<T: Entry>(&mut self, name: Name) -> Vec<T> {
        self.used.insert(name);
        self.peek(name)
    }

    /// The records of an image that is sound, whether it is wanted or not.
    pub(crate) fn peek<T: Entry>(&self, name: Name) -> Vec<T> {
        if !self.sound.contains_key(&name) {
            return Vec::new();
        }
        let image: Result<Option<Image<_>>> = self.folder.image(name);
        let Ok(Some(image)) = image else {
            return Vec::new();
        };
        image.entries::<T>().map_while(Result::ok).collect()
    }

    /// The one record of the image with this number; missing if there is no such image.
    pub(crate) fn need<T: Entry>(&mut self, kind: Kind, id: u32, by: Name) -> Option<T> {
        let name = self.wanted(kind, id.into(), by)?;
        self.records(name).into_iter().next()
    }

    /// The name of an image that should be there.
    pub(crate) fn wanted(&mut self, kind: Kind, id: u64, by: Name) -> Option<Name> {
        let name = Name::numbered(kind, id)?;
        if !self.images.contains(&name) && self.used.insert(name) {
            self.flaw(name, Flaw::Missing { by: by.to_string() });
        }
        self.used.insert(name);
        Some(name)
    }

    pub(crate) fn has(&self, name: Name) -> bool {
        self.images.contains(&name)
    }

    /// Whether the image is there and can be read to its end.
    pub(crate) fn is_sound(&self, name: Name) -> bool {
        self.sound.contains_key(&name)
    }

    /// Notes that an image is wanted if it is there.
    pub(crate) fn uses(&mut self, name: Name) {
        self.used.insert(name);
    }

    /// Which pages a pagemap is about.
    pub(crate) fn pages_of(&self, name: Name) -> Option<u32> {
        let mut image = self.folder.image(name).ok()??;
        let head: PagemapHead = image.next().ok()??.decode().ok()?;
        Some(head.pages_id)
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> Vec<(Name, u64)> {
        let number = |name: &Name| match name.id() {
            Id::Number(number) if name.kind() == kind => Some((*name, number)),
            _ => None,
        };
        self.images.iter().filter_map(number).collect()
    }

    pub(crate) fn file(&self, name: Name) -> PathBuf {
        self.path.join(name.to_string())
    }

    pub(crate) fn flaw(&mut self, name: Name, flaw: Flaw) {
        let finding = Finding::new(Severity::Error, self.file(name), flaw);
        self.findings.push(finding);
    }

    pub(crate) fn warn(&mut self, name: Name, flaw: Flaw) {
        let finding = Finding::new(Severity::Warning, self.file(name), flaw);
        self.findings.push(finding);
    }

    pub(crate) fn dangling(
        &mut self,
        name: Name,
        record: Option<usize>,
        field: &'static str,
        id: u64,
        file: impl ToString,
    ) {
        let file = file.to_string();
        let flaw = Flaw::Dangling { field, id, file };
        let mut finding = Finding::new(Severity::Error, self.file(name), flaw);
        finding.record = record.and_then(|record| record.try_into().ok());
        self.findings.push(finding);
    }

    /// What nothing refers to, and would only be there for something else.
    pub(crate) fn leftovers(&mut self, newest: bool) {
        // Without the tree, all that belongs to it would be one. That of a parent is not
        // looked at: only its memory is needed.
        let tree = newest && Name::single(Kind::Pstree).is_some_and(|name| self.is_sound(name));
        let left: Vec<_> = self
            .images
            .difference(&self.used)
            .copied()
            .filter(|name| match name.kind() {
                Kind::Pages => true,
                kind => tree && REFERRED.contains(&kind),
            })
            .collect();
        for name in left {
            self.warn(name, Flaw::Leftover);
        }
    }
}
