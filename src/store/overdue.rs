//! Entries whose time is over, and the clock that says so.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::entry::{COLUMNS, millis, read_entry};
use super::{Entry, Ledger, StoreError};

/// How often it is written down that the worker works.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Whether time went on as it should since the worker was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It did; entries may end.
    Steady,
    /// A wait is on; no entry ends before this.
    Waiting(Timestamp),
    /// Just now the worker finds that it was away for so long, or that the clock jumped; no
    /// entry ends before this.
    Jumped {
        /// When it was last seen.
        from: Timestamp,
        /// No entry ends before this.
        until: Timestamp,
    },
}

impl Ledger<'_> {
    /// Notes that the worker works at `now`. After a gap of more than `gap` it waits for `wait`
    /// before anything ends, so that a clock gone wrong, or a long stop, costs no message: there
    /// is time to put the clock right, or to decide.
    pub fn heartbeat(
        &self,
        now: Timestamp,
        gap: Duration,
        wait: Duration,
    ) -> Result<Passage, StoreError> {
        let error = |error| self.error(error);
        let at = now.as_millisecond();
        let found = self
            .connection
            .query_row(
                "SELECT seen_at, ends_nothing_before FROM worker",
                [],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            )
            .optional()
            .map_err(error)?;
        let (seen, before) = found.unwrap_or((at, at));
        let jumped = at.saturating_sub(seen) > millis(gap);
        let latest = at.saturating_add(millis(wait));
        // A wait that began under a clock far ahead must not outlive it.
        let before = if jumped { latest } else { before.min(latest) };
        let stale = at < seen || at.saturating_sub(seen) >= millis(HEARTBEAT);
        if found.is_none() || stale {
            self.connection
                .execute(
                    "INSERT INTO worker (id, seen_at, ends_nothing_before) VALUES (1, ?1, ?2)
                     ON CONFLICT (id) DO UPDATE SET seen_at = ?1, ends_nothing_before = ?2",
                    params![at, before],
                )
                .map_err(error)?;
        }
        let time = |at| Timestamp::from_millisecond(at).unwrap_or(now);
        Ok(match jumped {
            true => Passage::Jumped {
                from: time(seen),
                until: time(before),
            },
            false if before > at => Passage::Waiting(time(before)),
            false => Passage::Steady,
        })
    }

    /// Returns waiting entries held before `before` that nobody decided on, oldest first, at
    /// most `limit`.
    pub fn overdue(&self, before: Timestamp, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} WHERE entry.state IN ('pending', 'held') AND entry.held_at < ?1
                     AND NOT EXISTS (SELECT 1 FROM decision WHERE decision.entry = entry.id)
                 ORDER BY entry.held_at, entry.id LIMIT ?2"
            ))
            .map_err(error)?;
        let rows = statement
            .query_map(params![before.as_millisecond(), limit], read_entry)
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }
}
