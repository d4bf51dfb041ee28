//! Logging in and out.

use std::time::Instant;

use askama::Template;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::logging::event;
use crate::untrusted::Untrusted;

use super::access::{Cookie, Form, Source};
use super::failure::Failure;
use super::fields::Fields;
use super::page::html;
use super::session::random_text;
use super::{Shared, Site};

#[derive(Template)]
#[template(path = "review/login.html")]
struct LogIn {
    problem: Option<String>,
    seal: String,
    /// Where to go on; empty for the list.
    next: String,
}

/// Returns the page, with a new seal in a cookie.
fn page(
    site: &Site,
    status: StatusCode,
    problem: Option<String>,
    next: &str,
) -> Result<Response, Failure> {
    let holder = random_text().map_err(|_| Failure::internal())?;
    let page = LogIn {
        problem,
        seal: site.seal.make(&holder),
        next: next.to_owned(),
    };
    let cookie = (header::SET_COOKIE, Cookie::Login.set(site, &holder));
    Ok((status, [cookie], html(&page)).into_response())
}

/// Returns a path of ours, or nothing: a link must not lead elsewhere after the login.
fn own_path(text: &str) -> &str {
    let fine = text.starts_with('/')
        && !text.starts_with("//")
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if fine && text != "/" { text } else { "" }
}

/// GET `/login`
pub(super) async fn form(
    State(site): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let fields = Fields::of_query(query.as_deref());
    page(&site, StatusCode::OK, None, own_path(fields.get("next")))
}

/// POST `/login`
pub(super) async fn log_in(
    State(site): State<Shared>,
    source: Source,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Failure> {
    let holder = Cookie::Login.find(&site, &headers).unwrap_or_default();
    let fields = Fields::of_form(request).await?;
    let next = own_path(fields.get("next")).to_owned();
    if holder.is_empty() || !site.seal.fits(&holder, fields.get("seal")) {
        let problem = "This page was too old. Try again.".to_owned();
        return page(&site, StatusCode::FORBIDDEN, Some(problem), &next);
    }
    let name = fields.get("name").to_ascii_lowercase();
    // Whoever guesses passwords waits, whether from one source or at one account. The account's
    // own limit is higher, so that one source alone cannot lock anybody out.
    let by_source = format!("source {}", source.client);
    let by_account: Vec<String> = (0..3).map(|n| format!("account {n} {name}")).collect();
    let now = Instant::now();
    let open = by_account
        .iter()
        .find(|name| site.logins.wait(name, now).is_none());
    let wait = site.logins.wait(&by_source, now);
    if wait.is_some() || open.is_none() {
        let minutes = wait.map_or(15, |wait| wait.as_secs().div_ceil(60));
        let problem = format!("Too many wrong passwords. Try again in {minutes} minutes.");
        return page(&site, StatusCode::TOO_MANY_REQUESTS, Some(problem), &next);
    }
    let password = fields.raw("password").to_owned();
    let asked = name.clone();
    let Ok(place) = site.hashing.acquire().await else {
        return Err(Failure::internal());
    };
    let account = site
        .ask(move |site| Ok(site.accounts.check(&asked, &password)?))
        .await?;
    drop(place);
    let log = site.service.log();
    let Some(account) = account else {
        site.logins.failed(&by_source, now);
        if let Some(open) = open {
            site.logins.failed(open, now);
        }
        // Sometimes a password is typed where the name belongs: names are logged only when short
        // of that risk, which is when somebody has them.
        let known = name.clone();
        let known = site
            .ask(move |site| Ok(site.accounts.find(&known)?))
            .await?;
        event::login_failed(
            log,
            known.map(|account| account.name).as_deref(),
            &source.client,
        );
        let problem = "Name or password is wrong.".to_owned();
        return page(&site, StatusCode::FORBIDDEN, Some(problem), &next);
    };
    site.logins.succeeded(&by_source);
    // A new cookie in any case: one that somebody else put into this browser becomes worthless.
    if let Some(old) = Cookie::Session.find(&site, &headers) {
        site.sessions.end(&old);
    }
    let cookie = (site.sessions)
        .begin(&account.name, account.stamp(), now)
        .map_err(|_| Failure::internal())?;
    event::logged_in(log, &account.name, &source.client);
    let to = if next.is_empty() { "/" } else { next.as_str() };
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, place_of(to))]).into_response();
    for cookie in [
        Cookie::Session.set(&site, &cookie),
        Cookie::Login.set(&site, ""),
    ] {
        let value = HeaderValue::from_str(&cookie).map_err(|_| Failure::internal())?;
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    Ok(response)
}

fn place_of(path: &str) -> HeaderValue {
    HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"))
}

/// POST `/logout`
pub(super) async fn log_out(
    State(site): State<Shared>,
    headers: HeaderMap,
    form: Form,
) -> Response {
    if let Some(cookie) = Cookie::Session.find(&site, &headers) {
        site.sessions.end(&cookie);
    }
    event::logged_out(
        site.service.log(),
        &Untrusted::text(&form.visitor.name).to_string(),
    );
    let headers = [
        (header::LOCATION, "/login".to_owned()),
        (header::SET_COOKIE, Cookie::Session.set(&site, "")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_our_own_pages_only() {
        for path in ["/entry/7Q2M8KXR4T", "/?state=all&sender=x", "/audit"] {
            assert_eq!(own_path(path), path);
        }
        for path in [
            "",
            "/",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/a b",
            "/\r\nX: y",
            "/é",
        ] {
            assert_eq!(own_path(path), "", "{path:?}");
        }
    }
}
