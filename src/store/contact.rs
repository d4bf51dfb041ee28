//! Whom the site writes to: counts per recipient domain and per sender, by pseudonym.
//!
//! Names stand here as keyed hashes, so the file alone does not tell who writes to whom. In
//! plain are only the names that are trusted anyway and those an admin has to look at.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;

use super::days::{Day, Days};
use super::{Ledger, StoreError};

/// Rows a cleaning removes at once, so that nobody waits long for the lock.
const PRUNED_AT_ONCE: u32 = 10_000;

/// A keyed hash that stands for a name. Without the key nobody can tell which name, nor try
/// names out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pseudonym(pub [u8; 16]);

impl ToSql for Pseudonym {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.as_slice().to_sql()
    }
}

impl FromSql for Pseudonym {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let octets = value.as_blob()?;
        let octets = octets.try_into().map_err(|_| FromSqlError::InvalidType)?;
        Ok(Pseudonym(octets))
    }
}

/// What a recipient domain was to the trusted list when mail to it was last counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// An entry covers it.
    Trusted,
    /// It resembles a trusted name.
    Doubtful,
    /// Neither.
    Other,
}

impl Standing {
    const ALL: [Standing; 3] = [Standing::Trusted, Standing::Doubtful, Standing::Other];

    /// Returns the stable name.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Trusted => "trusted",
            Standing::Doubtful => "doubtful",
            Standing::Other => "other",
        }
    }
}

impl ToSql for Standing {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.name().to_sql()
    }
}

impl FromSql for Standing {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        let found = Standing::ALL.into_iter().find(|it| it.name() == name);
        found.ok_or(FromSqlError::InvalidType)
    }
}

/// What is known of mail with one recipient domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Which domain.
    pub domain: Pseudonym,
    /// Its name, where that is kept.
    pub name: Option<String>,
    /// What it was to the trusted list.
    pub standing: Standing,
    /// Mails to it, without decay.
    pub mails: u64,
    /// The last days with mail to it.
    pub days: Days,
    /// The last days with mail from it, all after the first mail to it.
    pub answers: Days,
    /// Day of the first mail to it.
    pub first_on: Day,
    /// Day of the last mail to it.
    pub last_on: Day,
}

/// Who of the site writes to a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Correspondents {
    /// How many senders, counted up to the limit asked for.
    pub senders: u32,
    /// Whether the sender asked about is one of them.
    pub among_them: bool,
}

/// Mail to one recipient domain that is to be counted.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Which domain.
    pub domain: Pseudonym,
    /// Its name, where it is to be kept.
    pub name: Option<&'a str>,
    /// What it is to the trusted list.
    pub standing: Standing,
    /// On which days.
    pub days: &'a Days,
    /// How many mails; 0 when these were counted before and only the days may be new.
    pub mails: u64,
}

/// How much is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// Recipient domains.
    pub domains: u64,
    /// Of those, names that are trusted.
    pub trusted: u64,
    /// Of those, names that resemble a trusted one.
    pub doubtful: u64,
    /// Pairs of a sender and a recipient domain.
    pub pairs: u64,
    /// Addresses at trusted domains.
    pub mailboxes: u64,
    /// Mails counted.
    pub mails: u64,
    /// Logs read.
    pub logs: u64,
    /// First day with mail.
    pub first_on: Option<Day>,
    /// Last day with mail.
    pub last_on: Option<Day>,
}

const COLUMNS: &str =
    "domain, name, standing, mails, days, answers, first_on, last_on FROM contact";

