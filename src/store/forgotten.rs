//! Forgetting people, domains or everything that was learned, for good.
//!
//! The logs that taught it still lie around and are read again. So it is kept who was forgotten
//! and when, as pseudonyms: of mail until then nothing is learned from a log any more.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;

use super::contact::Pseudonym;
use super::days::Day;
use super::{Ledger, StoreError};

/// What was erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Recipient domains.
    pub domains: usize,
    /// Pairs of a sender and a recipient domain.
    pub pairs: usize,
    /// Addresses at trusted domains.
    pub mailboxes: usize,
}

impl Ledger<'_> {
    /// Erases a person: who of the site they wrote to, as a sender, and that mail went to them,
    /// as a recipient. A domain that nobody else wrote to is forgotten with them.
    pub fn forget_person(&self, address: &Pseudonym) -> Result<Erased, StoreError> {
        let error = |error| self.error(error);
        let domains = self
            .connection
            .execute(
                "DELETE FROM contact WHERE domain IN (SELECT domain FROM contact_sender WHERE sender = ?1)
                     AND NOT EXISTS (SELECT 1 FROM contact_sender other
                         WHERE other.domain = contact.domain AND other.sender <> ?1)",
                [address],
            )
            .map_err(error)?;
        let delete = |sql: &str| self.connection.execute(sql, [address]).map_err(error);
        Ok(Erased {
            domains,
            pairs: delete("DELETE FROM contact_sender WHERE sender = ?1")?,
            mailboxes: delete("DELETE FROM mailbox WHERE address = ?1")?,
        })
    }

    /// Erases everything about a recipient domain.
    pub fn forget_domain(&self, domain: &Pseudonym) -> Result<Erased, StoreError> {
        let delete = |sql: &str| {
            self.connection
                .execute(sql, [domain])
                .map_err(|error| self.error(error))
        };
        Ok(Erased {
            domains: delete("DELETE FROM contact WHERE domain = ?1")?,
            pairs: delete("DELETE FROM contact_sender WHERE domain = ?1")?,
            mailboxes: delete("DELETE FROM mailbox WHERE domain = ?1")?,
        })
    }

    /// Erases everything that was learned, and who was forgotten: learning begins anew.
    pub fn forget_everything(&self, now: Timestamp) -> Result<Erased, StoreError> {
        let delete = |sql: &str| {
            self.connection
                .execute(sql, [])
                .map_err(|error| self.error(error))
        };
        for table in ["learned_log", "log_mark", "forgotten"] {
            delete(&format!("DELETE FROM {table}"))?;
        }
        self.connection
            .execute(
                "INSERT INTO learning_begin (id, at) VALUES (1, ?1) ON CONFLICT DO UPDATE SET at = ?1",
                [now.as_millisecond()],
            )
            .map_err(|error| self.error(error))?;
        Ok(Erased {
            domains: delete("DELETE FROM contact")?,
            pairs: delete("DELETE FROM contact_sender")?,
            mailboxes: delete("DELETE FROM mailbox")?,
        })
    }

    /// Notes that a person or a domain is to stay forgotten.
    pub fn stay_forgotten(&self, whom: &Pseudonym, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .execute(
                "INSERT INTO forgotten (whom, at) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET at = ?2",
                params![whom, now.as_millisecond()],
            )
            .map_err(|error| self.error(error))?;
        Ok(())
    }

    /// Returns who was forgotten, and when.
    pub fn forgotten(&self) -> Result<HashMap<Pseudonym, Timestamp>, StoreError> {
        let error = |error| self.error(error);
        let mut statement = (self.connection)
            .prepare_cached("SELECT whom, at FROM forgotten")
            .map_err(error)?;
        let rows = statement
            .query_map([], |row| {
                let at = Timestamp::from_millisecond(row.get(1)?);
                Ok((row.get(0)?, at.unwrap_or(Timestamp::MAX)))
            })
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Returns when everything was forgotten last.
    pub fn learning_began(&self) -> Result<Option<Timestamp>, StoreError> {
        let found = self
            .connection
            .query_row("SELECT at FROM learning_begin", [], |row| {
                row.get::<_, i64>(0)
            })
            .optional()
            .map_err(|error| self.error(error))?;
        Ok(found.and_then(|at| Timestamp::from_millisecond(at).ok()))
    }

    /// Erases who was forgotten before `day`: of that time nothing is kept anyway.
    pub fn prune_forgotten(&self, day: Day) -> Result<(), StoreError> {
        self.connection
            .execute(
                "DELETE FROM forgotten WHERE at < ?1",
                [day.begin().as_millisecond()],
            )
            .map_err(|error| self.error(error))?;
        Ok(())
    }
}
