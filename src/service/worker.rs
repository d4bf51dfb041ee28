//! Everything about a held message that may wait: notices, decisions, the end of its time.
//!
//! One [`Worker::tick`] does what is due and returns. It keeps nothing that matters in memory
//! between ticks: the store says what is due, so a killed worker goes on where it stopped. What it
//! sends may go out twice when it is killed between the MTA's 250 and the mark, never not at
//! all.

mod end;
mod give_back;
mod notify;
mod tidy;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use mail_parser::MessageParser;

use super::quarantine::{Quarantine, QuarantineError, Retry, about};
use super::token::Tokens;
use crate::fault;
use crate::logging::event;
use crate::notice::{Facts, NoticeError, NoticeSettings, Templates};
use crate::octets::Octets;
use crate::score::{Assessment, Finding};
use crate::smtp::{self, Delivery, SmtpError};
use crate::store::{AuditEvent, Durability, Entry, EventKind, Letter, PendingDecision, StoreError};
use crate::untrusted::Untrusted;

/// Most of one kind done in one tick, so that no kind keeps the others waiting.
const BATCH: u32 = 100;

/// A decision that could not be carried out so often is given back to who made it: with the
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
    /// It is thrown away, and its envelope sender gets a delivery status notification
    /// (RFC 3464), as if no server had taken it.
    Bounce,
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
    /// The site's own domains: only their mailboxes are told about held mail. [`Worker::set_own`]
    /// replaces them.
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
    /// The site's own domains as of the last reload.
    own: RwLock<Vec<String>>,
    notices: NoticeSettings,
    templates: Templates,
    tokens: Arc<Tokens>,
    log: slog::Logger,
    /// When to tidy up next, in milliseconds since 1970.
    next_tidying: AtomicI64,
    steps: AtomicU64,
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
            own: RwLock::new(settings.own.clone()),
            settings,
            notices,
            templates,
            tokens,
            log,
            next_tidying: AtomicI64::new(0),
            steps: AtomicU64::new(0),
        }
    }

    /// Replaces the site's own domains.
    pub fn set_own(&self, own: Vec<String>) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = own;
    }

    /// Returns how many steps were taken so far: ticks that went well, and what was tried within
    /// them. The steps of a worker that hangs, or whose store is not usable, do not grow.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
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
        done += self.send_letters(now)?;
        done += self.tidy(now)?;
        self.step();
        Ok(done)
    }

    /// Carries out what senders decided.
    fn carry_out(&self, now: Timestamp) -> Result<usize, QuarantineError> {
        let due = (self.quarantine.store).read(|ledger| ledger.due_decisions(now, BATCH))?;
        for decision in &due {
            self.step();
            let id = &decision.entry;
            let result = self.quarantine.carry_out(decision, now);
            fault::point("decision.carried-out");
            match result {
                Ok(released) => event::carried_out(&self.log, id, &released.reply),
                // Another worker or an admin is at it, or the client handed it in again.
                Err(QuarantineError::BeingReleased { .. }) => self.postpone(decision, "", now)?,
                Err(QuarantineError::Finished { .. } | QuarantineError::NoEntry(_)) => {
                    self.forget(decision)?;
                }
                // Another worker gave it up meanwhile.
                Err(QuarantineError::TakenBack(_)) => {}
                Err(error) if decision.is_of_a_person() && is_hopeless(&error, decision.tries) => {
                    self.give_back(decision, &error, now)?;
                }
                Err(error) => {
                    event::not_carried_out(&self.log, id, decision.tries, &error);
                    self.postpone(decision, &event::chain(&error), now)?;
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

    /// Sends letters that were written down with what they tell of.
    fn send_letters(&self, now: Timestamp) -> Result<usize, QuarantineError> {
        let due = (self.quarantine.store).read(|ledger| ledger.due_letters(now, BATCH))?;
        for letter in &due {
            let sent = self.send(&letter.addressee, &letter.message);
            fault::point("letter.sent");
            let what = (self.quarantine.store)
                .read(|ledger| ledger.entry(&letter.entry))?
                .filter(|entry| entry.state.is_open())
                .map_or("end", |_| "failure");
            match sent {
                Err(error) if error.is_temporary() && letter.tries < MAX_TRIES => {
                    event::not_notified(&self.log, &letter.entry, &error);
                    let next = later(now, pause(letter.tries));
                    (self.quarantine.store).write(Durability::Written, |ledger| {
                        ledger.postpone_letter(letter.id, &event::chain(&error), next)
                    })?;
                }
                Ok(()) => self.finish_letter(
                    letter,
                    &format!("{what} told to {}", letter.addressee),
                    now,
                )?,
                Err(error) => {
                    let what = format!("{what} not told: {}", event::chain(&error));
                    self.finish_letter(letter, &what, now)?;
                }
            }
        }
        Ok(due.len())
    }

    fn finish_letter(&self, letter: &Letter, what: &str, now: Timestamp) -> Result<(), StoreError> {
        (self.quarantine.store).write(Durability::Synced, |ledger| {
            ledger.remove_letter(letter.id)?;
            let Some(entry) = ledger.entry(&letter.entry)? else {
                return Ok(());
            };
            let event = AuditEvent {
                detail: Some(what.to_owned()),
                ..about(&entry, EventKind::Notified, "worker")
            };
            ledger.append_audit(&event, now)
        })?;
        fault::point("letter.removed");
        event::notified(&self.log, &letter.entry, what);
        Ok(())
    }

    /// Composes a letter. Where the admin's template fails on what there is to tell, the built-in
    /// one does: a sender who is not told loses mail.
    fn compose(
        &self,
        with: impl Fn(&Templates) -> Result<Vec<u8>, NoticeError>,
    ) -> Result<Vec<u8>, NoticeError> {
        match (with(&self.templates), self.templates.instead()) {
            (Err(error), Some(built_in)) => {
                event::template_failed(&self.log, &error);
                with(built_in)
            }
            (composed, _) => composed,
        }
    }

    /// Hands a mail of our own to the MTA, with the null sender: nothing ever answers it.
    fn send(&self, to: &str, message: &[u8]) -> Result<(), SmtpError> {
        self.step();
        // The header holds the address as it is (RFC 6532, 3.2).
        let international = [Octets::from("SMTPUTF8")];
        let delivery = Delivery {
            sender: b"<>",
            sender_args: if to.is_ascii() { &[] } else { &international },
            recipient: to.as_bytes(),
            recipient_args: &[],
        };
        smtp::inject(&self.quarantine.settings.smtp(), &delivery, message).map(drop)
    }

    /// Returns what there is to tell of an entry.
    fn facts(
        &self,
        entry: &Entry,
        link: Option<String>,
        now: Timestamp,
    ) -> Result<Facts, QuarantineError> {
        let detail = self.quarantine.detail(&entry.id, now)?;
        let until = later(entry.held_at, self.settings.keep_for);
        let failed = detail.failed();
        let at_end = match self.settings.at_end {
            // As `end_one` does.
            AtEnd::Release if detail.was_refused() => AtEnd::Drop,
            at_end => at_end,
        };
        let (answer, problem) = failed.map_or((None, None), |f| (Some(f.answer), f.why));
        Ok(Facts {
            answer: answer.map(|text| Untrusted::text(&text).to_string()),
            problem: problem.map(|text| Untrusted::text(&text).to_string()),
            ..facts(entry, detail.assessment.as_ref(), until, link, at_end)
        })
    }
}

/// Returns whether what failed now, and `tries` times before, is not worth another try.
fn is_hopeless(error: &QuarantineError, tries: u32) -> bool {
    let refused = matches!(
        error,
        QuarantineError::NotReleased {
            retry: Retry::Never,
            ..
        }
    );
    refused || tries >= MAX_TRIES
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
        answer: None,
        problem: None,
        ending: match at_end {
            AtEnd::Drop => "it is thrown away".to_owned(),
            AtEnd::Bounce => "it is returned to you as undeliverable".to_owned(),
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
    Some(format!("{local}@{}", best.name()))
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
