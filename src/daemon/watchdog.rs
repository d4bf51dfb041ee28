//! Tells systemd's watchdog that all is well, after it was seen to be so.
//!
//! The milter proves it by a session through its own sockets that was judged; the worker by
//! getting on with its work. Without proof nothing is said, and systemd starts the service anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use slog::Logger;

use crate::logging::event;
use crate::milter::Probe;
use crate::service::worker::Worker;

/// How long the worker may seem to do nothing: twice what one delivery may take.
const STANDSTILL: Duration = Duration::from_secs(600);

/// Whether a worker gets on.
struct Progress {
    worker: Arc<Worker>,
    seen: u64,
    since: Instant,
}

impl Progress {
    /// Returns for how long nothing was done, when that is too long.
    fn standstill(&mut self, now: Instant) -> Option<Duration> {
        let steps = self.worker.steps();
        if steps != self.seen {
            (self.seen, self.since) = (steps, now);
        }
        let still = now.saturating_duration_since(self.since);
        (still > STANDSTILL).then_some(still)
    }
}

/// Speaks to the watchdog for as long as it is polled; ends at once where there is none.
pub(super) async fn run(probe: Option<Probe>, worker: Option<Arc<Worker>>, log: Logger) {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut progress = worker.map(|worker| Progress {
        seen: 0,
        since: Instant::now(),
        worker,
    });
    // sd_watchdog_enabled(3) advises half; a third leaves room for one answer that comes late.
    let mut pause = tokio::time::interval(interval / 3);
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        let asked = match &probe {
            Some(probe) => probe.ask().await,
            None => Ok(()),
        };
        if let Err(error) = asked {
            event::probe_failed(&log, &error);
            continue;
        }
        if let Some(still) = progress.as_mut().and_then(|p| p.standstill(Instant::now())) {
            event::worker_stands_still(&log, still);
            continue;
        }
        super::notify(&[NotifyState::Watchdog]);
    }
}
