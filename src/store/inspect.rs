//! A database looked at without changing it, for the doctor.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::{BUSY_TIMEOUT, Counts, DATABASE, Ledger, Store, StoreError, classify, schema};

/// What a database says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The version of its tables.
    pub version: i64,
    /// The version this program writes.
    pub known: i64,
    /// What is in it; `None` when its version is another.
    pub counts: Option<Counts>,
    /// When the last row of the audit record was written, by the clock of then.
    pub last_event: Option<Timestamp>,
}

impl Store {
    /// Looks at `quarantine.db` in `dir`; `None` when there is none. Nothing is created,
    /// migrated or mended.
    ///
    /// # Errors
    /// It is damaged, locked or not readable.
    pub fn inspect(dir: &Path) -> Result<Option<Inspection>, StoreError> {
        let path = dir.join(DATABASE);
        if !path.exists() {
            return Ok(None);
        }
        let error = |error| classify(&path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(error)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(error)?;
        let version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(error)?;
        let known = schema::version();
        let found: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(error)?;
        if found != "ok" {
            return Err(StoreError::Damaged {
                path: path.clone(),
                detail: found,
            });
        }
        if version != known {
            return Ok(Some(Inspection {
                version,
                known,
                counts: None,
                last_event: None,
            }));
        }
        let last: Option<i64> = connection
            .query_row(
                "SELECT at FROM audit ORDER BY seq DESC LIMIT 1",
                [],
                |row| row.get(0),
            )
            .optional()
            .map_err(error)?;
        let ledger = Ledger {
            connection: &connection,
            path: &path,
        };
        Ok(Some(Inspection {
            version,
            known,
            counts: Some(ledger.counts()?),
            last_event: last.and_then(|at| Timestamp::from_millisecond(at).ok()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-25T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn looking_changes_nothing_and_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Store::inspect(dir.path()).unwrap(), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        drop(Store::open(dir.path(), now()).unwrap());
        let inspection = Store::inspect(dir.path()).unwrap().unwrap();
        assert_eq!(inspection.version, inspection.known);
        assert!(inspection.counts.is_some());
        assert_eq!(inspection.last_event, None);
    }

    #[test]
    fn another_version_and_damage_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), now()).unwrap());
        let path = dir.path().join("quarantine.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let inspection = Store::inspect(dir.path()).unwrap().unwrap();
        assert_eq!((inspection.version, inspection.counts), (99, None));
        std::fs::write(
            &path,
            b"this is no database, but it is long enough for a header",
        )
        .unwrap();
        let error = Store::inspect(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}
