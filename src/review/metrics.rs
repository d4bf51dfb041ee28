//! The page of metrics, at a socket of its own: who watches need not be who reviews.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;

use super::server::{Bounds, Server};
use super::settings::Listen;
use crate::service::figures::Sources;

/// The text format of Prometheus.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every local account may connect, and none may keep the others out for long: one page for each
/// connection, and no longer than Prometheus waits for it (`scrape_timeout`, 10 s).
const FOR_ONE_PAGE: Bounds = Bounds {
    keep_alive: false,
    header: Duration::from_secs(2),
    connection: Duration::from_secs(10),
};

/// Settings of the metrics page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Where it is served; `None`: nowhere. There is no login, so never beyond this host.
    pub listen: Option<Listen>,
}

/// The metrics page, listening and not yet serving.
pub struct Metrics {
    server: Server,
    asked: Arc<Asked>,
}

struct Asked {
    sources: Sources,
    clock: fn() -> Timestamp,
}

impl Metrics {
    /// Opens the socket. Call it inside of a Tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be opened.
    pub async fn open(
        listen: &Listen,
        sources: Sources,
        clock: fn() -> Timestamp,
    ) -> io::Result<Metrics> {
        Ok(Metrics {
            server: Server::open(listen, FOR_ONE_PAGE).await?,
            asked: Arc::new(Asked { sources, clock }),
        })
    }

    /// Returns where it listens, with the port that was found for port 0.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// Serves until `stop` ends.
    pub async fn serve(self, log: slog::Logger, stop: impl Future<Output = ()>) {
        let routes = Router::new()
            .route("/metrics", get(metrics))
            .with_state(self.asked);
        self.server.serve(routes, &log, stop).await;
    }
}

async fn metrics(State(asked): State<Arc<Asked>>) -> Response {
    let page = tokio::task::spawn_blocking(move || asked.sources.page((asked.clock)()));
    match page.await {
        Ok(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        // A panic was logged where it happened.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
