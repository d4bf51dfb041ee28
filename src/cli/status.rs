//! `straymail status`: what waits, and what does not get on.

use std::path::Path;

use crate::untrusted::Untrusted;

use super::Failure;
use super::desk::{at_desk, json, time};

/// Shows what is held, what waits for the worker and what does not get on
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Failure> {
        at_desk(config, |desk| {
            let counts = desk.quarantine.counts()?;
            if self.json {
                json(&counts, desk.out)?;
                return Ok(());
            }
            for (state, count) in &counts.entries {
                writeln!(desk.out, "{:<12}{count:>8}", state.name())?;
            }
            if let Some(oldest) = counts.oldest {
                writeln!(desk.out, "the oldest waits since {}", time(oldest))?;
            }
            writeln!(
                desk.out,
                "decisions to carry out: {}, of which {} failed before; notices failing: {}; letters to send: {}",
                counts.decisions, counts.decisions_failing, counts.notices_failing, counts.letters
            )?;
            match counts.worker_seen_at {
                Some(at) => writeln!(desk.out, "the worker was last seen at {}", time(at))?,
                None => writeln!(desk.out, "the worker has never run")?,
            }
            if let Some(error) = &counts.last_error {
                writeln!(desk.out, "last error: {}", Untrusted::text(error))?;
            }
            Ok(())
        })
    }
}
