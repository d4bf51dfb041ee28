//! What a conversation leaves in the audit record.

use super::Conversation;
use crate::logging::event;
use crate::octets::Octets;
use crate::policy::{Action, Mode, OnError, Verdict};
use crate::session::{Judged, Message};
use crate::store::{AuditEvent, EntryId, EventKind};

impl Conversation {
    /// Logs the verdict and writes it to the audit record; a recipient to be held is recorded
    /// when it is held, in one transaction with its entry. `released` is the entry that is on its
    /// way out.
    pub(super) fn report(&self, judged: &Judged, to: &str, released: Option<EntryId>) {
        let (log, from) = (self.service.log(), self.sender());
        let message = self.session.message();
        let queue_id = message.and_then(|m| m.queue_id.as_deref());
        event::verdict(log, &self.id, queue_id, &from, to, judged);
        if judged.verdict.action == Action::Hold {
            return;
        }
        let detail = match (&judged.verdict.approval, judged.verdict.mode) {
            (Some(approval), _) => Some(approval.clone()),
            // What the report on mode observe is made of.
            (None, Mode::Observe) => Some(format!("would {}", judged.verdict.intended)),
            (None, Mode::Enforce) if judged.verdict.is_stricter() => {
                Some("written in a way that the MTA may not remove".to_owned())
            }
            (None, Mode::Enforce) => None,
        };
        self.record(AuditEvent {
            entry: released,
            detail,
            ..self.about(judged, message, kind(&judged.verdict))
        });
    }

    /// Writes to the audit record what became of recipients that should have been held.
    pub(super) fn report_not_held(&self, message: &Message, on_error: OnError, why: &str) {
        let kind = match on_error {
            OnError::Tempfail => EventKind::Tempfailed,
            OnError::HoldMessage => EventKind::HeldMessage,
            OnError::Accept => EventKind::Noted,
        };
        for judged in message.held() {
            self.record(AuditEvent {
                detail: Some(why.to_owned()),
                ..self.about(judged, Some(message), kind)
            });
        }
    }

    fn about(&self, judged: &Judged, message: Option<&Message>, kind: EventKind) -> AuditEvent {
        AuditEvent {
            session: Some(self.id.clone()),
            queue_id: message.and_then(|m| m.queue_id.clone()),
            sender: message.map(|m| m.sender.path().into()),
            recipient: Some(judged.recipient.address.path().into()),
            login: message.and_then(|m| m.login.as_deref()).map(Octets::from),
            score: Some(judged.assessment.score),
            suggestion: judged.assessment.best().map(|best| best.trusted.clone()),
            rule: Some(judged.verdict.rule.clone()),
            ..AuditEvent::new(kind, "milter")
        }
    }

    /// Nothing depends on this record: a recipient that is refused is refused, one that is let
    /// through has its line in the log, and a fault is counted as one.
    fn record(&self, event: AuditEvent) {
        let recorded = (self.service.quarantine()).record(&event, self.service.now());
        if let Err(error) = recorded {
            event::not_recorded(self.service.log(), &self.id, &error);
        }
    }
}

fn kind(verdict: &Verdict) -> EventKind {
    match (verdict.action, verdict.mode) {
        (Action::Accept, _) if verdict.approval.is_some() => EventKind::Approved,
        (Action::Accept, Mode::Observe) => EventKind::Observed,
        (Action::Accept, Mode::Enforce) => EventKind::Noted,
        (Action::Tag, _) => EventKind::Tagged,
        (Action::Hold, _) => EventKind::Held,
        (Action::HoldMessage, _) => EventKind::HeldMessage,
        (Action::Reject, _) => EventKind::Rejected,
        (Action::Tempfail, _) => EventKind::Tempfailed,
    }
}
