//! The events straymail logs: one function each, fixed phrase, stable keys.
//!
//! Levels: error, we cannot serve; warn, the operator should act; info, one line per verdict
//! other than a clean accept; debug, the rest. Queue ids are unknown before the first accepted
//! recipient, so every line carries the session id.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use slog::{Logger, debug, error, info, o, warn};

use crate::logging::RateLimit;
use crate::policy::{Action, Mode, OnError};
use crate::session::{Change, Judged};
use crate::store::EntryId;
use crate::untrusted::Untrusted;

/// Trouble that many clients, or one that does not give up, can cause over and over. Enough
/// lines are written to see what it is; the next one tells how many were not.
const fn trouble() -> RateLimit {
    RateLimit::new(20, Duration::from_secs(60))
}

static FAULTS: RateLimit = trouble();
static NOT_RECORDED: RateLimit = trouble();
static NOT_LEARNED: RateLimit = trouble();
static PANICKED: RateLimit = trouble();
static PANICS: RateLimit = trouble();
static CHANGES_FAILED: RateLimit = trouble();
static NOT_ACCEPTED: RateLimit = trouble();
static NOT_UNDERSTOOD: RateLimit = trouble();
static NOT_PUBLISHED: RateLimit = trouble();

/// Returns `None` when the event must not be logged now, else how many were not logged since
/// the last one, if any.
fn admit(limit: &RateLimit) -> Option<Option<u64>> {
    let suppressed = limit.admit(Instant::now())?;
    Some((suppressed > 0).then_some(suppressed))
}

/// What passed since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Messages of our own senders.
    pub judged: u64,
    /// Messages that were not ours to judge.
    pub inbound: u64,
    /// Messages with the null sender.
    pub null_sender: u64,
    /// Recipients without evidence.
    pub clean: u64,
    /// Recipients with evidence.
    pub suspicious: u64,
    /// Answers forced by a fault of ours.
    pub faults: u64,
}

impl Counts {
    fn facts(&self) -> impl slog::KV + use<> {
        o!(
            "judged" => self.judged,
            "inbound" => self.inbound,
            "null_sender" => self.null_sender,
            "clean" => self.clean,
            "suspicious" => self.suspicious,
            "faults" => self.faults,
        )
    }
}

/// A recipient with evidence was judged.
pub fn verdict(
    log: &Logger,
    session: &str,
    queue_id: Option<&str>,
    sender: &str,
    recipient: &str,
    judged: &Judged,
) {
    let verdict = &judged.verdict;
    let best = judged.assessment.best();
    let reasons: Vec<String> = (best.iter())
        .flat_map(|best| &best.evidence)
        .map(|evidence| format!("{:?}{:+}", evidence.reason, evidence.points))
        .collect();
    let phrase = match (verdict.action, verdict.mode) {
        (_, Mode::Observe) => "recipient observed",
        (Action::Reject, _) if verdict.is_stricter() => {
            "recipient rejected: written in a way that the MTA may not remove"
        }
        (Action::Reject, _) => "recipient rejected",
        (Action::Hold, _) => "recipient to be held",
        (Action::HoldMessage, _) => "message to be held by the MTA",
        (Action::Tag, _) => "message to be tagged",
        (Action::Tempfail, _) => "recipient deferred",
        (Action::Accept, _) if verdict.approval.is_some() => "recipient approved",
        (Action::Accept, _) => "recipient noted",
    };
    info!(log, "{}", phrase;
        "session" => session,
        "queue_id" => queue_id,
        "sender" => sender,
        "recipient" => recipient,
        "rcpt_domain" => judged.recipient.domain().map(ToString::to_string),
        "trusted" => best.map(|best| &best.trusted),
        "score" => judged.assessment.score,
        "evidence" => reasons.join(","),
        "action" => %verdict.action,
        "intended" => %verdict.intended,
        "rule" => &verdict.rule,
        "approval" => &verdict.approval,
    );
}

/// Recipients of a message are safely in the quarantine.
pub fn held(log: &Logger, session: &str, queue_id: Option<&str>, entries: &[EntryId]) {
    let entries: Vec<String> = entries.iter().map(EntryId::to_string).collect();
    info!(log, "recipients held";
        "session" => session,
        "queue_id" => queue_id,
        "entries" => entries.join(","),
    );
}

