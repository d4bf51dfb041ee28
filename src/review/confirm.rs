//! The link in a notice: *which did you mean?* The sender answers, once.
//!
//! Link scanners open every link and some submit forms, so opening changes nothing, and an answer
//! takes a choice that no program can make: nothing is preselected.

use std::time::Instant;

use askama::Template;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;

use crate::logging::event;
use crate::score::Finding;
use crate::service::decide::{Choice, DecideError, Decision, Remember};
use crate::service::desk::NotTaken;
use crate::service::quarantine::{EntryDetail, QuarantineError};
use crate::service::token::{Token, TokenError};
use crate::store::EntryState;
use crate::untrusted::Untrusted;

use super::access::Source;
use super::failure::Failure;
use super::fields::Fields;
use super::page::html;
use super::show::{self, Kind, Marked};
use super::{Shared, Site};

/// Suggestions offered at most; a third one confuses more than it helps.
const SUGGESTIONS: usize = 2;

#[derive(Template)]
#[template(path = "confirm/ask.html")]
struct Ask {
    problem: Option<String>,
    from: String,
    sent_at: String,
    subject: String,
    why: String,
    foreign: Vec<String>,
    local: String,
    typed: Marked,
    suggestions: Vec<Suggestion>,
    to_plain: String,
    domain_plain: String,
    other: String,
    /// Minutes for which nobody is asked again after a release.
    passes_for: u64,
    expires_at: String,
}

struct Suggestion {
    /// What the form sends: `meant-0`.
    value: String,
    /// The whole address.
    address: String,
    name: Marked,
}

#[derive(Template)]
#[template(path = "confirm/answered.html")]
struct Answered {
    title: &'static str,
    text: String,
}

/// A genuine link about an entry that still waits.
struct Question {
    token: Token,
    detail: EntryDetail,
    passes_for: u64,
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        let text = format!("{}. Nothing was changed.", sentence(&error.to_string()));
        let (status, title) = match error {
            TokenError::Expired { .. } => (StatusCode::GONE, "This link has expired"),
            TokenError::Outdated => (StatusCode::GONE, "There is a newer link"),
            _ => (StatusCode::NOT_FOUND, "This link does not work"),
        };
        Failure::for_sender(status, title, text)
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// Returns what a link asks, or why it asks nothing any more.
fn question(site: &Site, link: &str, source: &Source, now: Timestamp) -> Result<Question, Failure> {
    let instant = Instant::now();
    let refused = |error: TokenError| {
        // Old links are opened by honest people; only wrong ones count against a source.
        if matches!(
            error,
            TokenError::Malformed | TokenError::Forged | TokenError::OtherEntry
        ) {
            // A genuine link never waits: behind a proxy that is not trusted all clients are one,
            // and strangers must not lock out senders.
            if site.links.wait(&source.client, instant).is_some() {
                return Failure::for_sender(
                    StatusCode::TOO_MANY_REQUESTS,
                    "Too many wrong links",
                    "Wait ten minutes, then copy the whole link of the notice once more.",
                );
            }
            site.links.failed(&source.client, instant);
        }
        event::link_refused(site.service.log(), &source.client, &error);
        Failure::from(error)
    };
    let token = site.tokens.verify(link, now).map_err(refused)?;
    let quarantine = site.service.quarantine();
    let detail = quarantine
        .detail(&token.entry, now)
        .map_err(|error| match error {
            QuarantineError::NoEntry(_) => Failure::for_sender(
                StatusCode::GONE,
                "This message is gone",
                "It is not in the quarantine any more. Nothing was changed.",
            ),
            other => other.into(),
        })?;
    let pending = quarantine.pending_decision(&token.entry)?;
    let waits = matches!(detail.entry.state, EntryState::Pending | EntryState::Held);
    if !waits || pending.is_some() {
        let to = show::address(&detail.entry.address);
        let text = match (
            detail.entry.state,
            pending.and_then(|decision| decision.corrected),
        ) {
            (EntryState::Released, _) => {
                let at = show::minute(detail.entry.changed_at);
                match detail.corrected_to() {
                    Some(corrected) => format!(
                        "The message was sent to {} instead of {to} at {at}.",
                        show::address(corrected)
                    ),
                    None => format!("The message to {to} was sent at {at}."),
                }
            }
            (EntryState::Dropped, _) => format!(
                "The message to {to} was thrown away at {}; nobody got it there.",
                show::minute(detail.entry.changed_at)
            ),
            (EntryState::Expired, _) => format!(
                "Nobody answered in time: the message to {to} was thrown away at {}.",
                show::minute(detail.entry.changed_at)
            ),
            (_, Some(corrected)) => format!(
                "The message is about to be sent to {} instead of {to}.",
                show::address(&corrected)
            ),
            (_, None) => format!("The message to {to} is about to be sent."),
        };
        let text = format!("{text} This link changed nothing.");
        return Err(Failure::for_sender(
            StatusCode::GONE,
            "This was already decided",
            text,
        ));
    }
    token.fits(&detail.entry).map_err(refused)?;
    Ok(Question {
        token,
        detail,
        passes_for: quarantine.approval_for().as_secs().div_ceil(60),
    })
}

impl Question {
    fn suggestions(&self) -> Vec<Suggestion> {
        let entry = &self.detail.entry;
        let Some(Finding::Resembles { candidates }) = self
            .detail
            .assessment
            .as_ref()
            .map(|assessment| &assessment.finding)
        else {
            return Vec::new();
        };
        // The address as received: the local part is nobody's but the recipient's to change.
        let (local, _) = entry.address.rsplit_once('@').unwrap_or_default();
        (candidates.iter().take(SUGGESTIONS).enumerate())
            .map(|(at, candidate)| Suggestion {
                value: format!("meant-{at}"),
                address: format!("{local}@{}", show::meant(&entry.domain, candidate)),
                name: show::pair(&entry.domain, &candidate.name()).meant,
            })
            .collect()
    }

