//! Held messages and their entries: one entry per held recipient.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{OptionalExtension as _, Row, params, params_from_iter};
use serde::{Deserialize, Serialize};

use super::id::{EntryId, IdPrefix};
use super::{Ledger, StoreError};
use crate::octets::Octets;

/// How far the clock may have gone back before a lease from "the future" is void.
const CLOCK_SLACK: Duration = Duration::from_secs(60 * 60);

/// Where an entry stands.
///
/// ```text
/// hold            -> pending
/// pending         -> held        the grace period is over
/// pending, held   -> releasing   claimed, with a lease
/// releasing       -> releasing   claimed by another, after the lease
/// releasing       -> released    the MTA took the message
/// releasing       -> held        the MTA did not
/// pending, held   -> dropped | expired    so does releasing after the lease
/// any             -> pending     the same message was held again; pending and held stay as they are
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryState {
    /// Held a moment ago; another milter may still refuse the message.
    Pending,
    /// Waits for a decision.
    Held,
    /// Somebody is handing it to the MTA.
    Releasing,
    /// The MTA took it.
    Released,
    /// Thrown away by decision.
    Dropped,
    /// Thrown away because nobody decided.
    Expired,
}

impl EntryState {
    /// All states, in the order of a life.
    pub const ALL: [EntryState; 6] = [
        EntryState::Pending,
        EntryState::Held,
        EntryState::Releasing,
        EntryState::Released,
        EntryState::Dropped,
        EntryState::Expired,
    ];

    /// The states in which the message is still needed.
    pub const OPEN: [EntryState; 3] =
        [EntryState::Pending, EntryState::Held, EntryState::Releasing];

    /// Returns whether the message is still needed.
    pub fn is_open(self) -> bool {
        EntryState::OPEN.contains(&self)
    }

    /// Returns the stable name, as in the database, JSON and the command line.
    pub fn name(self) -> &'static str {
        match self {
            EntryState::Pending => "pending",
            EntryState::Held => "held",
            EntryState::Releasing => "releasing",
            EntryState::Released => "released",
            EntryState::Dropped => "dropped",
            EntryState::Expired => "expired",
        }
    }
}

impl fmt::Display for EntryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl ToSql for EntryState {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.name().to_sql()
    }
}

impl FromSql for EntryState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        EntryState::ALL
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or(FromSqlError::InvalidType)
    }
}

/// A held message as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Name of its spool file.
    pub key: String,
    /// Digest of that file.
    pub digest: String,
    /// Octets of the message.
    pub size: u64,
    /// Envelope sender as received.
    pub sender: Octets,
    /// Envelope sender, `local@domain`.
    pub sender_address: String,
    /// `Subject:` as received.
    pub subject: Option<Octets>,
    /// Our session id.
    pub session: String,
    /// The MTA's queue id.
    pub queue_id: Option<String>,
    /// When it came (the last time).
    pub received_at: Timestamp,
}

/// An entry to be made, or to be updated by the client's retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Its id.
    pub id: EntryId,
    /// Recipient as received.
    pub path: Octets,
    /// Recipient, `local@domain`.
    pub address: String,
    /// 0 to 100.
    pub score: u8,
    /// The trusted domain that may have been meant.
    pub suggestion: Option<String>,
    /// Name of the policy rule.
    pub rule: String,
    /// The explanation, as JSON.
    pub assessment: String,
    /// Until then the entry is [`EntryState::Pending`].
    pub grace_until: Timestamp,
}

/// What storing a new entry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// There was none.
    New,
    /// An open entry was updated: the client tried again.
    Again {
        /// How often the message came, this time included.
        attempts: u32,
    },
    /// A finished entry, or one being released, was opened again.
    Reopened {
        /// What it was before.
        was: EntryState,
    },
}

/// One held recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// Where it stands.
    pub state: EntryState,
    /// Recipient as received.
    pub path: Octets,
    /// Recipient, `local@domain`, domain in A-labels.
    pub address: String,
    /// The part of `address` after the last `@`.
    pub domain: String,
    /// 0 to 100.
    pub score: u8,
    /// The trusted domain that may have been meant.
    pub suggestion: Option<String>,
    /// Name of the policy rule that held it.
    pub rule: String,
    /// How often the client handed the message in.
    pub attempts: u32,
    /// When it was held first; when it was opened again after an end, then.
    pub held_at: Timestamp,
    /// When its state changed last.
    pub changed_at: Timestamp,
    /// Until then it is pending.
    pub grace_until: Timestamp,
    /// Until then it belongs to the one who is releasing it.
    pub lease_until: Option<Timestamp>,
    /// Why the last release failed.
    pub last_error: Option<String>,
    /// Its message.
    pub message: Message,
}