/// A message of sendmail(1) was taken over; the worker sends these entries at once.
pub fn taken_over(log: &Logger, session: &str, queue_id: Option<&str>, entries: &[EntryId]) {
    let entries: Vec<String> = entries.iter().map(EntryId::to_string).collect();
    info!(log, "message taken over from the MTA";
        "session" => session,
        "queue_id" => queue_id,
        "sent_on" => entries.join(","),
    );
}

/// Straymail failed; `on_error` decides.
pub fn fault(log: &Logger, session: &str, what: &str, on_error: OnError, error: &dyn Error) {
    let Some(suppressed) = admit(&FAULTS) else {
        return;
    };
    error!(log, "fault";
        "what" => what,
        "session" => session,
        "on_error" => %on_error,
        "error" => chain(error),
        "suppressed" => suppressed,
    );
}

/// A verdict could not be written to the audit record.
pub fn not_recorded(log: &Logger, session: &str, error: &dyn Error) {
    let Some(suppressed) = admit(&NOT_RECORDED) else {
        return;
    };
    error!(log, "verdict not recorded";
        "session" => session,
        "error" => chain(error),
        "suppressed" => suppressed,
    );
}

/// A reply to a notice decided about an entry.
pub fn answered(log: &Logger, session: &str, entry: &EntryId, sender: &str) {
    info!(log, "answer taken"; "session" => session, "entry" => %entry, "sender" => sender);
}

/// A reply to a notice changed nothing.
pub fn not_answered(log: &Logger, session: &str, sender: &str, error: &dyn Error) {
    warn!(log, "answer refused";
        "session" => session,
        "sender" => sender,
        "error" => chain(error),
    );
}

/// What a sender decided was carried out.
pub fn carried_out(log: &Logger, entry: &EntryId, reply: &str) {
    info!(log, "decision carried out"; "entry" => %entry, "reply" => reply);
}

/// What a sender decided could not be carried out, for the `tries` + 1st time.
pub fn not_carried_out(log: &Logger, entry: &EntryId, tries: u32, error: &dyn Error) {
    warn!(log, "decision not carried out, will be tried again";
        "entry" => %entry,
        "tries" => tries + 1,
        "error" => chain(error),
    );
}

/// A decision cannot be carried out, and is not tried again.
pub fn given_back(log: &Logger, entry: &EntryId, told: &str, error: &dyn Error) {
    warn!(log, "decision given up, the entry waits for another";
        "entry" => %entry,
        "sender" => told,
        "error" => chain(error),
    );
}

/// A sender was told of a held recipient, or never will be.
pub fn notified(log: &Logger, entry: &EntryId, what: &str) {
    info!(log, "notice"; "entry" => %entry, "sent" => what);
}

/// A notice could not be sent now.
pub fn not_notified(log: &Logger, entry: &EntryId, error: &dyn Error) {
    warn!(log, "notice not sent, will be tried again";
        "entry" => %entry,
        "error" => chain(error),
    );
}

/// A template of the admin fails on what there is to tell; the built-in one is used.
pub fn template_failed(log: &Logger, error: &dyn Error) {
    error!(log, "template does not work, the built-in one is used";
        "error" => chain(error),
    );
}

/// The time of an entry is over.
pub fn ended(log: &Logger, entry: &EntryId) {
    info!(log, "nobody decided in time"; "entry" => %entry);
}

/// The time of an entry is over, and its sender does not hear of it; the audit record says why.
pub fn ended_untold(log: &Logger, entry: &EntryId) {
    warn!(log, "nobody decided in time, and nobody is told"; "entry" => %entry);
}

/// The time of an entry is over, but it could not be ended.
pub fn not_ended(log: &Logger, entry: &EntryId, error: &dyn Error) {
    warn!(log, "entry not ended, will be tried again"; "entry" => %entry, "error" => chain(error));
}

