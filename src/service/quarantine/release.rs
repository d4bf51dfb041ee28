//! Release: an approval for exactly this sender and recipient, then re-injection.
//!
//! ```text
//! claim + approval   one synced transaction
//! inject             the MTA answers 250
//! mark released      synced, with the audit row
//! remove the file    if no other entry needs it
//! ```
//! Dying before the 250 loses nothing: the claim ends with its lease. Dying between the 250
//! and the mark can send the message once more, which is the only safe side to err on.

use std::io::Read as _;
use std::time::Instant;

use jiff::Timestamp;

use super::{Quarantine, QuarantineError, Retry, about, not_waiting, refuse_decided, require};
use crate::fault;
use crate::logging::event;
use crate::octets::Octets;
use crate::smtp::{self, Accepted, Delivery, SmtpError, Stage};
use crate::store::{
    Approval, AuditEvent, Claim, Durability, Entry, EntryId, EventKind, NewApproval, Origin,
    PendingDecision, StoreError,
};

/// How often the mark after a delivery is tried; each try waits for a lock on its own.
const MARK_TRIES: u32 = 3;

/// An entry was handed to the MTA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The entry as it stands now.
    pub entry: Entry,
    /// The MTA's answer, usually with its queue id.
    pub reply: String,
    /// ESMTP arguments left out because the MTA does not offer what they need.
    pub left_out: Vec<Octets>,
}

/// What is to be handed to the MTA, and on whose word.
struct Order<'a> {
    /// The address to send to instead; `None` to send as addressed.
    corrected: Option<&'a str>,
    /// Who said so.
    actor: &'a str,
    /// Since when that counts.
    standing: Standing,
}

/// How an order stands to what was decided before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is given now, and comes too late when there is a decision already.
    OnTheSpot,
    /// It is the decision noted before.
    Decided,
}

impl<'a> Order<'a> {
    fn on_the_spot(corrected: Option<&'a str>, actor: &'a str) -> Order<'a> {
        Order {
            corrected,
            actor,
            standing: Standing::OnTheSpot,
        }
    }
}

/// Why a delivery failed.
#[derive(Debug, thiserror::Error)]
enum DeliverError {
    /// The message cannot be read.
    #[error(transparent)]
    Message(Box<QuarantineError>),
    /// The MTA did not take it.
    #[error(transparent)]
    Smtp(#[from] SmtpError),
}

impl DeliverError {
    fn retry(&self) -> Retry {
        match self {
            // Greeting and EHLO are about us, not about the message: an admin will mend that.
            DeliverError::Smtp(SmtpError::Refused {
                stage: Stage::Greeting | Stage::Ehlo,
                ..
            }) => Retry::Later,
            DeliverError::Smtp(
                error @ (SmtpError::Refused { .. }
                | SmtpError::NotOffered { .. }
                | SmtpError::Unsendable(_)),
            ) if !error.is_temporary() => Retry::Never,
            DeliverError::Smtp(_) | DeliverError::Message(_) => Retry::Later,
        }
    }
}

impl Quarantine {
    /// Hands the entry to the MTA, with the sender, arguments and octets it came with.
    ///
    /// # Errors
    /// [`QuarantineError::Decided`]: its sender was faster. [`QuarantineError::NotReleased`]: it
    /// is held as before. [`QuarantineError::NotMarked`]: it was delivered. Others: nothing
    /// happened.
    pub fn release(
        &self,
        id: &EntryId,
        actor: &str,
        now: Timestamp,
    ) -> Result<Released, QuarantineError> {
        self.send(id, &Order::on_the_spot(None, actor), now)
    }

    /// Hands the entry to the MTA for `corrected` (`local@domain`), the recipient its sender
    /// meant. That copy alone says so in a header. It gets no approval: the milter judges the
    /// new address like any other.
    ///
    /// # Errors
    /// As [`Quarantine::release`].
    pub fn correct(
        &self,
        id: &EntryId,
        corrected: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<Released, QuarantineError> {
        self.send(id, &Order::on_the_spot(Some(corrected), actor), now)
    }

    /// Carries out what was decided before.
    ///
    /// # Errors
    /// As [`Quarantine::release`]; [`QuarantineError::TakenBack`] when the decision is not the
    /// one that counts any more.
    pub fn carry_out(
        &self,
        decision: &PendingDecision,
        now: Timestamp,
    ) -> Result<Released, QuarantineError> {
        let order = Order {
            corrected: decision.corrected.as_deref(),
            actor: &decision.actor,
            standing: Standing::Decided,
        };
        self.send(&decision.entry, &order, now)
    }

    /// Returns the entry that is being released just now from this sender to this recipient: mail
    /// between them is then most likely our own, on its way through the MTA.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn being_released(
        &self,
        sender: &str,
        recipient: &str,
        now: Timestamp,
    ) -> Result<Option<EntryId>, StoreError> {
        (self.store).read(|ledger| ledger.being_released(sender, recipient, now))
    }

    fn send(
        &self,
        id: &EntryId,
        order: &Order<'_>,
        now: Timestamp,
    ) -> Result<Released, QuarantineError> {
        let (corrected, actor) = (order.corrected, order.actor);
        let started = Instant::now();
        let clock = || now.saturating_add(started.elapsed()).unwrap_or(now);
        let (claim, entry, approval) = self.claim(id, order, now)?;
        fault::point("release.claimed");
        match self.deliver(&entry, corrected) {
            Ok(accepted) => {
                fault::point("release.injected");
                self.delivered(&claim, &entry, corrected, accepted, actor, clock())
            }
            Err(error) => {
                let why = event::chain(&error);
                self.not_delivered(&claim, &entry, approval.as_ref(), &why, actor, clock())?;
                Err(QuarantineError::NotReleased {
                    id: id.clone(),
                    why,
                    retry: error.retry(),
                })
            }
        }
    }

