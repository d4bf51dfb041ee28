//! What all pages share: the frame around them, and the style sheet.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::service::account::AccountRole;

use super::access::Visitor;

/// The frame around a page of the review.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) name: String,
    pub(super) role: AccountRole,
    /// The hidden field of forms.
    pub(super) seal: String,
    pub(super) can_log_out: bool,
    /// Which part of the navigation is marked.
    pub(super) part: &'static str,
}

impl Frame {
    /// Returns the frame for this visitor.
    pub(super) fn new(visitor: &Visitor, part: &'static str) -> Frame {
        Frame {
            name: visitor.name.clone(),
            role: visitor.role,
            seal: visitor.seal.clone(),
            can_log_out: visitor.can_log_out,
            part,
        }
    }

    /// Returns whether this visitor may decide about entries.
    pub(super) fn decides(&self) -> bool {
        self.role >= AccountRole::Reviewer
    }

    /// Returns whether this visitor may change approvals.
    pub(super) fn approves(&self) -> bool {
        self.role >= AccountRole::Admin
    }
}

/// Renders a page.
pub(super) fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        // Our templates do not fail; were one to, the visitor sees that and not half a page.
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the page cannot be shown",
        )
            .into_response(),
    }
}

/// The style sheet. An hour in the cache, so that a new release is seen soon.
pub(super) async fn style() -> impl IntoResponse {
    (
        [
            (header::CONTENT_TYPE, "text/css; charset=utf-8"),
            (header::CACHE_CONTROL, "max-age=3600"),
        ],
        include_str!("../../templates/style.css"),
    )
}
