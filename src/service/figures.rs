//! The page of metrics: what the milter counted, and what is in the store.
//!
//! Names are stable: dashboards and alert rules read them (docs/monitoring). Labels hold words
//! of our own only, never a domain, a sender or a recipient.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::quarantine::Quarantine;
use crate::metrics::{Exposition, Figures, Kind, Sample, Times};
use crate::store::{
    Counts, Ending, Endings, EntryState, EventKind, EventTally, Ledger, StoreError,
};

/// The time that the confirm rate is of, as in `straymail report`: few decide on one day.
const LATELY: Duration = Duration::from_secs(7 * 86_400);

/// Everything the page is made from.
#[derive(Debug)]
pub struct Sources {
    quarantine: Arc<Quarantine>,
    keep_for: Duration,
    read: Mutex<Read>,
}

/// What was read of the audit record, and so is not read again.
#[derive(Debug, Default)]
struct Read {
    events: EventTally,
    lately: Vec<(Timestamp, Ending)>,
}

/// What is in the store now.
#[derive(Debug)]
struct Stored {
    counts: Counts,
    events: EventTally,
    confirm_rate: Option<u8>,
    octets: u64,
    overdue: u64,
}

impl Sources {
    /// Returns the sources of a quarantine whose entries are kept for `keep_for`.
    pub fn new(quarantine: Arc<Quarantine>, keep_for: Duration) -> Sources {
        Sources {
            quarantine,
            keep_for,
            read: Mutex::default(),
        }
    }

    /// Returns the page. Waits for the disk; the first one reads the whole audit record.
    pub fn page(&self, now: Timestamp) -> String {
        let settings = self.quarantine.settings();
        let mut page = Exposition::default();
        let version = env!("CARGO_PKG_VERSION");
        let figures = Figures::read(&settings.dir).ok().flatten();
        let running = figures
            .as_ref()
            .map(|figures| ("milter", &*figures.version));
        page.family(
            "straymail_build_info",
            Kind::Gauge,
            "Which version each process is.",
            [("worker", version)]
                .into_iter()
                .chain(running)
                .map(|(process, version)| Sample {
                    suffix: "",
                    labels: vec![("process", process), ("version", version)],
                    value: 1.0,
                }),
        );
        let up = figures.as_ref().is_some_and(|figures| figures.alive(now));
        gauge(
            &mut page,
            "straymail_milter_up",
            "Whether the milter wrote its figures in the last 30 seconds.",
            f64::from(up),
        );
        if let Some(figures) = &figures {
            counted(&mut page, figures);
        }
        let stored = self.stored(now);
        gauge(
            &mut page,
            "straymail_store_up",
            "Whether the store could be read for this page.",
            f64::from(stored.is_ok()),
        );
        if let Ok(stored) = &stored {
            in_store(&mut page, stored);
        }
        if let Ok(stat) = rustix::fs::statvfs(&settings.dir) {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            gauge(
                &mut page,
                "straymail_disk_free_bytes",
                "Bytes free on the disk of the state directory.",
                number(free),
            );
        }
        gauge(
            &mut page,
            "straymail_disk_min_free_bytes",
            "Below this nothing is held any more (quarantine.min_free).",
            number(settings.min_free_bytes),
        );
        gauge(
            &mut page,
            "straymail_held_max_bytes",
            "What held messages may take together (quarantine.max_total).",
            number(settings.max_total_bytes),
        );
        page.into_text()
    }

    fn stored(&self, now: Timestamp) -> Result<Stored, StoreError> {
        self.quarantine.store.read(|ledger| {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            let lately = now.saturating_sub(LATELY).unwrap_or(Timestamp::MIN);
            read.bring_up(ledger, lately)?;
            Ok(Stored {
                counts: ledger.counts()?,
                events: read.events.clone(),
                confirm_rate: read.confirm_rate(),
                octets: ledger.waiting_octets()?,
                overdue: ledger.overdue_count(self.keep_for, now)?,
            })
        })
    }
}