    /// Says which answer before this one could not be carried out, and why.
    fn failure(&self) -> Option<String> {
        let failed = self.detail.failed()?;
        let why = failed
            .why
            .map_or_else(String::new, |why| format!(": {why}"));
        let text = format!(
            "Your answer \"{}\" could not be carried out{why}. Please choose again.",
            failed.answer
        );
        Some(Untrusted::text(&text).to_string())
    }

    fn page(&self, problem: Option<String>, other: &str) -> Ask {
        let entry = &self.detail.entry;
        let assessment = self.detail.assessment.as_ref();
        let best = assessment.and_then(|assessment| assessment.best());
        let pair = best.map(|best| show::pair(&entry.domain, &best.name()));
        let foreign = pair
            .as_ref()
            .map_or(Vec::new(), |pair| pair.foreign.clone());
        let why = best.and_then(|best| best.evidence.iter().find(|evidence| evidence.points > 0));
        let why = match why {
            Some(evidence) => format!(
                "{}.",
                sentence(&Untrusted::text(&evidence.detail).to_string())
            ),
            None => String::new(),
        };
        Ask {
            problem,
            from: show::address(&entry.message.sender_address),
            sent_at: show::minute(entry.message.received_at),
            subject: show::subject(entry.message.subject.as_ref()),
            why,
            foreign,
            local: show::split(&entry.address).0,
            typed: pair.map_or_else(|| show::plain(&entry.domain), |pair| pair.typed),
            suggestions: self.suggestions(),
            to_plain: show::address(&entry.address),
            domain_plain: show::address(&entry.domain),
            other: other.to_owned(),
            passes_for: self.passes_for,
            expires_at: show::minute(self.token.expires_at),
        }
    }

