//! `straymail backup`, `restore` and `rotate-key`: care for the state directory.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;

use crate::service::backup::{self, Existing};
use crate::service::token::{Links, Tokens};

use super::desk::{at_desk, json, printing, quarantine_settings};
use super::figures::counted;
use super::{EXIT_FINE, EXIT_FOUND, Failure};

/// Copies the whole state directory while straymail runs: held mail, index, audit record, keys
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The backup holds held mail in the clear; it is made readable for its owner alone. The configuration \
                  is not part of it.\n\n\
                  Exit status: 0 when the backup is whole, 1 when it is not."
)]
pub(super) struct Backup {
    /// A directory that does not exist yet; with --check, a backup
    directory: PathBuf,
    /// Make none, but check every file of this one against its MANIFEST
    #[arg(long)]
    check: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Puts a backup back; nothing is sent by it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without an option the state directory must be empty and straymail stopped. Nothing is sent by it: who was decided about \
                  but not done yet waits for a new decision. What was released \
                  after the backup was made waits again then: with a state directory that is still there, \
                  --missing is the careful way."
)]
pub(super) struct Restore {
    /// A backup
    directory: PathBuf,
    /// Set aside what is in the state directory, as replaced-... within it; straymail must be stopped
    #[arg(long, conflicts_with = "missing")]
    replace: bool,
    /// Only add waiting messages and approvals that are unknown here; straymail may run
    #[arg(long)]
    missing: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Makes a new key for links and replies; notices sent before go on working
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The worker does so by itself every 90 days. Processes that run take the new key at once."
)]
pub(super) struct RotateKey {
    /// Links and replies to notices sent before stop working: their key may be known to others.
    /// Senders are asked anew
    #[arg(long)]
    revoke: bool,
}

impl Backup {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Failure> {
        let show = |what: &str, contents: &backup::Contents, out: &mut dyn std::io::Write| {
            if self.json {
                return json(contents, out);
            }
            writeln!(
                out,
                "{what}: {} held messages, {} files, {} octets",
                contents.messages, contents.files, contents.octets
            )?;
            for key in &contents.damaged {
                writeln!(
                    out,
                    "the message file {key} was damaged before; copied as it is"
                )?;
            }
            Ok(())
        };
        if self.check {
            let contents = backup::check(&self.directory).map_err(anyhow::Error::from)?;
            printing(|out| show("the backup is whole", &contents, out))?;
            return Ok(EXIT_FINE);
        }
        let mut whole = true;
        let status = at_desk(config, |desk| {
            let contents = backup::backup(desk.quarantine, &self.directory)?;
            whole = contents.damaged.is_empty();
            show("backed up", &contents, desk.out)
        })?;
        Ok(if whole { status } else { EXIT_FOUND })
    }
}

impl Restore {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Failure> {
        if self.missing {
            let mut whole = true;
            let status = at_desk(config, |desk| {
                let done = (desk.quarantine).add_missing(&self.directory, &desk.actor, desk.now)?;
                whole = done.left_out.is_empty();
                if self.json {
                    return json(&done, desk.out);
                }
                writeln!(
                    desk.out,
                    "added {} held recipients and {} approvals that were unknown here",
                    done.restored, done.approvals
                )?;
                for key in &done.left_out {
                    writeln!(
                        desk.out,
                        "left out {key}: its file in the backup is damaged or absent"
                    )?;
                }
                Ok(())
            })?;
            return Ok(if whole { status } else { EXIT_FOUND });
        }
        let dir = quarantine_settings(config)?.dir;
        #[expect(clippy::disallowed_methods, reason = "a command may ask for the time")]
        let now = Timestamp::now();
        let existing = match self.replace {
            true => Existing::SetAside,
            false => Existing::Refuse,
        };
        let restored =
            backup::restore(&self.directory, &dir, existing, now).map_err(anyhow::Error::from)?;
        // The index is opened once, so that what the files know and it does not is taken up.
        at_desk(config, |desk| {
            if self.json {
                return json(&restored, desk.out);
            }
            writeln!(
                desk.out,
                "{} files restored to {}",
                restored.restored,
                dir.display()
            )?;
            if let Some(kept_as) = &restored.kept_as {
                writeln!(desk.out, "what was there is now in {}", kept_as.display())?;
            }
            if restored.undecided > 0 {
                writeln!(
                    desk.out,
                    "{} recipients were decided about but not done when the backup was made: they wait for a new decision, `straymail quarantine show` says which it was",
                    restored.undecided
                )?;
            }
            let rebuilt = desk.quarantine.recovery().entries_rebuilt;
            if rebuilt > 0 {
                writeln!(
                    desk.out,
                    "{rebuilt} recipients that the index did not know were taken up"
                )?;
            }
            Ok(())
        })
    }
}

impl RotateKey {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Failure> {
        let dir = quarantine_settings(config)?.dir;
        #[expect(clippy::disallowed_methods, reason = "a command may ask for the time")]
        let now = Timestamp::now();
        let links = match self.revoke {
            true => Links::Revoke,
            false => Links::Keep,
        };
        Tokens::open(&dir, now)
            .and_then(|tokens| tokens.rotate(links, now))
            .with_context(|| format!("no new key in {}", dir.display()))?;
        at_desk(config, |desk| {
            match links {
                Links::Keep => writeln!(
                    desk.out,
                    "a new key signs from now on; notices sent before go on working"
                )?,
                Links::Revoke => writeln!(
                    desk.out,
                    "a new key signs from now on; notices sent before stopped working\n\
                     senders are asked anew about {} by the worker",
                    counted(desk.quarantine.ask_again()? as u64, "held recipient")
                )?,
            }
            Ok(())
        })
    }
}
