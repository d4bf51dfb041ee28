//! The web pages: senders answer a notice, admins review what is held.
//!
//! Server-rendered, without scripts, from templates that are compiled in and escape everything.
//! What the pages promise:
//!
//! - GET and HEAD change nothing and use up no link: mail scanners follow every link they see.
//! - A decision needs an explicit choice; nothing is preselected.
//! - Whoever is first decides; the second is told what happened.
//! - Every byte of a stranger is shown inert: escaped twice, once for what deceives a reader
//!   ([`crate::untrusted`]) and once for HTML.
//! - Nobody but the proxies listed can vouch for an account.
//!
//! The pages call the same service functions as milter, worker and command line. Those may wait
//! for the disk or the MTA, so they run on threads that may block.

mod access;
mod approvals;
mod confirm;
mod deed;
mod entry;
mod failure;
mod fields;
mod list;
mod login;
mod metrics;
mod page;
mod server;
mod session;
mod settings;
mod show;
mod throttle;
mod trail;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use crate::service::Service;
use crate::service::account::Accounts;
use crate::service::token::Tokens;

pub use metrics::{Metrics, MetricsSettings};
pub use server::{Review, ReviewError};
pub use settings::{Listen, PublicUrl, PublicUrlError, ReviewSettings};

use access::Seal;
use failure::Failure;
use session::Sessions;
use throttle::Throttle;

/// Passwords hashed at a time: each takes 19 MiB and a core.
const HASHES_AT_ONCE: usize = 2;
/// Wrong passwords in [`LOGIN_WINDOW`] after which a source, or an account, must wait.
const LOGIN_FAILURES: u32 = 10;
const LOGIN_WINDOW: Duration = Duration::from_secs(15 * 60);
/// Wrong links in [`LINK_WINDOW`] after which a source must wait. Research: nobody honest has 30.
const LINK_FAILURES: u32 = 30;
const LINK_WINDOW: Duration = Duration::from_secs(10 * 60);

/// What every request needs.
struct Site {
    settings: ReviewSettings,
    service: Arc<Service>,
    accounts: Accounts,
    tokens: Arc<Tokens>,
    sessions: Sessions,
    seal: Seal,
    hashing: Semaphore,
    logins: Throttle,
    links: Throttle,
}

type Shared = Arc<Site>;

impl Site {
    /// Runs `work`, which may block, away from the threads that serve.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Site) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let site = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&site)).await {
            Ok(done) => done,
            // A panic was logged where it happened.
            Err(_) => Err(Failure::internal()),
        }
    }
}

/// Every path there is. Those of POST check a form's seal, and the role, on their own.
fn routes(site: Shared) -> Router {
    Router::new()
        .route("/", get(list::list))
        .route("/bulk", post(deed::preview))
        .route("/decide", post(deed::carry_out))
        .route("/entry/{id}", get(entry::entry))
        .route("/entry/{id}/message", get(entry::message))
        .route("/entry/{id}/approve", post(approvals::approve_entry))
        .route("/approvals", get(approvals::list))
        .route("/approvals/add", post(approvals::add))
        .route("/approvals/remove", post(approvals::remove))
        .route("/audit", get(trail::trail))
        .route("/login", get(login::form).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/r/{token}", get(confirm::ask).post(confirm::answer))
        .route("/style.css", get(page::style))
        .fallback(failure::no_page)
        .method_not_allowed_fallback(failure::wrong_method)
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&site),
            access::guard,
        ))
        .with_state(site)
}