/// The right to release one entry, until its lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The entry.
    pub id: EntryId,
    /// Distinguishes this claim from one taken after the lease.
    pub token: String,
}

/// Which entries to list. Absent fields fit everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// In one of these states; empty for all.
    pub states: Vec<EntryState>,
    /// The sender contains this text, in any case.
    pub sender: Option<String>,
    /// The recipient contains this text, in any case.
    pub recipient: Option<String>,
    /// The recipient's domain is this one (A-labels) or below it.
    pub domain: Option<String>,
    /// Held first at this time or later.
    pub since: Option<Timestamp>,
    /// Held first before this time.
    pub before: Option<Timestamp>,
    /// At least this score.
    pub min_score: Option<u8>,
    /// At most this score.
    pub max_score: Option<u8>,
    /// So many are passed over first, the newest.
    pub offset: u32,
    /// At most so many, the newest.
    pub limit: Option<u32>,
}

pub(super) const COLUMNS: &str = "entry.id, entry.state, entry.path, entry.address, entry.domain, entry.score, \
     entry.suggestion, entry.rule, entry.attempts, entry.held_at, entry.changed_at, entry.grace_until, \
     entry.lease_until, entry.last_error, message.key, message.digest, message.size, message.sender, \
     message.sender_address, message.subject, message.session, message.queue_id, message.received_at \
     FROM entry JOIN message ON message.key = entry.message";

