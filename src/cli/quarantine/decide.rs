//! `straymail quarantine release`, `drop` and `correct`.

use super::filters::Which;
use crate::cli::desk::{Desk, address, json};
use crate::cli::filled;

/// Hands entries to the MTA, as their senders sent them: by id, or all that fit the filters
#[derive(Debug, clap::Args)]
pub(super) struct Release {
    #[command(flatten)]
    which: Which,
    /// One JSON object for each that was released
    #[arg(long)]
    json: bool,
}

/// Throws entries away, by id or all that fit the filters; nobody gets them
#[derive(Debug, clap::Args)]
pub(super) struct Drop {
    #[command(flatten)]
    which: Which,
    /// Why, for the audit record
    #[arg(long, value_name = "TEXT", value_parser = filled)]
    reason: String,
    /// One JSON object for each that was dropped
    #[arg(long)]
    json: bool,
}

/// Hands an entry to the MTA for the address its sender meant
#[derive(Debug, clap::Args)]
pub(super) struct Correct {
    /// The id, or at least four characters of its beginning
    #[arg(value_parser = filled)]
    id: String,
    /// The right address; the milter judges it like any other
    #[arg(value_parser = filled)]
    address: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Release {
    pub(super) fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let Some(ids) = self.which.ids("released", self.json, desk)? else {
            return Ok(());
        };
        for text in &ids {
            let quarantine = desk.quarantine;
            match quarantine
                .find(text)
                .and_then(|id| quarantine.release(&id, &desk.actor, desk.now))
            {
                Ok(released) if self.json => json(&released.entry, desk.out)?,
                Ok(released) => {
                    let entry = &released.entry;
                    write!(
                        desk.out,
                        "{} released to {}: {}",
                        entry.id,
                        address(&entry.address),
                        released.reply
                    )?;
                    if !released.left_out.is_empty() {
                        let left_out: Vec<String> =
                            released.left_out.iter().map(ToString::to_string).collect();
                        write!(
                            desk.out,
                            " (without {}: not offered by the MTA)",
                            left_out.join(" ")
                        )?;
                    }
                    writeln!(desk.out)?;
                }
                Err(error) => desk.complain(&error)?,
            }
        }
        Ok(())
    }
}

impl Drop {
    pub(super) fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let Some(ids) = self.which.ids("dropped", self.json, desk)? else {
            return Ok(());
        };
        for text in &ids {
            let quarantine = desk.quarantine;
            let dropped = quarantine
                .find(text)
                .and_then(|id| quarantine.drop_entry(&id, &self.reason, &desk.actor, desk.now));
            match dropped {
                Ok(entry) if self.json => json(&entry, desk.out)?,
                Ok(entry) => writeln!(
                    desk.out,
                    "{} to {} dropped",
                    entry.id,
                    address(&entry.address)
                )?,
                Err(error) => desk.complain(&error)?,
            }
        }
        Ok(())
    }
}

impl Correct {
    pub(super) fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let id = desk.quarantine.find(&self.id)?;
        let to = desk.quarantine.correction(&id, &self.address)?;
        let sent = (desk.quarantine).correct(&id, &to, &desk.actor, desk.now)?;
        if self.json {
            return json(&sent.entry, desk.out);
        }
        let (was, is) = (address(&sent.entry.address), address(&to));
        writeln!(
            desk.out,
            "{id} sent to {is} instead of {was}: {}",
            sent.reply
        )?;
        Ok(())
    }
}
