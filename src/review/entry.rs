//! One entry: why it is held, what it is, what happened to it.

use std::io::Read as _;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use crate::logging::event;
use crate::octets::Octets;
use crate::score::{Assessment, Finding};
use crate::service::account::AccountRole;
use crate::service::quarantine::EntryDetail;
use crate::spool::StoredMessage;
use crate::store::{AuditRecord, EntryState};
use crate::untrusted::Untrusted;

use super::Shared;
use super::access::Visitor;
use super::approvals::LIVES;
use super::failure::Failure;
use super::page::{Frame, html};
use super::show::{self, Kind, Pair};

/// Octets of the header block that are shown at most.
const HEADERS_SHOWN: u64 = 64 * 1024;
/// Octets of a message that can be downloaded: it is read into memory.
const LARGEST_DOWNLOAD: u64 = 64 * 1024 * 1024;

#[derive(Template)]
#[template(path = "review/entry.html")]
struct Shown {
    frame: Frame,
    id: String,
    state: EntryState,
    open: bool,
    /// What its sender decided and the worker has yet to do.
    decided: Option<String>,
    changed_at: String,
    to_plain: String,
    from_plain: String,
    domain_plain: String,
    last_error: Option<String>,
    message_problem: Option<String>,
    score: u8,
    finding: String,
    candidates: Vec<Candidate>,
    headers: Vec<String>,
    has_message: bool,
    size: String,
    facts: Vec<(&'static str, String)>,
    lives: [(&'static str, &'static str); 5],
    history: Vec<Event>,
}

struct Candidate {
    pair: Pair,
    trusted: String,
    is_suffix: bool,
    score: u8,
    evidence: Vec<(String, String)>,
}

/// One row of the history.
struct Event {
    at: String,
    kind: String,
    actor: String,
    detail: String,
}

impl Event {
    fn new(record: &AuditRecord) -> Event {
        let detail = record.event.detail.as_deref().unwrap_or_default();
        Event {
            at: show::time(record.at),
            kind: record.event.kind.to_string(),
            actor: Untrusted::text(&record.event.actor).to_string(),
            detail: Untrusted::text(detail).to_string(),
        }
    }
}

/// Returns what a finding other than likeness says.
fn finding(assessment: Option<&Assessment>) -> String {
    match assessment.map(|assessment| &assessment.finding) {
        None => "The explanation does not read.".to_owned(),
        Some(Finding::Undecodable { error, .. }) => {
            format!("This is not a domain name: {}.", Untrusted::text(error))
        }
        Some(Finding::Trusted { entry }) => {
            format!("It is trusted, covered by {}.", Untrusted::text(entry))
        }
        Some(Finding::Unrelated) => "It resembles nothing that is trusted.".to_owned(),
        Some(Finding::Resembles { .. }) => String::new(),
    }
}

fn candidates(detail: &EntryDetail) -> Vec<Candidate> {
    let Some(Finding::Resembles { candidates }) = detail.assessment.as_ref().map(|a| &a.finding)
    else {
        return Vec::new();
    };
    let shown = candidates.iter().map(|candidate| Candidate {
        pair: show::pair(&detail.entry.domain, &candidate.name()),
        trusted: show::address(&candidate.trusted),
        is_suffix: candidate.trusted.starts_with('.'),
        score: candidate.score,
        evidence: (candidate.evidence.iter())
            .map(|evidence| {
                let points = format!("{:+}", evidence.points);
                (points, Untrusted::text(&evidence.detail).to_string())
            })
            .collect(),
    });
    shown.collect()
}

fn facts(detail: &EntryDetail, message: Option<&StoredMessage>) -> Vec<(&'static str, String)> {
    let entry = &detail.entry;
    let mut facts = vec![
        ("From", entry.message.sender.to_string()),
        ("To", entry.path.to_string()),
        ("Subject", show::subject(entry.message.subject.as_ref())),
        ("Held", show::time(entry.held_at)),
        (
            "Handed in",
            match entry.attempts {
                1 => "once".to_owned(),
                n => format!("{n} times"),
            },
        ),
        ("Rule", Untrusted::text(&entry.rule).to_string()),
    ];
    if let Some(message) = message {
        let envelope = &message.held.record.envelope;
        let mut add = |name, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                facts.push((name, value));
            }
        };
        add("Login", envelope.login.as_ref().map(Octets::to_string));
        add("Client", envelope.client_ip.map(|ip| ip.to_string()));
        add(
            "Client name",
            envelope.client_name.as_ref().map(Octets::to_string),
        );
        let args: Vec<String> = envelope.sender_args.iter().map(Octets::to_string).collect();
        add("MAIL with", Some(args.join(" ")));
        let own = envelope
            .recipients
            .iter()
            .find(|recipient| recipient.path == entry.path);
        let args = own.map(|own| own.args.iter().map(Octets::to_string).collect::<Vec<_>>());
        add("RCPT with", args.map(|args| args.join(" ")));
    }
    facts.push(("Size", show::size(entry.message.size)));
    facts.push((
        "Session",
        Untrusted::text(&entry.message.session).to_string(),
    ));
    if let Some(queue_id) = &entry.message.queue_id {
        facts.push(("Queue id", Untrusted::text(queue_id).to_string()));
    }
    if let Some(until) = entry.lease_until {
        facts.push(("Being sent", format!("until {}", show::time(until))));
    }
    facts
}

