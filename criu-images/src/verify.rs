//! Whether a set of images is whole, and its parts fit each other.

mod finding;
mod memory;
mod set;
mod tree;

use std::path::Path;

pub use finding::{Finding, Flaw, Severity};

use crate::error::{Error, Result};
use crate::memory::Chain;
use set::Set;

/// Looks through the images in a folder, and those of its parents that its memory needs,
/// and tells all that is wrong with them; nothing, if nothing is.
///
/// Every image is read to its end. Pages are not read: the format has no checksum, so a
/// page that was changed cannot be told. An image CRIU does not need, such as its
/// statistics, may be missing. Files that are no images are not looked at.
///
/// ```no_run
/// for finding in criu_images::verify("images/3")? {
///     println!("{finding}");
/// }
/// # Ok::<(), criu_images::Error>(())
/// ```
///
/// # Errors
/// If the folder cannot be read. What is wrong with its files is no error here.
pub fn verify(folder: impl AsRef<Path>) -> Result<Vec<Finding>> {
    let folder = folder.as_ref();
    look(folder, Chain::open(folder))
}

/// As [`verify`], but `parent` links may be absolute, and lead anywhere below `root`:
/// see [`Chain::within`].
///
/// # Errors
/// As [`verify`].
pub fn verify_within(folder: impl AsRef<Path>, root: impl AsRef<Path>) -> Result<Vec<Finding>> {
    let folder = folder.as_ref();
    look(folder, Chain::within(folder, root))
}

fn look(folder: &Path, chain: Result<Chain>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let chain = match chain {
        Ok(chain) => chain,
        Err(error @ (Error::Chain { .. } | Error::Io { .. })) => {
            let alone = Chain::alone(folder);
            // If it is the folder itself, this fails as well.
            Set::open(folder)?;
            findings.push(Finding::of(folder, &error));
            alone
        }
        Err(error) => return Err(error),
    };
    for (index, folder) in chain.folders().iter().enumerate() {
        let mut set = Set::open(folder)?;
        set.read_all();
        if index == 0 {
            if set.is_empty() {
                findings.push(Finding::new(Severity::Error, folder.clone(), Flaw::Empty));
            }
            tree::check(&mut set);
        }
        memory::check(&mut set, &chain, index);
        set.leftovers(index == 0);
        // What the page size is inferred from can be wrong in the eyes of several.
        for finding in set.findings {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    memory::check_chain(&chain, &mut findings);
    Ok(findings)
}
