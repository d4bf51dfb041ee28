//! Sums of the store for the metrics page.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::params;

use super::entry::millis;
use super::{Ledger, StoreError};

/// How often each thing happened, by its kind and what it came to, as far as the audit record
/// was read. It only grows, so what was counted is never counted again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventTally {
    /// The last row that was counted.
    pub last: i64,
    /// By kind (`held`, `decided`, …) and outcome: `confirmed`, `corrected` or `cancelled` of a
    /// decision, `sent` or `none` of a notice, else empty.
    pub counts: BTreeMap<(String, String), u64>,
}

impl Ledger<'_> {
    /// Counts the rows of the audit record that are new since `tally` was last brought up.
    pub fn count_events(&self, tally: &mut EventTally) -> Result<(), StoreError> {
        let error = |error| self.error(error);
        let mut statement = (self.connection)
            .prepare_cached(
                "SELECT kind,
                     CASE
                         WHEN kind = 'decided' AND detail LIKE 'send%' THEN 'confirmed'
                         WHEN kind = 'decided' AND detail LIKE 'correct%' THEN 'corrected'
                         WHEN kind = 'decided' AND detail LIKE 'cancel%' THEN 'cancelled'
                         WHEN kind = 'notified' AND (detail LIKE 'to %' OR detail LIKE 'end told%') THEN 'sent'
                         WHEN kind = 'notified' THEN 'none'
                         ELSE ''
                     END AS outcome,
                     count(*), max(seq)
                 FROM (SELECT seq, kind, CASE WHEN kind IN ('decided', 'notified')
                           THEN json_extract(event, '$.detail') END AS detail
                       FROM audit WHERE seq > ?1)
                 GROUP BY kind, outcome",
            )
            .map_err(error)?;
        let rows = statement
            .query_map(params![tally.last], |row| {
                let key = (row.get::<_, String>(0)?, row.get::<_, String>(1)?);
                Ok((key, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
            })
            .map_err(error)?;
        let mut last = tally.last;
        for row in rows {
            let (key, count, seq) = row.map_err(error)?;
            *tally.counts.entry(key).or_default() += u64::try_from(count).unwrap_or_default();
            last = last.max(seq);
        }
        tally.last = last;
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
    use crate::store::{AuditEvent, Durability, EventKind, Store};

    #[test]
    fn each_event_is_counted_once_by_what_it_came_to() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), now).unwrap();
        let append = |kind, detail: Option<&str>| {
            let event = AuditEvent {
                detail: detail.map(str::to_owned),
                ..AuditEvent::new(kind, "worker")
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
        let bring_up =
            |tally: &mut EventTally| store.read(|ledger| ledger.count_events(tally)).unwrap();
        bring_up(&mut tally);
        append(EventKind::Decided, Some("cancel"));
        bring_up(&mut tally);
        bring_up(&mut tally);
        let counts: Vec<_> = (tally.counts.iter())
            .map(|((kind, outcome), count)| (&**kind, &**outcome, *count))
            .collect();
        assert_eq!(
            counts,
            [
                ("decided", "cancelled", 2),
                ("decided", "confirmed", 2),
                ("decided", "corrected", 1),
                ("held", "", 1),
                ("notified", "none", 1),
                ("notified", "sent", 1),
            ]
        );
    }
}