impl Read {
    /// Reads what was recorded since, and forgets what ended before `lately`.
    fn bring_up(&mut self, ledger: &Ledger<'_>, lately: Timestamp) -> Result<(), StoreError> {
        self.lately.retain(|(at, _)| *at >= lately);
        let mut new = Vec::new();
        ledger.count_events(&mut self.events, |at, ending| {
            if at >= lately {
                new.push((at, ending));
            }
        })?;
        self.lately.append(&mut new);
        Ok(())
    }

    fn confirm_rate(&self) -> Option<u8> {
        let mut endings = Endings::default();
        for (_, ending) in &self.lately {
            endings.count(*ending);
        }
        endings.confirm_rate()
    }
}

/// What the milter counted.
fn counted(page: &mut Exposition, figures: &Figures) {
    gauge(
        page,
        "straymail_milter_start_time_seconds",
        "When the milter started.",
        seconds(figures.started_at),
    );
    gauge(
        page,
        "straymail_milter_last_seen_timestamp_seconds",
        "When the milter last wrote its figures.",
        seconds(figures.written_at),
    );
    page.family(
        "straymail_messages_total",
        Kind::Counter,
        "Messages by whether they were ours to judge; released: held mail that passes the milter again on its way out.",
        [
            ("judged", figures.judged),
            ("inbound", figures.inbound),
            ("null_sender", figures.null_sender),
            ("released", figures.released),
        ]
        .map(|(passage, count)| Sample::of("passage", passage, number(count))),
    );
    page.family(
        "straymail_recipients_total",
        Kind::Counter,
        "Judged recipients by verdict, by what the rules ask for, and whether it was done (enforce) or only recorded (observe).",
        figures.recipients.iter().map(|recipients| Sample {
            suffix: "",
            labels: vec![
                ("verdict", &recipients.verdict),
                ("action", &recipients.action),
                ("mode", &recipients.mode),
            ],
            value: number(recipients.count),
        }),
    );
    page.family(
        "straymail_faults_total",
        Kind::Counter,
        "Answers forced by a fault of straymail's own (policy.on_error).",
        [Sample::plain(number(figures.faults))],
    );
    times(page, &figures.rcpt);
    page.family(
        "straymail_config_reloads_total",
        Kind::Counter,
        "Reloads by whether the new configuration was taken.",
        [
            Sample::of("result", "taken", number(figures.reloads)),
            Sample::of("result", "refused", number(figures.reloads_failed)),
        ],
    );
    gauge(
        page,
        "straymail_config_last_reload_successful",
        "Whether the last reload took the new configuration.",
        f64::from(figures.last_reload_fine),
    );
    gauge(
        page,
        "straymail_config_loaded_timestamp_seconds",
        "When the configuration in force was read.",
        seconds(figures.loaded.at),
    );
    gauge(
        page,
        "straymail_trusted_entries",
        "Entries of the trusted list in force.",
        number(figures.loaded.trusted),
    );
    page.family(
        "straymail_public_suffix_list_timestamp_seconds",
        Kind::Gauge,
        "When the file of the public suffix list in force was written; none for the built-in list.",
        figures
            .loaded
            .suffixes_written_at
            .map(|at| Sample::plain(seconds(at))),
    );
}

fn times(page: &mut Exposition, times: &Times) {
    let mut below = 0_u64;
    let mut ends: Vec<(String, u64)> = Vec::with_capacity(times.buckets.len() + 1);
    for (micros, count) in &times.buckets {
        below = below.saturating_add(*count);
        ends.push((format!("{}", number(*micros) / 1e6), below));
    }
    let all = below.saturating_add(times.beyond);
    ends.push(("+Inf".to_owned(), all));
    let buckets = ends.iter().map(|(end, count)| Sample {
        suffix: "_bucket",
        labels: vec![("le", end)],
        value: number(*count),
    });
    let sum = Sample {
        suffix: "_sum",
        ..Sample::plain(number(times.nanoseconds) / 1e9)
    };
    let count = Sample {
        suffix: "_count",
        ..Sample::plain(number(all))
    };
    page.family(
        "straymail_rcpt_duration_seconds",
        Kind::Histogram,
        "How long the milter took to answer a recipient.",
        buckets.chain([sum, count]),
    );
}

