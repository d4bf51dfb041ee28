//! Telling senders what is held: a notice for each entry, beyond the budget one digest an hour.
//!
//! Only our own senders are written to, and never a program or a mailing list (RFC 3834).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use mail_parser::MessageParser;

use super::{BATCH, Worker, later};
use crate::address::{Address, Host};
use crate::fault;
use crate::logging::event;
use crate::notice::{Header, Item};
use crate::octets::Octets;
use crate::public_suffix::PublicSuffixes;
use crate::service::automatic;
use crate::service::quarantine::{QuarantineError, about};
use crate::smtp::SmtpError;
use crate::store::{AuditEvent, Durability, Entry, EventKind, StoreError};

/// Most octets of a held message's header that are looked at.
const MAX_HEADER: u64 = 256 * 1024;

/// Pause after a failure, and after the budget was found used up.
const PAUSE: Duration = Duration::from_secs(60);
const BUDGET_PAUSE: Duration = Duration::from_secs(600);

/// Why a sender was not told now.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotNotified {
    /// It will never be.
    #[error("{0}")]
    Never(&'static str),
    /// The sender has had enough for this hour, a digest included.
    #[error("the sender had {0} notices and a digest in the last hour")]
    Budget(u32),
    #[error("cannot read the message")]
    Unreadable(#[from] std::io::Error),
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Notice(#[from] crate::notice::NoticeError),
    #[error(transparent)]
    Smtp(#[from] SmtpError),
}

impl NotNotified {
    /// Returns whether the same try may succeed later.
    fn is_temporary(&self) -> bool {
        match self {
            NotNotified::Never(_) | NotNotified::Notice(_) => false,
            NotNotified::Smtp(error) => error.is_temporary(),
            NotNotified::Quarantine(error) => !error.is_lost(),
            NotNotified::Budget(_) | NotNotified::Unreadable(_) | NotNotified::Store(_) => true,
        }
    }
}

/// How an entry was told of.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// By a notice of its own.
    Sent,
    /// In a digest.
    Digest,
}

impl Worker {
    /// Tells senders what is held.
    pub(super) fn notify(&self, from: &str, now: Timestamp) -> Result<usize, QuarantineError> {
        let due = (self.quarantine.store).read(|ledger| ledger.due_notices(now, BATCH))?;
        let mut beyond: BTreeMap<String, Vec<&Entry>> = BTreeMap::new();
        for entry in &due {
            let (to, result) = match self.addressee(entry) {
                Ok(to) => {
                    let sent = self.send_notice(from, &to, entry, now);
                    (to, sent)
                }
                Err(error) => (String::new(), Err(error)),
            };
            match result {
                Err(NotNotified::Budget(_)) => beyond.entry(to).or_default().push(entry),
                result => self.finish(&to, &[entry], result.map(|()| Told::Sent), now)?,
            }
        }
        for (to, entries) in beyond {
            let sent = self.send_digest(from, &to, &entries, now);
            self.finish(&to, &entries, sent.map(|()| Told::Digest), now)?;
        }
        Ok(due.len())
    }

    /// Writes down how telling about `entries` went.
    fn finish(
        &self,
        to: &str,
        entries: &[&Entry],
        result: Result<Told, NotNotified>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (outcome, what) = match &result {
            Ok(Told::Sent) => (Some("sent".to_owned()), format!("to {to}")),
            Ok(Told::Digest) => (Some("digest".to_owned()), format!("to {to}, in a digest")),
            // Nothing failed: the next digest tells of it.
            Err(NotNotified::Budget(_)) => (None, String::new()),
            Err(error) if error.is_temporary() => (None, event::chain(error)),
            Err(error) => {
                let why = event::chain(error);
                (Some(why.clone()), format!("none: {why}"))
            }
        };
        let pause = match &result {
            Err(NotNotified::Budget(_)) => BUDGET_PAUSE,
            _ => PAUSE,
        };
        (self.quarantine.store).write(Durability::Written, |ledger| {
            for entry in entries {
                let Some(outcome) = &outcome else {
                    ledger.postpone_notice(&entry.id, to, &what, later(now, pause))?;
                    continue;
                };
                ledger.finish_notice(&entry.id, to, outcome, now)?;
                let event = AuditEvent {
                    detail: Some(what.clone()),
                    ..about(entry, EventKind::Notified, "worker")
                };
                ledger.append_audit(&event, now)?;
            }
            Ok::<_, StoreError>(())
        })?;
        fault::point("notice.marked");
        for entry in entries {
            match &result {
                // One line an hour is enough; the entries are in `straymail status`.
                Err(NotNotified::Budget(_)) => {}
                Err(error) if error.is_temporary() => {
                    event::not_notified(&self.log, &entry.id, error);
                }
                _ => event::notified(&self.log, &entry.id, &what),
            }
        }
        Ok(())
    }

    /// Returns the mailbox to tell, unless the message was written by a program.
    pub(super) fn addressee(&self, entry: &Entry) -> Result<String, NotNotified> {
        let mut message = self.quarantine.message(entry)?;
        let mut header = Vec::new();
        (&mut message).take(MAX_HEADER).read_to_end(&mut header)?;
        let header = MessageParser::default().parse_headers(&header);
        // RFC 3834, 2: nobody is written to who would answer by a program.
        if let Some(why) = header.as_ref().and_then(automatic::why) {
            return Err(NotNotified::Never(why));
        }
        let envelope = &message.held.record.envelope;
        self.mailbox(envelope.login.as_ref(), &envelope.sender)
            .ok_or(NotNotified::Never(NONE_OF_OURS))
    }

    /// Returns the mailbox of a sender: the login's owner where that is an address, because the
    /// envelope sender may be anything; else the envelope sender, when it is one of ours or whoever
    /// sent it had logged in.
    pub(super) fn mailbox(&self, login: Option<&Octets>, sender: &Octets) -> Option<String> {
        let suffixes = PublicSuffixes::built_in();
        login
            .map(|login| Address::parse(login.as_bytes(), &suffixes))
            .filter(|login| self.is_ours(login))
            .and_then(|login| login.mailbox())
            .or_else(|| {
                let sender = Address::parse(sender.as_bytes(), &suffixes);
                let known = login.is_some() || self.is_ours(&sender);
                known.then_some(sender)?.mailbox()
            })
    }

    fn is_ours(&self, address: &Address) -> bool {
        match address.host() {
            Host::Domain(domain) => {
                let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
                own.iter().any(|own| domain.is_within(own))
            }
            _ => false,
        }
    }

    fn send_notice(
        &self,
        from: &str,
        to: &str,
        entry: &Entry,
        now: Timestamp,
    ) -> Result<(), NotNotified> {
        let (had, _) = self.had(to, now)?;
        if had >= self.notices.per_hour {
            return Err(NotNotified::Budget(had));
        }
        let until = later(entry.held_at, self.settings.keep_for);
        let (token, facts) = self.decidable(entry, until, now)?;
        let header = Header {
            from,
            to,
            id: &token,
            about: None,
            date: now,
        };
        let message = self.compose(|templates| templates.compose(&header, &facts))?;
        self.send(to, &message)?;
        fault::point("notice.sent");
        Ok(())
    }

    /// Sends one mail about all of `entries`, at most once an hour. Its token is that of the
    /// newest, which lives longest; which others it decides about is written down with the mark.
    fn send_digest(
        &self,
        from: &str,
        to: &str,
        entries: &[&Entry],
        now: Timestamp,
    ) -> Result<(), NotNotified> {
        let (had, in_digests) = self.had(to, now)?;
        if in_digests > 0 {
            return Err(NotNotified::Budget(had));
        }
        let mut id = String::new();
        let mut items = Vec::with_capacity(entries.len());
        for entry in entries {
            let until = later(entry.held_at, self.settings.keep_for);
            let (token, facts) = self.decidable(entry, until, now)?;
            id = token;
            items.push(Item {
                id: entry.id.to_string(),
                facts,
            });
        }
        let header = Header {
            from,
            to,
            id: &id,
            about: None,
            date: now,
        };
        let message = self.compose(|templates| templates.compose_digest(&header, &items))?;
        self.send(to, &message)?;
        fault::point("digest.sent");
        Ok(())
    }

    /// Returns how many notices, and entries in digests, `to` had in the last hour.
    fn had(&self, to: &str, now: Timestamp) -> Result<(u32, u32), StoreError> {
        let hour = Duration::from_secs(3600);
        let since = now.saturating_sub(hour).unwrap_or(now);
        (self.quarantine.store).read(|ledger| ledger.notices_since(to, since, now))
    }

    /// Returns the token that lets its holder decide about an entry until then, and what to tell.
    pub(super) fn decidable(
        &self,
        entry: &Entry,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(String, crate::notice::Facts), QuarantineError> {
        let token = self.tokens.sign(entry, until);
        let link = (self.settings.confirm_url.as_ref()).map(|url| format!("{url}{token}"));
        Ok((token, self.facts(entry, link, now)?))
    }
}

/// Why nobody is told: the sender may be forged.
pub(super) const NONE_OF_OURS: &str = "the sender is none of our mailboxes";
