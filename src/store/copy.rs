//! Copies of the database: a whole one for a backup, and back from one.

use std::collections::HashSet;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    AuditEvent, Check, EntryId, EventKind, Ledger, Store, StoreError, classify, open_checked,
};

/// A copy of a database beside the one in use, to take over from it what is unknown there.
///
/// What is known stays as it is: whatever was decided since the copy was made counts.
#[derive(Debug)]
pub struct Merge<'s> {
    store: &'s Store,
    connection: Connection,
}

impl Store {
    /// Writes the database of this moment, whole and without a write-ahead log, to `target`,
    /// which must not exist. Others go on reading and writing meanwhile.
    ///
    /// # Errors
    /// The database cannot be read or the copy not be written.
    pub fn copy_to(&self, target: &Path) -> Result<(), StoreError> {
        super::create_private(target)?;
        let connection = self.connection()?;
        // SQLite takes an empty file as none.
        connection
            .execute("VACUUM INTO ?1", [target.to_string_lossy()])
            .map_err(|error| classify(target, error))?;
        self.keep(connection);
        Ok(())
    }

    /// Returns the keys of the messages in the copy of a database at `copy`.
    ///
    /// # Errors
    /// The copy cannot be read.
    pub fn keys_in(copy: &Path) -> Result<HashSet<String>, StoreError> {
        let error = |error| classify(copy, error);
        let connection = Connection::open(copy).map_err(error)?;
        let mut statement = connection
            .prepare("SELECT key FROM message")
            .map_err(error)?;
        let rows = statement.query_map([], |row| row.get(0)).map_err(error)?;
        rows.collect::<rusqlite::Result<_>>().map_err(error)
    }

    /// Makes the copy of a database at `copy` send nothing by itself: decisions that were not
    /// carried out, and letters that were not sent, may have been since. Both become rows of the
    /// audit record. Returns how many entries were decided.
    ///
    /// # Errors
    /// The copy is not usable.
    pub fn silence(copy: &Path, now: Timestamp) -> Result<usize, StoreError> {
        let mut connection = open_checked(copy, Check::Header)?;
        let error = |error| classify(copy, error);
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(error)?;
        let ledger = Ledger {
            connection: &transaction,
            path: copy,
        };
        let note = |entry: &EntryId, what: String| {
            let event = AuditEvent {
                entry: Some(entry.clone()),
                detail: Some(what),
                ..AuditEvent::new(EventKind::Rebuilt, "straymail")
            };
            ledger.append_audit(&event, now)
        };
        let decisions = ledger.decisions()?;
        for decision in &decisions {
            let what = format!(
                "restored from a backup, where it was decided as: {decision}; it waits for a new decision"
            );
            note(&decision.entry, what)?;
            ledger.remove_decision(&decision.entry)?;
        }
        for (letter, entry, addressee) in ledger.letters()? {
            let what = format!(
                "restored from a backup, where a letter to {addressee} was yet to be sent; it is not"
            );
            note(&entry, what)?;
            ledger.remove_letter(letter)?;
        }
        transaction.commit().map_err(error)?;
        Ok(decisions.len())
    }

    /// Opens the copy of a database at `copy`, which is brought to the present schema version.
    ///
    /// # Errors
    /// One of the databases is not usable.
    pub fn merge(&self, copy: &Path) -> Result<Merge<'_>, StoreError> {
        drop(open_checked(copy, Check::Whole)?);
        let connection = self.connection()?;
        let error = |error| self.error(error);
        (connection.execute("ATTACH ?1 AS old", [copy.to_string_lossy()])).map_err(error)?;
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(error)?;
        Ok(Merge {
            store: self,
            connection,
        })
    }
}

