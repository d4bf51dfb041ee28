//! Which entry is being handed to the MTA just now.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::{EntryId, Ledger, StoreError};

impl Ledger<'_> {
    /// Returns the entry that somebody is releasing just now, from this sender to this recipient,
    /// both `local@domain`.
    pub fn being_released(
        &self,
        sender: &str,
        recipient: &str,
        now: Timestamp,
    ) -> Result<Option<EntryId>, StoreError> {
        self.connection
            .prepare_cached(
                "SELECT entry.id FROM entry JOIN message ON message.key = entry.message
                 WHERE entry.state = 'releasing' AND lower(entry.address) = ?2
                     AND lower(message.sender_address) = ?1 AND entry.lease_until > ?3 LIMIT 1",
            )
            .and_then(|mut statement| {
                let (sender, recipient) = (sender.to_lowercase(), recipient.to_lowercase());
                statement
                    .query_row(params![sender, recipient, now.as_millisecond()], |row| {
                        row.get(0)
                    })
                    .optional()
            })
            .map_err(|error| self.error(error))
    }
}
