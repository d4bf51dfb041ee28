//! What a visitor is told when something was not done.

use askama::Template;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::logging::event;
use crate::service::account::AccountError;
use crate::service::quarantine::QuarantineError;
use crate::store::StoreError;
use crate::untrusted::Untrusted;

use super::page::html;

/// Why a request was not answered with what it asked for.
#[derive(Debug)]
pub(super) enum Failure {
    /// A page that says why.
    Told(Told),
    /// First log in; then come back to this path.
    LogIn(String),
}

/// A page with one message.
#[derive(Debug, Template)]
#[template(path = "review/told.html")]
pub(super) struct Told {
    status: StatusCode,
    title: &'static str,
    text: String,
    /// Where to go on, and what that is called.
    on: Option<(&'static str, &'static str)>,
}

impl Failure {
    fn told(status: StatusCode, title: &'static str, text: impl Into<String>) -> Failure {
        Failure::Told(Told {
            status,
            title,
            text: text.into(),
            on: Some(("/", "Back to the quarantine")),
        })
    }

    /// The request makes no sense.
    pub(super) fn bad(text: impl Into<String>) -> Failure {
        Failure::told(StatusCode::BAD_REQUEST, "That did not work", text)
    }

    /// The visitor may not.
    pub(super) fn forbidden(text: impl Into<String>) -> Failure {
        Failure::told(StatusCode::FORBIDDEN, "Not allowed", text)
    }

    /// The form is older than the session.
    pub(super) fn stale() -> Failure {
        Failure::told(
            StatusCode::FORBIDDEN,
            "This form is too old",
            "Nothing was changed. Open the page again and repeat what you did.",
        )
    }

    /// There is nothing here.
    pub(super) fn none(text: impl Into<String>) -> Failure {
        Failure::told(StatusCode::NOT_FOUND, "Nothing here", text)
    }

    /// `Host` names somebody else.
    pub(super) fn misdirected() -> Failure {
        Failure::told(
            StatusCode::MISDIRECTED_REQUEST,
            "Wrong address",
            "These pages are not served under this name. An admin can set it as review.public_url.",
        )
    }

    /// A bug; the log has the rest.
    pub(super) fn internal() -> Failure {
        Failure::told(
            StatusCode::INTERNAL_SERVER_ERROR,
            "That did not work",
            "Something is wrong with straymail itself; its log says more.",
        )
    }

    /// Nobody is logged in. A page can be shown after the login, a form must be sent again.
    pub(super) fn logged_out(parts: &Parts) -> Failure {
        if parts.method != Method::POST {
            let path = (parts.uri.path_and_query()).map_or("/", |path| path.as_str());
            return Failure::LogIn(path.to_owned());
        }
        Failure::Told(Told {
            status: StatusCode::FORBIDDEN,
            title: "You are logged out",
            text: "Nothing was changed. Log in and repeat what you did.".to_owned(),
            on: Some(("/login", "Log in")),
        })
    }

    /// The same without a way back into the quarantine, for visitors who have no account.
    pub(super) fn for_sender(
        status: StatusCode,
        title: &'static str,
        text: impl Into<String>,
    ) -> Failure {
        Failure::Told(Told {
            status,
            title,
            text: text.into(),
            on: None,
        })
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::told(
            StatusCode::SERVICE_UNAVAILABLE,
            "The quarantine does not answer",
            format!("Nothing was changed: {}.", event::chain(&error)),
        )
    }
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        Failure::told(
            StatusCode::SERVICE_UNAVAILABLE,
            "The accounts cannot be read",
            format!("{}.", event::chain(&error)),
        )
    }
}

impl From<QuarantineError> for Failure {
    fn from(error: QuarantineError) -> Self {
        let text = format!("{}.", event::chain(&error));
        match error {
            QuarantineError::Id(_)
            | QuarantineError::NoEntry(_)
            | QuarantineError::NoApproval(_)
            | QuarantineError::Ambiguous { .. } => Failure::none(text),
            QuarantineError::Finished { .. }
            | QuarantineError::BeingReleased { .. }
            | QuarantineError::Decided(_) => {
                Failure::told(StatusCode::CONFLICT, "Somebody was faster", text)
            }
            QuarantineError::Store(error) => error.into(),
            _ => Failure::told(StatusCode::SERVICE_UNAVAILABLE, "That did not work", text),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Failure::Told(told) => (told.status, html(&told)).into_response(),
            Failure::LogIn(path) => {
                let next: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
                let to = match path.as_str() {
                    "/" => "/login".to_owned(),
                    _ => format!("/login?next={next}"),
                };
                let to = HeaderValue::from_str(&to).unwrap_or(HeaderValue::from_static("/login"));
                (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
            }
        }
    }
}

/// No page has this path.
pub(super) async fn no_page(uri: Uri) -> Failure {
    Failure::none(format!("There is no page {}.", Untrusted::text(uri.path())))
}

/// The path exists, but not for this method.
pub(super) async fn wrong_method() -> Failure {
    Failure::told(
        StatusCode::METHOD_NOT_ALLOWED,
        "That did not work",
        "This address takes a form; nothing was changed.",
    )
}
