//! Mails of our own that the MTA has yet to take.
//!
//! A letter is written in the transaction that it tells of, and removed when the MTA has taken
//! it: whatever crashes, what happened is told, and at most once too often.

use jiff::Timestamp;
use rusqlite::params;

use super::{EntryId, Ledger, StoreError};

/// A mail to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLetter {
    /// To whom, `local@domain`.
    pub addressee: String,
    /// All of it, with CRLF line ends.
    pub message: Vec<u8>,
}

/// A mail on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its row.
    pub id: i64,
    /// About which entry.
    pub entry: EntryId,
    /// To whom, `local@domain`.
    pub addressee: String,
    /// All of it, with CRLF line ends.
    pub message: Vec<u8>,
    /// How often it was tried to send.
    pub tries: u32,
}

impl Ledger<'_> {
    /// Writes down a mail about an entry, due at once.
    pub fn put_letter(
        &self,
        id: &EntryId,
        new: &NewLetter,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .execute(
                "INSERT INTO letter (entry, addressee, message, tries, next_try) VALUES (?1, ?2, ?3, 0, ?4)",
                params![id, new.addressee, new.message, now.as_millisecond()],
            )
            .map_err(|error| self.error(error))?;
        Ok(())
    }

    /// Returns row, entry and addressee of all letters that are not yet sent.
    pub(super) fn letters(&self) -> Result<Vec<(i64, EntryId, String)>, StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare("SELECT id, entry, addressee FROM letter ORDER BY id")
            .map_err(error)?;
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Returns letters to send now, oldest first, at most `limit`.
    pub fn due_letters(&self, now: Timestamp, limit: u32) -> Result<Vec<Letter>, StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT id, entry, addressee, message, tries FROM letter
                 WHERE next_try <= ?1 OR next_try > ?2 ORDER BY id LIMIT ?3",
            )
            .map_err(error)?;
        let values = params![now.as_millisecond(), super::too_late(now), limit];
        let rows = statement
            .query_map(values, |row| {
                Ok(Letter {
                    id: row.get(0)?,
                    entry: row.get(1)?,
                    addressee: row.get(2)?,
                    message: row.get(3)?,
                    tries: row.get(4)?,
                })
            })
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Notes that a letter is to be tried again.
    pub fn postpone_letter(
        &self,
        id: i64,
        why: &str,
        next_try: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .execute(
                "UPDATE letter SET tries = tries + 1, next_try = ?3, last_error = ?2 WHERE id = ?1",
                params![id, why, next_try.as_millisecond()],
            )
            .map_err(|error| self.error(error))?;
        Ok(())
    }

    /// Removes a letter: the MTA took it, or never will.
    pub fn remove_letter(&self, id: i64) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM letter WHERE id = ?1", [id])
            .map_err(|error| self.error(error))?;
        Ok(())
    }
}
