//! Sums of the store for the metrics page.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::params;

use super::entry::millis;
use super::meaning::END_KINDS;
use super::{Ending, Endings, EventKind, Ledger, Meaning, StoreError};

/// How often each thing happened, as far as the audit record was read. It only grows, so what
/// was counted is never counted again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventTally {
    /// The last row that was counted.
    pub last: i64,
    /// Rows by kind (`held`, `decided`, …).
    pub kinds: BTreeMap<String, u64>,
    /// How held recipients ended.
    pub endings: Endings,
    /// Notices and letters that were sent.
    pub notices_sent: u64,
    /// Those that never will be.
    pub notices_none: u64,
}

impl Ledger<'_> {
    /// Counts the rows of the audit record that are new since `tally` was last brought up, and
    /// gives `ended` each end among them.
    pub fn count_events(
        &self,
        tally: &mut EventTally,
        mut ended: impl FnMut(Timestamp, Ending),
    ) -> Result<(), StoreError> {
        let error = |error| self.error(error);
        let mut statement = (self.connection)
            .prepare_cached(
                "SELECT kind, count(*), max(seq),
                     count(*) FILTER (WHERE detail LIKE 'to %' OR detail LIKE 'end told%')
                 FROM (SELECT seq, kind, CASE WHEN kind = 'notified'
                           THEN json_extract(event, '$.detail') END AS detail
                       FROM audit WHERE seq > ?1)
                 GROUP BY kind",
            )
            .map_err(error)?;
        let rows = statement
            .query_map(params![tally.last], |row| {
                let count = |column| row.get::<_, i64>(column);
                Ok((row.get::<_, String>(0)?, count(1)?, count(2)?, count(3)?))
            })
            .map_err(error)?;
        let count = |count: i64| u64::try_from(count).unwrap_or_default();
        let mut new = tally.clone();
        for row in rows {
            let (kind, rows, seq, sent) = row.map_err(error)?;
            if kind == EventKind::Notified.name() {
                new.notices_sent += count(sent);
                new.notices_none += count(rows - sent);
            }
            *new.kinds.entry(kind).or_default() += count(rows);
            new.last = new.last.max(seq);
        }
        self.each_audit_after(tally.last, new.last, &END_KINDS, |record| {
            if let Meaning::End(ending) = Meaning::of(&record.event) {
                new.endings.count(ending);
                ended(record.at, ending);
            }
        })?;
        *tally = new;
        Ok(())
    }

    /// Returns the octets of messages that wait for a decision.
    pub fn waiting_octets(&self) -> Result<u64, StoreError> {
        let sum: i64 = (self.connection)
            .query_row(
                "SELECT coalesce(sum(size), 0) FROM message WHERE key IN
                     (SELECT message FROM entry WHERE state IN ('pending', 'held', 'releasing'))",
                [],
                |row| row.get(0),
            )
            .map_err(|error| self.error(error))?;
        Ok(u64::try_from(sum).unwrap_or_default())
    }

    /// Returns how many entries wait for longer than `keep_for`: the worker should have ended
    /// them.
    pub fn overdue_count(&self, keep_for: Duration, now: Timestamp) -> Result<u64, StoreError> {
        let before = now.as_millisecond().saturating_sub(millis(keep_for));
        let count: i64 = (self.connection)
            .query_row(
                "SELECT count(*) FROM entry WHERE state IN ('pending', 'held') AND held_at < ?1",
                params![before],
                |row| row.get(0),
            )
            .map_err(|error| self.error(error))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{AuditEvent, Durability, Store};

    #[test]
    fn each_event_is_counted_once_by_what_it_came_to() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), now).unwrap();
        let append = |kind, detail: Option<&str>| {
            let event = AuditEvent {
                detail: detail.map(str::to_owned),
                ..AuditEvent::new(kind, "sender anna@example.org")
            };
            store
                .write(Durability::Written, |ledger| {
                    ledger.append_audit(&event, now)
                })
                .unwrap();
        };
        append(EventKind::Held, None);
        append(EventKind::Decided, Some("send"));
        append(
            EventKind::Decided,
            Some("send, do not ask again about this domain"),
        );
        append(EventKind::Decided, Some("correct to a@b.example"));
        append(EventKind::Decided, Some("cancel"));
        append(
            EventKind::Notified,
            Some("to anna@example.org, in a digest"),
        );
        append(EventKind::Notified, Some("none: the sender may be forged"));
        let mut tally = EventTally::default();
        let mut ended = 0;
        let mut bring_up = |tally: &mut EventTally| {
            let count = |_, _| ended += 1;
            store.read(|ledger| ledger.count_events(tally, count))
        };
        bring_up(&mut tally).unwrap();
        append(EventKind::Decided, Some("cancel"));
        bring_up(&mut tally).unwrap();
        bring_up(&mut tally).unwrap();
        let kinds = [("decided", 5), ("held", 1), ("notified", 2)];
        let expected = EventTally {
            last: 8,
            kinds: kinds.map(|(kind, count)| (kind.to_owned(), count)).into(),
            endings: Endings {
                confirmed: 2,
                corrected: 1,
                cancelled: 2,
                ..Endings::default()
            },
            notices_sent: 1,
            notices_none: 1,
        };
        assert_eq!((tally, ended), (expected, 5));
    }
}
