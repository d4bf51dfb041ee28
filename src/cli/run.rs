//! `straymail milter` and `straymail run`: the daemon in the foreground.

use std::path::Path;

use crate::config::{Config, DEFAULT_PATH};
use crate::daemon::{self, Duty};

use super::{EXIT_FINE, Failure, load_config};

/// Judges the MTA's mail until it is stopped; reads the configuration again on SIGHUP
#[derive(Debug, clap::Args)]
pub(super) struct Milter {}

/// Sends notices, carries out decisions, ends what nobody decided on
#[derive(Debug, clap::Args)]
pub(super) struct Worker {}

/// Everything in one process, with the embedded default where there is no configuration
#[derive(Debug, clap::Args)]
pub(super) struct Run {}

impl Milter {
    pub(super) fn run(&self, path: Option<&Path>) -> Result<u8, Failure> {
        let config = load_config(path)?;
        let path = path.unwrap_or(Path::new(DEFAULT_PATH));
        daemon::run(Some(path), config, Duty::Milter)?;
        Ok(EXIT_FINE)
    }
}

impl Worker {
    pub(super) fn run(&self, path: Option<&Path>) -> Result<u8, Failure> {
        let config = load_config(path)?;
        let path = path.unwrap_or(Path::new(DEFAULT_PATH));
        daemon::run(Some(path), config, Duty::Worker)?;
        Ok(EXIT_FINE)
    }
}

impl Run {
    pub(super) fn run(&self, path: Option<&Path>) -> Result<u8, Failure> {
        let usual = Path::new(DEFAULT_PATH);
        match path.or(usual.exists().then_some(usual)) {
            Some(path) => daemon::run(Some(path), load_config(Some(path))?, Duty::Both)?,
            None => daemon::run(None, Config::default(), Duty::Both)?,
        }
        Ok(EXIT_FINE)
    }
}
