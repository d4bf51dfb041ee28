//! Forgetting, and not learning again from a log what was forgotten.

use std::collections::HashMap;

use jiff::Timestamp;

use super::key::Kind;
use super::{Learning, counted_as, organisation, registrable};
use crate::domain::Domain;
use crate::service::Snapshot;
use crate::store::{AuditEvent, Durability, Erased, EventKind, Pseudonym, StoreError};

/// Who was forgotten, and when.
pub struct Forgotten<'a> {
    learning: &'a Learning,
    at: HashMap<Pseudonym, Timestamp>,
}

impl Learning {
    /// Erases a person (`local@domain`) or a recipient domain from what was learned, for good:
    /// no log teaches it again of mail until `now`. Notes that somebody did so, without saying
    /// whom.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn forget(
        &self,
        whom: &str,
        snapshot: &Snapshot,
        actor: &str,
        now: Timestamp,
    ) -> Result<Erased, StoreError> {
        let person = whom.contains('@');
        let mut pseudonyms = Vec::new();
        if person {
            pseudonyms.push(self.key.pseudonym(Kind::Person, whom));
            if let Some((local, host)) = whom.rsplit_once('@')
                && let Some(domain) = organisation(host, &snapshot.suffixes)
            {
                // Mailboxes are kept by the name that would be suggested.
                let name = snapshot.scorer.trusted_name(&domain);
                pseudonyms.extend(name.map(|name| self.mailbox(local, name)));
            }
        } else if let Some(domain) = organisation(whom, &snapshot.suffixes) {
            pseudonyms.push(self.domain(counted_as(snapshot, &domain)));
        }
        self.quarantine.store.write(Durability::Synced, |ledger| {
            let mut erased = Erased::default();
            for pseudonym in &pseudonyms {
                let more = match person {
                    true => ledger.forget_person(pseudonym)?,
                    false => ledger.forget_domain(pseudonym)?,
                };
                erased.domains += more.domains;
                erased.pairs += more.pairs;
                erased.mailboxes += more.mailboxes;
                ledger.stay_forgotten(pseudonym, now)?;
            }
            ledger.append_audit(&forgotten(&erased, actor), now)?;
            Ok(erased)
        })
    }

    /// Erases everything that was learned, and what is known of logs: they count as if they were
    /// new.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn forget_everything(&self, actor: &str, now: Timestamp) -> Result<Erased, StoreError> {
        self.quarantine.store.write(Durability::Synced, |ledger| {
            let erased = ledger.forget_everything(now)?;
            ledger.append_audit(&forgotten(&erased, actor), now)?;
            Ok(erased)
        })
    }

    /// Returns who was forgotten.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn forgotten(&self) -> Result<Forgotten<'_>, StoreError> {
        Ok(Forgotten {
            learning: self,
            at: (self.quarantine.store).read(|ledger| ledger.forgotten())?,
        })
    }
}

impl Forgotten<'_> {
    /// Returns whether nobody was.
    pub(super) fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// Returns the second up to which mail to a domain is forgotten: by each name that it is or was
    /// counted by, as the trusted list may be another one since.
    pub(super) fn domain(&self, domain: &Domain, snapshot: &Snapshot) -> Option<i64> {
        [
            counted_as(snapshot, domain),
            registrable(domain),
            domain.ascii(),
        ]
        .iter()
        .filter_map(|name| self.until(&self.learning.domain(name)))
        .max()
    }

    /// Returns the second up to which mail of a sender is forgotten.
    pub(super) fn sender(&self, sender: &str) -> Option<i64> {
        self.until(&self.learning.key.pseudonym(Kind::Person, sender))
    }

    fn until(&self, whom: &Pseudonym) -> Option<i64> {
        self.at.get(whom).map(|at| at.as_second())
    }
}

fn forgotten(erased: &Erased, actor: &str) -> AuditEvent {
    AuditEvent {
        detail: Some(format!(
            "{} domains, {} pairs, {} addresses erased",
            erased.domains, erased.pairs, erased.mailboxes
        )),
        ..AuditEvent::new(EventKind::Forgotten, actor)
    }
}
