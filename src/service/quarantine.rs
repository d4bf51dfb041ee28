//! The life of a held message: hold, release, drop, approve, and the record of it.
//!
//! Milter, worker, command line and web page call these functions; no other code changes an
//! entry. What they promise, whatever crashes:
//!
//! - A recipient for whom [`Quarantine::hold`] returned is on the disk.
//! - Two releases of one entry hand it to the MTA once; a process that dies while releasing
//!   costs at most one duplicate, never the message.
//! - A message file is deleted only after every entry of it is finished.
//!
//! Files and rows agree because the steps that touch both happen inside a write transaction:
//! a file is renamed into place, or removed, while nobody else can change its rows.

mod error;
mod recovery;
mod release;
mod settings;

use jiff::Timestamp;
use serde::Serialize;

use super::backup;
use crate::fault;
use crate::octets::Octets;
use crate::score::Assessment;
use crate::spool::{
    self, Draft, Envelope, Held, HeldRecipient, Spool, SpoolError, SpoolSettings, StoredMessage,
};
use crate::store::{
    Approval, AuditEvent, AuditFilter, AuditRecord, Counts, Day, DayTotal, Durability, Entry,
    EntryFilter, EntryId, EntryState, EventKind, IdPrefix, Ledger, Message, NewApproval, NewEntry,
    NewLetter, PendingDecision, Store, StoreError, Stored, Verified,
};

pub use error::{Cap, HoldError, QuarantineError, Retry};
pub use recovery::Recovery;
pub(super) use recovery::{BATCH, WithoutRows};
pub use release::Released;
pub use settings::QuarantineSettings;

/// How many of the matching ids an "ambiguous" message names.
const AMBIGUOUS_SHOWN: u32 = 5;

/// Everything known of one entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntryDetail {
    /// The entry.
    pub entry: Entry,
    /// Why it was held; `None` when the row does not read.
    pub assessment: Option<Assessment>,
    /// Everything that happened to it, oldest first.
    pub history: Vec<AuditRecord>,
}

/// The quarantine of one state directory. Shared by threads; every call may block on the disk.
#[derive(Debug)]
pub struct Quarantine {
    pub(super) settings: QuarantineSettings,
    pub(super) spool: Spool,
    pub(super) store: Store,
    recovery: Recovery,
}

impl Quarantine {
    /// Opens spool and database, and brings them to agree.
    ///
    /// Stale temporary files are removed, message files the index does not know are taken up,
    /// a missing or damaged index is rebuilt. [`Quarantine::recovery`] says what was done.
    ///
    /// # Errors
    /// The state directory is not usable or half restored, or the database is locked, damaged
    /// while another process has it open, or of a newer straymail.
    pub fn open(
        settings: QuarantineSettings,
        now: Timestamp,
    ) -> Result<Quarantine, QuarantineError> {
        spool::ensure_dir(&settings.dir)?;
        if backup::is_unfinished(&settings.dir) {
            return Err(QuarantineError::HalfRestored { dir: settings.dir });
        }
        let spool = Spool::open(SpoolSettings {
            dir: settings.dir.join("spool"),
            min_free_bytes: settings.min_free_bytes,
            ..SpoolSettings::default()
        })?;
        let (store, opened) = Store::open(&settings.dir, now)?;
        // A restore may have begun, and died, while we waited for the lock.
        if backup::is_unfinished(&settings.dir) {
            return Err(QuarantineError::HalfRestored { dir: settings.dir });
        }
        let mut quarantine = Quarantine {
            settings,
            spool,
            store,
            recovery: Recovery::default(),
        };
        quarantine.recovery = quarantine.recover(opened, now)?;
        Ok(quarantine)
    }

    /// Returns what opening had to put right.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Returns the settings it was opened with.
    pub fn settings(&self) -> &QuarantineSettings {
        &self.settings
    }

    /// Returns an empty message to write to.
    pub fn draft(&self) -> Draft {
        self.spool.draft()
    }