impl Ledger<'_> {
    /// Writes what is known of a message, over what was known of an earlier try.
    pub fn put_message(&self, message: &Message) -> Result<(), StoreError> {
        self.connection
            .execute(
                "INSERT INTO message (key, digest, size, sender, sender_address, subject, session, queue_id, received_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT (key) DO UPDATE SET digest = ?2, size = ?3, sender = ?4, sender_address = ?5,
                     subject = ?6, session = ?7, queue_id = ?8, received_at = ?9",
                params![
                    message.key,
                    message.digest,
                    i64::try_from(message.size).unwrap_or(i64::MAX),
                    message.sender.as_bytes(),
                    message.sender_address,
                    message.subject.as_ref().map(Octets::as_bytes),
                    message.session,
                    message.queue_id,
                    message.received_at.as_millisecond(),
                ],
            )
            .map_err(|error| self.error(error))?;
        Ok(())
    }

    /// Makes the entry, or updates it when the same message was held before.
    ///
    /// An entry that was finished or is being released is opened again: the client was told
    /// 250 again, so this copy must not be lost.
    ///
    /// # Errors
    /// [`StoreError::IdCollision`] when the id belongs to another recipient.
    pub fn put_entry(
        &self,
        message_key: &str,
        new: &NewEntry,
        now: Timestamp,
    ) -> Result<Stored, StoreError> {
        let error = |error| self.error(error);
        let found = self
            .connection
            .query_row(
                "SELECT message, path, state, attempts FROM entry WHERE id = ?1",
                [&new.id],
                |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, Vec<u8>>(1)?,
                        row.get::<_, EntryState>(2)?,
                        row.get::<_, u32>(3)?,
                    ))
                },
            )
            .optional()
            .map_err(error)?;
        let now = now.as_millisecond();
        let Some((message, path, state, attempts)) = found else {
            self.connection
                .execute(
                    "INSERT INTO entry (id, message, path, address, domain, score, suggestion, rule, state,
                         attempts, held_at, changed_at, grace_until, assessment)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'pending', 1, ?9, ?9, ?10, ?11)",
                    params![
                        new.id,
                        message_key,
                        new.path.as_bytes(),
                        new.address,
                        domain_of(&new.address),
                        new.score,
                        new.suggestion,
                        new.rule,
                        now,
                        new.grace_until.as_millisecond(),
                        new.assessment,
                    ],
                )
                .map_err(error)?;
            return Ok(Stored::New);
        };
        if message != message_key || path != new.path.as_bytes() {
            return Err(StoreError::IdCollision(new.id.clone()));
        }
        let waits = matches!(state, EntryState::Pending | EntryState::Held);
        let next = if waits { state } else { EntryState::Pending };
        let attempts = attempts.saturating_add(1);
        self.connection
            .execute(
                "UPDATE entry SET state = ?2, attempts = ?3, score = ?4, suggestion = ?5, rule = ?6, address = ?7,
                     domain = ?8, assessment = ?12, grace_until = CASE WHEN ?2 = 'pending' THEN ?9 ELSE grace_until END,
                     changed_at = CASE WHEN ?10 THEN changed_at ELSE ?11 END,
                     held_at = CASE WHEN ?10 THEN held_at ELSE ?11 END,
                     claim = NULL, lease_until = NULL, last_error = CASE WHEN ?10 THEN last_error END
                 WHERE id = ?1",
                params![
                    new.id,
                    next,
                    attempts,
                    new.score,
                    new.suggestion,
                    new.rule,
                    new.address,
                    domain_of(&new.address),
                    new.grace_until.as_millisecond(),
                    waits,
                    now,
                    new.assessment,
                ],
            )
            .map_err(error)?;
        if waits {
            // A token speaks of the time its message came: the one in an earlier notice is void.
            self.forget_notice(&new.id)?;
        } else {
            self.start_anew(&new.id)?;
        }
        Ok(if waits {
            Stored::Again { attempts }
        } else {
            Stored::Reopened { was: state }
        })
    }

    /// Moves entries whose grace period is over from pending to held; returns how many.
    pub fn settle(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.connection
            .execute(
                "UPDATE entry SET state = 'held', changed_at = ?1
                 WHERE state = 'pending' AND (grace_until <= ?1 OR grace_until > ?2)",
                params![now.as_millisecond(), super::too_late(now)],
            )
            .map_err(|error| self.error(error))
    }

    /// Claims an entry for release until `now + lease`; `None` when its state does not allow it.
    ///
    /// A claim whose lease is over can be taken by another. So can one that ends later than a
    /// lease taken now would, by more than an hour: the clock went back.
    pub fn claim(
        &self,
        id: &EntryId,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<Claim>, StoreError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| StoreError::Random(error.to_string()))?;
        let token = u128::from_be_bytes(random).to_string();
        let until = now.as_millisecond().saturating_add(millis(lease));
        let changed = self
            .connection
            .execute(
                "UPDATE entry SET state = 'releasing', claim = ?2, lease_until = ?3, changed_at = ?4
                 WHERE id = ?1 AND (state IN ('pending', 'held')
                     OR (state = 'releasing' AND (lease_until <= ?4 OR lease_until > ?5)))",
                params![id, token, until, now.as_millisecond(), until.saturating_add(millis(CLOCK_SLACK))],
            )
            .map_err(|error| self.error(error))?;
        Ok((changed == 1).then(|| Claim {
            id: id.clone(),
            token,
        }))
    }

    /// Ends a claim with success; `false` when it is no longer ours.
    pub fn mark_released(&self, claim: &Claim, now: Timestamp) -> Result<bool, StoreError> {
        let changed = self
            .connection
            .execute(
                "UPDATE entry SET state = 'released', claim = NULL, lease_until = NULL, last_error = NULL,
                     changed_at = ?3 WHERE id = ?1 AND claim = ?2",
                params![claim.id, claim.token, now.as_millisecond()],
            )
            .map_err(|error| self.error(error))?;
        Ok(changed == 1)
    }

    /// Ends a claim with failure; `false` when it is no longer ours.
    pub fn mark_not_released(
        &self,
        claim: &Claim,
        why: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = self
            .connection
            .execute(
                "UPDATE entry SET state = 'held', claim = NULL, lease_until = NULL, last_error = ?3,
                     changed_at = ?4 WHERE id = ?1 AND claim = ?2",
                params![claim.id, claim.token, why, now.as_millisecond()],
            )
            .map_err(|error| self.error(error))?;
        Ok(changed == 1)
    }

    /// Ends a waiting entry without delivery; `false` when its state does not allow it.
    ///
    /// `end` is [`EntryState::Dropped`] or [`EntryState::Expired`]; for others nothing happens.
    pub fn discard(
        &self,
        id: &EntryId,
        end: EntryState,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if !matches!(end, EntryState::Dropped | EntryState::Expired) {
            return Ok(false);
        }
        let changed = self
            .connection
            .execute(
                "UPDATE entry SET state = ?2, changed_at = ?3, claim = NULL, lease_until = NULL WHERE id = ?1
                     AND (state IN ('pending', 'held') OR (state = 'releasing' AND lease_until <= ?3))",
                params![id, end, now.as_millisecond()],
            )
            .map_err(|error| self.error(error))?;
        Ok(changed == 1)
    }

    /// Returns how many entries of a message are still open.
    pub fn open_entries(&self, message_key: &str) -> Result<u32, StoreError> {
        self.connection
            .query_row(
                "SELECT count(*) FROM entry WHERE message = ?1 AND state IN ('pending', 'held', 'releasing')",
                [message_key],
                |row| row.get(0),
            )
            .map_err(|error| self.error(error))
    }

    /// Returns the octets of the messages still needed, of all senders or of `sender` alone,
    /// without the message `except`.
    pub fn open_octets(&self, sender: Option<&str>, except: &str) -> Result<u64, StoreError> {
        let octets = self.connection.query_row(
            "SELECT coalesce(sum(size), 0) FROM message
                 WHERE key IN (SELECT message FROM entry WHERE state IN ('pending', 'held', 'releasing'))
                     AND key <> ?2 AND (?1 IS NULL OR sender_address = ?1)",
            params![sender, except],
            |row| row.get::<_, i64>(0),
        );
        let octets = octets.map_err(|error| self.error(error))?;
        Ok(u64::try_from(octets).unwrap_or_default())
    }

    /// Returns every message key with its digest and whether an entry of it is open.
    pub fn message_digests(&self) -> Result<Vec<(String, String, bool)>, StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT key, digest, EXISTS (SELECT 1 FROM entry WHERE entry.message = message.key
                     AND state IN ('pending', 'held', 'releasing')) FROM message",
            )
            .map_err(error)?;
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Returns the entry.
    pub fn entry(&self, id: &EntryId) -> Result<Option<Entry>, StoreError> {
        self.connection
            .query_row(
                &format!("SELECT {COLUMNS} WHERE entry.id = ?1"),
                [id],
                read_entry,
            )
            .optional()
            .map_err(|error| self.error(error))
    }

    /// Returns the explanation of an entry as it was stored.
    pub fn assessment(&self, id: &EntryId) -> Result<Option<String>, StoreError> {
        self.connection
            .query_row("SELECT assessment FROM entry WHERE id = ?1", [id], |row| {
                row.get(0)
            })
            .optional()
            .map_err(|error| self.error(error))
    }

    /// Returns at most `limit` ids that begin with `prefix`, in order.
    pub fn ids(&self, prefix: &IdPrefix, limit: u32) -> Result<Vec<EntryId>, StoreError> {
        let error = |error| self.error(error);
        let (from, to) = prefix.range();
        let mut statement = self
            .connection
            .prepare_cached("SELECT id FROM entry WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3")
            .map_err(error)?;
        let rows = statement
            .query_map(params![from, to, limit], |row| row.get(0))
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Returns the entries that fit, newest first. A grace period that is over at `now` counts as
    /// over, although the row still says pending.
    pub fn entries(&self, filter: &EntryFilter, now: Timestamp) -> Result<Vec<Entry>, StoreError> {
        let error = |error| self.error(error);
        let (conditions, mut values) = filter.conditions(now);
        values.push(filter.limit.map_or(-1, i64::from).into());
        values.push(i64::from(filter.offset).into());
        // Which entries, first and from the indexes alone where possible; then their wide rows.
        let join = filter.join();
        let sql = format!(
            "WITH page AS (SELECT entry.id AS chosen FROM entry {join} WHERE {conditions}
                 ORDER BY entry.held_at DESC, entry.id LIMIT ? OFFSET ?)
             SELECT {COLUMNS} JOIN page ON page.chosen = entry.id
             ORDER BY entry.held_at DESC, entry.id"
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(error)?;
        let rows = statement
            .query_map(params_from_iter(values), read_entry)
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Returns how many entries fit, without regard to limit and offset.
    pub fn count_entries(&self, filter: &EntryFilter, now: Timestamp) -> Result<u64, StoreError> {
        let (conditions, values) = filter.conditions(now);
        let join = filter.join();
        let sql = format!("SELECT count(*) FROM entry {join} WHERE {conditions}");
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.query_row(params_from_iter(values), |row| row.get::<_, i64>(0))
            })
            .map(|count| u64::try_from(count).unwrap_or(0))
            .map_err(|error| self.error(error))
    }
}

