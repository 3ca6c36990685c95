//! `--store`: which store a command is about.

use std::path::PathBuf;

use ckpt::Store;
use clap::Args;

use super::failure::Failure;
use super::output::tell;

#[derive(Debug, Args)]
pub(crate) struct Place {
    #[arg(
        long,
        value_name = "DIR",
        help = "The folder of checkpoints; without it $CKPT_STORE, then /var/lib/ckpt for root and \
                $XDG_DATA_HOME/ckpt for others"
    )]
    store: Option<PathBuf>,
}

impl Place {
    pub(crate) fn open(&self) -> Result<Store, Failure> {
        let path = self.store.clone().or_else(Store::default_path);
        let path = path.ok_or(Failure::Usage(
            "there is no $HOME to keep checkpoints in; name a folder with --store",
        ))?;
        Ok(Store::open(path)?)
    }

    /// The same; that there is none is told, since it is as good as an empty one.
    pub(crate) fn known(&self) -> Result<Store, Failure> {
        let store = self.open()?;
        if !store.exists() {
            let path = store.path().display();
            tell(format_args!(
                "{path}: there is no store yet; the first checkpoint makes it"
            ));
        }
        Ok(store)
    }
}
