//! Which entries a command is about.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::domain::Domain;
use crate::public_suffix::PublicSuffixes;
use crate::store::{EntryFilter, EntryState};

use super::list::rows;
use crate::cli::desk::{Desk, Moment, json, moment};
use crate::cli::{filled, usage};

/// Which entries; what is not given fits everything
#[derive(Debug, clap::Args)]
pub(super) struct Filters {
    /// The sender contains this
    #[arg(long, value_name = "TEXT", value_parser = filled)]
    sender: Option<String>,
    /// The recipient contains this
    #[arg(long, value_name = "TEXT", value_parser = filled)]
    recipient: Option<String>,
    /// The recipient's domain is this one or below it, in either spelling
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    domain: Option<String>,
    /// Held since then: 2d, 2026-11-23, 2026-11-23T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// Held before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    before: Option<Moment>,
    /// At least this score
    #[arg(long, value_name = "SCORE", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_score: Option<u8>,
    /// At most this score
    #[arg(long, value_name = "SCORE", value_parser = clap::value_parser!(u8).range(0..=100))]
    max_score: Option<u8>,
}

impl Filters {
    fn are_given(&self) -> bool {
        self.sender.is_some()
            || self.recipient.is_some()
            || self.domain.is_some()
            || self.since.is_some()
            || self.before.is_some()
            || self.min_score.is_some()
            || self.max_score.is_some()
    }

    pub(super) fn select(
        &self,
        states: Vec<EntryState>,
        limit: Option<u32>,
        desk: &Desk<'_>,
    ) -> anyhow::Result<EntryFilter> {
        let since = self.since.map(|since| since.when(desk.now));
        let before = self.before.map(|before| before.when(desk.now));
        if since
            .zip(before)
            .is_some_and(|(since, before)| since >= before)
        {
            return Err(usage("--since is not before --before"));
        }
        if (self.min_score.zip(self.max_score)).is_some_and(|(min, max)| min > max) {
            return Err(usage("--min-score is above --max-score"));
        }
        Ok(EntryFilter {
            states,
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            domain: self.domain.clone(),
            since,
            before,
            min_score: self.min_score,
            max_score: self.max_score,
            offset: 0,
            limit,
        })
    }
}

/// Whom a command is about: ids, or all waiting entries that fit
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Ids, or at least four characters of their beginnings
    #[arg(value_name = "ID", value_parser = filled)]
    ids: Vec<String>,
    #[command(flatten)]
    filters: Filters,
    /// With filters: do it; without, the entries are only listed and counted
    #[arg(long)]
    yes: bool,
}

impl Which {
    /// Returns what was asked for; `None` when it was only shown what would be done.
    pub(super) fn ids(
        &self,
        what: &str,
        as_json: bool,
        desk: &mut Desk<'_>,
    ) -> anyhow::Result<Option<Vec<String>>> {
        match (self.ids.is_empty(), self.filters.are_given()) {
            (false, false) => return Ok(Some(self.ids.clone())),
            (true, true) => {}
            (false, true) => return Err(usage("give ids or filters, not both")),
            (true, false) => {
                return Err(usage(
                    "say which: ids, or filters such as --sender and --since; `straymail quarantine list` takes the same ones",
                ));
            }
        }
        let waiting = vec![EntryState::Pending, EntryState::Held];
        let filter = self.filters.select(waiting, None, desk)?;
        let mut entries = desk.quarantine.entries(&filter, desk.now)?;
        if self.yes {
            // Also those whose senders decided: each of them is told of when its turn comes.
            return Ok(Some(
                entries.iter().map(|entry| entry.id.to_string()).collect(),
            ));
        }
        let fit = entries.len();
        let mut decided = Vec::new();
        for entry in &entries {
            if desk.quarantine.pending_decision(&entry.id)?.is_some() {
                decided.push(entry.id.clone());
            }
        }
        entries.retain(|entry| !decided.contains(&entry.id));
        if as_json {
            entries.iter().try_for_each(|entry| json(entry, desk.out))?;
        } else if !entries.is_empty() {
            rows(&entries, desk.out)?;
        }
        desk.out.flush()?;
        let count = entries.len();
        let noun = if count == 1 { "entry" } else { "entries" };
        // Not on standard output: with --json that is for objects.
        say!("straymail: {count} {noun} would be {what}, nothing was done; add --yes to do it");
        if count < fit {
            let ids: Vec<String> = decided.iter().map(ToString::to_string).collect();
            say!(
                "straymail: left alone, because their senders decided already: {}",
                ids.join(", ")
            );
        }
        Ok(None)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateName {
    All,
    Open,
    One(EntryState),
}

impl ValueEnum for StateName {
    fn value_variants<'a>() -> &'a [Self] {
        const NAMES: [StateName; 8] = [
            StateName::Open,
            StateName::One(EntryState::Pending),
            StateName::One(EntryState::Held),
            StateName::One(EntryState::Releasing),
            StateName::One(EntryState::Released),
            StateName::One(EntryState::Dropped),
            StateName::One(EntryState::Expired),
            StateName::All,
        ];
        &NAMES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            StateName::All => "all",
            StateName::Open => "open",
            StateName::One(state) => state.name(),
        }))
    }
}

/// Returns the states asked for; empty means all.
pub(super) fn states(names: &[StateName]) -> Vec<EntryState> {
    if names.contains(&StateName::All) {
        return Vec::new();
    }
    let mut states: Vec<EntryState> = Vec::new();
    for name in if names.is_empty() {
        &[StateName::Open]
    } else {
        names
    } {
        match name {
            StateName::One(state) => states.push(*state),
            StateName::Open | StateName::All => states.extend(EntryState::OPEN),
        }
    }
    states
}

/// Reads a domain in either spelling and returns its A-labels.
fn domain(text: &str) -> Result<String, String> {
    Domain::parse(text.as_bytes(), &PublicSuffixes::built_in())
        .map(|domain| domain.ascii().to_owned())
        .map_err(|error| error.to_string())
}
