//! `straymail quarantine`: see what is held, and decide.

mod decide;
mod export;
mod filters;
mod list;
mod log;
mod show;

use std::path::Path;

use clap::Subcommand;

use decide::{Correct, Drop, Release};
use export::Export;
use list::List;
use log::Log;
use show::Show;

use super::Failure;
use super::desk::at_desk;

/// Entries and rows a person is shown when no limit is given.
const DEFAULT_LIMIT: u32 = 100;

/// Shows what is held, and releases or drops it
#[derive(Debug, clap::Args)]
pub(super) struct Quarantine {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Show(Show),
    Release(Release),
    Drop(Drop),
    Correct(Correct),
    Export(Export),
    Log(Log),
}

impl Quarantine {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Failure> {
        at_desk(config, |desk| match &self.action {
            Action::List(list) => list.run(desk),
            Action::Show(show) => show.run(desk),
            Action::Release(release) => release.run(desk),
            Action::Drop(drop) => drop.run(desk),
            Action::Correct(correct) => correct.run(desk),
            Action::Export(export) => export.run(desk),
            Action::Log(log) => log.run(desk),
        })
    }
}
