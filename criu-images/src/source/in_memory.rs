use std::collections::BTreeMap;

use super::{File, Source, check};
use crate::error::Result;

/// Files in memory.
#[derive(Debug, Clone, Default)]
pub struct InMemory {
    files: BTreeMap<String, Vec<u8>>,
}

impl InMemory {
    /// No file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a file in the place of what had its name.
    ///
    /// # Errors
    /// If it is no name of a file.
    pub fn insert(&mut self, name: &str, content: Vec<u8>) -> Result<()> {
        check(name)?;
        self.files.insert(name.to_owned(), content);
        Ok(())
    }
}

impl Source for InMemory {
    fn names(&self) -> Result<Vec<String>> {
        Ok(self.files.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> Result<Option<File<'_>>> {
        let content = self.files.get(name);
        Ok(content.map(|bytes| Box::new(bytes.as_slice()) as File<'_>))
    }
}
