//! Copies of the database: a whole one for a backup, and back from one.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{Check, Store, StoreError, classify, open_checked};

/// What came back from a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Entries that wait again.
    pub entries: usize,
    /// Approvals that were unknown here and have not expired.
    pub approvals: usize,
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

    /// Takes over from the copy of a database at `copy` what is unknown here: waiting messages,
    /// and approvals that have not expired. `fetch` brings the file of a message before its row
    /// is written; what it refuses stays out.
    ///
    /// What is known here stays as it is: whatever was decided since the copy was made counts.
    /// The copy itself is brought to the present schema version.
    ///
    /// # Errors
    /// One of the databases is not usable, or `fetch` failed.
    pub fn merge<E: From<StoreError>>(
        &self,
        copy: &Path,
        now: Timestamp,
        mut fetch: impl FnMut(&str) -> Result<bool, E>,
    ) -> Result<Merged, E> {
        drop(open_checked(copy, Check::Whole)?);
        let mut connection = self.connection()?;
        let error = |error| self.error(error);
        (connection.execute("ATTACH ?1 AS old", [copy.to_string_lossy()])).map_err(error)?;
        let mut keys = unknown(&connection).map_err(error)?;
        // Outside the transaction: others must not wait for files.
        let mut fault = None;
        keys.retain(|key| match fetch(key) {
            Ok(fetched) => fetched,
            Err(error) => {
                fault = Some(error);
                false
            }
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        let merged = take_over(&mut connection, &keys, now).map_err(error)?;
        (connection.execute("DETACH old", [])).map_err(error)?;
        self.keep(connection);
        Ok(merged)
    }
}

/// Returns the keys of messages that wait in the copy and are unknown here.
fn unknown(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(
        "SELECT key FROM old.message WHERE key NOT IN (SELECT key FROM main.message)
             AND key IN (SELECT message FROM old.entry
                 WHERE state IN ('pending', 'held', 'releasing'))
             -- What was finished here and forgotten since is known to the audit record.
             AND NOT EXISTS (SELECT 1 FROM old.entry JOIN main.audit ON audit.entry = entry.id
                 WHERE entry.message = old.message.key
                     AND audit.kind IN ('released', 'corrected', 'dropped', 'expired'))
         ORDER BY key",
    )?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

fn take_over(
    connection: &mut Connection,
    keys: &[String],
    now: Timestamp,
) -> rusqlite::Result<Merged> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut merged = Merged::default();
    for key in keys {
        let run = |sql: &str| transaction.execute(sql, [key]);
        // Whoever opened the index meanwhile may have taken up the file.
        if run("INSERT OR IGNORE INTO main.message SELECT * FROM old.message WHERE key = ?1")? == 0
        {
            continue;
        }
        // Nobody sends it any more, whoever did when the copy was made.
        run(
            "UPDATE old.entry SET state = 'held', claim = NULL, lease_until = NULL
             WHERE message = ?1 AND state = 'releasing'",
        )?;
        run("INSERT INTO main.entry SELECT * FROM old.entry WHERE message = ?1")?;
        run("INSERT INTO main.notice SELECT * FROM old.notice
             WHERE entry IN (SELECT id FROM old.entry WHERE message = ?1)")?;
        let waiting: i64 = transaction.query_row(
            "SELECT count(*) FROM main.entry
             WHERE message = ?1 AND state IN ('pending', 'held')",
            [key],
            |row| row.get(0),
        )?;
        merged.entries += usize::try_from(waiting).unwrap_or(0);
    }
    merged.approvals = transaction.execute(
        // An approval taken back since must not come to life again.
        "INSERT OR IGNORE INTO main.approval SELECT * FROM old.approval
         WHERE (expires_at IS NULL OR expires_at > ?1)
             AND NOT EXISTS (SELECT 1 FROM main.audit WHERE kind = 'approval-removed'
                 AND json_extract(event, '$.detail') || ':' LIKE 'approval ' || approval.id || ':%')",
        params![now.as_millisecond()],
    )?;
    transaction.commit()?;
    Ok(merged)
}
