//! `straymail milter` and `straymail run`: the daemon in the foreground.

use std::path::Path;

use crate::config::{Config, DEFAULT_PATH};
use crate::daemon::{self, Duty, Library};

use super::{EXIT_FINE, Failure, load_config};

/// Judges the MTA's mail until it is stopped; reads the configuration again on SIGHUP
#[derive(Debug, clap::Args)]
pub(super) struct Milter {
    #[command(flatten)]
    library: Choice,
}

/// Sends notices, carries out decisions, ends what nobody decided on
#[derive(Debug, clap::Args)]
pub(super) struct Worker {}

/// Everything in one process, with the embedded default where there is no configuration
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    library: Choice,
}

/// Which milter library serves; there is a choice only in a build with the feature `libmilter`.
#[derive(Debug, clap::Args)]
struct Choice {
    /// Serve with our own runtime, or with the system's libmilter (docs/libmilter.md)
    #[cfg(feature = "libmilter")]
    #[arg(long, value_name = "NAME", value_enum, default_value = "indymilter")]
    library: Name,
}

#[cfg(feature = "libmilter")]
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Name {
    Indymilter,
    Libmilter,
}

impl Choice {
    #[cfg(feature = "libmilter")]
    fn library(&self) -> Library {
        match self.library {
            Name::Indymilter => Library::Indymilter,
            Name::Libmilter => Library::Libmilter,
        }
    }

    #[cfg(not(feature = "libmilter"))]
    fn library(&self) -> Library {
        Library::Indymilter
    }
}

impl Milter {
    pub(super) fn run(&self, path: Option<&Path>) -> Result<u8, Failure> {
        let config = load_config(path)?;
        let path = path.unwrap_or(Path::new(DEFAULT_PATH));
        daemon::run(Some(path), config, Duty::Milter, self.library.library())?;
        Ok(EXIT_FINE)
    }
}

impl Worker {
    pub(super) fn run(&self, path: Option<&Path>) -> Result<u8, Failure> {
        let config = load_config(path)?;
        let path = path.unwrap_or(Path::new(DEFAULT_PATH));
        daemon::run(Some(path), config, Duty::Worker, Library::Indymilter)?;
        Ok(EXIT_FINE)
    }
}

impl Run {
    pub(super) fn run(&self, path: Option<&Path>) -> Result<u8, Failure> {
        let library = self.library.library();
        let usual = Path::new(DEFAULT_PATH);
        match path.or(usual.exists().then_some(usual)) {
            Some(path) => daemon::run(Some(path), load_config(Some(path))?, Duty::Both, library)?,
            None => daemon::run(None, Config::default(), Duty::Both, library)?,
        }
        Ok(EXIT_FINE)
    }
}
