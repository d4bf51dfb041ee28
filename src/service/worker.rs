//! Everything about a held message that may wait: notices, decisions, the end of its time.
//!
//! One [`Worker::tick`] does what is due and returns. It keeps nothing in memory between
//! ticks: the store says what is due, so a killed worker goes on where it stopped. What it
//! sends may go out twice when it is killed between the MTA's 250 and the mark, never not at
//! all.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mail_parser::MessageParser;

use super::decide::{DecideError, Decision};
use super::quarantine::{Quarantine, QuarantineError, about};
use super::token::Tokens;
use crate::address::{Address, Host};
use crate::logging::event;
use crate::notice::{Facts, Header, NoticeSettings, Templates};
use crate::public_suffix::PublicSuffixes;
use crate::score::{Assessment, Finding, Piece};
use crate::smtp::{self, Delivery};
use crate::spool::Envelope;
use crate::store::{
    AuditEvent, Durability, Entry, EntryFilter, EntryState, EventKind, PendingDecision, StoreError,
};
use crate::untrusted::Untrusted;

/// Most of one kind done in one tick, so that no kind keeps the others waiting.
const BATCH: u32 = 100;

/// Most octets of a held message's header that are looked at for a notice.
const MAX_HEADER: u64 = 256 * 1024;

/// A decision that could not be carried out so often is given back to the admin: with the
/// pauses of [`pause`] that is more than a day.
const MAX_TRIES: u32 = 30;

/// What becomes of an entry nobody decided on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtEnd {
    /// It is thrown away, and its sender told.
    #[default]
    Drop,
    /// It is delivered after all.
    Release,
}

/// What the worker does by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// How long an entry waits for a decision.
    pub keep_for: Duration,
    /// What becomes of it then.
    pub at_end: AtEnd,
    /// Address of the confirm page, without the token; `None` without one.
    pub confirm_url: Option<String>,
    /// The site's own domains: only their mailboxes are written to.
    pub own: Vec<String>,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        WorkerSettings {
            keep_for: Duration::from_secs(14 * 86_400),
            at_end: AtEnd::default(),
            confirm_url: None,
            own: Vec::new(),
        }
    }
}

/// Does what is due.
pub struct Worker {
    quarantine: Arc<Quarantine>,
    settings: WorkerSettings,
    notices: NoticeSettings,
    templates: Templates,
    tokens: Arc<Tokens>,
    log: slog::Logger,
}

