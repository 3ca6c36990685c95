//! Whether a checkpoint can be restored on this machine, told without trying.

mod build_id;
mod files;
mod host;
mod machine;
mod mismatch;
mod network;
mod tasks;

use criu_images::{Kind, proto};

pub use host::{CriuVersion, Host};
pub use mismatch::{FileChange, Mismatch, Needed};

use crate::error::Result;
use crate::explorer::single;
use crate::images::Images;

/// The check of a checkpoint against a [`Host`].
///
/// ```no_run
/// use ckpt::{Compat, Host, Images};
///
/// # fn main() -> ckpt::Result<()> {
/// let images = Images::open("backup.tar.zst")?.gather(&Compat::KINDS)?;
/// let mut host = Host::here()?;
/// host.criu = Some((4, 2, 0)); // as `Criu::version` tells
/// for finding in Compat::of(&images, &host)? {
///     println!("{}: {}; {}", finding.severity, finding.what, finding.remedy());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Compat;

/// What stands in the way of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How much it does.
    pub severity: Obstacle,
    /// What it is.
    pub what: Mismatch,
}

/// How much a [`Finding`] stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Obstacle {
    /// CRIU may restore it, but it may not go on as it did.
    Risk,
    /// CRIU restores it if asked with the option that is named.
    Option,
    /// CRIU cannot restore it here.
    Error,
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Risk => "risk",
            Self::Option => "option",
            Self::Error => "error",
        })
    }
}

impl Finding {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        self.what.remedy()
    }
}

impl Compat {
    /// All kinds of image that are looked at, for [`Images::gather`].
    pub const KINDS: [Kind; 13] = [
        Kind::Inventory,
        Kind::Pstree,
        Kind::Core,
        Kind::Ids,
        Kind::Mm,
        Kind::Files,
        Kind::RegFiles,
        Kind::RemapFpath,
        Kind::Mnts,
        Kind::FileLocks,
        Kind::Cpuinfo,
        Kind::MemfdInode,
        Kind::Pagemap,
    ];

    /// Tells what of the checkpoint does not fit the host, the worst first; nothing, if all
    /// does. What the images do not tell is not guessed: an empty list is no promise.
    ///
    /// Files are looked up below the host's [`root`](Host::root), without changing or
    /// waiting for any; all else is taken from the images and from `host`.
    ///
    /// # Errors
    /// If images cannot be read, or there is no inventory or process tree.
    pub fn of(images: &Images, host: &Host) -> Result<Vec<Finding>> {
        let name = single(Kind::Inventory);
        let inventory = images
            .entry::<proto::InventoryEntry>(name)?
            .ok_or_else(|| images.missing(name))?;
        let tree = tasks::Tree::read(images)?;
        let mut findings = Findings::default();
        machine::check(images, &inventory, &tree, host, &mut findings)?;
        tasks::check(images, &inventory, &tree, host, &mut findings)?;
        files::check(images, host, &mut findings)?;
        network::check(images, &inventory, &tree, host, &mut findings)?;
        Ok(findings.sorted())
    }
}

/// Findings while they are gathered; the same one is told once.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, what: Mismatch) {
        self.push(Obstacle::Error, what);
    }

    fn risk(&mut self, what: Mismatch) {
        self.push(Obstacle::Risk, what);
    }

    fn option(&mut self, option: &'static str, why: Needed) {
        self.push(Obstacle::Option, Mismatch::Option { option, why });
    }

    fn push(&mut self, severity: Obstacle, what: Mismatch) {
        let finding = Finding { severity, what };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    fn sorted(mut self) -> Vec<Finding> {
        self.0
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        self.0
    }
}
