//! Release and drop, one entry or many: first a preview, then the deed, then what became of each.

use std::time::{Duration, Instant};

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use crate::logging::event;
use crate::service::account::AccountRole;
use crate::store::{EntryFilter, EntryId, EntryState};

use super::access::Form;
use super::failure::Failure;
use super::fields::Fields;
use super::list::{Asked, Row};
use super::page::{Frame, html};
use super::show;
use super::{Shared, Site};

/// Entries decided in one go.
const MOST: u32 = 500;
/// An MTA that does not answer must not keep a reviewer waiting for every entry in turn.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Release,
    Drop,
}

impl Deed {
    fn of(fields: &Fields) -> Result<Deed, Failure> {
        match fields.get("action") {
            "release" => Ok(Deed::Release),
            "drop" => Ok(Deed::Drop),
            _ => Err(Failure::bad("Choose whether to release or to drop.")),
        }
    }
}

#[derive(Template)]
#[template(path = "review/preview.html")]
struct Preview {
    frame: Frame,
    title: &'static str,
    action: &'static str,
    total: usize,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "review/done.html")]
struct Done {
    frame: Frame,
    title: String,
    outcomes: Vec<Outcome>,
}

/// What became of one entry.
struct Outcome {
    id: String,
    to: String,
    done: bool,
    text: String,
}

/// Returns the entries ticked, each once.
fn ids(fields: &Fields) -> Result<Vec<EntryId>, Failure> {
    let mut ids = Vec::new();
    for text in fields.all("id") {
        let id = EntryId::parse(text).ok_or_else(|| Failure::bad("An id of this form is none."))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
        if ids.len() > MOST as usize {
            return Err(Failure::bad(format!(
                "Decide at most {MOST} entries at a time."
            )));
        }
    }
    Ok(ids)
}

/// POST `/bulk`: shows what would be decided. Changes nothing.
pub(super) async fn preview(State(site): State<Shared>, form: Form) -> Result<Response, Failure> {
    form.visitor.require(AccountRole::Reviewer)?;
    let deed = Deed::of(&form.fields)?;
    let page = site
        .ask(move |site| {
            let quarantine = site.service.quarantine();
            let now = site.service.now();
            let (total, rows) = if form.fields.get("all") == "yes" {
                // The page always sends what it showed; without it, all there is would fit.
                let query = match form.fields.get("query") {
                    "" => return Err(Failure::bad("Choose in the list which entries.")),
                    query => query,
                };
                let asked = Asked::of(&Fields::of_query(Some(query)));
                let (filter, problems) = asked.filter(site);
                // A filter left out would make it more than what was seen.
                if let Some(problem) = problems.into_iter().next() {
                    return Err(Failure::bad(problem));
                }
                let waiting =
                    |state: &EntryState| *state != EntryState::Releasing && state.is_open();
                let states = match filter.states.is_empty() {
                    true => EntryState::OPEN.to_vec(),
                    false => filter.states.clone(),
                };
                let filter = EntryFilter {
                    states: states.into_iter().filter(waiting).collect(),
                    limit: Some(MOST),
                    ..filter
                };
                if filter.states.is_empty() {
                    return Err(Failure::bad("None of these entries waits for a decision."));
                }
                let total = quarantine.count(&filter, now)?;
                let entries = quarantine.entries(&filter, now)?;
                (
                    usize::try_from(total).unwrap_or(usize::MAX),
                    entries.iter().map(Row::new).collect(),
                )
            } else {
                let mut rows = Vec::new();
                for id in ids(&form.fields)? {
                    rows.push(Row::new(&quarantine.detail(&id, now)?.entry));
                }
                (rows.len(), rows)
            };
            if rows.is_empty() {
                return Err(Failure::bad("Select at least one entry."));
            }
            let (title, action) = match deed {
                Deed::Release => ("Release these?", "release"),
                Deed::Drop => ("Drop these?", "drop"),
            };
            Ok(Preview {
                frame: Frame::new(&form.visitor, "quarantine"),
                title,
                action,
                total,
                rows,
            })
        })
        .await?;
    Ok(html(&page))
}

/// POST `/decide`: releases or drops, and says what became of each entry.
pub(super) async fn carry_out(State(site): State<Shared>, form: Form) -> Result<Response, Failure> {
    form.visitor.require(AccountRole::Reviewer)?;
    let deed = Deed::of(&form.fields)?;
    let ids = ids(&form.fields)?;
    if ids.is_empty() {
        return Err(Failure::bad("Select at least one entry."));
    }
    let reason = match deed {
        Deed::Release => String::new(),
        Deed::Drop => form.fields.text("reason", "why it is dropped")?.to_owned(),
    };
    let page = site
        .ask(move |site| {
            let started = Instant::now();
            let actor = form.visitor.actor();
            let outcomes: Vec<Outcome> = (ids.iter())
                .map(|id| match started.elapsed() < LONGEST {
                    true => act(site, deed, id, &reason, &actor),
                    false => Outcome {
                        id: id.to_string(),
                        to: String::new(),
                        done: false,
                        text: "not tried, the others took too long; it is held as before"
                            .to_owned(),
                    },
                })
                .collect();
            let done = outcomes.iter().filter(|outcome| outcome.done).count();
            let verb = match deed {
                Deed::Release => "released",
                Deed::Drop => "dropped",
            };
            let title = match outcomes.len() - done {
                0 => format!("{done} {verb}"),
                failed => format!("{done} {verb}, {failed} not"),
            };
            Ok(Done {
                frame: Frame::new(&form.visitor, "quarantine"),
                title,
                outcomes,
            })
        })
        .await?;
    let status = match page.outcomes.iter().any(|outcome| outcome.done) {
        true => StatusCode::OK,
        false => StatusCode::CONFLICT,
    };
    Ok((status, html(&page)).into_response())
}

fn act(site: &Site, deed: Deed, id: &EntryId, reason: &str, actor: &str) -> Outcome {
    let quarantine = site.service.quarantine();
    let now = site.service.now();
    let done = match deed {
        Deed::Release => quarantine.release(id, actor, now).map(|released| {
            let mut text = format!("released: {}", released.reply);
            if !released.left_out.is_empty() {
                let left_out: Vec<String> =
                    released.left_out.iter().map(ToString::to_string).collect();
                text.push_str(&format!(", without {}", left_out.join(" ")));
            }
            (released.entry, text)
        }),
        Deed::Drop => (quarantine.drop_entry(id, reason, actor, now))
            .map(|entry| (entry, "dropped, nobody gets it".to_owned())),
    };
    match done {
        Ok((entry, text)) => Outcome {
            id: id.to_string(),
            to: show::address(&entry.address),
            done: true,
            text,
        },
        Err(error) => Outcome {
            id: id.to_string(),
            to: (quarantine.detail(id, now))
                .map_or(String::new(), |d| show::address(&d.entry.address)),
            done: false,
            text: event::chain(&error),
        },
    }
}