/// What is in the store.
fn in_store(page: &mut Exposition, stored: &Stored) {
    let Stored {
        counts,
        events,
        confirm_rate,
        octets,
        overdue,
    } = stored;
    let waits = [EntryState::Pending, EntryState::Held, EntryState::Releasing];
    page.family(
        "straymail_entries",
        Kind::Gauge,
        "Held recipients that wait, by state.",
        counts
            .entries
            .iter()
            .filter(|(state, _)| waits.contains(state))
            .map(|(state, count)| Sample::of("state", state.name(), number(*count))),
    );
    page.family(
        "straymail_entries_oldest_timestamp_seconds",
        Kind::Gauge,
        "When the oldest waiting entry was held; none when nothing waits.",
        counts.oldest.map(|at| Sample::plain(seconds(at))),
    );
    gauge(
        page,
        "straymail_entries_overdue",
        "Entries that wait for longer than worker.keep_for.",
        number(*overdue),
    );
    gauge(
        page,
        "straymail_held_bytes",
        "Octets of the messages that wait.",
        number(*octets),
    );
    gauge(
        page,
        "straymail_decisions_waiting",
        "Decisions of senders that the worker has yet to carry out.",
        number(counts.decisions),
    );
    gauge(
        page,
        "straymail_decisions_failing",
        "Of those, the ones that failed at least once.",
        number(counts.decisions_failing),
    );
    gauge(
        page,
        "straymail_notices_failing",
        "Notices that failed at least once and are tried again.",
        number(counts.notices_failing),
    );
    gauge(
        page,
        "straymail_notices_waiting",
        "Notices beyond notice.per_hour that wait for the next digest.",
        number(counts.notices_waiting),
    );
    gauge(
        page,
        "straymail_letters_waiting",
        "Letters about the end of an entry that the MTA has yet to take.",
        number(counts.letters),
    );
    page.family(
        "straymail_worker_last_seen_timestamp_seconds",
        Kind::Gauge,
        "When the worker last wrote down that it works, to the minute.",
        counts.worker_seen_at.map(|at| Sample::plain(seconds(at))),
    );
    page.family(
        "straymail_decisions_total",
        Kind::Counter,
        "What became of held recipients: confirmed, corrected or cancelled by the sender, released, redirected or dropped by a reviewer, expired with nobody deciding.",
        (events.endings.each())
            .map(|(ending, count)| Sample::of("decision", ending.name(), number(count))),
    );
    page.family(
        "straymail_confirm_rate",
        Kind::Gauge,
        "Share of what senders decided in the last 7 days that they confirmed, from 0 to 1: false alarms by their word; none when nothing was decided.",
        confirm_rate.map(|hundredths| Sample::plain(f64::from(hundredths) / 100.0)),
    );
    page.family(
        "straymail_notices_total",
        Kind::Counter,
        "Notices by whether they were sent or never will be.",
        [("sent", events.notices_sent), ("none", events.notices_none)]
            .map(|(result, count)| Sample::of("result", result, number(count))),
    );
    page.family(
        "straymail_events_total",
        Kind::Counter,
        "Rows of the audit record by kind.",
        EventKind::ALL.iter().map(|kind| {
            let count = events.kinds.get(kind.name()).copied();
            Sample::of("kind", kind.name(), number(count.unwrap_or_default()))
        }),
    );
}

fn gauge(page: &mut Exposition, name: &str, help: &str, value: f64) {
    page.family(name, Kind::Gauge, help, [Sample::plain(value)]);
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus knows 64-bit floats only; exact up to 9·10^15"
)]
fn number(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 have 41 bits"
)]
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1e3
}