    /// Keeps the message for the recipients of `envelope` and returns an id for each of them,
    /// in their order; a path given twice has one entry.
    ///
    /// When it returns, message and entries survive a power loss: the recipients may be
    /// removed from the MTA's list. A client's retry of the same message updates the same
    /// entries, and opens finished ones again.
    ///
    /// # Errors
    /// The message was not taken; answer with a temporary failure. [`HoldError::LowSpace`] and
    /// [`HoldError::OverCap`] come before a file is made; the temporary file of a message that
    /// did not fit into memory is removed.
    pub fn hold(
        &self,
        draft: Draft,
        envelope: Envelope,
        now: Timestamp,
    ) -> Result<Vec<EntryId>, HoldError> {
        if envelope.recipients.is_empty() {
            return Err(HoldError::NoRecipients);
        }
        let complete = self.spool.complete(draft, envelope);
        let (key, size) = (complete.key().to_string(), complete.size());
        let sender = complete.envelope().sender_address.clone();
        let admit = |ledger: &Ledger<'_>| self.admit(ledger, &key, size, &sender);
        self.store.read(admit)?;
        let sealed = complete.seal()?;
        let ids = self.store.write(Durability::Synced, |ledger| {
            // Once more: others may have held messages since.
            admit(ledger)?;
            let held = sealed.publish()?;
            Ok::<_, HoldError>(self.enter(ledger, &held, EventKind::Held, "milter", now)?)
        })?;
        fault::point("hold.recorded");
        Ok(ids)
    }

    /// Checks that a message of `size` octets keeps within the caps. What an earlier try of the
    /// same message takes does not count: this one replaces it.
    fn admit(
        &self,
        ledger: &Ledger<'_>,
        key: &str,
        size: u64,
        sender: &str,
    ) -> Result<(), HoldError> {
        let settings = &self.settings;
        for (cap, whose, max) in [
            (Cap::Total, None, settings.max_total_bytes),
            (Cap::Sender, Some(sender), settings.max_sender_bytes),
        ] {
            let used = ledger.open_octets(whose, key)?;
            if used.saturating_add(size) > max {
                return Err(HoldError::OverCap {
                    cap,
                    size,
                    used,
                    max,
                });
            }
        }
        Ok(())
    }

