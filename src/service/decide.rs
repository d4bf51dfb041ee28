//! The sender's decision about a held recipient: send, cancel or correct.
//!
//! Replies to a notice and the confirm page come here alike. A decision is one synced
//! transaction; the worker carries `send` and `correct` out a moment later, so nobody waits
//! for the MTA. The first decision counts, whoever made it: sender, reviewer or expiry.

use jiff::Timestamp;

use super::quarantine::{EntryDetail, Quarantine, QuarantineError, about, require};
use crate::address::Address;
use crate::domain::Domain;
use crate::octets::Octets;
use crate::policy::AddressPattern;
use crate::public_suffix::PublicSuffixes;
use crate::store::{
    AuditEvent, AuditRecord, Durability, Entry, EntryId, EntryState, EventKind, NewApproval,
    Origin, PendingDecision, StoreError,
};

/// What a sender decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the message.
    pub choice: Choice,
    /// Whether to ask again next time.
    pub remember: Remember,
}

/// What becomes of a held message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The address is right: deliver.
    Send,
    /// Do not deliver.
    Cancel,
    /// Deliver to this address (`local@domain`) instead; the milter judges it anew.
    Correct(String),
}

/// For what a sender does not want to be asked again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Remember {
    /// Ask again.
    #[default]
    Not,
    /// Not about this recipient.
    Recipient,
    /// Not about any recipient at this domain.
    Domain,
}

/// Why a decision does not count.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// Somebody decided before, or the entry is finished.
    #[error("the message to {address} was already decided: {how}")]
    Decided {
        /// The held recipient.
        address: String,
        /// What it came to.
        how: String,
    },
    /// The corrected address is none.
    #[error("{0:?} is not an address; write one like name@example.org")]
    NotAnAddress(String),
    /// The corrected address needs what the message was not handed in with.
    #[error("the message cannot go to {0:?}: it was not sent with SMTPUTF8")]
    NotAscii(String),
    /// The corrected address is the one it is held for.
    #[error(
        "{0:?} is the address the message is held for, so that corrects nothing; write another one, or say that it is to be sent as it is"
    )]
    SameAddress(String),
    /// The quarantine refused.
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
}

impl From<StoreError> for DecideError {
    fn from(error: StoreError) -> Self {
        DecideError::Quarantine(error.into())
    }
}

impl DecideError {
    /// The entry to `address` was decided, and that is yet to be done.
    pub(super) fn pending(address: String, pending: &PendingDecision) -> DecideError {
        let how = match &pending.corrected {
            Some(to) => format!("it is about to be sent to {to} instead"),
            None => "it is about to be sent".to_owned(),
        };
        DecideError::Decided { address, how }
    }
}

impl Decision {
    /// Deliver, and ask again next time.
    pub const SEND: Decision = Decision {
        choice: Choice::Send,
        remember: Remember::Not,
    };
}

impl Quarantine {
    /// Notes what the sender of `id` decided. `actor` says who that is and how we know:
    /// `sender anna@example.org (login anna)`.
    ///
    /// # Errors
    /// [`DecideError::Decided`] when it is too late. Nothing has changed then.
    pub fn decide(
        &self,
        id: &EntryId,
        decision: &Decision,
        actor: &str,
        now: Timestamp,
    ) -> Result<Entry, DecideError> {
        let decision = &match &decision.choice {
            Choice::Correct(address) => Decision {
                choice: Choice::Correct(self.correction(id, address)?),
                ..*decision
            },
            _ => decision.clone(),
        };
        let entry = self.store.write(Durability::Synced, |ledger| {
            let entry = require(ledger, id)?;
            undecided(&entry)?;
            if let Some(pending) = ledger.decision(id)? {
                return Err(DecideError::pending(entry.address, &pending));
            }
            let fresh = match &decision.choice {
                Choice::Cancel => ledger.discard(id, EntryState::Dropped, now)?,
                Choice::Send => ledger.put_decision(id, None, actor, now)?,
                Choice::Correct(to) => ledger.put_decision(id, Some(to), actor, now)?,
            };
            if !fresh {
                return Err(DecideError::Decided {
                    address: entry.address,
                    how: "it is about to be sent".to_owned(),
                });
            }
            if let Some(approval) = self.remembered(&entry, decision, actor, now) {
                ledger.put_approval(&approval, now)?;
            }
            let event = AuditEvent {
                detail: Some(in_words(decision)),
                ..about(&entry, EventKind::Decided, actor)
            };
            ledger.append_audit(&event, now)?;
            Ok(require(ledger, id)?)
        })?;
        self.remove_if_finished(&entry)?;
        Ok(entry)
    }