    /// Reads the answer, or says what is missing of it.
    fn decision(&self, fields: &Fields) -> Result<Decision, String> {
        // Whoever wrote an address meant it: the button may be a slip, and must not send then.
        if !fields.get("other").is_empty() && fields.get("choice") != "other" {
            return Err(
                "You wrote another address, and chose something else: which do you mean? Choose \"Another address\", or empty its field."
                    .to_owned(),
            );
        }
        let choice = match fields.get("choice") {
            "typed" => Choice::Send,
            "cancel" => Choice::Cancel,
            "other" => match fields.get("other") {
                "" => return Err("Write the address you meant.".to_owned()),
                address => Choice::Correct(address.to_owned()),
            },
            value => {
                let suggestion = self.suggestions().into_iter().find(|s| s.value == value);
                let suggestion = suggestion.ok_or("Choose which address you meant.")?;
                Choice::Correct(suggestion.address)
            }
        };
        let remember = match (&choice, fields.get("remember")) {
            (Choice::Send, "recipient") => Remember::Recipient,
            (Choice::Send, "domain") => Remember::Domain,
            _ => Remember::Not,
        };
        Ok(Decision { choice, remember })
    }
}

/// GET `/r/{token}`: asks. Changes nothing, however often and by whomever it is opened.
pub(super) async fn ask(
    State(site): State<Shared>,
    Path(link): Path<String>,
    source: Source,
) -> Result<Response, Failure> {
    let page = site
        .ask(move |site| {
            let question = question(site, &link, &source, site.service.now())?;
            Ok(question.page(question.failure(), ""))
        })
        .await?;
    Ok(html(&page))
}

/// POST `/r/{token}`: decides, if the answer is whole.
pub(super) async fn answer(
    State(site): State<Shared>,
    Path(link): Path<String>,
    source: Source,
    request: Request,
) -> Result<Response, Failure> {
    let fields = Fields::of_form(request).await?;
    site.ask(move |site| {
        let now = site.service.now();
        let question = question(site, &link, &source, now)?;
        let again = |problem| {
            let page = question.page(Some(problem), fields.get("other"));
            (StatusCode::UNPROCESSABLE_ENTITY, html(&page)).into_response()
        };
        let decision = match question.decision(&fields) {
            Ok(decision) => decision,
            Err(problem) => return Ok(again(problem)),
        };
        let entry = &question.detail.entry;
        let sender = &entry.message.sender_address;
        let actor = format!("sender {sender} (link, {})", source.client);
        if !matches!(decision.choice, Choice::Cancel) {
            match site.service.quarantine().envelope(entry) {
                Err(error) if error.is_lost() => {
                    return Err(Failure::for_sender(
                        StatusCode::GONE,
                        "It cannot be sent any more",
                        format!("{}.", sentence(&NotTaken::Lost(error).to_string())),
                    ));
                }
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
        }
        match site
            .service
            .quarantine()
            .decide(&entry.id, &decision, &actor, now)
        {
            Ok(_) => Ok(html(&answered(&decision, &show::address(&entry.address)))),
            Err(
                error @ (DecideError::NotAnAddress(_)
                | DecideError::NotAscii(_)
                | DecideError::SameAddress(_)),
            ) => Ok(again(format!("{}.", sentence(&error.to_string())))),
            Err(error @ DecideError::Decided { .. }) => Err(Failure::for_sender(
                StatusCode::CONFLICT,
                "Somebody was faster",
                format!(
                    "{}. This answer changed nothing.",
                    sentence(&error.to_string())
                ),
            )),
            Err(DecideError::Quarantine(error)) => Err(error.into()),
        }
    })
    .await
}

fn answered(decision: &Decision, to: &str) -> Answered {
    let (title, text) = match &decision.choice {
        Choice::Send => {
            let later = match decision.remember {
                Remember::Not => "",
                Remember::Recipient => " You will not be asked about this address again.",
                Remember::Domain => " You will not be asked about this domain again.",
            };
            (
                "It is on its way",
                format!("The message goes to {to} in a moment.{later}"),
            )
        }
        Choice::Cancel => (
            "It was not sent",
            format!("Nobody gets the message at {to}. Nothing changed for its other recipients."),
        ),
        Choice::Correct(address) => (
            "It is on its way",
            format!(
                "The message goes to {} in a moment, and not to {to}.",
                show::address(address)
            ),
        ),
    };
    Answered { title, text }
}
