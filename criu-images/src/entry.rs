//! Records as values of a type.

use std::fmt::Debug;
use std::io::BufRead;
use std::marker::PhantomData;

use crate::error::{Defect, Result};
use crate::image::Image;
use crate::schema::Schema;
use crate::wire;

/// A message of the raw layer, [`proto`](crate::proto).
///
/// What a value of the raw layer does not know, it does not keep: to change a record
/// without loss, take its dynamic view.
pub trait Entry: prost::Message + Default + Debug {
    /// Which message it is.
    const SCHEMA: Schema;

    /// Takes a record apart.
    ///
    /// # Errors
    /// If it is another message, cannot be taken apart, or lacks a required field.
    fn from_record(schema: Schema, record: &[u8]) -> Result<Self, Defect> {
        if schema != Self::SCHEMA {
            return Err(Defect::WrongMessage {
                wanted: Self::SCHEMA.name(),
                found: schema.name(),
            });
        }
        wire::check_presence(schema.table(), record)?;
        // Whatever the walk above lets pass and the decoder does not is a wire error
        // at a byte it does not tell.
        Self::decode(record).map_err(|_| Defect::Wire { at: 0 })
    }
}

/// The records of an image as values of one type.
#[derive(Debug)]
pub struct Entries<T, R> {
    image: Image<R>,
    done: bool,
    of: PhantomData<fn() -> T>,
}

impl<T, R> Entries<T, R> {
    pub(crate) fn new(image: Image<R>) -> Self {
        Self {
            image,
            done: false,
            of: PhantomData,
        }
    }
}

impl<T: Entry, R: BufRead> Iterator for Entries<T, R> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let entry = match self.image.next() {
            Ok(Some(record)) => record.decode(),
            Ok(None) => {
                self.done = true;
                return None;
            }
            Err(error) => Err(error),
        };
        self.done = entry.is_err();
        Some(entry)
    }
}

impl<T: Entry, R: BufRead> std::iter::FusedIterator for Entries<T, R> {}