impl EntryFilter {
    /// Returns the join that the conditions need: the message is for a filter on the sender only.
    fn join(&self) -> &'static str {
        match self.sender {
            Some(_) => "JOIN message ON message.key = entry.message",
            None => "",
        }
    }

    /// Returns the SQL condition and the values for its question marks.
    fn conditions(&self, now: Timestamp) -> (String, Vec<Value>) {
        let mut conditions = vec!["1".to_owned()];
        let mut values: Vec<Value> = Vec::new();
        if !self.states.is_empty() {
            // The grace period matters only where pending and held are told apart; without it the
            // index on the state answers alone.
            let apart = self.states.contains(&EntryState::Pending)
                != self.states.contains(&EntryState::Held);
            let mut any = Vec::new();
            for state in &self.states {
                any.push(match state {
                    EntryState::Pending if apart => {
                        values.push(now.as_millisecond().into());
                        "(entry.state = 'pending' AND entry.grace_until > ?)".to_owned()
                    }
                    EntryState::Held if apart => {
                        values.push(now.as_millisecond().into());
                        "entry.state = 'held' OR (entry.state = 'pending' AND entry.grace_until <= ?)".to_owned()
                    }
                    other => format!("entry.state = '{}'", other.name()),
                });
            }
            conditions.push(format!("({})", any.join(" OR ")));
        }
        let mut add = |condition: &str, value: Value| {
            conditions.push(condition.to_owned());
            values.push(value);
        };
        if let Some(text) = &self.sender {
            add(
                "instr(lower(message.sender_address), ?) > 0",
                text.to_ascii_lowercase().into(),
            );
        }
        if let Some(text) = &self.recipient {
            add(
                "instr(lower(entry.address), ?) > 0",
                text.to_ascii_lowercase().into(),
            );
        }
        if let Some(domain) = &self.domain {
            let domain = domain.to_ascii_lowercase();
            add(
                "('.' || entry.domain) LIKE ? ESCAPE '\\'",
                format!("%.{}", escape_like(&domain)).into(),
            );
        }
        if let Some(since) = self.since {
            add("entry.held_at >= ?", since.as_millisecond().into());
        }
        if let Some(before) = self.before {
            add("entry.held_at < ?", before.as_millisecond().into());
        }
        if let Some(score) = self.min_score {
            add("entry.score >= ?", i64::from(score).into());
        }
        if let Some(score) = self.max_score {
            add("entry.score <= ?", i64::from(score).into());
        }
        (conditions.join(" AND "), values)
    }
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}

