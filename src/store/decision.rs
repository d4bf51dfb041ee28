//! What senders decided and the worker has yet to carry out.

use std::fmt;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{EntryId, Ledger, StoreError};

/// A decision waiting for the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingDecision {
    /// About which entry.
    pub entry: EntryId,
    /// The address (`local@domain`) to send to instead; `None` to send as addressed.
    pub corrected: Option<String>,
    /// Who decided.
    pub actor: String,
    /// How often it was tried to carry out.
    pub tries: u32,
    /// Why the last try failed, if one did.
    pub last_error: Option<String>,
}

/// Who decides about an entry that nobody decided on, where it is delivered then.
pub const NOBODY: &str = "worker, nobody decided in time";

impl PendingDecision {
    /// Returns whether a person decided, and not one of our processes for want of one.
    pub fn is_of_a_person(&self) -> bool {
        !["worker", "milter"]
            .iter()
            .any(|process| self.actor.starts_with(process))
    }
}

impl fmt::Display for PendingDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.corrected {
            Some(to) => write!(f, "send to {to} instead")?,
            None => f.write_str("send as addressed")?,
        }
        write!(f, ", by {}; ", self.actor)?;
        match &self.last_error {
            Some(why) => write!(f, "not done yet: {why}"),
            None => f.write_str("about to be done"),
        }
    }
}

impl Ledger<'_> {
    /// Notes a decision; `false` when there is one already.
    pub fn put_decision(
        &self,
        id: &EntryId,
        corrected: Option<&str>,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = self
            .connection
            .execute(
                "INSERT INTO decision (entry, corrected, actor, decided_at, tries, next_try)
                 VALUES (?1, ?2, ?3, ?4, 0, ?4) ON CONFLICT (entry) DO NOTHING",
                params![id, corrected, actor, now.as_millisecond()],
            )
            .map_err(|error| self.error(error))?;
        Ok(changed == 1)
    }

    /// Returns the decision about an entry that is not yet carried out.
    pub fn decision(&self, id: &EntryId) -> Result<Option<PendingDecision>, StoreError> {
        self.connection
            .query_row(
                "SELECT entry, corrected, actor, tries, last_error FROM decision WHERE entry = ?1",
                [id],
                read_decision,
            )
            .optional()
            .map_err(|error| self.error(error))
    }

    /// Returns all decisions that are not yet carried out.
    pub(super) fn decisions(&self) -> Result<Vec<PendingDecision>, StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare(
                "SELECT entry, corrected, actor, tries, last_error FROM decision ORDER BY entry",
            )
            .map_err(error)?;
        let rows = statement.query_map([], read_decision).map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Returns decisions to carry out now, oldest first, at most `limit`.
    pub fn due_decisions(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<PendingDecision>, StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT entry, corrected, actor, tries, last_error FROM decision
                 WHERE next_try <= ?1 OR next_try > ?2 ORDER BY decided_at LIMIT ?3",
            )
            .map_err(error)?;
        let rows = statement
            .query_map(
                params![now.as_millisecond(), super::too_late(now), limit],
                read_decision,
            )
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Notes that a decision is to be tried again.
    pub fn postpone_decision(
        &self,
        id: &EntryId,
        why: &str,
        next_try: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .execute(
                "UPDATE decision SET tries = tries + 1, next_try = ?3, last_error = ?2 WHERE entry = ?1",
                params![id, why, next_try.as_millisecond()],
            )
            .map_err(|error| self.error(error))?;
        Ok(())
    }

    /// Removes the decision about an entry: it was carried out or cannot be.
    pub fn remove_decision(&self, id: &EntryId) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM decision WHERE entry = ?1", [id])
            .map_err(|error| self.error(error))?;
        Ok(())
    }

    /// Forgets notice and decision of an entry that is opened again.
    pub(super) fn start_anew(&self, id: &EntryId) -> Result<(), StoreError> {
        self.remove_decision(id)?;
        self.forget_notice(id)
    }

    /// Forgets the notice of an entry, so that its sender is told again.
    pub(super) fn forget_notice(&self, id: &EntryId) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM notice WHERE entry = ?1", [id])
            .map_err(|error| self.error(error))?;
        Ok(())
    }
}

fn read_decision(row: &rusqlite::Row<'_>) -> rusqlite::Result<PendingDecision> {
    Ok(PendingDecision {
        entry: row.get(0)?,
        corrected: row.get(1)?,
        actor: row.get(2)?,
        tries: row.get(3)?,
        last_error: (row.get::<_, Option<String>>(4)?).filter(|why| !why.is_empty()),
    })
}