    /// Returns an approval in force for this sender and recipient, both `local@domain`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn approval(
        &self,
        sender: &str,
        recipient: &str,
        now: Timestamp,
    ) -> Result<Option<Approval>, StoreError> {
        self.store
            .read(|ledger| ledger.approval_for(sender, recipient, now))
    }

    /// Appends an event to the audit record.
    ///
    /// For verdicts that keep nothing. What hold, release, drop and approve do is recorded by
    /// them, in the same synced transaction as the deed. An event appended here survives a
    /// killed process; after a power loss the last ones before the next deed may be missing,
    /// and the chain is still whole.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn record(&self, event: &AuditEvent, now: Timestamp) -> Result<(), StoreError> {
        self.store.write(Durability::Written, |ledger| {
            ledger.append_audit(event, now)
        })
    }

    /// Returns the entries that fit, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn entries(&self, filter: &EntryFilter, now: Timestamp) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.store.read(|ledger| ledger.entries(filter, now))?;
        // A grace period that is over is seen at once, without writing to the database for it.
        for entry in &mut entries {
            settle(entry, now);
        }
        Ok(entries)
    }

    /// Returns how many entries fit, without regard to limit and offset.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn count(&self, filter: &EntryFilter, now: Timestamp) -> Result<u64, StoreError> {
        self.store.read(|ledger| ledger.count_entries(filter, now))
    }

    /// Writes down that grace periods are over, for those who wait for held entries.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn settle(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.store
            .write(Durability::Written, |ledger| ledger.settle(now))
    }

    /// Returns the id that `text`, a unique prefix in any case, stands for.
    ///
    /// # Errors
    /// `text` is no prefix of an id, of none, or of several.
    pub fn find(&self, text: &str) -> Result<EntryId, QuarantineError> {
        let prefix = IdPrefix::parse(text)?;
        let mut ids = self
            .store
            .read(|ledger| ledger.ids(&prefix, AMBIGUOUS_SHOWN + 1))?;
        if ids.len() > 1 {
            return Err(ambiguous(prefix, ids.iter().map(EntryId::to_string)));
        }
        ids.pop().ok_or(QuarantineError::NoEntry(prefix))
    }

    /// Returns everything known of an entry.
    ///
    /// # Errors
    /// There is no such entry, or the database cannot be read.
    pub fn detail(&self, id: &EntryId, now: Timestamp) -> Result<EntryDetail, QuarantineError> {
        self.store.read(|ledger| {
            let mut entry = require(ledger, id)?;
            settle(&mut entry, now);
            let assessment = ledger
                .assessment(id)?
                .and_then(|text| serde_json::from_str(&text).ok());
            let history = ledger.audit(&AuditFilter {
                entry: Some(id.clone()),
                ..AuditFilter::default()
            })?;
            Ok(EntryDetail {
                entry,
                assessment,
                history,
            })
        })
    }

    /// Returns the message of an entry, checked.
    ///
    /// # Errors
    /// The entry is finished, or its file is gone or altered.
    pub fn message(&self, entry: &Entry) -> Result<StoredMessage, QuarantineError> {
        let vanished = || SpoolError::Vanished {
            path: self.settings.dir.join("spool").join(&entry.message.key),
        };
        let key = spool::MessageKey::from_hex(&entry.message.key).ok_or_else(vanished)?;
        match self.spool.message(&key) {
            Err(SpoolError::Vanished { .. }) if !entry.state.is_open() => {
                Err(QuarantineError::Finished {
                    id: entry.id.clone(),
                    state: entry.state,
                    at: entry.changed_at,
                })
            }
            other => Ok(other?),
        }
    }

    /// Returns the envelope an entry came with.
    ///
    /// # Errors
    /// As [`Quarantine::message`].
    pub fn envelope(&self, entry: &Entry) -> Result<Envelope, QuarantineError> {
        Ok(self.message(entry)?.held.record.envelope)
    }

    /// Returns for how long a release lets all mail of its sender to its recipient pass.
    pub fn approval_for(&self) -> std::time::Duration {
        self.settings.approval_for
    }

    /// Throws a waiting entry away; its message file goes when no other entry needs it.
    ///
    /// # Errors
    /// The entry is finished, being released or about to be, or the store refused.
    pub fn drop_entry(
        &self,
        id: &EntryId,
        reason: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<Entry, QuarantineError> {
        self.discard(id, EntryState::Dropped, reason, None, actor, now)
    }

    /// Ends a waiting entry that nobody decided on, as [`Quarantine::drop_entry`] does, and
    /// writes down the letter that tells of it, in one transaction. The worker sends it.
    ///
    /// # Errors
    /// The entry is finished, being released or about to be, or the store refused.
    pub fn expire_entry(
        &self,
        id: &EntryId,
        reason: &str,
        letter: Option<&NewLetter>,
        now: Timestamp,
    ) -> Result<Entry, QuarantineError> {
        self.discard(id, EntryState::Expired, reason, letter, "worker", now)
    }

    fn discard(
        &self,
        id: &EntryId,
        end: EntryState,
        reason: &str,
        letter: Option<&NewLetter>,
        actor: &str,
        now: Timestamp,
    ) -> Result<Entry, QuarantineError> {
        let kind = if end == EntryState::Expired {
            EventKind::Expired
        } else {
            EventKind::Dropped
        };
        let entry = self.store.write(Durability::Synced, |ledger| {
            let entry = require(ledger, id)?;
            if !ledger.discard(id, end, now)? {
                return Err(not_waiting(entry));
            }
            let is_lost = || self.message(&entry).is_err_and(|error| error.is_lost());
            match refuse_decided(ledger, id) {
                // It cannot be done any more, so an admin may.
                Err(_) if end == EntryState::Dropped && is_lost() => {}
                undecided => undecided?,
            }
            ledger.remove_decision(id)?;
            if let Some(letter) = letter {
                ledger.put_letter(id, letter, now)?;
            }
            ledger.append_audit(
                &AuditEvent {
                    detail: Some(reason.to_owned()),
                    ..about(&entry, kind, actor)
                },
                now,
            )?;
            require(ledger, id)
        })?;
        fault::point("drop.marked");
        self.remove_if_finished(&entry)?;
        Ok(entry)
    }

    /// Adds an approval.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn approve(
        &self,
        new: &NewApproval,
        actor: &str,
        now: Timestamp,
    ) -> Result<Approval, StoreError> {
        self.store.write(Durability::Synced, |ledger| {
            let approval = ledger.put_approval(new, now)?;
            ledger.append_audit(
                &about_approval(&approval, EventKind::ApprovalAdded, actor),
                now,
            )?;
            Ok(approval)
        })
    }

    /// Returns the approvals, expired ones only when asked for; newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn approvals(
        &self,
        with_expired: bool,
        now: Timestamp,
    ) -> Result<Vec<Approval>, StoreError> {
        self.store
            .read(|ledger| ledger.approvals(with_expired, now))
    }

    /// Has the senders of all that is held asked once more, and returns about how many recipients:
    /// their notices decide nothing any more.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn ask_again(&self) -> Result<usize, StoreError> {
        (self.store).write(Durability::Synced, |ledger| ledger.ask_again())
    }

    /// Removes the approval that `text`, a unique prefix of its id, stands for.
    ///
    /// # Errors
    /// There is no such approval or several, or the database cannot be written.
    pub fn remove_approval(
        &self,
        text: &str,
        reason: Option<&str>,
        actor: &str,
        now: Timestamp,
    ) -> Result<Approval, QuarantineError> {
        let prefix = IdPrefix::parse(text)?;
        self.store.write(Durability::Synced, |ledger| {
            let mut found = ledger.approvals_by_id(&prefix, AMBIGUOUS_SHOWN + 1)?;
            if found.len() > 1 {
                return Err(ambiguous(
                    prefix,
                    found.iter().map(|approval| approval.id.to_string()),
                ));
            }
            let Some(approval) = found.pop() else {
                return Err(QuarantineError::NoApproval(prefix));
            };
            ledger.remove_approval(&approval.id)?;
            let mut event = about_approval(&approval, EventKind::ApprovalRemoved, actor);
            event.detail = Some(match reason {
                Some(reason) => format!("approval {}: {reason}", approval.id),
                None => format!("approval {}", approval.id),
            });
            ledger.append_audit(&event, now)?;
            Ok(approval)
        })
    }

    /// Returns how much there is of everything.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        self.store.read(|ledger| ledger.counts())
    }

    /// Returns what passed the milter on each day from `first` to `last`, both included.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn day_totals(&self, first: Day, last: Day) -> Result<Vec<(Day, DayTotal)>, StoreError> {
        self.store.read(|ledger| ledger.day_totals(first, last))
    }

    /// Returns the audit rows that fit, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
        self.store.read(|ledger| ledger.audit(filter))
    }

    /// Checks the chain of the audit record, and that it contains the hash `expected`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn verify_audit(&self, expected: Option<&str>) -> Result<Verified, StoreError> {
        self.store.read(|ledger| ledger.verify_audit(expected))
    }

    /// Forgets messages finished, and approvals expired, longer than `keep_record` ago; at most
    /// `limit` messages at once. Returns how many of both. The audit record stays.
    ///
    /// # Errors
    /// The store is not usable, or a message file that should be long gone cannot be removed.
    pub fn forget_finished(&self, limit: u32, now: Timestamp) -> Result<usize, QuarantineError> {
        let before = (now.saturating_sub(self.settings.keep_record)).unwrap_or(Timestamp::MIN);
        self.store.write(Durability::Written, |ledger| {
            let keys = ledger.long_finished(before, limit)?;
            for text in &keys {
                if let Some(key) = spool::MessageKey::from_hex(text) {
                    self.spool.remove(&key)?;
                }
                ledger.forget_message(text)?;
            }
            Ok(keys.len() + ledger.forget_approvals(before)?)
        })
    }

    /// Writes message and entries of a published file, with an audit row for each entry.
    fn enter(
        &self,
        ledger: &Ledger<'_>,
        held: &Held,
        kind: EventKind,
        actor: &str,
        now: Timestamp,
    ) -> Result<Vec<EntryId>, StoreError> {
        let message = message_row(held);
        let received_at = message.received_at;
        ledger.put_message(&message)?;
        let mut ids = Vec::with_capacity(held.record.envelope.recipients.len());
        for recipient in &held.record.envelope.recipients {
            let id = EntryId::derive(held.key.as_bytes(), recipient.path.as_bytes());
            if !ids.contains(&id) {
                let grace_until = received_at
                    .saturating_add(self.settings.grace)
                    .unwrap_or(received_at);
                let new = new_entry(id.clone(), recipient, grace_until);
                let stored = ledger.put_entry(&message.key, &new, received_at)?;
                ledger.append_audit(
                    &held_event(&message, held, recipient, &id, stored, kind, actor),
                    now,
                )?;
            }
            ids.push(id);
        }
        Ok(ids)
    }

    /// Removes the message file of an entry unless another entry still needs it.
    pub(super) fn remove_if_finished(&self, entry: &Entry) -> Result<(), QuarantineError> {
        let Some(key) = spool::MessageKey::from_hex(&entry.message.key) else {
            return Ok(());
        };
        // Inside a write transaction: a client's retry cannot put a new file there meanwhile.
        self.store.write(Durability::Written, |ledger| {
            if ledger.open_entries(&entry.message.key)? == 0 {
                self.spool.remove(&key)?;
            }
            Ok(())
        })
    }
}

