//! The end of entries that nobody decided on.
//!
//! An entry ends in one transaction with the letter that tells of it; the letter is sent after.
//! So an end is told even when the worker is killed in between, and nobody is told of an end
//! that a late decision has forestalled.

use std::io::Read as _;
use std::time::Duration;

use jiff::Timestamp;

use super::notify::NotNotified;
use super::{AtEnd, BATCH, Worker};
use crate::address::Address;
use crate::fault;
use crate::logging::event;
use crate::notice::{Bounce, Facts, Header, host};
use crate::public_suffix::PublicSuffixes;
use crate::score::Assessment;
use crate::service::decide::{DecideError, Decision};
use crate::service::quarantine::QuarantineError;
use crate::store::{Durability, Entry, NOBODY, NewLetter, Passage};

/// A worker that was not seen for so long was stopped, or the clock jumped.
const GAP: Duration = Duration::from_secs(24 * 60 * 60);

/// For so long nothing ends then: time to put the clock right, or to decide.
const WAIT: Duration = Duration::from_secs(60 * 60);

/// Most octets of a message's header that a report returns.
const MAX_RETURNED: u64 = 64 * 1024;

/// Who hears of an end.
enum Told {
    /// Its sender, or the recipient because it is delivered.
    Somebody,
    Nobody,
}

impl Worker {
    /// Ends entries nobody decided on.
    pub(super) fn end(&self, now: Timestamp) -> Result<usize, QuarantineError> {
        let passage = (self.quarantine.store).write(Durability::Written, |ledger| {
            ledger.heartbeat(now, GAP, WAIT)
        })?;
        match passage {
            Passage::Steady => {}
            Passage::Waiting(_) => return Ok(0),
            Passage::Jumped { from, until } => {
                event::time_jumped(&self.log, from, now, until);
                return Ok(0);
            }
        }
        let before = now.saturating_sub(self.settings.keep_for).unwrap_or(now);
        let over = (self.quarantine.store).read(|ledger| ledger.overdue(before, BATCH))?;
        for entry in &over {
            self.step();
            match self.end_one(entry, now) {
                Ok(Told::Somebody) => event::ended(&self.log, &entry.id),
                Ok(Told::Nobody) => event::ended_untold(&self.log, &entry.id),
                // Its sender was a moment faster.
                Err(DecideError::Quarantine(QuarantineError::Decided(_))) => {}
                Err(error) => event::not_ended(&self.log, &entry.id, &error),
            }
        }
        Ok(over.len())
    }

    fn end_one(&self, entry: &Entry, now: Timestamp) -> Result<Told, DecideError> {
        let letter = match self.settings.at_end {
            // Whoever said that the address is wrong must not see it used in the end.
            AtEnd::Release if self.quarantine.detail(&entry.id, now)?.was_refused() => {
                self.farewell(entry, now)
            }
            AtEnd::Release => {
                (self.quarantine).decide(&entry.id, &Decision::SEND, NOBODY, now)?;
                fault::point("end.decided");
                return Ok(Told::Somebody);
            }
            AtEnd::Drop => self.farewell(entry, now),
            AtEnd::Bounce => self.bounce(entry, now),
        };
        let mut reason = "nobody decided in time".to_owned();
        let letter = match letter {
            Ok(letter) => Some(letter),
            Err(NotNotified::Store(error)) => return Err(error.into()),
            Err(error) => {
                reason.push_str(&format!("; nobody is told: {}", event::chain(&error)));
                None
            }
        };
        (self.quarantine).expire_entry(&entry.id, &reason, letter.as_ref(), now)?;
        fault::point("end.marked");
        Ok(match letter {
            Some(_) => Told::Somebody,
            None => Told::Nobody,
        })
    }

    /// Returns the letter that tells the sender that a message was thrown away.
    fn farewell(&self, entry: &Entry, now: Timestamp) -> Result<NewLetter, NotNotified> {
        let Some(from) = &self.notices.from else {
            return Err(NotNotified::Never("notice.from is not set"));
        };
        let to = match self.addressee(entry) {
            // The message is lost, and its sender should know all the more.
            Err(NotNotified::Quarantine(error)) if error.is_lost() => self
                .mailbox(None, &entry.message.sender)
                .ok_or(NotNotified::Quarantine(error))?,
            other => other?,
        };
        // A token that is over: an answer to this letter hears that it comes too late.
        let id = self.tokens.sign(entry, now);
        let header = Header {
            from,
            to: &to,
            id: &id,
            about: None,
            date: now,
        };
        let facts = self.ended_facts(entry, "it was thrown away", now)?;
        let message = self.compose(|templates| templates.compose_ended(&header, &facts))?;
        Ok(NewLetter {
            addressee: to,
            message,
        })
    }

    /// Returns the delivery status notification for the envelope sender. A program or a list
    /// gets it too: it is what they watch for.
    fn bounce(&self, entry: &Entry, now: Timestamp) -> Result<NewLetter, NotNotified> {
        let mut message = self.quarantine.message(entry)?;
        let mut head = Vec::new();
        (&mut message).take(MAX_RETURNED).read_to_end(&mut head)?;
        let end = (head.windows(4))
            .position(|octets| octets == b"\r\n\r\n")
            .map_or(head.len(), |at| at + 2);
        let envelope = &message.held.record.envelope;
        // Whoever that is, as any server does that cannot deliver.
        let to = Address::parse(envelope.sender.as_bytes(), &PublicSuffixes::built_in())
            .mailbox()
            .ok_or(NotNotified::Never("the envelope sender is no mailbox"))?;
        let recipient = (envelope.recipients.iter()).find(|r| r.path == entry.path);
        let detail = self.quarantine.detail(&entry.id, now)?;
        let why = detail.assessment.as_ref().map(Assessment::sentence);
        let helo = self.quarantine.settings.helo.as_str();
        let bounce = Bounce {
            reporter: helo,
            sender_args: &envelope.sender_args,
            recipient_args: recipient.map_or(&[], |recipient| &recipient.args),
            recipient: &entry.address,
            why: why.as_deref().unwrap_or("the address looks mistyped"),
            arrived_at: envelope.received_at,
            header: head.get(..end).unwrap_or_default(),
        }
        .wanted()
        .map_err(|_| NotNotified::Never("the sender asked for no report (NOTIFY)"))?;
        let from = format!(
            "MAILER-DAEMON@{}",
            self.notices.from.as_deref().map_or(helo, host)
        );
        let id = self.tokens.sign(entry, now);
        let header = Header {
            from: &from,
            to: &to,
            id: &id,
            about: None,
            date: now,
        };
        let facts = self.ended_facts(entry, "it is returned as undeliverable", now)?;
        let message =
            self.compose(|templates| templates.compose_bounce(&header, &facts, &bounce))?;
        Ok(NewLetter {
            addressee: to,
            message,
        })
    }

    fn ended_facts(
        &self,
        entry: &Entry,
        ending: &str,
        now: Timestamp,
    ) -> Result<Facts, QuarantineError> {
        Ok(Facts {
            ending: ending.to_owned(),
            ..self.facts(entry, None, now)?
        })
    }
}
