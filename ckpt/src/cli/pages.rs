//! `ckpt pages`, which only builds for packagers have: man pages and shell completions.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;

use super::Ckpt;
use super::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Pages {
    /// The folder to write to
    folder: PathBuf,
}

impl Pages {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let failed = |source| Failure::Output {
            path: self.folder.clone(),
            source,
        };
        let own = Ckpt::command();
        let man = self.folder.join("man1");
        let completions = self.folder.join("completions");
        std::fs::create_dir_all(&man).map_err(failed)?;
        std::fs::create_dir_all(&completions).map_err(failed)?;
        clap_mangen::generate_to(own.clone(), &man).map_err(failed)?;
        for shell in Shell::value_variants() {
            clap_complete::generate_to(*shell, &mut own.clone(), "ckpt", &completions)
                .map_err(failed)?;
        }
        Ok(())
    }
}
