//! The tables, and the steps from each older version to the present one.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{StoreError, classify};

/// Step `n` (from 0) leads from version `n` to `n + 1`. Steps that were released never change.
const STEPS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
];

/// Returns the version of the tables this program writes.
pub(super) fn version() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// Brings the database to the present version.
///
/// Each step and its version number are one transaction: a crash leaves the older version.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let error = |error| classify(path, error);
    let version = |connection: &Connection| {
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
    };
    let known = self::version();
    let found = version(connection).map_err(error)?;
    if found > known {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    if found == known {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(error)?;
    // Another process may have migrated while we waited for the lock.
    let found = version(&transaction).map_err(error)?;
    for (step, sql) in STEPS.iter().enumerate() {
        if i64::try_from(step).is_ok_and(|step| step >= found) {
            transaction.execute_batch(sql).map_err(error)?;
        }
    }
    transaction
        .pragma_update(None, "user_version", known.max(found))
        .map_err(error)?;
    transaction.commit().map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_a_later_version_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let error = migrate(&mut connection, Path::new("/q.db")).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "/q.db has schema version 99, this straymail knows up to {}; use the newer straymail",
                STEPS.len()
            )
        );
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Path::new("/q.db")).unwrap();
        migrate(&mut connection, Path::new("/q.db")).unwrap();
        let version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(usize::try_from(version).unwrap(), STEPS.len());
    }

    #[test]
    fn every_older_version_is_brought_up() {
        for older in 0..STEPS.len() {
            let mut connection = Connection::open_in_memory().unwrap();
            for step in &STEPS[..older] {
                connection.execute_batch(step).unwrap();
            }
            connection
                .pragma_update(None, "user_version", i64::try_from(older).unwrap())
                .unwrap();
            migrate(&mut connection, Path::new("/q.db")).unwrap();
            connection
                .query_row(
                    "SELECT count(*) FROM entry, notice, decision, letter, worker, contact, contact_sender, day_total, log_mark",
                    [],
                    |_| Ok(()),
                )
                .unwrap();
        }
    }
}
