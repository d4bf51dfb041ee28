//! Where senders' replies to notices are taken.
//!
//! A reply passes the milter like any message of our senders, so who sent it is known: the
//! login, or the envelope sender of a host inside our networks. Only the one who sent the held
//! message may decide about it. A reply that changes nothing is refused with the reason, so
//! its writer sees at once that it did not count.

use std::sync::Arc;

use jiff::Timestamp;

use super::answer::{Answer, Order, Says};
use super::decide::{Choice, DecideError, Decision, Remember, undecided};
use super::quarantine::{Quarantine, QuarantineError};
use super::token::{Token, TokenError, Tokens};
use super::worker::meant;
use crate::fault;
use crate::notice;
use crate::store::{EntryId, IdPrefix, StoreError};

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
    /// It decided about these entries.
    Decided(Vec<EntryId>),
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
    /// The reply to a digest does not say which.
    #[error(
        "this notice speaks of several messages; begin with a line for each, like \"send {0}\", or with \"send all\""
    )]
    Which(EntryId),
    /// The reply to a digest names another message.
    #[error("{0:?} is no message of this notice")]
    NotListed(String),
    /// Everything was decided before.
    #[error("the messages of this notice are all decided already")]
    NothingLeft,
    /// The held message is lost.
    #[error("the message cannot be read any more; ask your mail administrator")]
    Lost(#[source] QuarantineError),
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

impl From<StoreError> for NotTaken {
    fn from(error: StoreError) -> Self {
        NotTaken::Quarantine(error.into())
    }
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
        let listed = quarantine.told_with(&token.entry)?;
        let orders = match listed.is_empty() {
            false => chosen(quarantine, &listed, &answer.orders, now)?,
            true => {
                let entry = quarantine.detail(&token.entry, now)?.entry;
                token.fits(&entry)?;
                vec![(token.entry, answer.says.ok_or(NotTaken::Unclear)?)]
            }
        };
        // All are looked at before the first one counts: a reply is taken whole or not at all.
        let mut decisions = Vec::with_capacity(orders.len());
        for (id, says) in orders {
            let decision = decision(quarantine, &id, says, writer, now)?;
            decisions.push((id, decision));
        }
        let actor = match &writer.login {
            Some(login) => format!("sender {} (login {login}), by reply", writer.sender),
            None => format!("sender {}, by reply", writer.sender),
        };
        let mut decided = Vec::with_capacity(decisions.len());
        for (id, decision) in decisions {
            match quarantine.decide(&id, &decision, &actor, now) {
                Ok(_) => decided.push(id),
                // A reviewer was faster with this one; the others count.
                Err(DecideError::Decided { .. }) if !decided.is_empty() => {}
                Err(error) => return Err(error.into()),
            }
        }
        fault::point("decision.noted");
        Ok(Taken::Decided(decided))
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

/// Returns which entries of a digest a reply speaks of, and what it says of each.
fn chosen(
    quarantine: &Quarantine,
    listed: &[EntryId],
    orders: &[Order],
    now: Timestamp,
) -> Result<Vec<(EntryId, Says)>, NotTaken> {
    let mut found: Vec<(EntryId, Says)> = Vec::new();
    for order in orders {
        if order.which.eq_ignore_ascii_case("all") {
            for id in listed {
                let entry = quarantine.detail(id, now)?.entry;
                let named = found.iter().any(|(known, _)| known == id);
                if !named && quarantine.waits(&entry)? {
                    found.push((id.clone(), order.says.clone()));
                }
            }
            if found.is_empty() {
                return Err(NotTaken::NothingLeft);
            }
            continue;
        }
        let not_listed = || NotTaken::NotListed(order.which.clone());
        let prefix = IdPrefix::parse(&order.which).map_err(|_| not_listed())?;
        let mut fits = (listed.iter()).filter(|id| id.as_str().starts_with(prefix.as_str()));
        let (Some(id), None) = (fits.next(), fits.next()) else {
            return Err(not_listed());
        };
        if found.iter().all(|(known, _)| known != id) {
            found.push((id.clone(), order.says.clone()));
        }
    }
    match (found.is_empty(), listed.first()) {
        (true, Some(first)) => Err(NotTaken::Which(first.clone())),
        _ => Ok(found),
    }
}

/// Returns what `says` means for the entry, when `writer` may decide about it.
fn decision(
    quarantine: &Quarantine,
    id: &EntryId,
    says: Says,
    writer: &Writer,
    now: Timestamp,
) -> Result<Decision, NotTaken> {
    let detail = quarantine.detail(id, now)?;
    let entry = &detail.entry;
    undecided(entry)?;
    if !quarantine.waits(entry)? {
        return Err(NotTaken::Decide(DecideError::Decided {
            address: entry.address.clone(),
            how: "it is about to be sent".to_owned(),
        }));
    }
    let message = quarantine.envelope(entry).map_err(|error| match error {
        QuarantineError::Spool(_) => NotTaken::Lost(error),
        error => error.into(),
    })?;
    let foreign = match &message.login {
        Some(login) => writer.login.as_deref() != Some(login.to_string().as_str()),
        None => writer.sender != entry.message.sender_address,
    };
    if foreign {
        return Err(NotTaken::Foreign);
    }
    Ok(match says {
        Says::Decision(decision) => decision,
        Says::CorrectAsSuggested => Decision {
            choice: (detail.assessment.as_ref())
                .and_then(|assessment| meant(entry, assessment))
                .map(Choice::Correct)
                .ok_or(NotTaken::NothingSuggested)?,
            remember: Remember::Not,
        },
    })
}
