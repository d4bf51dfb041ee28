//! The audit record: every verdict other than a clean accept, and everything done after.
//!
//! Append-only, in the database rather than in a log that may drop lines. Each row carries the
//! SHA-256 of the row before, so a changed, removed or inserted row breaks the chain. Rows cut
//! off at the end cannot be seen from inside: write down the head hash that
//! `straymail audit verify` prints, and give it to the next run.

use std::fmt;

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{OptionalExtension as _, Row, params, params_from_iter};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::entry::time;
use super::id::EntryId;
use super::{Ledger, StoreError};
use crate::hexadecimal;
use crate::octets::Octets;

/// What the first row carries in place of the hash of a row before.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What happened. Names are stable: scripts read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A recipient was refused.
    Rejected,
    /// A recipient was held.
    Held,
    /// A recipient looked doubtful, and was accepted.
    Noted,
    /// A message was marked with a header.
    Tagged,
    /// A message was put into the MTA's own hold queue.
    HeldMessage,
    /// A client was asked to try again because of our own fault.
    Tempfailed,
    /// A verdict was recorded and not carried out (mode observe).
    Observed,
    /// A recipient with evidence passed because it is approved.
    Approved,
    /// The sender was told, or it was noted why not.
    Notified,
    /// The sender decided.
    Decided,
    /// An entry was handed to the MTA.
    Released,
    /// An entry was handed to the MTA for the address the sender meant.
    Corrected,
    /// An entry could not be handed to the MTA.
    ReleaseFailed,
    /// An entry was thrown away by decision.
    Dropped,
    /// An entry was thrown away because nobody decided.
    Expired,
    /// An approval was added.
    ApprovalAdded,
    /// An approval was removed.
    ApprovalRemoved,
    /// An entry was taken up from a spool file the index did not know.
    Rebuilt,
    /// A damaged index was replaced.
    IndexReplaced,
    /// Logs were read to learn from them.
    Learned,
    /// Something of what was learned was erased.
    Forgotten,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [EventKind; 21] = [
        EventKind::Rejected,
        EventKind::Held,
        EventKind::Noted,
        EventKind::Tagged,
        EventKind::HeldMessage,
        EventKind::Tempfailed,
        EventKind::Observed,
        EventKind::Approved,
        EventKind::Notified,
        EventKind::Decided,
        EventKind::Released,
        EventKind::Corrected,
        EventKind::ReleaseFailed,
        EventKind::Dropped,
        EventKind::Expired,
        EventKind::ApprovalAdded,
        EventKind::ApprovalRemoved,
        EventKind::Rebuilt,
        EventKind::IndexReplaced,
        EventKind::Learned,
        EventKind::Forgotten,
    ];

    /// Returns the stable name.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Rejected => "rejected",
            EventKind::Held => "held",
            EventKind::Noted => "noted",
            EventKind::Tagged => "tagged",
            EventKind::HeldMessage => "held-message",
            EventKind::Tempfailed => "tempfailed",
            EventKind::Observed => "observed",
            EventKind::Approved => "approved",
            EventKind::Notified => "notified",
            EventKind::Decided => "decided",
            EventKind::Released => "released",
            EventKind::Corrected => "corrected",
            EventKind::ReleaseFailed => "release-failed",
            EventKind::Dropped => "dropped",
            EventKind::Expired => "expired",
            EventKind::ApprovalAdded => "approval-added",
            EventKind::ApprovalRemoved => "approval-removed",
            EventKind::Rebuilt => "rebuilt",
            EventKind::IndexReplaced => "index-replaced",
            EventKind::Learned => "learned",
            EventKind::Forgotten => "forgotten",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl ToSql for EventKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.name().to_sql()
    }
}

impl FromSql for EventKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        EventKind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or(FromSqlError::InvalidType)
    }
}

/// One thing that happened. Make it with [`AuditEvent::new`] and fill in what is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// What happened.
    pub kind: EventKind,
    /// Who did it: `milter`, `worker`, or a person, `cli anna (uid 1000)`.
    pub actor: String,
    /// The entry it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryId>,
    /// Our session id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The MTA's queue id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<String>,
    /// Envelope sender as received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Octets>,
    /// Envelope recipient as received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Octets>,
    /// SASL login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Octets>,
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u8>,
    /// The trusted domain that may have been meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// Name of the policy rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The reason given, the error, the MTA's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl AuditEvent {
    /// Returns an event with nothing known but what happened and who did it.
    pub fn new(kind: EventKind, actor: impl Into<String>) -> AuditEvent {
        AuditEvent {
            kind,
            actor: actor.into(),
            entry: None,
            session: None,
            queue_id: None,
            sender: None,
            recipient: None,
            login: None,
            score: None,
            suggestion: None,
            rule: None,
            detail: None,
        }
    }
}

