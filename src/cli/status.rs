//! `straymail status`: what waits, what does not get on, and what the milter does.

use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::{Config, DEFAULT_PATH};
use crate::metrics::Figures;
use crate::store::Counts;
use crate::untrusted::Untrusted;

use super::Failure;
use super::desk::{at_desk_with, json, time};

/// Shows what is held, what waits for the worker, what does not get on, and what was judged
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Everything there is to tell.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    counts: Counts,
    /// What the milter counted since its start; `None` when none ever ran here.
    milter: Option<Figures>,
    /// Why that cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    milter_error: Option<String>,
    /// Whether it was alive a moment ago.
    milter_up: bool,
}

impl Status {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Failure> {
        let config = config.unwrap_or(Path::new(DEFAULT_PATH));
        let (settings, mistakes) = Config::load_quarantine(config)?;
        let status = at_desk_with(settings, |desk| {
            let read = Figures::read(&desk.quarantine.settings().dir);
            let (milter, milter_error) = match read {
                Ok(milter) => (milter, None),
                Err(error) => (None, Some(error.to_string())),
            };
            let told = Told {
                counts: desk.quarantine.counts()?,
                milter_up: (milter.as_ref()).is_some_and(|milter| milter.alive(desk.now)),
                milter,
                milter_error,
            };
            if self.json {
                json(&told, desk.out)?;
                return Ok(());
            }
            waits(&told.counts, desk.out)?;
            match (&told.milter, &told.milter_error) {
                (Some(milter), _) => judged(milter, desk.now, desk.out)?,
                (None, None) => writeln!(desk.out, "the milter has never run")?,
                (None, Some(error)) => writeln!(
                    desk.out,
                    "what the milter counted cannot be read, it writes that anew while it runs: {}",
                    Untrusted::text(error)
                )?,
            }
            Ok(())
        })?;
        // After what there is to tell: a refused reload is when it is asked for.
        match mistakes {
            Some(mistakes) => Err(mistakes.into()),
            None => Ok(status),
        }
    }
}

fn waits(counts: &Counts, out: &mut dyn Write) -> io::Result<()> {
    for (state, count) in &counts.entries {
        writeln!(out, "{:<12}{count:>8}", state.name())?;
    }
    if let Some(oldest) = counts.oldest {
        writeln!(out, "the oldest waits since {}", time(oldest))?;
    }
    writeln!(
        out,
        "decisions to carry out: {}, of which {} failed before; notices failing: {}, waiting for the next digest: {}; letters to send: {}",
        counts.decisions,
        counts.decisions_failing,
        counts.notices_failing,
        counts.notices_waiting,
        counts.letters
    )?;
    match counts.worker_seen_at {
        Some(at) => writeln!(out, "the worker was last seen at {}", time(at))?,
        None => writeln!(out, "the worker has never run")?,
    }
    if let Some(error) = &counts.last_error {
        // An MTA's answer may end with blanks.
        writeln!(out, "last error: {}", Untrusted::text(error.trim_end()))?;
    }
    Ok(())
}

fn judged(milter: &Figures, now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let version = Untrusted::text(&milter.version);
    match milter.alive(now) {
        true => writeln!(
            out,
            "the milter ({version}) runs since {}",
            time(milter.started_at)
        )?,
        false => writeln!(
            out,
            "the milter ({version}) was last seen at {}; what follows is what it had counted",
            time(milter.written_at)
        )?,
    }
    writeln!(
        out,
        "{} messages judged, {} inbound, {} with the null sender, {} released; {} faults",
        milter.judged, milter.inbound, milter.null_sender, milter.released, milter.faults
    )?;
    for recipients in milter.recipients.iter().filter(|r| r.count > 0) {
        let done = match recipients.mode.as_str() {
            "observe" => " (observed only)",
            _ => "",
        };
        writeln!(
            out,
            "{:>8} recipients {}: {}{done}",
            recipients.count,
            Untrusted::text(&recipients.verdict),
            Untrusted::text(&recipients.action)
        )?;
    }
    writeln!(
        out,
        "rules of {}, {} trusted entries",
        time(milter.loaded.at),
        milter.loaded.trusted
    )?;
    if !milter.last_reload_fine {
        writeln!(
            out,
            "the last reload was refused and these rules stay; reload again once `straymail check-config` finds nothing"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::EntryState;

    #[test]
    fn no_line_ends_with_a_blank() {
        let counts = Counts {
            entries: vec![(EntryState::Held, 1)],
            oldest: None,
            decisions: 1,
            decisions_failing: 1,
            notices_failing: 0,
            notices_waiting: 0,
            letters: 0,
            worker_seen_at: None,
            last_error: Some("the MTA answered: 451 4.3.0 ".to_owned()),
        };
        let mut out = Vec::new();
        waits(&counts, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("last error: the MTA answered: 451 4.3.0\n"));
        assert_eq!(text.lines().find(|line| line.ends_with(' ')), None);
    }
}
