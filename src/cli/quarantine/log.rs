//! `straymail quarantine log`: the audit record.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::store::{AuditFilter, AuditRecord, EventKind};
use crate::untrusted::Untrusted;

use super::DEFAULT_LIMIT;
use crate::cli::desk::{Desk, Moment, json, moment, time};
use crate::cli::filled;

/// Shows the audit record: verdicts other than a clean accept, and what was done about them
#[derive(Debug, clap::Args)]
pub(super) struct Log {
    /// About this entry only
    #[arg(long, value_name = "ID", value_parser = filled)]
    entry: Option<String>,
    /// Of this kind only (repeatable)
    #[arg(long, value_name = "KIND")]
    kind: Vec<KindName>,
    /// Since then: 2d, 2026-11-23, 2026-11-23T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// At most so many, the newest; without it 100 as text, all with --json
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KindName(EventKind);

impl ValueEnum for KindName {
    fn value_variants<'a>() -> &'a [Self] {
        const NAMES: [KindName; EventKind::ALL.len()] = {
            let mut names = [KindName(EventKind::Held); EventKind::ALL.len()];
            let mut at = 0;
            while at < names.len() {
                names[at] = KindName(EventKind::ALL[at]);
                at += 1;
            }
            names
        };
        &NAMES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

impl Log {
    pub(super) fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let entry = self
            .entry
            .as_deref()
            .map(|text| desk.quarantine.find(text))
            .transpose()?;
        let filter = AuditFilter {
            kinds: self.kind.iter().map(|kind| kind.0).collect(),
            entry,
            since: self.since.map(|since| since.when(desk.now)),
            before: None,
            limit: self.limit.or((!self.json).then_some(DEFAULT_LIMIT)),
        };
        for record in desk.quarantine.audit(&filter)? {
            if self.json {
                json(&record, desk.out)?;
            } else {
                writeln!(desk.out, "{}", log_line(&record))?;
            }
        }
        Ok(())
    }
}

/// Returns one row of the audit record as one line.
pub(super) fn log_line(record: &AuditRecord) -> String {
    let event = &record.event;
    let mut line = format!("{} {}", time(record.at), event.kind);
    let mut add = |text: String| {
        line.push(' ');
        line.push_str(&text);
    };
    if let Some(entry) = &event.entry {
        add(Untrusted::text(entry.as_str()).to_string());
    }
    if let Some(recipient) = &event.recipient {
        let sender = event
            .sender
            .as_ref()
            .map_or("*".to_owned(), ToString::to_string);
        add(format!("{sender} -> {recipient}"));
    }
    if let Some(score) = event.score {
        add(format!("score={score}"));
    }
    if let Some(suggestion) = &event.suggestion {
        add(format!("meant={}", Untrusted::text(suggestion)));
    }
    add(format!("by {}", Untrusted::text(&event.actor)));
    if let Some(detail) = &event.detail {
        add(format!("({})", Untrusted::text(detail)));
    }
    line
}
