//! Approvals: mail that passes although it looks wrong.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use jiff::Timestamp;

use crate::policy::AddressPattern;
use crate::service::account::AccountRole;
use crate::store::{Approval, NewApproval, Origin};
use crate::untrusted::Untrusted;

use super::access::{Form, Visitor};
use super::failure::Failure;
use super::fields::Fields;
use super::page::{Frame, html};
use super::show;
use super::{Shared, Site};

/// For how long an approval may be given, shortest first.
pub(super) const LIVES: [(&str, &str); 5] = [
    ("30", "30 days"),
    ("1", "one day"),
    ("90", "90 days"),
    ("365", "one year"),
    ("ever", "as long as nobody removes it"),
];

#[derive(Template)]
#[template(path = "review/approvals.html")]
struct Approvals {
    frame: Frame,
    /// What was just done.
    done: Option<String>,
    /// Whether expired ones are shown.
    all: bool,
    rows: Vec<Row>,
    lives: [(&'static str, &'static str); 5],
}

struct Row {
    id: String,
    from: String,
    to: String,
    until: String,
    owner: String,
    reason: String,
    /// The entry whose release made it.
    entry: Option<String>,
}

impl Row {
    fn new(approval: &Approval) -> Row {
        Row {
            id: approval.id.to_string(),
            from: sender(approval),
            to: show::address(&approval.recipient),
            until: approval.expires_at.map_or("no end".to_owned(), show::time),
            owner: Untrusted::text(&approval.owner).to_string(),
            reason: Untrusted::text(&approval.reason).to_string(),
            entry: match &approval.origin {
                Origin::Release(entry) => Some(entry.to_string()),
                Origin::Admin => None,
            },
        }
    }
}

fn sender(approval: &Approval) -> String {
    (approval.sender.as_deref()).map_or("anybody".to_owned(), show::address)
}

fn page(
    site: &Site,
    visitor: &Visitor,
    all: bool,
    done: Option<String>,
) -> Result<Approvals, Failure> {
    let approvals = site
        .service
        .quarantine()
        .approvals(all, site.service.now())?;
    Ok(Approvals {
        frame: Frame::new(visitor, "approvals"),
        done,
        all,
        rows: approvals.iter().map(Row::new).collect(),
        lives: LIVES,
    })
}

/// GET `/approvals`
pub(super) async fn list(
    State(site): State<Shared>,
    visitor: Visitor,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let all = Fields::of_query(query.as_deref()).get("all") == "yes";
    let page = site
        .ask(move |site| page(site, &visitor, all, None))
        .await?;
    Ok(html(&page))
}

/// Returns when an approval given now ends.
fn end(fields: &Fields, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    let life = fields.get("life");
    if life == "ever" {
        return Ok(None);
    }
    let known = LIVES.iter().any(|(value, _)| *value == life);
    let days: i64 = life
        .parse()
        .ok()
        .filter(|_| known)
        .ok_or_else(|| Failure::bad("Choose for how long."))?;
    let life = jiff::SignedDuration::from_hours(24 * days);
    now.checked_add(life)
        .map(Some)
        .map_err(|_| Failure::internal())
}

/// Reads an address, a domain or an ending.
fn pattern(site: &Site, text: &str) -> Result<String, Failure> {
    AddressPattern::parse(text, &site.service.snapshot().suffixes)
        .map(AddressPattern::into_text)
        .map_err(|error| Failure::bad(format!("{} {error}.", Untrusted::text(text))))
}

fn added(approval: &Approval) -> String {
    let until = match approval.expires_at {
        Some(at) => format!("until {}", show::time(at)),
        None => "until it is removed".to_owned(),
    };
    let (from, to) = (sender(approval), show::address(&approval.recipient));
    format!("Approved: from {from} to {to}, {until}.")
}

/// POST `/entry/{id}/approve`: lets pass what an entry was held for.
pub(super) async fn approve_entry(
    State(site): State<Shared>,
    Path(id): Path<String>,
    form: Form,
) -> Result<Response, Failure> {
    form.visitor.require(AccountRole::Admin)?;
    let page = site
        .ask(move |site| {
            let quarantine = site.service.quarantine();
            let now = site.service.now();
            let fields = &form.fields;
            let id = quarantine.find(&id)?;
            let entry = quarantine.detail(&id, now)?.entry;
            let new = NewApproval {
                sender: match fields.get("who") {
                    "anybody" => None,
                    "sender" => Some(entry.message.sender_address),
                    _ => return Err(Failure::bad("Choose for which sender.")),
                },
                recipient: match fields.get("what") {
                    "address" => entry.address,
                    "domain" => pattern(site, &entry.domain)?,
                    _ => return Err(Failure::bad("Choose for which recipients.")),
                },
                expires_at: end(fields, now)?,
                owner: form.visitor.name.clone(),
                reason: fields.text("reason", "why")?.to_owned(),
                origin: Origin::Admin,
            };
            let approval = quarantine.approve(&new, &form.visitor.actor(), now)?;
            page(site, &form.visitor, false, Some(added(&approval)))
        })
        .await?;
    Ok(html(&page))
}

/// POST `/approvals/add`
pub(super) async fn add(State(site): State<Shared>, form: Form) -> Result<Response, Failure> {
    form.visitor.require(AccountRole::Admin)?;
    let page = site
        .ask(move |site| {
            let now = site.service.now();
            let fields = &form.fields;
            let new = NewApproval {
                sender: match fields.get("sender") {
                    "" => None,
                    _ => Some(pattern(site, fields.get("sender"))?),
                },
                recipient: pattern(site, fields.get("recipient"))?,
                expires_at: end(fields, now)?,
                owner: fields.text("owner", "who answers for it")?.to_owned(),
                reason: fields.text("reason", "why")?.to_owned(),
                origin: Origin::Admin,
            };
            let quarantine = site.service.quarantine();
            let approval = quarantine.approve(&new, &form.visitor.actor(), now)?;
            page(site, &form.visitor, false, Some(added(&approval)))
        })
        .await?;
    Ok(html(&page))
}

/// POST `/approvals/remove`
pub(super) async fn remove(State(site): State<Shared>, form: Form) -> Result<Response, Failure> {
    form.visitor.require(AccountRole::Admin)?;
    let page = site
        .ask(move |site| {
            let (quarantine, now) = (site.service.quarantine(), site.service.now());
            let actor = form.visitor.actor();
            let approval = quarantine.remove_approval(form.fields.get("id"), None, &actor, now)?;
            let (from, to) = (sender(&approval), show::address(&approval.recipient));
            let done = format!("Removed: from {from} to {to}.");
            page(site, &form.visitor, false, Some(done))
        })
        .await?;
    Ok(html(&page))
}