/// Shows a grace period that is over as what it means.
fn settle(entry: &mut Entry, now: Timestamp) {
    if entry.state == EntryState::Pending && entry.grace_until <= now {
        entry.state = EntryState::Held;
        entry.changed_at = entry.grace_until;
    }
}

pub(super) fn require(ledger: &Ledger<'_>, id: &EntryId) -> Result<Entry, QuarantineError> {
    ledger
        .entry(id)?
        .ok_or_else(|| QuarantineError::NoEntry(IdPrefix::from(id)))
}

/// Checks that nobody decided about an entry before; called in the transaction that decides.
/// What a process of ours planned for want of a decision makes room for one.
fn refuse_decided(ledger: &Ledger<'_>, id: &EntryId) -> Result<(), QuarantineError> {
    match ledger.decision(id)?.filter(PendingDecision::is_of_a_person) {
        Some(pending) => Err(QuarantineError::Decided(Box::new(pending))),
        None => Ok(()),
    }
}

fn not_waiting(entry: Entry) -> QuarantineError {
    match entry.lease_until {
        Some(until) => QuarantineError::BeingReleased {
            id: entry.id,
            until,
        },
        None => QuarantineError::Finished {
            id: entry.id,
            state: entry.state,
            at: entry.changed_at,
        },
    }
}

