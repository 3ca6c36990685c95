//! Where an image comes from: a file, standard input, a file in an archive.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use ckpt::{Images, Target};
use criu_images::source::{Archive, Source as _};
use criu_images::{Error, Image, Kind, Name};

use crate::cli::failure::Failure;
use crate::cli::verify::images_in;

/// The bytes of an image or of a text, from wherever.
pub(super) type Reader<'a> = Box<dyn BufRead + 'a>;

/// What errors call standard input.
const STDIN: &str = "standard input";

/// Enough to tell an image, and a tar archive.
const HEAD: u64 = 512;

/// A file, or several.
pub(super) enum Input<'a> {
    One(One<'a>),
    Set(Images),
}

/// One file, which may be anything.
pub(super) struct One<'a> {
    pub(super) label: String,
    /// By its name.
    kind: Option<Kind>,
    pub(super) reader: Reader<'a>,
}

/// Reads one file. Without a path or with `-` that is standard input; a path may go on
/// inside of an archive.
pub(super) fn one<T>(
    path: Option<&Path>,
    read: impl FnOnce(One<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let Some(path) = path.filter(|path| *path != "-") else {
        return read(One::unnamed(Box::new(stdin())));
    };
    match Target::of(path)? {
        Target::Inside { archive, member } => {
            let member = Member::new(path, &archive, &member);
            match member.open()? {
                Some(one) => read(one),
                None => {
                    let missing = "no such file in the archive";
                    let missing = io::Error::new(io::ErrorKind::NotFound, missing);
                    Err(unusable(path, missing))
                }
            }
        }
        Target::Folder => Err(unusable(path, io::ErrorKind::IsADirectory.into())),
        _ => read(One::file(path)?),
    }
}

/// Reads one image.
pub(super) fn image<T>(
    path: Option<&Path>,
    read: impl FnOnce(Image<Reader<'_>>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if path.is_none() && io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "no image; name a FILE, or pipe one in; see --help",
        ));
    }
    one(path, |one| read(one.image()?))
}

/// Reads an image, or all of a folder or archive.
pub(super) fn any<T>(
    path: &Path,
    read: impl FnOnce(Input<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if path == "-" {
        let (head, reader) = peek(Box::new(stdin()), STDIN)?;
        return read(match is_archive(&head) {
            true => Input::Set(Images::stream(STDIN, reader)),
            false => Input::One(One::unnamed(reader)),
        });
    }
    match Target::of(path)? {
        Target::Folder => {}
        Target::Inside { archive, member } => {
            let member = Member::new(path, &archive, &member);
            if let Some(one) = member.open()? {
                return read(Input::One(one));
            }
        }
        _ => {
            let one = One::file(path)?;
            // What the name tells goes before what it looks like: some images are archives.
            if one.kind.is_some() {
                return read(Input::One(one));
            }
            let (head, reader) = peek(one.reader, &one.label)?;
            if !is_archive(&head) {
                return read(Input::One(One { reader, ..one }));
            }
        }
    }
    read(Input::Set(Images::open(path)?))
}

/// The images of a folder or archive.
pub(super) fn set(path: &Path) -> Result<Images, Failure> {
    if path == "-" {
        return Ok(Images::stream(STDIN, stdin()));
    }
    let folder;
    let path = match path.is_dir() {
        true => {
            folder = images_in(path);
            &folder
        }
        false => path,
    };
    Ok(Images::open(path)?)
}

impl One<'static> {
    fn file(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|source| unusable(path, source))?;
        Ok(Self {
            label: path.to_string_lossy().into_owned(),
            kind: kind(path),
            reader: Box::new(BufReader::with_capacity(64 << 10, file)),
        })
    }
}

impl<'a> One<'a> {
    fn unnamed(reader: Reader<'a>) -> Self {
        Self {
            label: STDIN.to_owned(),
            kind: None,
            reader,
        }
    }

    /// The image, told by its name if that is one CRIU gives, else by its magic.
    pub(super) fn image(self) -> Result<Image<Reader<'a>>, Failure> {
        if let Some(kind) = self.kind {
            return Ok(Image::with_kind(kind, &self.label, self.reader)?);
        }
        let (head, reader) = peek(self.reader, &self.label)?;
        match Image::open_unnamed(&head[..]) {
            Ok(known) => Ok(Image::with_kind(known.kind(), &self.label, reader)?),
            Err(_) if is_archive(&head) => Err(Failure::Archive { label: self.label }),
            Err(error) => Err(named(error, &self.label).into()),
        }
    }
}

/// A file in an archive.
struct Member {
    archive: Archive,
    path: PathBuf,
    name: String,
}

impl Member {
    fn new(path: &Path, archive: &Path, member: &Path) -> Self {
        let mut archive = Archive::file(archive);
        if let Some(folder) = member.parent().filter(|folder| *folder != "") {
            archive = archive.folder(&folder.to_string_lossy());
        }
        let name = member.file_name().unwrap_or_default();
        Self {
            archive,
            path: path.to_owned(),
            name: name.to_string_lossy().into_owned(),
        }
    }

    fn open(&self) -> Result<Option<One<'_>>, Failure> {
        let file = self.archive.open(&self.name)?;
        Ok(file.map(|reader| One {
            label: self.path.to_string_lossy().into_owned(),
            kind: kind(&self.path),
            reader,
        }))
    }
}

/// Puts what the error is about in the place of what the library calls it.
pub(super) fn named(mut error: Error, label: &str) -> Error {
    if let Error::Malformed { place, .. } | Error::Json { place, .. } = &mut error {
        place.file = Some(label.into());
    }
    error
}

fn unusable(path: &Path, source: io::Error) -> Failure {
    let path = path.to_owned();
    ckpt::Error::Path { path, source }.into()
}

fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    Name::parse(name).map(Name::kind)
}

/// Standard input, to be asked for once: it stays locked.
fn stdin() -> impl BufRead + 'static {
    BufReader::with_capacity(64 << 10, io::stdin().lock())
}

/// The start of what a reader gives, and a reader that still gives it.
fn peek<'a>(mut reader: Reader<'a>, label: &str) -> Result<(Vec<u8>, Reader<'a>), Failure> {
    let mut head = Vec::new();
    let found = reader.by_ref().take(HEAD).read_to_end(&mut head);
    found.map_err(|source| unusable(Path::new(label), source))?;
    let again = Cursor::new(head.clone()).chain(reader);
    Ok((head, Box::new(again)))
}

/// gzip, zstd, or tar as every writer of the last decades makes it.
fn is_archive(head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b])
        || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || head.get(257..262) == Some(b"ustar")
}