    /// Returns a corrected address as it goes to the MTA.
    ///
    /// # Errors
    /// [`DecideError::NotAnAddress`] and [`DecideError::NotAscii`]; [`DecideError::SameAddress`]
    /// for the address it is held for, however written.
    pub fn correction(&self, id: &EntryId, address: &str) -> Result<String, DecideError> {
        let sendable = sendable_address(address)?;
        let entry = self.store.read(|ledger| require(ledger, id))?;
        let same = Address::parse(sendable.as_bytes(), &PublicSuffixes::built_in());
        if same.canonical() == entry.address {
            undecided(&entry)?;
            return Err(DecideError::SameAddress(address.to_owned()));
        }
        if !sendable.is_ascii() {
            undecided(&entry)?;
            let args = self.envelope(&entry)?.sender_args;
            let utf8 = |arg: &Octets| arg.as_bytes().eq_ignore_ascii_case(b"SMTPUTF8");
            if !args.iter().any(utf8) {
                return Err(DecideError::NotAscii(address.to_owned()));
            }
        }
        Ok(sendable)
    }

    /// Returns the decision about an entry that the worker has still to carry out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pending_decision(&self, id: &EntryId) -> Result<Option<PendingDecision>, StoreError> {
        self.store.read(|ledger| ledger.decision(id))
    }

    /// Returns whether nobody has decided about an entry yet.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn waits(&self, entry: &Entry) -> Result<bool, StoreError> {
        Ok(undecided(entry).is_ok() && self.pending_decision(&entry.id)?.is_none())
    }

    /// Returns the entries that one digest told of, `id` among them; none when its notice was
    /// of its own. Entries held again since are left out: a digest of old does not speak of
    /// them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn told_with(&self, id: &EntryId) -> Result<Vec<EntryId>, StoreError> {
        self.store.read(|ledger| ledger.digest(id))
    }

    fn remembered(
        &self,
        entry: &Entry,
        decision: &Decision,
        actor: &str,
        now: Timestamp,
    ) -> Option<NewApproval> {
        let recipient = match (&decision.choice, decision.remember) {
            (Choice::Send, Remember::Recipient) => entry.address.clone(),
            (Choice::Send, Remember::Domain) => match as_pattern(&entry.domain) {
                Some(AddressPattern::Domain(domain)) => domain,
                // Of a public suffix, whoever registers a name below it would be approved too.
                _ => entry.address.clone(),
            },
            _ => return None,
        };
        Some(NewApproval {
            sender: Some(entry.message.sender_address.clone()),
            recipient,
            expires_at: now.saturating_add(self.settings.remember_for).ok(),
            owner: actor.to_owned(),
            reason: "the sender asked not to be asked again".to_owned(),
            origin: Origin::Release(entry.id.clone()),
        })
    }
}

/// What a sender answered about an entry that waits all the same: it could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The answer, as in the audit record: `correct to bob@example.org`.
    pub answer: String,
    /// What went wrong, as far as it is known.
    pub why: Option<String>,
}

impl EntryDetail {
    /// Returns whether the last who decided about the message, however often it was handed in, said
    /// that nobody must get it at this address.
    pub fn was_refused(&self) -> bool {
        let refuses = |record: &AuditRecord| match record.event.kind {
            EventKind::Decided if record.event.actor.starts_with("sender ") => {
                let answer = record.event.detail.as_deref().unwrap_or_default();
                Some(!answer.starts_with("send"))
            }
            EventKind::Released => Some(false),
            EventKind::Corrected | EventKind::Dropped => Some(true),
            _ => None,
        };
        self.history.iter().rev().find_map(refuses).unwrap_or(false)
    }

