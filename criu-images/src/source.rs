//! Where images come from: a folder, memory, an archive.

#[cfg(feature = "archive")]
mod archive;
mod folder;
mod in_memory;
#[cfg(feature = "archive")]
mod tar;

use std::io::BufRead;

#[cfg(feature = "archive")]
pub use archive::Archive;
#[cfg(feature = "archive")]
pub(crate) use archive::decompressed;
pub use folder::Folder;
pub use in_memory::InMemory;
#[cfg(feature = "archive")]
pub(crate) use tar::{Member, Tar};

use crate::error::{Defect, Error, Place, Result};
use crate::image::Image;
use crate::name::Name;

/// A file of a [`Source`], to be read from its start.
pub type File<'a> = Box<dyn BufRead + 'a>;

/// A set of files in which images are found by name.
pub trait Source {
    /// Names of all files, images or not, without folders.
    ///
    /// # Errors
    /// If the source cannot be read.
    fn names(&self) -> Result<Vec<String>>;

    /// Opens a file, or gives none if there is no such file.
    ///
    /// # Errors
    /// If the source cannot be read, or the name is that of something else.
    fn open(&self, name: &str) -> Result<Option<File<'_>>>;

    /// Gives each file to `each`, in the order the source has them: one pass, where
    /// opening file after file may take one for each.
    ///
    /// # Errors
    /// If the source cannot be read, or `each` fails.
    fn visit(&self, each: &mut dyn FnMut(&str, &mut dyn BufRead) -> Result<()>) -> Result<()> {
        for name in self.names()? {
            if let Some(mut file) = self.open(&name)? {
                each(&name, &mut file)?;
            }
        }
        Ok(())
    }

    /// Opens an image, or gives none if there is no such file. CRIU writes no file that
    /// would be empty, so that means: nothing of this kind.
    ///
    /// # Errors
    /// If the source cannot be read, or the file does not begin as its name says.
    fn image(&self, name: Name) -> Result<Option<Image<File<'_>>>> {
        self.open(&name.to_string())?
            .map(|file| Image::buffered(name, file))
            .transpose()
    }
}

/// Fails unless this names a file right here.
fn check(name: &str) -> Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(Error::Malformed {
            place: Place::default(),
            defect: Defect::Name(name.to_owned()),
        });
    }
    Ok(())
}

fn io(name: &str, source: impl Into<std::io::Error>) -> Error {
    Error::Io {
        place: Place {
            file: Some(name.into()),
            ..Place::default()
        },
        source: source.into(),
    }
}
