//! One message: what was decided about its recipients, and what that asks of the MTA.

use super::{Judged, Passage, Recipient, escaped};
use crate::address::Address;
use crate::domain::Domain;
use crate::policy::{Action, OnError, Role};

/// One message of a session.
#[derive(Debug)]
pub struct Message {
    /// Envelope sender.
    pub sender: Address,
    /// ESMTP parameters of the MAIL command.
    pub sender_args: Vec<Vec<u8>>,
    /// SASL login as received, so that rules and replies can be compared with it; escaped only
    /// where it is not UTF-8.
    pub login: Option<String>,
    /// Queue id, escaped; known late on Postfix.
    pub queue_id: Option<String>,
    /// Whether its recipients are judged.
    pub passage: Passage,
    /// Recipients with evidence that were not refused.
    pub judged: Vec<Judged>,
    /// How many recipients were let through: without evidence, or because of a fault.
    pub clean: u64,
    /// Their domains, as far as they are remembered.
    pub companions: Vec<Domain>,
    /// The first of them, in comparable form.
    pub contacts: Vec<String>,
    /// Those recipients themselves, for mail from sendmail(1) only; see [`Message::must_split`].
    pub passed: Vec<Recipient>,
    /// Role of the session.
    pub role: Role,
    /// Set when a fault of ours must decide about the whole message.
    pub fault: Option<OnError>,
}

/// A change asked of the MTA at the end of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Remove this envelope recipient, spelled exactly so.
    DeleteRecipient(Vec<u8>),
    /// Add a header.
    AddHeader {
        /// Field name.
        name: &'static str,
        /// Field value, ASCII.
        value: String,
    },
    /// Put the message into the MTA's own hold queue, for this reason.
    Quarantine(String),
}

impl Message {
    pub(super) fn learn_queue_id(&mut self, queue_id: Option<&[u8]>) {
        if let Some(id) = escaped(queue_id) {
            self.queue_id = Some(id);
        }
    }

    pub(super) fn keep_passed(&mut self, recipient: Recipient) {
        if self.role == Role::Local {
            self.passed.push(recipient);
        }
    }

    /// Returns whether the held recipients cannot be removed, so that straymail has to take
    /// the whole message and send the others their copies itself.
    ///
    /// Of mail from sendmail(1), Postfix shows a milter the recipients as it has rewritten
    /// them, but removes them only as they were given: `carl@army.ml.` or an address that
    /// canonical_maps changed would stay, and leak.
    pub fn must_split(&self) -> bool {
        self.role == Role::Local && self.held().next().is_some() && !self.all_held()
    }

    /// Returns the recipients that may have the message, in comparable form, as far as they are
    /// remembered.
    pub fn accepted(&self) -> impl Iterator<Item = String> {
        let judged = (self.judged.iter())
            .filter(|judged| matches!(judged.verdict.action, Action::Accept | Action::Tag))
            .map(|judged| judged.recipient.canonical());
        self.contacts.iter().cloned().chain(judged)
    }

    /// Returns the recipients to keep in the quarantine.
    pub fn held(&self) -> impl Iterator<Item = &Judged> {
        (self.judged.iter()).filter(|judged| judged.verdict.action == Action::Hold)
    }

    /// Returns what to do about the whole message when holding its recipients failed: the
    /// strictest wish of their rules.
    pub fn on_hold_error(&self) -> OnError {
        (self.held().map(|judged| judged.verdict.on_error))
            .reduce(OnError::strictest)
            .unwrap_or_default()
    }

    /// Returns whether nobody is left to deliver to once the held recipients are removed.
    pub fn all_held(&self) -> bool {
        self.clean == 0 && !self.judged.is_empty() && self.held().count() == self.judged.len()
    }

    /// Returns the changes to ask of the MTA after the held recipients are safely stored.
    ///
    /// No header names a held address: the other recipients must not learn of a Bcc.
    pub fn changes(&self) -> Vec<Change> {
        let mut changes: Vec<Change> = (self.held())
            .flat_map(|judged| judged.recipient.removals())
            .collect();
        let with = |action| (self.judged.iter()).find(move |j| j.verdict.action == action);
        if with(Action::Tag).is_some() {
            changes.push(Change::AddHeader {
                name: "X-Straymail",
                value: "a recipient of this message resembles a trusted domain".into(),
            });
        }
        if let Some(judged) = with(Action::HoldMessage) {
            changes.push(Change::Quarantine(format!(
                "straymail: {}",
                judged.assessment.sentence()
            )));
        }
        changes
    }
}