/// One row of the audit record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRecord {
    /// 1, 2, 3 … without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub event: AuditEvent,
    /// Hash of the row before.
    pub previous: String,
    /// Hash of this row.
    pub hash: String,
}

/// Which rows to show. Absent fields fit everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of one of these kinds; empty for all.
    pub kinds: Vec<EventKind>,
    /// About this entry.
    pub entry: Option<EntryId>,
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before the row of this number.
    pub before: Option<i64>,
    /// At most so many, the newest.
    pub limit: Option<u32>,
}

/// Whether the chain holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// Every row follows from the one before.
    Intact {
        /// How many rows.
        rows: i64,
        /// Hash of the last row.
        head: String,
        /// Whether the hash given to look for is one of the chain; true when none was given.
        contains_expected: bool,
    },
    /// A row does not follow from the one before.
    Broken {
        /// The first such row.
        seq: i64,
        /// What is wrong with it.
        what: String,
    },
}

impl Ledger<'_> {
    /// Appends an event.
    pub fn append_audit(&self, event: &AuditEvent, now: Timestamp) -> Result<(), StoreError> {
        let error = |error| self.error(error);
        let last = self
            .connection
            .prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
            .and_then(|mut statement| {
                statement
                    .query_row([], |row| {
                        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
                    })
                    .optional()
            })
            .map_err(error)?;
        let (last, previous) = last.unwrap_or((0, GENESIS.to_owned()));
        let seq = last + 1;
        let at = now.as_millisecond();
        let text = serde_json::to_string(event).map_err(|error| StoreError::Row {
            table: "audit",
            row: seq.to_string(),
            what: error.to_string(),
        })?;
        let hash = row_hash(&previous, seq, at, &text);
        self.connection
            .prepare_cached(
                "INSERT INTO audit (seq, at, kind, entry, event, previous, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )
            .and_then(|mut statement| {
                statement.execute(params![seq, at, event.kind, event.entry, text, previous, hash])
            })
            .map_err(error)?;
        Ok(())
    }

    /// Gives `each` every row from `from` to before `to`, oldest first.
    ///
    /// # Errors
    /// What `each` returned, or the record cannot be read.
    pub fn each_audit<E: From<StoreError>>(
        &self,
        from: Timestamp,
        to: Timestamp,
        mut each: impl FnMut(&AuditRecord) -> Result<(), E>,
    ) -> Result<(), E> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT seq, at, event, previous, hash FROM audit WHERE at >= ?1 AND at < ?2 ORDER BY seq",
            )
            .map_err(error)?;
        let rows = statement
            .query_map(
                params![from.as_millisecond(), to.as_millisecond()],
                read_raw,
            )
            .map_err(error)?;
        for raw in rows {
            each(&raw.map_err(error)?.record()?)?;
        }
        Ok(())
    }

    /// Gives `each` every row of `kinds` after the row `after`, up to and with the row `last`,
    /// oldest first.
    pub(super) fn each_audit_after(
        &self,
        after: i64,
        last: i64,
        kinds: &[EventKind],
        mut each: impl FnMut(&AuditRecord),
    ) -> Result<(), StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare_cached(&format!(
                "SELECT seq, at, event, previous, hash FROM audit
                 WHERE seq > ?1 AND seq <= ?2 AND kind IN ({}) ORDER BY seq",
                names(kinds)
            ))
            .map_err(error)?;
        let rows = statement
            .query_map(params![after, last], read_raw)
            .map_err(error)?;
        for raw in rows {
            each(&raw.map_err(error)?.record()?);
        }
        Ok(())
    }

    /// Returns the rows that fit, oldest first.
    pub fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
        let error = |error| self.error(error);
        let mut conditions = vec!["1".to_owned()];
        let mut values: Vec<Value> = Vec::new();
        if !filter.kinds.is_empty() {
            conditions.push(format!("kind IN ({})", names(&filter.kinds)));
        }
        if let Some(entry) = &filter.entry {
            conditions.push("entry = ?".to_owned());
            values.push(entry.as_str().to_owned().into());
        }
        if let Some(since) = filter.since {
            conditions.push("at >= ?".to_owned());
            values.push(since.as_millisecond().into());
        }
        if let Some(before) = filter.before {
            conditions.push("seq < ?".to_owned());
            values.push(before.into());
        }
        values.push(filter.limit.map_or(-1, i64::from).into());
        let sql = format!(
            "SELECT seq, at, event, previous, hash FROM audit WHERE {} ORDER BY seq DESC LIMIT ?",
            conditions.join(" AND ")
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(error)?;
        let rows = statement
            .query_map(params_from_iter(values), read_raw)
            .map_err(error)?;
        let mut records = Vec::new();
        for raw in rows {
            records.push(raw.map_err(error)?.record()?);
        }
        records.reverse();
        Ok(records)
    }

    /// Checks every row, and that `expected`, a head hash written down earlier, is among them.
    pub fn verify_audit(&self, expected: Option<&str>) -> Result<Verified, StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare("SELECT seq, at, event, previous, hash, kind, entry FROM audit ORDER BY seq")
            .map_err(error)?;
        let mut rows = statement.query([]).map_err(error)?;
        let mut head = GENESIS.to_owned();
        let mut seq = 0;
        let mut contains_expected = expected.is_none_or(|hash| hash.eq_ignore_ascii_case(GENESIS));
        while let Some(row) = rows.next().map_err(error)? {
            seq += 1;
            if let Some(what) = wrong(row, seq, &head).map_err(error)? {
                return Ok(Verified::Broken { seq, what });
            }
            head = row.get(4).map_err(error)?;
            contains_expected |= expected.is_some_and(|hash| hash.eq_ignore_ascii_case(&head));
        }
        Ok(Verified::Intact {
            rows: seq,
            head,
            contains_expected,
        })
    }
}

