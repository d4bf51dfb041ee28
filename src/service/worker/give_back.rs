//! Decisions that cannot be carried out: the entry waits for another, and its sender hears why.
//!
//! An MTA that refuses a corrected address for good says the same tomorrow. The decision ends in
//! one transaction with the letter that tells of it, so nobody believes a message sent that is
//! not.

use std::time::Duration;

use jiff::Timestamp;

use super::notify::NotNotified;
use super::{Worker, later};
use crate::logging::event;
use crate::notice::Header;
use crate::service::quarantine::{QuarantineError, about};
use crate::store::{
    AuditEvent, Durability, Entry, EventKind, NewLetter, PendingDecision, StoreError,
};

impl Worker {
    /// Ends a decision that cannot be carried out because of `error`.
    pub(super) fn give_back(
        &self,
        decision: &PendingDecision,
        error: &QuarantineError,
        now: Timestamp,
    ) -> Result<(), QuarantineError> {
        let id = &decision.entry;
        let entry = self.quarantine.detail(id, now)?.entry;
        let (letter, told) = match self.failure(&entry, now) {
            Ok(letter) => {
                let told = format!("told: {}", letter.addressee);
                (Some(letter), told)
            }
            Err(NotNotified::Store(error)) => return Err(error.into()),
            Err(error) => (None, format!("not told: {}", event::chain(&error))),
        };
        (self.quarantine.store).write(Durability::Synced, |ledger| {
            ledger.remove_decision(id)?;
            if let Some(letter) = &letter {
                ledger.put_letter(id, letter, now)?;
            }
            let event = AuditEvent {
                detail: Some(format!("given up: {decision}; sender {told}")),
                ..about(&entry, EventKind::ReleaseFailed, "worker")
            };
            ledger.append_audit(&event, now)?;
            Ok::<_, StoreError>(())
        })?;
        event::given_back(&self.log, id, &told, error);
        Ok(())
    }

    /// Returns the letter that tells the sender that their answer cannot be carried out. A reply
    /// to it decides anew.
    fn failure(&self, entry: &Entry, now: Timestamp) -> Result<NewLetter, NotNotified> {
        let Some(from) = &self.notices.from else {
            return Err(NotNotified::Never("notice.from is not set"));
        };
        let until = later(entry.held_at, self.settings.keep_for);
        if until <= now {
            return Err(NotNotified::Never("its time is over, and its end tells"));
        }
        let to = self.addressee(entry)?;
        let (id, facts) = self.decidable(entry, earlier(until, entry, now), now)?;
        let listed = self.quarantine.told_with(&entry.id)?;
        let which = match listed.is_empty() {
            true => String::new(),
            false => format!(" {}", entry.id),
        };
        let header = Header {
            from,
            to: &to,
            id: &id,
            about: None,
            date: now,
        };
        let message =
            self.compose(|templates| templates.compose_failed(&header, &facts, &which))?;
        Ok(NewLetter {
            addressee: to,
            message,
        })
    }
}

/// Returns an end of the token some seconds before `until`: the token is the Message-ID, and
/// mailboxes throw away what has that of a mail before it.
fn earlier(until: Timestamp, entry: &Entry, now: Timestamp) -> Timestamp {
    let waited = now.duration_since(entry.held_at).as_secs().unsigned_abs();
    let seconds = Duration::from_secs(1 + waited % 255);
    until.saturating_sub(seconds).unwrap_or(until)
}