impl Ledger<'_> {
    /// Returns what is known of a domain.
    pub fn contact(&self, domain: &Pseudonym) -> Result<Option<Contact>, StoreError> {
        self.connection
            .prepare_cached(&format!("SELECT {COLUMNS} WHERE domain = ?1"))
            .and_then(|mut statement| statement.query_row([domain], read_contact).optional())
            .map_err(|error| self.error(error))
    }

    /// Returns who wrote to `domain`; more than `limit` senders are not told apart.
    pub fn correspondents(
        &self,
        domain: &Pseudonym,
        sender: &Pseudonym,
        limit: u32,
    ) -> Result<Correspondents, StoreError> {
        self.connection
            .prepare_cached(
                "SELECT (SELECT count(*) FROM (SELECT 1 FROM contact_sender WHERE domain = ?1 LIMIT ?3)),
                     EXISTS (SELECT 1 FROM contact_sender WHERE domain = ?1 AND sender = ?2)",
            )
            .and_then(|mut statement| {
                statement.query_row(params![domain, sender, limit], |row| {
                    Ok(Correspondents {
                        senders: row.get(0)?,
                        among_them: row.get(1)?,
                    })
                })
            })
            .map_err(|error| self.error(error))
    }

    /// Counts mail to a domain.
    pub fn add_sent(&self, sent: &Sent<'_>) -> Result<(), StoreError> {
        let error = |error| self.error(error);
        let (Some(first), Some(last)) = (sent.days.first(), sent.days.last()) else {
            return Ok(());
        };
        let mails = i64::try_from(sent.mails).unwrap_or(i64::MAX);
        let known = self
            .connection
            .prepare_cached("SELECT days FROM contact WHERE domain = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([sent.domain], |row| row.get::<_, Vec<u8>>(0))
                    .optional()
            })
            .map_err(error)?;
        self.connection
            .prepare_cached(
                "INSERT INTO contact (domain, name, standing, mails, days, answers, first_on, last_on)
                 VALUES (?1, ?2, ?3, ?4, ?5, x'', ?6, ?7)
                 ON CONFLICT (domain) DO UPDATE SET name = ?2, standing = ?3, mails = mails + ?4, days = ?5,
                     first_on = min(first_on, ?6), last_on = max(last_on, ?7)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    sent.domain,
                    sent.name,
                    sent.standing,
                    mails,
                    merged(known, sent.days),
                    first.number(),
                    last.number(),
                ])
            })
            .map_err(error)?;
        Ok(())
    }

    /// Adds mail from one sender to a domain; [`Ledger::add_sent`] counts it for the domain.
    pub fn add_sender(
        &self,
        domain: &Pseudonym,
        sender: &Pseudonym,
        days: &Days,
        mails: u64,
    ) -> Result<(), StoreError> {
        let error = |error| self.error(error);
        let (Some(first), Some(last)) = (days.first(), days.last()) else {
            return Ok(());
        };
        let mails = i64::try_from(mails).unwrap_or(i64::MAX);
        let known = self
            .connection
            .prepare_cached("SELECT days FROM contact_sender WHERE domain = ?1 AND sender = ?2")
            .and_then(|mut statement| {
                statement
                    .query_row(params![domain, sender], |row| row.get::<_, Vec<u8>>(0))
                    .optional()
            })
            .map_err(error)?;
        self.connection
            .prepare_cached(
                "INSERT INTO contact_sender (domain, sender, mails, days, first_on, last_on)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (domain, sender) DO UPDATE SET mails = mails + ?3, days = ?4,
                     first_on = min(first_on, ?5), last_on = max(last_on, ?6)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    domain,
                    sender,
                    mails,
                    merged(known, days),
                    first.number(),
                    last.number(),
                ])
            })
            .map_err(error)?;
        Ok(())
    }

    /// Notes the days on which mail came from a domain. It counts as an answer on the days after
    /// the first mail to that domain, and not at all where there was none: whoever writes first
    /// is not known for it. Returns whether there was anything to note.
    pub fn add_answers(&self, domain: &Pseudonym, days: &Days) -> Result<bool, StoreError> {
        let Some(contact) = self.contact(domain)? else {
            return Ok(false);
        };
        let mut answers = contact.answers;
        for day in days.iter().filter(|day| *day > contact.first_on) {
            answers.add(day);
        }
        if answers == contact.answers {
            return Ok(false);
        }
        self.connection
            .prepare_cached("UPDATE contact SET answers = ?2 WHERE domain = ?1")
            .and_then(|mut statement| statement.execute(params![domain, answers.octets()]))
            .map_err(|error| self.error(error))?;
        Ok(true)
    }

    /// Notes that mail went to an address at a trusted domain; not of one that was forgotten on
    /// that day or later.
    pub fn add_mailbox(
        &self,
        address: &Pseudonym,
        domain: &Pseudonym,
        day: Day,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO mailbox (address, domain, last_on) SELECT ?1, ?2, ?3
                     WHERE NOT EXISTS (SELECT 1 FROM forgotten WHERE whom = ?1 AND at / 86400000 >= ?3)
                 ON CONFLICT (address) DO UPDATE SET last_on = max(last_on, ?3)",
            )
            .and_then(|mut statement| statement.execute(params![address, domain, day.number()]))
            .map_err(|error| self.error(error))?;
        Ok(())
    }

    /// Returns whether mail went to this address before.
    pub fn knows_mailbox(&self, address: &Pseudonym) -> Result<bool, StoreError> {
        self.connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM mailbox WHERE address = ?1)")
            .and_then(|mut statement| statement.query_row([address], |row| row.get(0)))
            .map_err(|error| self.error(error))
    }

    /// Returns the contacts of this standing whose names are kept, most mail first.
    pub fn contacts(&self, standing: Standing, limit: u32) -> Result<Vec<Contact>, StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} WHERE standing = ?1 AND name IS NOT NULL
                 ORDER BY mails DESC, domain LIMIT ?2"
            ))
            .map_err(error)?;
        let rows = statement
            .query_map(params![standing, limit], read_contact)
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Returns how much is remembered.
    pub fn learned(&self) -> Result<Extent, StoreError> {
        let count = |column: usize, row: &Row<'_>| -> rusqlite::Result<u64> {
            let count: Option<i64> = row.get(column)?;
            Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
        };
        let day = |column: usize, row: &Row<'_>| -> rusqlite::Result<Option<Day>> {
            Ok(row.get::<_, Option<i64>>(column)?.map(Day::numbered))
        };
        self.connection
            .query_row(
                "SELECT count(*), count(*) FILTER (WHERE standing = 'trusted'),
                     count(*) FILTER (WHERE standing = 'doubtful'), sum(mails), min(first_on), max(last_on),
                     (SELECT count(*) FROM contact_sender), (SELECT count(*) FROM mailbox),
                     (SELECT count(DISTINCT log) FROM log_mark)
                         + (SELECT count(*) FROM learned_log)
                 FROM contact",
                [],
                |row| {
                    Ok(Extent {
                        domains: count(0, row)?,
                        trusted: count(1, row)?,
                        doubtful: count(2, row)?,
                        mails: count(3, row)?,
                        first_on: day(4, row)?,
                        last_on: day(5, row)?,
                        pairs: count(6, row)?,
                        mailboxes: count(7, row)?,
                        logs: count(8, row)?,
                    })
                },
            )
            .map_err(|error| self.error(error))
    }

    /// Erases what was not seen since `day`, some of it at a time; returns whether there may be
    /// more.
    pub fn prune_contacts(&self, day: Day) -> Result<bool, StoreError> {
        let mut more = false;
        for (table, key) in [
            ("contact", "domain"),
            ("contact_sender", "(domain, sender)"),
            ("mailbox", "address"),
        ] {
            let columns = key.trim_matches(['(', ')']);
            let removed = self
                .connection
                .execute(
                    &format!(
                        "DELETE FROM {table} WHERE {key} IN
                             (SELECT {columns} FROM {table} WHERE last_on < ?1 LIMIT ?2)"
                    ),
                    params![day.number(), PRUNED_AT_ONCE],
                )
                .map_err(|error| self.error(error))?;
            more |= removed == usize::try_from(PRUNED_AT_ONCE).unwrap_or(usize::MAX);
        }
        Ok(more)
    }
}

/// Returns the octets of the days that were stored, with those of `days`.
fn merged(stored: Option<Vec<u8>>, days: &Days) -> Vec<u8> {
    let mut all = stored.map_or_else(Days::default, |octets| Days::from_octets(&octets));
    all.merge(days);
    all.octets()
}

fn read_contact(row: &Row<'_>) -> rusqlite::Result<Contact> {
    let days = |column| -> rusqlite::Result<Days> {
        Ok(Days::from_octets(&row.get::<_, Vec<u8>>(column)?))
    };
    let mails: i64 = row.get(3)?;
    Ok(Contact {
        domain: row.get(0)?,
        name: row.get(1)?,
        standing: row.get(2)?,
        mails: u64::try_from(mails).unwrap_or(0),
        days: days(4)?,
        answers: days(5)?,
        first_on: Day::numbered(row.get(6)?),
        last_on: Day::numbered(row.get(7)?),
    })
}
