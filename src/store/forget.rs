//! Forgetting what was finished long ago. What the audit record says of it stays.

use jiff::Timestamp;
use rusqlite::params;

use super::{Ledger, StoreError};

impl Ledger<'_> {
    /// Returns the keys of messages of which every recipient was finished before `before`, with
    /// no decision and no letter still under way; at most `limit`.
    pub fn long_finished(&self, before: Timestamp, limit: u32) -> Result<Vec<String>, StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT message FROM entry GROUP BY message
                 HAVING max(changed_at) < ?1
                     AND sum(state IN ('pending', 'held', 'releasing')
                         OR id IN (SELECT entry FROM decision)
                         OR id IN (SELECT entry FROM letter)) = 0
                 LIMIT ?2",
            )
            .map_err(error)?;
        let rows = statement
            .query_map(params![before.as_millisecond(), limit], |row| row.get(0))
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Removes a message, its entries and their notices. Its file must be gone: a file that the
    /// index does not know is taken up again.
    pub fn forget_message(&self, key: &str) -> Result<(), StoreError> {
        for sql in [
            "DELETE FROM notice WHERE entry IN (SELECT id FROM entry WHERE message = ?1)",
            "DELETE FROM entry WHERE message = ?1",
            "DELETE FROM message WHERE key = ?1",
        ] {
            (self.connection.execute(sql, [key])).map_err(|error| self.error(error))?;
        }
        Ok(())
    }

    /// Removes approvals that expired before `before`; returns how many.
    pub fn forget_approvals(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.connection
            .execute(
                "DELETE FROM approval WHERE expires_at < ?1",
                [before.as_millisecond()],
            )
            .map_err(|error| self.error(error))
    }
}