    /// Returns to which address it was sent instead of the one it was addressed to.
    pub fn corrected_to(&self) -> Option<&str> {
        let corrected = |record: &&AuditRecord| record.event.kind == EventKind::Corrected;
        let sent = self.history.iter().rev().find(corrected)?;
        let detail = sent.event.detail.as_deref()?.strip_prefix("sent to ")?;
        detail
            .split_once(';')
            .map(|(to, _)| to)
            .filter(|_| self.entry.state == EntryState::Released && sent.at >= self.entry.held_at)
    }

    /// Checks that it still waits for a decision.
    ///
    /// # Errors
    /// [`DecideError::Decided`] with what it came to.
    pub fn undecided(&self) -> Result<(), DecideError> {
        undecided(&self.entry).map_err(|error| match (error, self.corrected_to()) {
            (DecideError::Decided { address, .. }, Some(to)) => DecideError::Decided {
                address,
                how: format!("sent to {to} instead at {:.0}", self.entry.changed_at),
            },
            (error, _) => error,
        })
    }

    /// Returns what its sender answered since the entry is held, when that did not end it.
    pub fn failed(&self) -> Option<Failed> {
        let answered = self.history.iter().rev().find(|record| {
            record.event.kind == EventKind::Decided
                && record.event.actor.starts_with("sender ")
                && record.at >= self.entry.held_at
        })?;
        let answer = answered.event.detail.clone().unwrap_or_default();
        Some(Failed {
            answer,
            why: self.entry.last_error.clone(),
        })
    }
}

/// Checks that the entry still waits for a decision.
///
/// # Errors
/// [`DecideError::Decided`] with what it came to.
pub fn undecided(entry: &Entry) -> Result<(), DecideError> {
    let how = match entry.state {
        EntryState::Pending | EntryState::Held => return Ok(()),
        EntryState::Releasing => "it is being sent".to_owned(),
        EntryState::Released => format!("sent at {:.0}", entry.changed_at),
        state => format!("{state} at {:.0}", entry.changed_at),
    };
    Err(DecideError::Decided {
        address: entry.address.clone(),
        how,
    })
}

fn as_pattern(domain: &str) -> Option<AddressPattern> {
    AddressPattern::parse(domain, &PublicSuffixes::built_in()).ok()
}

fn in_words(decision: &Decision) -> String {
    let choice = match &decision.choice {
        Choice::Send => "send".to_owned(),
        Choice::Cancel => "cancel".to_owned(),
        Choice::Correct(to) => format!("correct to {to}"),
    };
    match decision.remember {
        Remember::Not => choice,
        Remember::Recipient => format!("{choice}, do not ask again about this address"),
        Remember::Domain => format!("{choice}, do not ask again about this domain"),
    }
}

/// Returns a corrected address as it goes into a RCPT command: a plain `local@domain` and
/// nothing else, its domain in A-labels.
///
/// # Errors
/// [`DecideError::NotAnAddress`].
pub fn sendable_address(address: &str) -> Result<String, DecideError> {
    let none = || DecideError::NotAnAddress(address.to_owned());
    let plain = |c: char| c.is_alphanumeric() || ".!#$&'*+-/=?^_`{|}~@".contains(c);
    let (local, domain) = address.rsplit_once('@').unwrap_or_default();
    if local.is_empty()
        || local.contains('@')
        || !domain.contains('.')
        || address.len() > 254
        || !address.chars().all(plain)
    {
        return Err(none());
    }
    if domain.is_ascii() {
        return Ok(address.to_owned());
    }
    let domain = Domain::parse(domain.as_bytes(), &PublicSuffixes::built_in());
    Ok(format!("{local}@{}", domain.map_err(|_| none())?.ascii()))
}