/// The worker was away for long, or the clock jumped: nothing ends before `until`.
pub fn time_jumped(log: &Logger, from: Timestamp, now: Timestamp, until: Timestamp) {
    warn!(log, "worker was stopped or the clock jumped, held mail does not end yet";
        "last_seen" => %from,
        "now" => %now,
        "until" => %until,
    );
}

/// The key of the links is old and could not be renewed; it goes on signing.
pub fn key_not_renewed(log: &Logger, error: &dyn Error) {
    warn!(log, "key of the links not renewed, will try again"; "error" => chain(error));
}

/// Messages finished long ago, and approvals expired long ago, were forgotten.
pub fn forgotten(log: &Logger, count: usize) {
    debug!(log, "finished long ago, forgotten"; "count" => count);
}

/// The worker could not use the store.
pub fn worker_failed(log: &Logger, error: &dyn Error) {
    error!(log, "worker cannot use the store, will try again"; "error" => chain(error));
}

/// What passing mail taught could not be written; it is tried again.
pub fn not_learned(log: &Logger, error: &dyn Error) {
    let Some(suppressed) = admit(&NOT_LEARNED) else {
        return;
    };
    warn!(log, "not learned"; "error" => chain(error), "suppressed" => suppressed);
}

/// A callback panicked; its session is tempfailed.
pub fn panicked(log: &Logger, session: &str) {
    let Some(suppressed) = admit(&PANICKED) else {
        return;
    };
    error!(log, "internal error, session deferred";
        "session" => session,
        "suppressed" => suppressed,
    );
}

/// The MTA did not take a change at the end of a message.
pub fn change_failed(log: &Logger, session: &str, change: &Change, error: &dyn Error) {
    let Some(suppressed) = admit(&CHANGES_FAILED) else {
        return;
    };
    let change = match change {
        Change::DeleteRecipient(path) => format!("delete recipient {}", Untrusted(path)),
        Change::AddHeader { name, .. } => format!("add header {name}"),
        Change::Quarantine(_) => "hold message".into(),
    };
    error!(log, "change refused by the MTA, message deferred";
        "session" => session,
        "change" => change,
        "error" => chain(error),
        "suppressed" => suppressed,
    );
}

/// What keeps the process from files and ports it does not need.
pub fn walled(log: &Logger, walls: &str) {
    info!(log, "sandbox"; "walls" => walls);
}

/// A file could not be read at a reload; the walls may be the reason.
pub fn walls_in_the_way(log: &Logger) {
    warn!(
        log,
        "the sandbox may be in the way, and a restart needed: it was made at the start and lets \
                only directories be read that the configuration named then, and /etc and /usr"
    );
}

/// The daemon's own session was not judged, so the watchdog is not told that all is well.
pub fn probe_failed(log: &Logger, error: &dyn std::error::Error) {
    error!(log, "own session not judged, the watchdog is not told"; "error" => chain(error));
}

/// The worker has not got anywhere for so long.
pub fn worker_stands_still(log: &Logger, since: std::time::Duration) {
    error!(log, "worker stands still, the watchdog is not told"; "seconds" => since.as_secs());
}

/// A connection could not be accepted.
pub fn not_accepted(log: &Logger, socket: &str, error: &std::io::Error) {
    let Some(suppressed) = admit(&NOT_ACCEPTED) else {
        return;
    };
    warn!(log, "connection not accepted";
        "socket" => socket,
        "error" => %error,
        "suppressed" => suppressed,
    );
}

/// The library ended a session over what was sent; `command` is that of the last frame.
///
/// Ours to look into when it was an MTA: its mail is deferred, or passes unseen.
pub fn not_understood(log: &Logger, socket: &str, command: Option<u8>) {
    let Some(suppressed) = admit(&NOT_UNDERSTOOD) else {
        return;
    };
    warn!(log, "session ended: what was sent is not the milter protocol as straymail knows it";
        "socket" => socket,
        "last_command" => command.map(|command| char::from(command).escape_default().to_string()),
        "suppressed" => suppressed,
    );
}

/// An MTA connected.
pub fn connected(log: &Logger, session: &str, ip: Option<IpAddr>) {
    debug!(log, "session begins";
        "session" => session,
        "client" => ip.map(|ip| ip.to_string()),
    );
}

