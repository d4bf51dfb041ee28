//! Up to where each log was counted.
//!
//! A mark holds hashes and a length, so that a log is known again wherever it lies, under whatever
//! name and however packed, and nothing of its text is kept.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params};

use super::{Ledger, StoreError};

/// Marks of one beginning that are looked at, the last ones: logs that all begin with the same
/// line are some hundred a year.
const MOST_ALIKE: u32 = 10_000;

/// Marks that are kept of one log, the last ones: two months of a daily reading.
const MOST_OF_A_LOG: u32 = 64;

/// A place in a log, known by what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogMark {
    /// SHA-256 of the first line.
    pub beginning: [u8; 32],
    /// Octets before the place, unpacked.
    pub length: u64,
    /// SHA-256 of the first of these.
    pub head: [u8; 32],
    /// SHA-256 of the last of these.
    pub ending: [u8; 32],
}

impl Ledger<'_> {
    /// Returns the marks in logs that begin with this line, each with the number of its log.
    pub fn log_marks(&self, beginning: &[u8; 32]) -> Result<Vec<(LogMark, i64)>, StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT length, head, ending, log FROM log_mark WHERE beginning = ?1
                 ORDER BY length DESC LIMIT ?2",
            )
            .map_err(error)?;
        let read = |row: &Row<'_>| {
            let mark = LogMark {
                beginning: *beginning,
                length: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
                head: row.get(1)?,
                ending: row.get(2)?,
            };
            Ok((mark, row.get(3)?))
        };
        let rows = (statement.query_map(params![beginning.as_slice(), MOST_ALIKE], read))
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Notes that a log was counted up to `mark`, `mails` of it new, and returns the log's number:
    /// `log`, or a new one.
    pub fn add_log_mark(
        &self,
        mark: &LogMark,
        log: Option<i64>,
        mails: u64,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let error = |error| self.error(error);
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let log = match log {
            Some(log) => log,
            None => (self.connection)
                .query_row(
                    "SELECT coalesce(max(log), 0) + 1 FROM log_mark",
                    [],
                    |row| row.get(0),
                )
                .map_err(error)?,
        };
        self.connection
            .execute(
                "INSERT INTO log_mark (beginning, length, head, ending, log, mails, read_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET mails = mails + ?6, read_at = ?7",
                params![
                    mark.beginning.as_slice(),
                    number(mark.length),
                    mark.head.as_slice(),
                    mark.ending.as_slice(),
                    log,
                    number(mails),
                    now.as_millisecond()
                ],
            )
            .map_err(error)?;
        self.connection
            .execute(
                "DELETE FROM log_mark WHERE log = ?1 AND length <
                     (SELECT length FROM log_mark WHERE log = ?1 ORDER BY length DESC LIMIT 1 OFFSET ?2)",
                params![log, MOST_OF_A_LOG - 1],
            )
            .map_err(error)?;
        Ok(log)
    }

    /// Returns up to when version 4 of the store has counted a log that begins with this line.
    /// It kept the time of the last mail; one that is dated ahead was read no later than then.
    pub fn log_read_until(&self, beginning: &[u8; 32]) -> Result<Option<Timestamp>, StoreError> {
        let found = self
            .connection
            .query_row(
                "SELECT min(read_until, read_at) FROM learned_log WHERE beginning = ?1",
                [beginning.as_slice()],
                |row| row.get::<_, i64>(0),
            )
            .optional()
            .map_err(|error| self.error(error))?;
        Ok(found.and_then(|at| Timestamp::from_millisecond(at).ok()))
    }

    /// Erases what version 4 of the store knew of a log: it has a mark now.
    pub fn forget_log_read_until(&self, beginning: &[u8; 32]) -> Result<(), StoreError> {
        self.connection
            .execute(
                "DELETE FROM learned_log WHERE beginning = ?1",
                [beginning.as_slice()],
            )
            .map_err(|error| self.error(error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Store};

    #[test]
    fn of_a_log_the_last_marks_are_kept_and_another_that_begins_alike_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let (store, _) = Store::open(dir.path(), now).unwrap();
        let mark = |length: u64| LogMark {
            beginning: [1; 32],
            length,
            head: [2; 32],
            ending: [u8::try_from(length % 251).unwrap(); 32],
        };
        let add = |length, log| {
            (store.write(Durability::Written, |ledger| {
                ledger.add_log_mark(&mark(length), log, 1, now)
            }))
            .unwrap()
        };
        let first = add(1000, None);
        let other = add(5, None);
        assert_ne!(first, other);
        for length in 1001..1000 + 2 * u64::from(MOST_OF_A_LOG) {
            assert_eq!(add(length, Some(first)), first);
        }
        // The same place again is no other mark.
        add(1000 + 2 * u64::from(MOST_OF_A_LOG) - 1, Some(first));
        let marks = store.read(|ledger| ledger.log_marks(&[1; 32])).unwrap();
        let expected: Vec<_> = (1000..1000 + 2 * u64::from(MOST_OF_A_LOG))
            .rev()
            .take(MOST_OF_A_LOG as usize)
            .map(|length| (mark(length), first))
            .chain([(mark(5), other)])
            .collect();
        assert_eq!(marks, expected);
        assert_eq!(store.read(|ledger| ledger.log_marks(&[3; 32])).unwrap(), []);
        let logs = store.read(|ledger| ledger.learned()).unwrap().logs;
        assert_eq!(logs, 2);
    }
}