fn ambiguous(prefix: IdPrefix, ids: impl Iterator<Item = String>) -> QuarantineError {
    let shown = usize::try_from(AMBIGUOUS_SHOWN).unwrap_or(usize::MAX);
    let mut ids: Vec<String> = ids.collect();
    if ids.len() > shown {
        ids.truncate(shown);
        ids.push("…".to_owned());
    }
    QuarantineError::Ambiguous { prefix, ids }
}

fn message_row(held: &Held) -> Message {
    let envelope = &held.record.envelope;
    Message {
        key: held.key.to_string(),
        digest: held.digest.clone(),
        size: held.size,
        sender: envelope.sender.clone(),
        sender_address: envelope.sender_address.clone(),
        subject: held.record.subject.clone(),
        session: envelope.session.clone(),
        queue_id: envelope.queue_id.clone(),
        received_at: envelope.received_at,
    }
}

fn new_entry(id: EntryId, recipient: &HeldRecipient, grace_until: Timestamp) -> NewEntry {
    NewEntry {
        id,
        path: recipient.path.clone(),
        address: recipient.address.clone(),
        score: recipient.assessment.score,
        suggestion: recipient.suggestion.clone(),
        rule: recipient.rule.clone(),
        // An assessment is plain data; were it ever not, the entry would still be held.
        assessment: serde_json::to_string(&recipient.assessment).unwrap_or_default(),
        grace_until,
    }
}

fn held_event(
    message: &Message,
    held: &Held,
    recipient: &HeldRecipient,
    id: &EntryId,
    stored: Stored,
    kind: EventKind,
    actor: &str,
) -> AuditEvent {
    AuditEvent {
        entry: Some(id.clone()),
        session: Some(message.session.clone()),
        queue_id: message.queue_id.clone(),
        sender: Some(message.sender.clone()),
        recipient: Some(recipient.path.clone()),
        login: held.record.envelope.login.clone(),
        score: Some(recipient.assessment.score),
        suggestion: recipient.suggestion.clone(),
        rule: Some(recipient.rule.clone()),
        detail: Some(format!(
            "spool file {} sha256 {}{}",
            message.key,
            message.digest,
            stored.in_words()
        )),
        ..AuditEvent::new(kind, actor)
    }
}

/// Returns an event about an entry.
pub(super) fn about(entry: &Entry, kind: EventKind, actor: &str) -> AuditEvent {
    AuditEvent {
        entry: Some(entry.id.clone()),
        session: Some(entry.message.session.clone()),
        queue_id: entry.message.queue_id.clone(),
        sender: Some(entry.message.sender.clone()),
        recipient: Some(entry.path.clone()),
        score: Some(entry.score),
        suggestion: entry.suggestion.clone(),
        rule: Some(entry.rule.clone()),
        ..AuditEvent::new(kind, actor)
    }
}

/// Returns an event about an approval; its patterns stand where addresses stand elsewhere.
fn about_approval(approval: &Approval, kind: EventKind, actor: &str) -> AuditEvent {
    let until = approval
        .expires_at
        .map_or("without end".to_owned(), |at| format!("until {at:.0}"));
    AuditEvent {
        entry: match &approval.origin {
            crate::store::Origin::Release(id) => Some(id.clone()),
            crate::store::Origin::Admin => None,
        },
        sender: approval.sender.as_deref().map(Octets::from),
        recipient: Some(Octets::from(approval.recipient.as_str())),
        detail: Some(format!(
            "approval {} by {}, {until}: {}",
            approval.id, approval.owner, approval.reason
        )),
        ..AuditEvent::new(kind, actor)
    }
}