fn domain_of(address: &str) -> String {
    address
        .rsplit_once('@')
        .map_or("", |(_, domain)| domain)
        .to_ascii_lowercase()
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Reads a time in milliseconds.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    optional_time(row, column)?.ok_or(rusqlite::Error::InvalidColumnType(
        column,
        "time".to_owned(),
        rusqlite::types::Type::Null,
    ))
}

/// Reads a time in milliseconds that may be absent.
pub(super) fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let Some(value) = row.get::<_, Option<i64>>(column)? else {
        return Ok(None);
    };
    Timestamp::from_millisecond(value)
        .map(Some)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

pub(super) fn read_entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let octets = |column| row.get::<_, Vec<u8>>(column).map(Octets::from);
    Ok(Entry {
        id: row.get(0)?,
        state: row.get(1)?,
        path: octets(2)?,
        address: row.get(3)?,
        domain: row.get(4)?,
        score: row.get(5)?,
        suggestion: row.get(6)?,
        rule: row.get(7)?,
        attempts: row.get(8)?,
        held_at: time(row, 9)?,
        changed_at: time(row, 10)?,
        grace_until: time(row, 11)?,
        lease_until: optional_time(row, 12)?,
        last_error: row.get(13)?,
        message: Message {
            key: row.get(14)?,
            digest: row.get(15)?,
            size: row.get::<_, i64>(16)?.try_into().unwrap_or(0),
            sender: octets(17)?,
            sender_address: row.get(18)?,
            subject: row.get::<_, Option<Vec<u8>>>(19)?.map(Octets::from),
            session: row.get(20)?,
            queue_id: row.get(21)?,
            received_at: time(row, 22)?,
        },
    })
}