/// Why a notice was not sent now.
#[derive(Debug, thiserror::Error)]
enum NotNotified {
    /// It will never be.
    #[error("{0}")]
    Never(&'static str),
    /// The sender has had enough for this hour.
    #[error("the sender had {0} notices in the last hour")]
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
    Smtp(#[from] smtp::SmtpError),
}

impl Worker {
    /// Builds a worker. `templates` are those of `notices`.
    pub fn new(
        quarantine: Arc<Quarantine>,
        settings: WorkerSettings,
        notices: NoticeSettings,
        templates: Templates,
        tokens: Arc<Tokens>,
        log: slog::Logger,
    ) -> Worker {
        Worker {
            quarantine,
            settings,
            notices,
            templates,
            tokens,
            log,
        }
    }

    /// Does everything that is due at `now`; returns how many things were done or tried.
    ///
    /// # Errors
    /// The store is not usable; the next tick tries again.
    pub fn tick(&self, now: Timestamp) -> Result<usize, QuarantineError> {
        let mut done = self.quarantine.settle(now)?;
        done += self.carry_out(now)?;
        if let Some(from) = &self.notices.from {
            done += self.notify(from, now)?;
        }
        done += self.end(now)?;
        Ok(done)
    }

    /// Carries out what senders decided.
    fn carry_out(&self, now: Timestamp) -> Result<usize, QuarantineError> {
        let due = (self.quarantine.store).read(|ledger| ledger.due_decisions(now, BATCH))?;
        for decision in &due {
            let id = &decision.entry;
            let result = match &decision.corrected {
                None => self.quarantine.release(id, &decision.actor, now),
                Some(to) => self.quarantine.correct(id, to, &decision.actor, now),
            };
            match result {
                Ok(released) => event::carried_out(&self.log, id, &released.reply),
                // Another worker or an admin is at it, or the client handed it in again.
                Err(QuarantineError::BeingReleased { .. }) => self.postpone(decision, "", now)?,
                Err(QuarantineError::Finished { .. } | QuarantineError::NoEntry(_)) => {
                    self.forget(decision)?;
                }
                Err(error) => {
                    event::not_carried_out(&self.log, id, decision.tries, &error);
                    if decision.tries >= MAX_TRIES {
                        self.forget(decision)?;
                    } else {
                        self.postpone(decision, &event::chain(&error), now)?;
                    }
                }
            }
        }
        Ok(due.len())
    }

    fn postpone(
        &self,
        decision: &PendingDecision,
        why: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let next = later(now, pause(decision.tries));
        (self.quarantine.store).write(Durability::Written, |ledger| {
            ledger.postpone_decision(&decision.entry, why, next)
        })
    }

    fn forget(&self, decision: &PendingDecision) -> Result<(), StoreError> {
        (self.quarantine.store).write(Durability::Written, |ledger| {
            ledger.remove_decision(&decision.entry)
        })
    }

    /// Tells senders what is held.
    fn notify(&self, from: &str, now: Timestamp) -> Result<usize, QuarantineError> {
        let due = (self.quarantine.store).read(|ledger| ledger.due_notices(now, BATCH))?;
        for entry in &due {
            let (addressee, result) = match self.addressee(entry) {
                Ok(to) => {
                    let sent = self.send_notice(from, &to, entry, now);
                    (to, sent)
                }
                Err(error) => (String::new(), Err(error)),
            };
            let (outcome, event) = match &result {
                Ok(()) => (Some("sent".to_owned()), format!("to {addressee}")),
                Err(NotNotified::Never(why)) => (Some((*why).to_owned()), format!("none: {why}")),
                Err(error) => (None, event::chain(error)),
            };
            self.quarantine.store.write(Durability::Written, |ledger| {
                let Some(outcome) = &outcome else {
                    let wait = match &result {
                        Err(NotNotified::Budget(_)) => Duration::from_secs(600),
                        _ => Duration::from_secs(60),
                    };
                    ledger.postpone_notice(&entry.id, &addressee, &event, later(now, wait))?;
                    return Ok(());
                };
                ledger.finish_notice(&entry.id, &addressee, outcome, now)?;
                let event = AuditEvent {
                    detail: Some(event.clone()),
                    ..about(entry, EventKind::Notified, "worker")
                };
                ledger.append_audit(&event, now)
            })?;
            match &result {
                Ok(()) | Err(NotNotified::Never(_)) => {
                    event::notified(&self.log, &entry.id, &event);
                }
                Err(error) => event::not_notified(&self.log, &entry.id, error),
            }
        }
        Ok(due.len())
    }

    /// Returns the mailbox to tell: the login's owner where that is an address, because the
    /// envelope sender may be anything; else the envelope sender, when it is one of ours.
    fn addressee(&self, entry: &Entry) -> Result<String, NotNotified> {
        let mut message = self.quarantine.message(entry)?;
        let mut header = Vec::new();
        (&mut message).take(MAX_HEADER).read_to_end(&mut header)?;
        if let Some(why) = automatic(&header) {
            return Err(NotNotified::Never(why));
        }
        self.mailbox(&message.held.record.envelope)
            .ok_or(NotNotified::Never("the sender is none of our mailboxes"))
    }

    fn mailbox(&self, envelope: &Envelope) -> Option<String> {
        let suffixes = PublicSuffixes::built_in();
        let login = (envelope.login.as_ref())
            .map(|login| Address::parse(login.as_bytes(), &suffixes))
            .filter(|login| self.is_ours(login));
        let sender = Address::parse(envelope.sender.as_bytes(), &suffixes);
        let known = envelope.login.is_some() || self.is_ours(&sender);
        login
            .or(known.then_some(sender))
            .filter(|address| matches!(address.host(), Host::Domain(_)))
            .map(|address| address.canonical())
    }

    fn is_ours(&self, address: &Address) -> bool {
        match address.host() {
            Host::Domain(domain) => self.settings.own.iter().any(|own| domain.is_within(own)),
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
        let hour = Duration::from_secs(3600);
        let since = now.saturating_sub(hour).unwrap_or(now);
        let had = (self.quarantine.store).read(|ledger| ledger.notices_since(to, since))?;
        if had >= self.notices.per_hour {
            return Err(NotNotified::Budget(had));
        }
        let detail = self.quarantine.detail(&entry.id, now)?;
        let until = later(entry.held_at, self.settings.keep_for);
        let token = self.tokens.sign(entry, until);
        let link = (self.settings.confirm_url.as_ref()).map(|url| format!("{url}{token}"));
        let facts = facts(
            entry,
            detail.assessment.as_ref(),
            until,
            link,
            self.settings.at_end,
        );
        let header = Header {
            from,
            to,
            id: &token,
            about: None,
            date: now,
        };
        let message = self.templates.compose(&header, &facts)?;
        let delivery = Delivery {
            sender: b"<>",
            sender_args: &[],
            recipient: to.as_bytes(),
            recipient_args: &[],
        };
        smtp::inject(
            &self.quarantine.settings.smtp(),
            &delivery,
            message.as_slice(),
        )?;
        Ok(())
    }

    /// Ends entries nobody decided on.
    fn end(&self, now: Timestamp) -> Result<usize, QuarantineError> {
        let before = now.saturating_sub(self.settings.keep_for).unwrap_or(now);
        let filter = EntryFilter {
            states: vec![EntryState::Pending, EntryState::Held],
            before: Some(before),
            limit: Some(BATCH),
            ..EntryFilter::default()
        };
        let over = self.quarantine.entries(&filter, now)?;
        for entry in &over {
            let ended = match self.settings.at_end {
                AtEnd::Drop => {
                    let reason = "nobody decided in time";
                    let ended = self.quarantine.expire_entry(&entry.id, reason, now);
                    ended.map(|_| ()).map_err(DecideError::from)
                }
                AtEnd::Release => {
                    let actor = "worker, nobody decided in time";
                    (self
                        .quarantine
                        .decide(&entry.id, &Decision::SEND, actor, now))
                    .map(|_| ())
                }
            };
            match ended {
                Ok(()) => event::ended(&self.log, &entry.id),
                Err(error) => event::not_ended(&self.log, &entry.id, &error),
            }
        }
        Ok(over.len())
    }
}

/// Returns why the writer of this header must not get a notice (RFC 3834, 2), if so.
fn automatic(header: &[u8]) -> Option<&'static str> {
    let message = MessageParser::default().parse_headers(header)?;
    let value = |name: &'static str| message.header_raw(name);
    if value("Auto-Submitted").is_some_and(|value| !value.trim().eq_ignore_ascii_case("no")) {
        return Some("the message is automatic");
    }
    let list = ["List-Id", "List-Post", "List-Unsubscribe", "List-Help"];
    if message
        .headers()
        .iter()
        .any(|header| list.iter().any(|l| header.name().eq_ignore_ascii_case(l)))
    {
        return Some("the message is of a mailing list");
    }
    let bulk = |value: &str| {
        (["bulk", "list", "junk"].iter()).any(|word| value.trim().eq_ignore_ascii_case(word))
    };
    if value("Precedence").is_some_and(bulk) {
        return Some("the message is bulk mail");
    }
    None
}

fn facts(
    entry: &Entry,
    assessment: Option<&Assessment>,
    until: Timestamp,
    link: Option<String>,
    at_end: AtEnd,
) -> Facts {
    let best = assessment.and_then(Assessment::best);
    Facts {
        recipient: Untrusted::text(&entry.address).to_string(),
        suggestion: assessment.and_then(|a| meant(entry, a)),
        marked: best
            .map(|best| best.edit.marked.clone())
            .unwrap_or_default(),
        why: assessment.map(Assessment::sentence).unwrap_or_default(),
        subject: (entry.message.subject.as_ref()).map(|s| shown_subject(s.as_bytes())),
        sent_at: shown_time(entry.message.received_at),
        link,
        until: shown_time(until),
        ending: match at_end {
            AtEnd::Drop => "it is thrown away".to_owned(),
            AtEnd::Release => "it is delivered as you addressed it".to_owned(),
        },
    }
}

/// Returns the address that was probably meant: the local part at the best candidate, with the
/// host names in front of it that were typed. `None` where the candidate is only an ending.
pub fn meant(entry: &Entry, assessment: &Assessment) -> Option<String> {
    let best = match &assessment.finding {
        Finding::Resembles { candidates } => candidates.first()?,
        _ => return None,
    };
    let (local, _) = entry.address.rsplit_once('@')?;
    if best.trusted.starts_with('.') || !best.trusted.contains('.') {
        return None;
    }
    let below = match best.edit.pieces.first() {
        Some(Piece::Extra(below)) if below.ends_with('.') => below.as_str(),
        _ => "",
    };
    Some(format!("{local}@{below}{}", best.trusted))
}

fn shown_subject(raw: &[u8]) -> String {
    let line = [b"Subject: ".as_slice(), raw, b"\r\n\r\n"].concat();
    let decoded = MessageParser::default()
        .parse_headers(&line)
        .and_then(|message| message.subject().map(str::to_owned));
    match decoded {
        Some(subject) => Untrusted::text(&subject).to_string(),
        None => Untrusted(raw).to_string(),
    }
}

fn shown_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Returns the pause before the next try: a minute, doubled each time, an hour at most.
fn pause(tries: u32) -> Duration {
    Duration::from_secs(60 << tries.min(6)).min(Duration::from_secs(3600))
}

fn later(from: Timestamp, wait: Duration) -> Timestamp {
    from.saturating_add(wait).unwrap_or(from)
}
