//! Where senders' replies to notices are taken.
//!
//! A reply passes the milter like any message of our senders, so who sent it is known: the
//! login, or the envelope sender of a host inside our networks. Only the one who sent the held
//! message may decide about it. A reply that changes nothing is refused with the reason, so
//! its writer sees at once that it did not count.

use std::sync::Arc;

use jiff::Timestamp;

use super::answer::{Answer, Says};
use super::decide::{Choice, DecideError, Decision, Remember, undecided};
use super::quarantine::{Quarantine, QuarantineError};
use super::token::{Token, TokenError, Tokens};
use super::worker::meant;
use crate::notice;
use crate::store::EntryId;

/// The address that notices come from, and the keys of their tokens.
#[derive(Clone, Debug)]
pub struct Desk {
    /// Address, `local@domain`, in lower case.
    pub from: String,
    /// The keys.
    pub tokens: Arc<Tokens>,
}

/// Who wrote a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Envelope sender, `local@domain`.
    pub sender: String,
    /// SASL login.
    pub login: Option<String>,
}

/// What became of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It decided about this entry.
    Decided(EntryId),
    /// It is no reply to a notice, or automatic: let it pass.
    NoAnswer,
}

/// Why a reply does not count; the text is for its writer.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// The first word is none of ours.
    #[error("the first word must be send, cancel or correct")]
    Unclear,
    /// `correct` without an address where there is nothing to suggest.
    #[error("write the right address behind \"correct\"")]
    NothingSuggested,
    /// Somebody else sent the held message.
    #[error("only the sender of the held message can decide about it")]
    Foreign,
    /// The token does not count.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It is too late, or the address is none.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// The store failed.
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
}

impl NotTaken {
    /// Returns whether the fault is ours, so that the reply may be sent again.
    pub fn is_our_fault(&self) -> bool {
        match self {
            NotTaken::Quarantine(error) | NotTaken::Decide(DecideError::Quarantine(error)) => {
                matches!(error, QuarantineError::Store(_))
            }
            _ => false,
        }
    }
}

impl Desk {
    /// Takes a reply to a notice. May wait for the disk.
    ///
    /// # Errors
    /// Why it does not count. Nothing has changed then.
    pub fn take(
        &self,
        quarantine: &Quarantine,
        octets: &[u8],
        writer: &Writer,
        now: Timestamp,
    ) -> Result<Taken, NotTaken> {
        let answer = Answer::parse(octets, notice::host(&self.from));
        if answer.automatic || answer.tokens.is_empty() {
            return Ok(Taken::NoAnswer);
        }
        let token = self.token(&answer.tokens, now)?;
        let says = answer.says.ok_or(NotTaken::Unclear)?;
        let detail = quarantine.detail(&token.entry, now)?;
        let entry = &detail.entry;
        token.fits(entry)?;
        undecided(entry)?;
        let message = quarantine.envelope(entry)?;
        let foreign = match &message.login {
            Some(login) => writer.login.as_deref() != Some(login.to_string().as_str()),
            None => writer.sender != entry.message.sender_address,
        };
        if foreign {
            return Err(NotTaken::Foreign);
        }
        let decision = match says {
            Says::Decision(decision) => decision,
            Says::CorrectAsSuggested => Decision {
                choice: (detail.assessment.as_ref())
                    .and_then(|assessment| meant(entry, assessment))
                    .map(Choice::Correct)
                    .ok_or(NotTaken::NothingSuggested)?,
                remember: Remember::Not,
            },
        };
        let actor = match &writer.login {
            Some(login) => format!("sender {} (login {login}), by reply", writer.sender),
            None => format!("sender {}, by reply", writer.sender),
        };
        quarantine.decide(&entry.id, &decision, &actor, now)?;
        Ok(Taken::Decided(entry.id.clone()))
    }

    /// Returns the first genuine token; else why the newest is none.
    fn token(&self, texts: &[String], now: Timestamp) -> Result<Token, TokenError> {
        let mut first_error = None;
        for text in texts {
            match self.tokens.verify(text, now) {
                Ok(token) => return Ok(token),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or(TokenError::Malformed))
    }
}
