//! `straymail quarantine list`.

use std::io;

use comfy_table::Cell;

use crate::store::Entry;

use super::DEFAULT_LIMIT;
use super::filters::{Filters, StateName, states};
use crate::cli::desk::{Desk, address, both_spellings, json, number, print, table, time};

/// Lists entries, newest first
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// In this state (repeatable); `open` is pending, held and releasing [default: open]
    #[arg(long, value_name = "STATE")]
    state: Vec<StateName>,
    #[command(flatten)]
    filters: Filters,
    /// At most so many; without it 100 in a table, all with --json
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let mut limit = self.limit;
        if limit.is_none() && !self.json {
            // One more than shown tells whether there are more.
            limit = Some(DEFAULT_LIMIT + 1);
        }
        let filter = self.filters.select(states(&self.state), limit, desk)?;
        let mut entries = desk.quarantine.entries(&filter, desk.now)?;
        if self.json {
            return entries.iter().try_for_each(|entry| json(entry, desk.out));
        }
        if entries.is_empty() {
            writeln!(desk.out, "no entries")?;
            return Ok(());
        }
        let shown = usize::try_from(DEFAULT_LIMIT)?;
        let more = self.limit.is_none() && entries.len() > shown;
        if more {
            entries.truncate(shown);
        }
        rows(&entries, desk.out)?;
        if more {
            writeln!(
                desk.out,
                "the newest {DEFAULT_LIMIT} are shown; there are more, see --limit and the filters"
            )?;
        }
        Ok(())
    }
}

/// Prints entries as a table.
pub(super) fn rows(entries: &[Entry], out: &mut dyn io::Write) -> io::Result<()> {
    let mut table = table(&["ID", "STATE", "HELD", "SCORE", "FROM", "TO", "MEANT"]);
    for entry in entries {
        table.add_row([
            Cell::new(&entry.id),
            Cell::new(entry.state),
            Cell::new(time(entry.held_at)),
            number(entry.score),
            Cell::new(address(&entry.message.sender_address)),
            Cell::new(address(&entry.address)),
            Cell::new(
                entry
                    .suggestion
                    .as_deref()
                    .map_or("-".to_owned(), both_spellings),
            ),
        ]);
    }
    print(&table, out)
}
