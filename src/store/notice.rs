//! Which entries their senders were told of, and which are still to be told.

use jiff::Timestamp;
use rusqlite::params;

use super::entry::{COLUMNS, read_entry};
use super::{Entry, EntryId, Ledger, StoreError};

impl Ledger<'_> {
    /// Returns held entries whose notice is due, oldest first, at most `limit`.
    pub fn due_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} LEFT JOIN notice ON notice.entry = entry.id
                 WHERE entry.state = 'held'
                     AND (notice.entry IS NULL OR (notice.outcome IS NULL AND (notice.next_try <= ?1 OR notice.next_try > ?2)))
                     AND NOT EXISTS (SELECT 1 FROM decision WHERE decision.entry = entry.id)
                 ORDER BY entry.held_at, entry.id LIMIT ?3"
            ))
            .map_err(error)?;
        let rows = statement
            .query_map(
                params![now.as_millisecond(), super::too_late(now), limit],
                read_entry,
            )
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Notes how the notice about `id` ended: `sent`, `digest`, or why there is none.
    pub fn finish_notice(
        &self,
        id: &EntryId,
        addressee: &str,
        outcome: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .execute(
                "INSERT INTO notice (entry, outcome, addressee, tries, next_try) VALUES (?1, ?2, ?3, 1, ?4)
                 ON CONFLICT (entry) DO UPDATE SET outcome = ?2, addressee = ?3, tries = tries + 1,
                     next_try = ?4, last_error = NULL",
                params![id, outcome, addressee, now.as_millisecond()],
            )
            .map_err(|error| self.error(error))?;
        Ok(())
    }

    /// Notes that the notice about `id` is to be tried again at `next_try`; returns how often
    /// it was tried. `why` is empty where nothing failed, and it only waits for the next digest.
    pub fn postpone_notice(
        &self,
        id: &EntryId,
        addressee: &str,
        why: &str,
        next_try: Timestamp,
    ) -> Result<u32, StoreError> {
        self.connection
            .query_row(
                "INSERT INTO notice (entry, addressee, tries, next_try, last_error) VALUES (?1, ?2, 1, ?4, ?3)
                 ON CONFLICT (entry) DO UPDATE SET tries = tries + 1, next_try = ?4, last_error = ?3
                 RETURNING tries",
                params![id, addressee, why, next_try.as_millisecond()],
                |row| row.get(0),
            )
            .map_err(|error| self.error(error))
    }

    /// Returns how many notices, and how many entries in digests, went to `addressee` from
    /// `since` to `now`.
    pub fn notices_since(
        &self,
        addressee: &str,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<(u32, u32), StoreError> {
        self.connection
            .query_row(
                "SELECT count(*) FILTER (WHERE outcome = 'sent'), count(*) FILTER (WHERE outcome = 'digest')
                 FROM notice WHERE addressee = ?1 AND next_try BETWEEN ?2 AND ?3",
                params![addressee, since.as_millisecond(), now.as_millisecond()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .map_err(|error| self.error(error))
    }

    /// Makes a notice due again for every held entry whose sender was told, and returns how many
    /// these are.
    pub fn ask_again(&self) -> Result<usize, StoreError> {
        self.connection
            .execute(
                "DELETE FROM notice WHERE outcome IN ('sent', 'digest')
                     AND entry IN (SELECT id FROM entry WHERE state = 'held')",
                [],
            )
            .map_err(|error| self.error(error))
    }

    /// Returns the entries that were told of in the same digest as `id`, itself included, in
    /// order; none when its notice was of its own. An entry that was held again since is not
    /// among them.
    pub fn digest(&self, id: &EntryId) -> Result<Vec<EntryId>, StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT other.entry FROM notice this JOIN notice other
                     ON other.addressee = this.addressee AND other.next_try = this.next_try
                 WHERE this.entry = ?1 AND this.outcome = 'digest' AND other.outcome = 'digest'
                 ORDER BY other.entry",
            )
            .map_err(error)?;
        let rows = statement.query_map([id], |row| row.get(0)).map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }
}