/// Returns the names of `kinds` as a list of SQL.
fn names(kinds: &[EventKind]) -> String {
    let names: Vec<String> = (kinds.iter())
        .map(|kind| format!("'{}'", kind.name()))
        .collect();
    names.join(", ")
}

/// Returns what is wrong with the row that should have number `seq` and follow `head`.
fn wrong(row: &Row<'_>, seq: i64, head: &str) -> rusqlite::Result<Option<String>> {
    let raw = read_raw(row)?;
    let kind: String = row.get(5)?;
    let entry: Option<String> = row.get(6)?;
    if raw.seq != seq {
        return Ok(Some(format!("rows {seq} to {} are missing", raw.seq - 1)));
    }
    if raw.previous != head {
        return Ok(Some(
            "it does not carry the hash of the row before".to_owned(),
        ));
    }
    if row_hash(&raw.previous, raw.seq, raw.time.as_millisecond(), &raw.text) != raw.hash {
        return Ok(Some("its content does not have its hash".to_owned()));
    }
    let event: Option<AuditEvent> = serde_json::from_str(&raw.text).ok();
    let columns_fit = event.is_some_and(|event| {
        event.kind.name() == kind && event.entry.as_ref().map(EntryId::as_str) == entry.as_deref()
    });
    Ok((!columns_fit).then(|| "its columns do not fit its event".to_owned()))
}

struct Raw {
    seq: i64,
    time: Timestamp,
    text: String,
    previous: String,
    hash: String,
}

impl Raw {
    fn record(self) -> Result<AuditRecord, StoreError> {
        let event = serde_json::from_str(&self.text).map_err(|error| StoreError::Row {
            table: "audit",
            row: self.seq.to_string(),
            what: error.to_string(),
        })?;
        Ok(AuditRecord {
            seq: self.seq,
            at: self.time,
            event,
            previous: self.previous,
            hash: self.hash,
        })
    }
}

fn read_raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok(Raw {
        seq: row.get(0)?,
        time: time(row, 1)?,
        text: row.get(2)?,
        previous: row.get(3)?,
        hash: row.get(4)?,
    })
}

fn row_hash(previous: &str, seq: i64, at: i64, text: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(previous.as_bytes());
    hash.update(seq.to_be_bytes());
    hash.update(at.to_be_bytes());
    hash.update(text.as_bytes());
    hexadecimal::encode(&hash.finalize())
}
