//! `straymail audit`: prove that the audit record was not changed.

use std::path::Path;

use anyhow::bail;
use clap::Subcommand;

use crate::store::Verified;

use super::desk::{at_desk, json};
use super::{Failure, filled};

/// Checks the audit record
#[derive(Debug, clap::Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Verify(Verify),
}

/// Checks that every row follows from the one before
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Rows cut off at the end cannot be seen from inside the record: keep the head hash this \
                  prints somewhere else, and give it to the next run.\n\n\
                  Exit status: 0 when the record is whole, 1 when it is not."
)]
struct Verify {
    /// A head hash printed earlier; the record must still contain it
    #[arg(long, value_name = "HASH", value_parser = filled)]
    expect: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Audit {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Failure> {
        let Action::Verify(verify) = &self.action;
        at_desk(config, |desk| {
            let verified = desk.quarantine.verify_audit(verify.expect.as_deref())?;
            if verify.json {
                json(&verified, desk.out)?;
                desk.out.flush()?;
            }
            match verified {
                Verified::Intact {
                    contains_expected: false,
                    rows,
                    ..
                } => {
                    bail!(
                        "none of the {rows} rows has the expected hash: rows were cut off, or the record was replaced"
                    )
                }
                Verified::Broken { seq, what } => {
                    bail!("the audit record is broken at row {seq}: {what}")
                }
                Verified::Intact { rows, head, .. } if !verify.json => {
                    writeln!(
                        desk.out,
                        "{rows} rows, each follows from the one before; head {head}"
                    )?;
                    Ok(())
                }
                Verified::Intact { .. } => Ok(()),
            }
        })
    }
}
