//! The images of one checkpoint, wherever they lie.

use std::cell::RefCell;
use std::fs;
use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};

use criu_images::source::{Archive, File, Folder, InMemory, Source};
use criu_images::{Defect, Entry, Image, Kind, Name, Part, Place};

use crate::error::{Error, Result};

/// Most bytes of an archive that are held in memory. A pagemap of a million runs has 18
/// million.
const HELD: u64 = 256 << 20;

/// The images of one checkpoint: a folder, or a tar archive, which is not unpacked.
#[derive(Debug)]
pub struct Images {
    label: String,
    place: Where,
}

#[derive(Debug)]
enum Where {
    Folder(Folder),
    Archive(Archive),
    Memory(InMemory),
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A folder.
    Folder,
    /// A file, or what can be read like one.
    File,
    /// Something inside of a file, which must be an archive.
    Inside {
        /// The archive.
        archive: PathBuf,
        /// The rest of the path.
        member: PathBuf,
    },
}

impl Target {
    /// Finds out, without opening anything.
    ///
    /// # Errors
    /// If there is no such path, also none that leads into a file.
    pub fn of(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let error = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Ok(Self::Folder),
            Ok(_) => return Ok(Self::File),
            Err(error) => error,
        };
        if error.kind() == io::ErrorKind::NotADirectory {
            for archive in path.ancestors().skip(1) {
                if fs::metadata(archive).is_ok_and(|metadata| metadata.is_file())
                    && let Ok(member) = path.strip_prefix(archive)
                {
                    return Ok(Self::Inside {
                        archive: archive.to_owned(),
                        member: member.to_owned(),
                    });
                }
            }
        }
        Err(Error::Path {
            path: path.to_owned(),
            source: error,
        })
    }
}

impl Images {
    /// Opens a folder or a tar archive, plain, gzipped or compressed with zstd. Of an
    /// archive count the files in its root and those in `checkpoint`, as Podman has them;
    /// those of another folder if the path goes on into it: `backup.tar/dumps/7`.
    ///
    /// # Errors
    /// If there is none. That a file is no archive shows when it is read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let place = match Target::of(path)? {
            Target::Folder => Where::Folder(Folder::open(path)?),
            Target::File => Where::Archive(Archive::file(path)),
            Target::Inside { archive, member } => {
                Where::Archive(Archive::file(archive).folder(&member.to_string_lossy()))
            }
        };
        Ok(Self {
            label: path.to_string_lossy().into_owned(),
            place,
        })
    }

    /// An archive that can be read once, such as standard input; errors tell it as
    /// `label`. Use [`gather`](Self::gather) or [`visit`](Source::visit), and only once.
    pub fn stream(label: &str, reader: impl BufRead + 'static) -> Self {
        let reader = RefCell::new(Some(reader));
        let again = || io::Error::other("a stream is read once");
        let archive = Archive::new(label, move || {
            let reader = reader.borrow_mut().take().ok_or_else(again)?;
            Ok(Box::new(reader))
        });
        Self {
            label: label.to_owned(),
            place: Where::Archive(archive),
        }
    }

    /// What errors call it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Makes images of these kinds quick to come to: of an archive they are read into
    /// memory in one pass, where each would be searched from the start. A folder is as
    /// it was.
    ///
    /// # Errors
    /// If reading fails, or they have more than 256 MiB together.
    pub fn gather(self, kinds: &[Kind]) -> Result<Self> {
        let Where::Archive(archive) = &self.place else {
            return Ok(self);
        };
        let mut memory = InMemory::new();
        let mut left = HELD;
        let visited = archive.visit(&mut |file, content| {
            let wanted = Name::parse(file).is_some_and(|name| kinds.contains(&name.kind()));
            // Of two of the same name, the first counts, as it does for `open`.
            if !wanted || memory.open(file)?.is_some() {
                return Ok(());
            }
            let mut bytes = Vec::new();
            let found = content.take(left + 1).read_to_end(&mut bytes);
            let length = found.map(|length| u64::try_from(length).unwrap_or(u64::MAX));
            let length = length.map_err(|source| criu_images::Error::Io {
                place: place(file),
                source,
            })?;
            if length > left {
                return Err(criu_images::Error::Malformed {
                    place: place(file),
                    defect: Defect::TooLong {
                        what: Part::Member,
                        length,
                        limit: left,
                    },
                });
            }
            left -= length;
            memory.insert(file, bytes)
        });
        visited.map_err(|error| self.error(error))?;
        Ok(Self {
            place: Where::Memory(memory),
            ..self
        })
    }

    /// The records of an image as values of one type, or none if there is no such image.
    pub(crate) fn entries<T: Entry>(
        &self,
        name: Name,
    ) -> Result<Option<impl Iterator<Item = Result<T>>>> {
        let image = self.find(name)?;
        Ok(image.map(|image| {
            image
                .entries()
                .map(|entry| entry.map_err(|error| self.error(error)))
        }))
    }

    /// The only record of an image, or none if there is no such image.
    pub(crate) fn entry<T: Entry>(&self, name: Name) -> Result<Option<T>> {
        match self.entries(name)? {
            Some(mut entries) => entries.next().transpose(),
            None => Ok(None),
        }
    }

    pub(crate) fn find(&self, name: Name) -> Result<Option<Image<File<'_>>>> {
        self.image(name).map_err(|error| self.error(error))
    }

    pub(crate) fn missing(&self, name: Name) -> Error {
        Error::Missing {
            images: self.label.clone(),
            name,
        }
    }

    /// Tells which set an error of [`criu_images`] is about.
    pub fn error(&self, source: criu_images::Error) -> Error {
        match &source.place().file {
            // Of the archive as such.
            Some(file) if **file == *self.label => Error::Image { source },
            _ => Error::Images {
                images: self.label.clone(),
                source,
            },
        }
    }

    fn source(&self) -> &dyn Source {
        match &self.place {
            Where::Folder(folder) => folder,
            Where::Archive(archive) => archive,
            Where::Memory(memory) => memory,
        }
    }
}

fn place(file: &str) -> Place {
    Place {
        file: Some(file.into()),
        ..Place::default()
    }
}

impl Source for Images {
    fn names(&self) -> criu_images::Result<Vec<String>> {
        self.source().names()
    }

    fn open(&self, name: &str) -> criu_images::Result<Option<File<'_>>> {
        self.source().open(name)
    }

    fn visit(
        &self,
        each: &mut dyn FnMut(&str, &mut dyn BufRead) -> criu_images::Result<()>,
    ) -> criu_images::Result<()> {
        self.source().visit(each)
    }
}
