//! Preflight: a request that CRIU could not carry out here is refused before CRIU is
//! started, with what to do about it.
//!
//! ```text
//!  Subject ──> privileges ──> target or images ──> Pending        the first finding wins
//!  the request  what CRIU      /proc; the folder    zombies; features, which CRIU is
//!               may do                              asked for once, if needed
//! ```
//!
//! A finding is a fact. What cannot be read, or may be otherwise by the time CRIU comes to
//! it, is no finding: then CRIU is asked, and says what it says.

mod config;
mod images;
mod pending;
mod pids;
mod privileges;
mod process;
mod refusal;
mod subject;
mod target;

pub(crate) use pending::Pending;
pub use refusal::Refusal;
pub(crate) use subject::Subject;

use std::fs::File;
use std::os::fd::AsFd as _;
use std::sync::{Arc, OnceLock};

use crate::criu::Criu;
use crate::error::Error;
use crate::reply::Features;
use crate::request::{Prepared, Request};
use crate::session;

/// Whether a CRIU's requests are looked over, and what was learnt of it while doing so.
#[derive(Debug, Clone)]
pub(crate) struct Preflight {
    is_on: bool,
    /// Shared by all clones of one [`Criu`].
    features: Arc<OnceLock<Features>>,
}

impl Default for Preflight {
    fn default() -> Self {
        Self {
            is_on: true,
            features: Arc::default(),
        }
    }
}

impl Criu {
    /// Whether [`run`](Self::run) begins with a [`preflight`](Self::preflight); on at first.
    ///
    /// Turn it off to hear CRIU's own words, or if it refuses what CRIU can do: that would
    /// be a mistake of this crate, please tell.
    #[must_use]
    pub fn preflight_checks(mut self, on: bool) -> Self {
        self.preflight.is_on = on;
        self
    }

    /// Looks a request over without sending it: whether CRIU could carry it out here, as
    /// far as can be told from outside. Success is no promise.
    ///
    /// It takes well under a millisecond, but for one question to CRIU (some 10 ms) the
    /// first time that a request needs a kernel feature, such as that of
    /// [`PreDump`](crate::PreDump).
    ///
    /// # Errors
    /// [`Error::Preflight`] tells what is in the way and what to do about it;
    /// [`Error::Option`] and [`Error::Folder`], as [`run`](Self::run) has them.
    ///
    /// ```no_run
    /// use criu_rpc::{Criu, Dump, Error, Refusal};
    /// # fn main() -> Result<(), Error> {
    /// # let server = std::process::Command::new("sleep").arg("9").spawn().unwrap();
    /// let criu = Criu::find()?;
    /// let dump = Dump::new(&server, "images");
    /// match criu.preflight(&dump) {
    ///     Err(Error::Preflight { refusal: Refusal::OtherUser { uid, .. }, .. }) => {
    ///         println!("ask user {uid} to dump it");
    ///     }
    ///     looked_over => looked_over?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn preflight<R: Request>(&self, request: &R) -> Result<(), Error> {
        session::settle_blocking(self, request.preflight(self)?)
    }

    /// What this CRIU has said that it can do.
    pub(crate) fn known_features(&self) -> Option<Features> {
        self.preflight.features.get().copied()
    }

    pub(crate) fn learn(&self, features: Features) {
        // Who asked at the same time was told the same.
        let _ = self.preflight.features.set(features);
    }
}

/// Refuses a prepared request that could not be carried out, unless that is turned off.
pub(crate) fn before_sending(criu: &Criu, prepared: &Prepared<'_>) -> Result<Pending, Error> {
    let Some(options) = prepared
        .message
        .opts
        .as_ref()
        .filter(|_| criu.preflight.is_on)
    else {
        return Ok(Pending::default());
    };
    // A folder that is only named is open no longer than this.
    let folders = prepared.folders.as_ref();
    let named = folders
        .and_then(|folders| folders.images_path())
        .and_then(|path| File::open(path).ok());
    let open = folders.and_then(|folders| folders.images());
    let images = open.or_else(|| named.as_ref().map(File::as_fd));
    let subject = Subject::new(prepared.operation, options, &prepared.raw, images);
    check(criu, &subject)
}

/// Refuses what could not be carried out, and tells what is left to be settled.
pub(crate) fn check(criu: &Criu, subject: &Subject<'_>) -> Result<Pending, Error> {
    subject.look(criu).map_err(|refusal| Error::Preflight {
        operation: subject.operation(),
        refusal,
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::criu::Criu;
    use crate::error::Error;
    use crate::pid::Pid;
    use crate::reply::Features;
    use crate::request::Dump;

    /// Whoever runs this: as another user than root, a capability is missing instead.
    #[test]
    fn a_request_is_refused_before_criu_is_started_unless_that_is_turned_off() {
        let mut child = Command::new("true").spawn().unwrap();
        let gone = Pid::from(&child);
        child.wait().unwrap();
        let images = tempfile::tempdir().unwrap();
        let criu = Criu::at("/bin/true").unwrap();
        let dump = || Dump::new(gone, images.path());

        let looked = criu.preflight(&dump());
        assert!(matches!(looked, Err(Error::Preflight { .. })), "{looked:?}");
        let run = criu.run(dump());
        assert!(matches!(run, Err(Error::Preflight { .. })), "{run:?}");
        let criu = criu.preflight_checks(false);
        let run = criu.run(dump());
        assert!(matches!(run, Err(Error::Died(_))), "{run:?}");
        let looked = criu.preflight(&dump());
        assert!(matches!(looked, Err(Error::Preflight { .. })), "{looked:?}");
    }

    #[test]
    fn a_preflight_tells_of_an_option_and_a_folder_too() {
        let images = tempfile::tempdir().unwrap();
        let criu = Criu::at("/bin/true").unwrap();
        let dump = |images| Dump::new(Pid::from_raw(1).unwrap(), images);
        let absolute = criu.preflight(&dump(images.path()).parent("/1"));
        assert!(
            matches!(absolute, Err(Error::Option { .. })),
            "{absolute:?}"
        );
        let nowhere = images.path().join("nowhere");
        let nowhere = criu.preflight(&dump(&nowhere));
        assert!(matches!(nowhere, Err(Error::Folder { .. })), "{nowhere:?}");
    }

    #[test]
    fn what_is_learnt_of_a_criu_its_clones_know() {
        let criu = Criu::at("/bin/true").unwrap();
        let clone = criu.clone();
        assert_eq!(clone.known_features(), None);
        let features = Features {
            mem_track: true,
            lazy_pages: false,
            pidfd_store: true,
        };
        criu.learn(features);
        assert_eq!(clone.known_features(), Some(features));
    }
}
