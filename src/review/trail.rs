//! The audit record, newest first.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::Response;

use crate::octets::Octets;
use crate::store::{AuditFilter, AuditRecord, EventKind};
use crate::untrusted::Untrusted;

use super::Shared;
use super::access::Visitor;
use super::failure::Failure;
use super::fields::Fields;
use super::page::{Frame, html};
use super::show;

/// Rows on a page.
const PAGE: u32 = 100;

#[derive(Template)]
#[template(path = "review/trail.html")]
struct Trail {
    frame: Frame,
    kinds: Vec<&'static str>,
    /// The kind asked for.
    asked: String,
    rows: Vec<Row>,
    /// The number before which the next page begins.
    older: Option<i64>,
}

struct Row {
    seq: i64,
    at: String,
    kind: &'static str,
    entry: Option<String>,
    actor: String,
    parties: String,
    detail: String,
}

impl Row {
    fn new(record: &AuditRecord) -> Row {
        let event = &record.event;
        let text = |octets: &Option<Octets>| octets.as_ref().map(Octets::to_string);
        let parties = match (text(&event.sender), text(&event.recipient)) {
            (Some(from), Some(to)) => format!("{from} → {to}"),
            (None, Some(to)) => format!("anybody → {to}"),
            (Some(from), None) => from,
            (None, None) => String::new(),
        };
        Row {
            seq: record.seq,
            at: show::time(record.at),
            kind: event.kind.name(),
            entry: event.entry.as_ref().map(ToString::to_string),
            actor: Untrusted::text(&event.actor).to_string(),
            parties,
            detail: Untrusted::text(event.detail.as_deref().unwrap_or_default()).to_string(),
        }
    }
}

/// GET `/audit`
pub(super) async fn trail(
    State(site): State<Shared>,
    visitor: Visitor,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let fields = Fields::of_query(query.as_deref());
    let page = site
        .ask(move |site| {
            let kind = EventKind::ALL
                .into_iter()
                .find(|kind| kind.name() == fields.get("kind"));
            let filter = AuditFilter {
                kinds: kind.into_iter().collect(),
                before: fields.get("before").parse().ok(),
                limit: Some(PAGE + 1),
                ..AuditFilter::default()
            };
            let mut records = site.service.quarantine().audit(&filter)?;
            records.reverse();
            // One more than shown tells whether there are more.
            let more = records.len() > PAGE as usize;
            records.truncate(PAGE as usize);
            Ok(Trail {
                frame: Frame::new(&visitor, "audit"),
                kinds: EventKind::ALL.iter().map(|kind| kind.name()).collect(),
                asked: kind.map_or("", EventKind::name).to_owned(),
                older: records.last().filter(|_| more).map(|record| record.seq),
                rows: records.iter().map(Row::new).collect(),
            })
        })
        .await?;
    Ok(html(&page))
}