/// GET `/entry/{id}`
pub(super) async fn entry(
    State(site): State<Shared>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let page = site
        .ask(move |site| {
            let quarantine = site.service.quarantine();
            let id = quarantine.find(&id)?;
            let detail = quarantine.detail(&id, site.service.now())?;
            let open = detail.entry.state.is_open();
            let mut message_problem = None;
            let mut message = match quarantine.message(&detail.entry) {
                Ok(message) => Some(message),
                Err(error) => {
                    // A finished entry has no message any more, and nobody expects one.
                    message_problem = open.then(|| format!("{}.", event::chain(&error)));
                    None
                }
            };
            let mut head = Vec::new();
            if let Some(message) = &mut message
                && let Err(error) = message.take(HEADERS_SHOWN).read_to_end(&mut head)
            {
                message_problem = Some(format!("The message cannot be read: {error}."));
            }
            let pending = quarantine.pending_decision(&id)?;
            let mut facts = facts(&detail, message.as_ref());
            let decided = pending.map(|pending| Untrusted::text(&pending.to_string()).to_string());
            if let Some(decided) = &decided {
                facts.push(("Decided", decided.clone()));
            }
            let entry = &detail.entry;
            Ok(Shown {
                frame: Frame::new(&visitor, "quarantine"),
                id: id.to_string(),
                state: entry.state,
                open,
                decided,
                changed_at: show::time(entry.changed_at),
                to_plain: show::address(&entry.address),
                from_plain: show::address(&entry.message.sender_address),
                domain_plain: show::address(&entry.domain),
                last_error: entry
                    .last_error
                    .as_deref()
                    .map(|e| Untrusted::text(e).to_string()),
                message_problem,
                score: entry.score,
                finding: finding(detail.assessment.as_ref()),
                candidates: candidates(&detail),
                headers: show::headers(&head),
                has_message: message.is_some(),
                size: show::size(entry.message.size),
                facts,
                lives: LIVES,
                history: detail.history.iter().map(Event::new).collect(),
            })
        })
        .await?;
    Ok(html(&page))
}

/// GET `/entry/{id}/message`
///
/// Never shown, only saved: octets of a stranger under a name that says nothing.
pub(super) async fn message(
    State(site): State<Shared>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    visitor.require(AccountRole::Reviewer)?;
    let octets = site
        .ask(move |site| {
            let quarantine = site.service.quarantine();
            let id = quarantine.find(&id)?;
            let entry = quarantine.detail(&id, site.service.now())?.entry;
            if entry.message.size > LARGEST_DOWNLOAD {
                return Err(Failure::bad(format!(
                    "The message has {}, too much for this page. On the mail server: straymail quarantine show --message {id}",
                    show::size(entry.message.size)
                )));
            }
            let mut octets = Vec::new();
            let mut message = quarantine.message(&entry)?;
            message.read_to_end(&mut octets).map_err(|error| {
                Failure::bad(format!("The message cannot be read: {error}."))
            })?;
            Ok(octets)
        })
        .await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"message.eml\"",
        ),
    ];
    Ok((headers, octets).into_response())
}
