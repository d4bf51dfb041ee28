//! The quarantine log: what is held, filtered, newest first.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::domain::Domain;
use crate::store::{Entry, EntryFilter, EntryState};

use super::access::Visitor;
use super::failure::Failure;
use super::fields::Fields;
use super::page::{Frame, html};
use super::show::{self, Kind, Pair};
use super::{Shared, Site};

/// Entries on a page.
const PAGE: u32 = 50;

/// What the filter of the list offers.
const STATES: [(&str, &str); 8] = [
    ("open", "waiting (open)"),
    ("pending", "pending"),
    ("held", "held"),
    ("releasing", "releasing"),
    ("released", "released"),
    ("dropped", "dropped"),
    ("expired", "expired"),
    ("all", "all"),
];

/// What one click shows.
const TABS: [(&str, &str); 5] = [
    ("open", "Waiting"),
    ("released", "Released"),
    ("dropped", "Dropped"),
    ("expired", "Expired"),
    ("all", "All"),
];

/// The filter as it was asked for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    state: String,
    sender: String,
    recipient: String,
    domain: String,
    min: String,
    max: String,
    since: String,
    until: String,
}

#[derive(Template)]
#[template(path = "review/list.html")]
struct List {
    frame: Frame,
    asked: Asked,
    /// Whether more than the usual filter is set.
    filtered: bool,
    /// The filter as a query, for links.
    query: String,
    problems: Vec<String>,
    rows: Vec<Row>,
    states: [(&'static str, &'static str); 8],
    tabs: [(&'static str, &'static str); 5],
    total: u64,
    page: u64,
    pages: u64,
    /// Whether the boxes are ticked.
    selected: bool,
}

/// One entry in a list.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) state: EntryState,
    open: bool,
    score: u8,
    to_local: String,
    pub(super) to_plain: String,
    pair: Pair,
    has_meant: bool,
    pub(super) from: String,
    pub(super) subject: String,
    held_at: String,
}

impl Row {
    pub(super) fn new(entry: &Entry) -> Row {
        let pair = match &entry.suggestion {
            Some(meant) => show::pair(&entry.domain, meant),
            None => Pair {
                typed: show::plain(&entry.domain),
                ..Pair::default()
            },
        };
        Row {
            id: entry.id.to_string(),
            state: entry.state,
            open: matches!(entry.state, EntryState::Pending | EntryState::Held),
            score: entry.score,
            to_local: show::split(&entry.address).0,
            to_plain: show::address(&entry.address),
            pair,
            has_meant: entry.suggestion.is_some(),
            from: show::address(&entry.message.sender_address),
            subject: show::subject(entry.message.subject.as_ref()),
            held_at: show::time(entry.held_at),
        }
    }
}

impl Asked {
    pub(super) fn of(fields: &Fields) -> Asked {
        let get = |name: &str| fields.get(name).to_owned();
        let state = get("state");
        let known = STATES.iter().any(|(name, _)| *name == state);
        Asked {
            state: if known { state } else { "open".to_owned() },
            sender: get("sender"),
            recipient: get("recipient"),
            domain: get("domain"),
            min: get("min"),
            max: get("max"),
            since: get("since"),
            until: get("until"),
        }
    }

    fn named(&self) -> [(&'static str, &str); 8] {
        [
            ("state", &self.state),
            ("sender", &self.sender),
            ("recipient", &self.recipient),
            ("domain", &self.domain),
            ("min", &self.min),
            ("max", &self.max),
            ("since", &self.since),
            ("until", &self.until),
        ]
    }

    /// Returns the filter as a query, without what is not set.
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.named() {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }

    /// Returns the filter, and what of it does not make sense.
    pub(super) fn filter(&self, site: &Site) -> (EntryFilter, Vec<String>) {
        let mut problems = Vec::new();
        let states = match self.state.as_str() {
            "all" => Vec::new(),
            "open" => EntryState::OPEN.to_vec(),
            name => EntryState::ALL
                .into_iter()
                .filter(|state| state.name() == name)
                .collect(),
        };
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        let mut wrong = |text: &str, expected: &str| {
            problems.push(format!(
                "{text:?} is not {expected}; this filter was left out."
            ));
        };
        let domain = some(&self.domain).and_then(|text| {
            let domain = Domain::parse(text.as_bytes(), &site.service.snapshot().suffixes);
            if domain.is_err() {
                wrong(&text, "a domain");
            }
            domain.ok().map(|domain| domain.ascii().to_owned())
        });
        let mut score = |text: &String| {
            let text = some(text)?;
            let score = text.parse().ok().filter(|score| *score <= 100);
            if score.is_none() {
                wrong(&text, "a score from 0 to 100");
            }
            score
        };
        let (min_score, max_score) = (score(&self.min), score(&self.max));
        let mut day = |text: &String, later: i64| {
            let text = some(text)?;
            let found = midnight(&text, later);
            if found.is_none() {
                wrong(&text, "a date like 2026-11-23");
            }
            found
        };
        let (since, until) = (day(&self.since, 0), day(&self.until, 1));
        let filter = EntryFilter {
            states,
            sender: some(&self.sender),
            recipient: some(&self.recipient),
            domain,
            since,
            before: until,
            min_score,
            max_score,
            offset: 0,
            limit: None,
        };
        (filter, problems)
    }
}

/// Returns the beginning of a day (UTC), or of one `later`.
fn midnight(text: &str, later: i64) -> Option<Timestamp> {
    let date: Date = text.parse().ok()?;
    let date = date.checked_add(jiff::Span::new().days(later)).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// GET `/`
pub(super) async fn list(
    State(site): State<Shared>,
    visitor: Visitor,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let fields = Fields::of_query(query.as_deref());
    let page = site
        .ask(move |site| {
            let asked = Asked::of(&fields);
            let (mut filter, problems) = asked.filter(site);
            let now = site.service.now();
            let total = site.service.quarantine().count(&filter, now)?;
            let pages = total.div_ceil(PAGE.into()).max(1);
            let page: u64 = fields.get("page").parse().unwrap_or(1);
            let page = page.clamp(1, pages);
            filter.offset = u32::try_from((page - 1) * u64::from(PAGE)).unwrap_or(u32::MAX);
            filter.limit = Some(PAGE);
            let entries = site.service.quarantine().entries(&filter, now)?;
            Ok(List {
                frame: Frame::new(&visitor, "quarantine"),
                filtered: asked
                    .named()
                    .iter()
                    .skip(1)
                    .any(|(_, value)| !value.is_empty()),
                query: asked.query(),
                asked,
                problems,
                rows: entries.iter().map(Row::new).collect(),
                states: STATES,
                tabs: TABS,
                total,
                page,
                pages,
                selected: fields.get("select") == "page",
            })
        })
        .await?;
    Ok(html(&page))
}
