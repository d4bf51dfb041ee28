//! How much there is of everything, for the operator.

use jiff::Timestamp;
use rusqlite::params;
use serde::Serialize;

use super::{EntryState, Ledger, StoreError};

/// What waits and what does not get on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Entries in each state, in the order of a life.
    pub entries: Vec<(EntryState, u64)>,
    /// When the oldest waiting entry was held.
    pub oldest: Option<Timestamp>,
    /// Decisions of senders not yet carried out.
    pub decisions: u64,
    /// Of those, the ones that failed at least once.
    pub decisions_failing: u64,
    /// Notices that failed at least once and are tried again.
    pub notices_failing: u64,
    /// Notices beyond what a sender gets in an hour, which wait for the next digest.
    pub notices_waiting: u64,
    /// Letters (ends, reports) that the MTA has yet to take.
    pub letters: u64,
    /// When the worker was last seen, to the minute; `None` when it never ran.
    pub worker_seen_at: Option<Timestamp>,
    /// Why the last of these failed.
    pub last_error: Option<String>,
}

impl Counts {
    /// Returns how many entries wait.
    pub fn open(&self) -> u64 {
        (self.entries.iter())
            .filter(|(state, _)| state.is_open())
            .map(|(_, count)| count)
            .sum()
    }
}

impl Ledger<'_> {
    /// Counts everything. Scans the index, so it is for people, not for every message.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        let error = |error| self.error(error);
        let count = |sql: &str| -> Result<u64, StoreError> {
            let count = self
                .connection
                .query_row(sql, [], |row| row.get::<_, i64>(0));
            Ok(u64::try_from(count.map_err(error)?).unwrap_or_default())
        };
        let mut entries = Vec::with_capacity(EntryState::ALL.len());
        for state in EntryState::ALL {
            let sql = "SELECT count(*) FROM entry WHERE state = ?1";
            let found = (self.connection)
                .query_row(sql, params![state], |row| row.get::<_, i64>(0))
                .map_err(error)?;
            entries.push((state, u64::try_from(found).unwrap_or_default()));
        }
        let oldest = (self.connection)
            .query_row(
                "SELECT min(held_at) FROM entry WHERE state IN ('pending', 'held', 'releasing')",
                [],
                |row| row.get::<_, Option<i64>>(0),
            )
            .map_err(error)?;
        let last_error = (self.connection)
            .query_row(
                "SELECT (SELECT last_error FROM (
                     SELECT last_error, next_try FROM decision WHERE last_error <> ''
                     UNION ALL SELECT last_error, next_try FROM notice WHERE outcome IS NULL AND last_error <> ''
                     UNION ALL SELECT last_error, next_try FROM letter WHERE last_error <> ''
                 ) ORDER BY next_try DESC LIMIT 1)",
                [],
                |row| row.get(0),
            )
            .map_err(error)?;
        let seen_at = (self.connection)
            .query_row("SELECT max(seen_at) FROM worker", [], |row| {
                row.get::<_, Option<i64>>(0)
            })
            .map_err(error)?;
        Ok(Counts {
            entries,
            oldest: oldest.and_then(|at| Timestamp::from_millisecond(at).ok()),
            decisions: count("SELECT count(*) FROM decision")?,
            decisions_failing: count("SELECT count(*) FROM decision WHERE tries > 0")?,
            notices_failing: count(
                "SELECT count(*) FROM notice WHERE outcome IS NULL AND last_error <> ''",
            )?,
            notices_waiting: count(
                "SELECT count(*) FROM notice WHERE outcome IS NULL AND coalesce(last_error, '') = ''",
            )?,
            letters: count("SELECT count(*) FROM letter")?,
            worker_seen_at: seen_at.and_then(|at| Timestamp::from_millisecond(at).ok()),
            last_error,
        })
    }
}