    fn claim(
        &self,
        id: &EntryId,
        order: &Order<'_>,
        now: Timestamp,
    ) -> Result<(Claim, Entry, Option<Approval>), QuarantineError> {
        self.store.write(Durability::Synced, |ledger| {
            let entry = require(ledger, id)?;
            let Some(claim) = ledger.claim(id, now, self.settings.lease)? else {
                return Err(not_waiting(entry));
            };
            match order.standing {
                Standing::OnTheSpot => refuse_decided(ledger, id)?,
                Standing::Decided => {
                    let counts = (ledger.decision(id)?).is_some_and(|pending| {
                        pending.corrected.as_deref() == order.corrected
                            && pending.actor == order.actor
                    });
                    if !counts {
                        return Err(QuarantineError::TakenBack(id.clone()));
                    }
                }
            }
            if order.corrected.is_some() {
                return Ok((claim, entry, None));
            }
            let approval = NewApproval {
                sender: Some(entry.message.sender_address.clone()),
                recipient: entry.address.clone(),
                expires_at: Some(
                    now.saturating_add(self.settings.approval_for)
                        .unwrap_or(now),
                ),
                owner: order.actor.to_owned(),
                reason: format!("release of entry {id}"),
                origin: Origin::Release(id.clone()),
            };
            let approval = ledger.put_approval(&approval, now)?;
            Ok((claim, entry, Some(approval)))
        })
    }

    fn deliver(&self, entry: &Entry, corrected: Option<&str>) -> Result<Accepted, DeliverError> {
        let message = self
            .message(entry)
            .map_err(|error| DeliverError::Message(Box::new(error)))?;
        let envelope = message.held.record.envelope.clone();
        let recipient = envelope
            .recipients
            .iter()
            .find(|recipient| recipient.path == entry.path);
        let settings = self.settings.smtp();
        let delivery = Delivery {
            sender: envelope.sender.as_bytes(),
            sender_args: &envelope.sender_args,
            recipient: entry.path.as_bytes(),
            recipient_args: recipient.map_or(&[], |recipient| &recipient.args),
        };
        let Some(corrected) = corrected else {
            return Ok(smtp::inject(&settings, &delivery, message)?);
        };
        // ORCPT names the address the sender did not mean; the other arguments stay.
        let recipient_args: Vec<Octets> = (delivery.recipient_args.iter())
            .filter(|arg| !is_orcpt(arg.as_bytes()))
            .cloned()
            .collect();
        let delivery = Delivery {
            recipient: corrected.as_bytes(),
            recipient_args: &recipient_args,
            ..delivery
        };
        let note = format!(
            "X-Straymail-Corrected: addressed to {}\r\n",
            ascii(&entry.address)
        );
        Ok(smtp::inject(
            &settings,
            &delivery,
            note.as_bytes().chain(message),
        )?)
    }

    fn delivered(
        &self,
        claim: &Claim,
        entry: &Entry,
        corrected: Option<&str>,
        accepted: Accepted,
        actor: &str,
        now: Timestamp,
    ) -> Result<Released, QuarantineError> {
        let mut detail = match corrected {
            Some(corrected) => format!("sent to {corrected}; MTA: {}", accepted.reply),
            None => format!("MTA: {}", accepted.reply),
        };
        if !accepted.left_out.is_empty() {
            let left_out: Vec<String> = accepted.left_out.iter().map(Octets::to_string).collect();
            detail.push_str(&format!(
                "; not offered by the MTA and left out: {}",
                left_out.join(" ")
            ));
        }
        let kind = match corrected {
            Some(_) => EventKind::Corrected,
            None => EventKind::Released,
        };
        let event = AuditEvent {
            detail: Some(detail),
            ..about(entry, kind, actor)
        };
        let mark = || {
            self.store.write(Durability::Synced, |ledger| {
                // Not ours any more when the client handed the same message in again
                // meanwhile: that copy stays open, and the delivery is recorded all the same.
                ledger.mark_released(claim, now)?;
                ledger.remove_decision(&entry.id)?;
                ledger.append_audit(&event, now)?;
                Ok::<_, StoreError>(())
            })
        };
        let marked = (1..MARK_TRIES).fold(mark(), |result, _| result.or_else(|_| mark()));
        marked.map_err(|source| QuarantineError::NotMarked {
            id: entry.id.clone(),
            source,
        })?;
        fault::point("release.marked");
        self.remove_if_finished(entry)?;
        fault::point("release.removed");
        let entry = self.store.read(|ledger| require(ledger, &entry.id))?;
        Ok(Released {
            entry,
            reply: accepted.reply.to_string(),
            left_out: accepted.left_out,
        })
    }

    fn not_delivered(
        &self,
        claim: &Claim,
        entry: &Entry,
        approval: Option<&Approval>,
        why: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), QuarantineError> {
        self.store.write(Durability::Synced, |ledger| {
            ledger.mark_not_released(claim, why, now)?;
            if let Some(approval) = approval {
                ledger.remove_approval(&approval.id)?;
            }
            let event = AuditEvent {
                detail: Some(why.to_owned()),
                ..about(entry, EventKind::ReleaseFailed, actor)
            };
            ledger.append_audit(&event, now)?;
            Ok(())
        })
    }
}

fn is_orcpt(arg: &[u8]) -> bool {
    arg.get(..6)
        .is_some_and(|name| name.eq_ignore_ascii_case(b"ORCPT="))
}

/// Returns `text` with `?` for what a header field cannot hold.
fn ascii(text: &str) -> String {
    (text.chars())
        .map(|c| match c {
            ' '..='~' => c,
            _ => '?',
        })
        .collect()
}
