//! The pages of a process that its images have, and the memory areas they are in.

use std::fmt;

use criu_images::proto::{MmEntry, VmaEntry};
use criu_images::source::File;
use criu_images::{Kind, Pagemap, Run};

use super::files::{FileRef, OpenFiles};
use super::{Explorer, areas, numbered};
use crate::error::Result;
use crate::images::Images;

/// The runs of pages of one process, read as they are asked for.
pub struct Resident<'a> {
    images: &'a Images,
    files: &'a OpenFiles,
    areas: Vec<VmaEntry>,
    runs: Option<Pagemap<File<'a>>>,
    page: u64,
    /// The last area that was touched, or the first.
    at: usize,
}

impl fmt::Debug for Resident<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resident")
            .field("areas", &self.areas.len())
            .field("page", &self.page)
            .finish_non_exhaustive()
    }
}

/// A run of pages, and the areas it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResidentRun {
    /// The run.
    pub run: Run,
    /// By ascending address; none if the images are at odds with each other.
    pub areas: Vec<Touched>,
}

/// An area a run is in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Touched {
    /// Its place among the areas of the process, from 0.
    pub index: usize,
    /// Address of its first byte.
    pub start: u64,
    /// Address after its last byte.
    pub end: u64,
    /// The file it is of, if it is of one.
    pub file: Option<FileRef>,
}

impl Explorer<'_> {
    /// The pages of a process that are in its images, or said to be in those of the dump
    /// before; nothing of one that was dead. The images do not tell the size of a page:
    /// it is given in bytes.
    ///
    /// # Errors
    /// If an image cannot be read, or `mm` is missing of a process that lived.
    pub fn resident(&self, pid: u32, page: u64) -> Result<Resident<'_>> {
        let mm = self.of_living::<MmEntry>(Kind::Mm, pid)?;
        let name = numbered(Kind::Pagemap, pid);
        let runs = match self.images.find(name)? {
            Some(image) => Some(Pagemap::new(image).map_err(|e| self.images.error(e))?),
            None => None,
        };
        Ok(Resident {
            images: self.images,
            files: self.files()?,
            areas: mm.map_or_else(Vec::new, |mm| mm.vmas),
            runs,
            page,
            at: 0,
        })
    }
}

impl Resident<'_> {
    fn touched(&mut self, run: Run) -> Vec<Touched> {
        let end = run
            .vaddr
            .saturating_add(run.pages.saturating_mul(self.page));
        let before = |vma: &VmaEntry| vma.end <= run.vaddr;
        while self.areas.get(self.at).is_some_and(before) {
            self.at += 1;
        }
        let mut touched = Vec::new();
        let mut next = self.at;
        while let Some(vma) = self.areas.get(next).filter(|vma| vma.start < end) {
            touched.push(Touched {
                index: next,
                start: vma.start,
                end: vma.end,
                file: areas::file(vma, self.files),
            });
            next += 1;
        }
        // The last one may hold the next run too.
        self.at = next.saturating_sub(1);
        touched
    }
}

impl Iterator for Resident<'_> {
    type Item = Result<ResidentRun>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.runs.as_mut()?.next()? {
            Ok(run) => Ok(ResidentRun {
                run,
                areas: self.touched(run),
            }),
            Err(error) => Err(self.images.error(error)),
        })
    }
}