impl Merge<'_> {
    /// Returns the keys of messages that wait in the copy and are unknown here.
    ///
    /// # Errors
    /// One of the databases cannot be read.
    pub fn unknown(&self) -> Result<Vec<String>, StoreError> {
        unknown(&self.connection, None).map_err(|error| self.store.error(error))
    }

    /// Takes over these messages, unless they became known meanwhile, and returns how many
    /// recipients wait again. `place` puts their files into place while nobody else can change
    /// rows, and returns the keys of those that are: the others stay out.
    ///
    /// # Errors
    /// A database is not usable, or `place` failed. No row was written then, but files may be
    /// in place.
    pub fn messages<E: From<StoreError>>(
        &mut self,
        keys: &[String],
        place: impl FnOnce(&[String]) -> Result<Vec<String>, E>,
    ) -> Result<usize, E> {
        let store = self.store;
        let error = |error| store.error(error);
        let transaction = (self.connection)
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(error)?;
        let mut wanted = Vec::new();
        for key in keys {
            // A client's retry may have brought it, or whoever opened the index taken it up.
            wanted.extend(unknown(&transaction, Some(key)).map_err(error)?);
        }
        let placed = place(&wanted)?;
        let waiting = take_over(&transaction, &placed).map_err(error)?;
        transaction.commit().map_err(error)?;
        Ok(waiting)
    }

    /// Takes over the approvals that have not expired, and returns how many.
    ///
    /// # Errors
    /// A database is not usable.
    pub fn approvals(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        (self.connection)
            .execute(
                // An approval taken back since must not come to life again.
                "INSERT OR IGNORE INTO main.approval SELECT * FROM old.approval
                 WHERE (expires_at IS NULL OR expires_at > ?1)
                     AND id NOT IN (SELECT id FROM main.approval)
                     AND 'approval ' || id NOT IN (
                         SELECT substr(detail, 1, instr(detail || ':', ':') - 1)
                         FROM (SELECT json_extract(event, '$.detail') AS detail FROM main.audit
                             WHERE kind = 'approval-removed')
                         WHERE detail IS NOT NULL)",
                params![now.as_millisecond()],
            )
            .map_err(|error| self.store.error(error))
    }
}

/// Returns the keys of messages that wait in the copy and are unknown here: all, or this one.
fn unknown(connection: &Connection, key: Option<&str>) -> rusqlite::Result<Vec<String>> {
    // Each as cheap as the few rows of its message: others wait for a transaction with hundreds.
    let only = key.map_or("", |_| "message.key = ?1 AND");
    let mut statement = connection.prepare_cached(&format!(
        "SELECT key FROM old.message AS message WHERE {only}
             NOT EXISTS (SELECT 1 FROM main.message AS known WHERE known.key = message.key)
             AND EXISTS (SELECT 1 FROM old.entry AS entry WHERE entry.message = message.key
                 AND entry.state IN ('pending', 'held', 'releasing'))
             -- What was finished here and forgotten since is known to the audit record.
             AND NOT EXISTS (SELECT 1 FROM old.entry AS entry
                 JOIN main.audit AS audit ON audit.entry = entry.id
                 WHERE entry.message = message.key
                     AND audit.kind IN ('released', 'corrected', 'dropped', 'expired'))
         ORDER BY key"
    ))?;
    let rows = statement.query_map(rusqlite::params_from_iter(key), |row| row.get(0))?;
    rows.collect()
}

fn take_over(connection: &Connection, keys: &[String]) -> rusqlite::Result<usize> {
    let mut entries = 0;
    for key in keys {
        let run = |sql: &str| connection.execute(sql, [key]);
        run("INSERT INTO main.message SELECT * FROM old.message WHERE key = ?1")?;
        // Nobody sends it any more, whoever did when the copy was made.
        run(
            "UPDATE old.entry SET state = 'held', claim = NULL, lease_until = NULL
             WHERE message = ?1 AND state = 'releasing'",
        )?;
        run("INSERT INTO main.entry SELECT * FROM old.entry WHERE message = ?1")?;
        run("INSERT INTO main.notice SELECT * FROM old.notice
             WHERE entry IN (SELECT id FROM old.entry WHERE message = ?1)")?;
        let waiting: i64 = connection.query_row(
            "SELECT count(*) FROM main.entry
             WHERE message = ?1 AND state IN ('pending', 'held')",
            [key],
            |row| row.get(0),
        )?;
        entries += usize::try_from(waiting).unwrap_or(0);
    }
    Ok(entries)
}
