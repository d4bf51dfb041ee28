//! `straymail quarantine export`: a held message, or the audit record, for other programs.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::store::AuditFilter;

use crate::cli::desk::{Desk, Moment, json, moment};
use crate::cli::filled;

/// Writes a held message, octet for octet, or the audit record as lines of JSON
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// The id, or at least four characters of its beginning
    #[arg(required_unless_present = "log", conflicts_with = "log", value_parser = filled)]
    id: Option<String>,
    /// The audit record instead of a message
    #[arg(long)]
    log: bool,
    /// The record since then: 2d, 2026-11-23, 2026-11-23T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "log", conflicts_with = "id")]
    since: Option<Moment>,
    /// Into this new file, readable by you alone, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(super) fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        // Everything that can fail comes before the file is made.
        let message = match &self.id {
            Some(text) => {
                let id = desk.quarantine.find(text)?;
                let entry = desk.quarantine.detail(&id, desk.now)?.entry;
                Some(desk.quarantine.message(&entry)?)
            }
            None => None,
        };
        let mut file;
        let out: &mut dyn io::Write = match &self.output {
            Some(path) => {
                let made = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path);
                file = made.with_context(|| format!("cannot make {}", path.display()))?;
                &mut file
            }
            None => desk.out,
        };
        match message {
            Some(mut message) => {
                io::copy(&mut message, out)?;
            }
            None => {
                let filter = AuditFilter {
                    since: self.since.map(|since| since.when(desk.now)),
                    ..AuditFilter::default()
                };
                for record in desk.quarantine.audit(&filter)? {
                    json(&record, out)?;
                }
            }
        }
        out.flush()?;
        Ok(())
    }
}