/// The daemon serves.
pub fn started(log: &Logger, listeners: impl Iterator<Item = String>) {
    let listeners: Vec<String> = listeners.collect();
    info!(log, "started";
        "version" => env!("CARGO_PKG_VERSION"),
        "listeners" => listeners.join(","),
    );
}

/// The index of the quarantine was damaged and made anew from the message files.
pub fn index_replaced(log: &Logger, kept_as: &Path) {
    error!(log, "quarantine index was damaged and is rebuilt";
        "kept_as" => %kept_as.display(),
    );
}

/// A held message does not read; it stays where it is.
pub fn damaged(log: &Logger, error: &dyn Error) {
    error!(log, "held message does not read"; "error" => chain(error));
}

/// Held messages that the index did not know were taken up.
pub fn rebuilt(log: &Logger, entries: usize) {
    warn!(log, "held messages taken up that the index did not know"; "entries" => entries);
}

/// The configuration holds something legal that is most likely not meant.
pub fn config_warning(log: &Logger, warning: &dyn fmt::Display) {
    warn!(log, "configuration warning"; "warning" => %warning);
}

/// New rules are in force; `restart` names the sections that need a restart to take effect.
pub fn reloaded(log: &Logger, counts: &Counts, restart: &[&str]) {
    info!(log, "configuration reloaded"; counts.facts());
    if !restart.is_empty() {
        warn!(log, "some changes need a restart"; "sections" => restart.join(","));
    }
}

/// The new configuration is not usable.
pub fn not_reloaded(log: &Logger, error: &dyn Error) {
    error!(log, "configuration not reloaded, the old one stays"; "error" => chain(error));
}

/// SIGHUP without a configuration file.
pub fn nothing_to_reload(log: &Logger) {
    warn!(log, "nothing to reload: the embedded default is running");
}

/// The daemon was asked to stop and lets the open sessions finish.
pub fn stopping(log: &Logger) {
    info!(log, "stopping");
}

/// The daemon ends; `cut_off` sessions did not finish in time.
pub fn stopped(log: &Logger, counts: &Counts, cut_off: usize) {
    match cut_off {
        0 => info!(log, "stopped"; counts.facts()),
        _ => warn!(log, "stopped, sessions were cut off"; "cut_off" => cut_off, counts.facts()),
    }
}

/// The web pages are served.
pub fn review_started(log: &Logger, address: &str) {
    info!(log, "review pages served"; "listen" => address);
}

/// The figures are served.
pub fn metrics_started(log: &Logger, address: &str) {
    info!(log, "metrics served"; "listen" => address);
}

/// What was counted could not be written to the state directory.
pub fn not_published(log: &Logger, error: &dyn Error) {
    let Some(suppressed) = admit(&NOT_PUBLISHED) else {
        return;
    };
    warn!(log, "figures not written"; "error" => chain(error), "suppressed" => suppressed);
}

/// Somebody logged in to the review page.
pub fn logged_in(log: &Logger, account: &str, client: &str) {
    info!(log, "reviewer logged in"; "account" => account, "client" => client);
}

/// Somebody logged out.
pub fn logged_out(log: &Logger, account: &str) {
    info!(log, "reviewer logged out"; "account" => account);
}

/// A login failed; `account` only when there is such an account, because a password typed into
/// the wrong field must not be logged.
pub fn login_failed(log: &Logger, account: Option<&str>, client: &str) {
    match account {
        Some(account) => {
            warn!(log, "reviewer login failed"; "account" => account, "client" => client);
        }
        None => warn!(log, "reviewer login failed"; "client" => client),
    }
}

/// A link of a notice did not count.
pub fn link_refused(log: &Logger, client: &str, why: &dyn Error) {
    info!(log, "link refused"; "client" => client, "error" => %why);
}

/// A panic, before its session is deferred.
pub fn panic_at(log: &Logger, place: &str, message: &str) {
    let Some(suppressed) = admit(&PANICS) else {
        return;
    };
    error!(log, "internal error";
        "place" => place,
        "message" => message,
        "suppressed" => suppressed,
    );
}

/// Returns an error with its causes, `what: why: why`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
