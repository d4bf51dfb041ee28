//! Where senders' replies to notices are taken.
//!
//! A reply passes the milter like any message of our senders, so who sent it is known: the
//! login, or the envelope sender of a host inside our networks. Only the one who sent the held
//! message may decide about it. A reply that changes nothing is refused with the reason, so
//! its writer sees at once that it did not count.

use std::sync::Arc;

use jiff::Timestamp;

use super::answer::{Answer, Orders, Says, Unread};
use super::decide::{Choice, DecideError, Decision, Remember};
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
    /// What it says is not clear, or cannot be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// Two of its lines say different things of one message.
    #[error("two lines say different things of one message; write one line for it")]
    Contradiction,
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
    /// Behind the orders, a message is named that they do not name.
    #[error("what you write of {0:?} is not clear; begin with a line for each message")]
    Behind(String),
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
            false => chosen(quarantine, &listed, answer.orders, now)?,
            true => {
                let entry = quarantine.detail(&token.entry, now)?.entry;
                token.fits(&entry)?;
                vec![(token.entry, only(answer.orders?)?)]
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

/// Returns what a reply says of the one message its notice is about.
fn only(orders: Orders) -> Result<Says, NotTaken> {
    if orders.lines.iter().any(|order| !order.which.is_empty()) {
        return Err(Unread::Unclear.into());
    }
    let mut says = orders.lines.into_iter().map(|order| order.says);
    let first = says.next().ok_or(Unread::Unclear)?;
    match says.all(|other| other == first) {
        true => Ok(first),
        false => Err(NotTaken::Contradiction),
    }
}

/// Returns which entries of a digest a reply speaks of, and what it says of each.
///
/// A line that names a message goes before one about all, wherever it stands.
fn chosen(
    quarantine: &Quarantine,
    listed: &[EntryId],
    orders: Result<Orders, Unread>,
    now: Timestamp,
) -> Result<Vec<(EntryId, Says)>, NotTaken> {
    let which = || match listed.first() {
        Some(first) => NotTaken::Which(first.clone()),
        None => NotTaken::NothingLeft,
    };
    let orders = match orders {
        Err(Unread::Unclear) => return Err(which()),
        orders => orders?,
    };
    let mut found: Vec<(EntryId, Says)> = Vec::new();
    let mut of_all = None;
    for order in orders.lines {
        if order.which.is_empty() {
            return Err(which());
        }
        for word in order.which {
            if is_all(&word) {
                let before = of_all.get_or_insert_with(|| order.says.clone());
                if *before != order.says {
                    return Err(NotTaken::Contradiction);
                }
                continue;
            }
            let id = named(listed, &word).ok_or(NotTaken::NotListed(word))?;
            match found.iter().find(|(known, _)| known == id) {
                None => found.push((id.clone(), order.says.clone())),
                Some((_, says)) if *says == order.says => {}
                Some(_) => return Err(NotTaken::Contradiction),
            }
        }
    }
    // `cancle 7Q2M` is no order, and no name under one either.
    for (at, word) in orders.behind.into_iter().enumerate() {
        let known = |(id, _): &(EntryId, Says)| named(listed, &word) == Some(id);
        let is_left = named(listed, &word).is_some() && !found.iter().any(known);
        if is_left || (at == 1 && is_all(&word)) {
            return Err(NotTaken::Behind(word));
        }
    }
    if let Some(says) = of_all {
        for id in listed {
            let entry = quarantine.detail(id, now)?.entry;
            let known = found.iter().any(|(known, _)| known == id);
            if !known && quarantine.waits(&entry)? {
                found.push((id.clone(), says.clone()));
            }
        }
        if found.is_empty() {
            return Err(NotTaken::NothingLeft);
        }
    }
    Ok(found)
}

fn is_all(word: &str) -> bool {
    word.eq_ignore_ascii_case("all")
}

/// Returns the one of `listed` that a word begins.
fn named<'l>(listed: &'l [EntryId], word: &str) -> Option<&'l EntryId> {
    let prefix = IdPrefix::parse(word).ok()?;
    let mut fits = (listed.iter()).filter(|id| id.as_str().starts_with(prefix.as_str()));
    match (fits.next(), fits.next()) {
        (Some(id), None) => Some(id),
        _ => None,
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
    detail.undecided()?;
    if let Some(pending) = quarantine.pending_decision(id)? {
        return Err(DecideError::pending(entry.address.clone(), &pending).into());
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
        Says::Decision(decision) => {
            if let Choice::Correct(address) = &decision.choice {
                quarantine.correction(id, address)?;
            }
            decision
        }
        Says::CorrectAsSuggested => Decision {
            choice: (detail.assessment.as_ref())
                .and_then(|assessment| meant(entry, assessment))
                .map(Choice::Correct)
                .ok_or(NotTaken::NothingSuggested)?,
            remember: Remember::Not,
        },
    })
}
