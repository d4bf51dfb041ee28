//! What straymail does: judge, hold, release, drop, approve. Milter, CLI and web call it.

pub mod account;
pub mod answer;
mod automatic;
pub mod backup;
pub mod conversation;
pub mod decide;
pub mod desk;
pub mod figures;
pub mod judge;
mod key_file;
pub mod learning;
pub mod numbered;
pub mod passage;
pub mod quarantine;
pub mod report;
pub mod scan;
pub mod token;
pub mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::logging::event::Counts;
use crate::metrics::{Publisher, Tally};
use crate::policy::Policy;
use crate::public_suffix::PublicSuffixes;
use crate::score::Scorer;
use crate::service::desk::Desk;
use crate::service::learning::Learning;
use crate::service::quarantine::Quarantine;
use crate::session::{Client, Gate, Passage};
use crate::store::{DayTotal, StoreError};
use crate::trusted::Cover;

/// Everything a verdict depends on beside the message. A session keeps the snapshot it began
/// with; a reload swaps it for later sessions and never judges half a conversation by new rules.
#[derive(Debug)]
pub struct Snapshot {
    /// The trusted list, indexed.
    pub scorer: Scorer,
    /// The public suffix list the trusted list was read with.
    pub suffixes: PublicSuffixes,
    /// The rules.
    pub policy: Policy,
    /// Which mail is ours to judge.
    pub gate: Gate,
    /// The site's own sentence at the end of every refusal; `{domain}` stands for the
    /// recipient's.
    pub help: String,
}

/// The service behind every edge.
pub struct Service {
    snapshot: ArcSwap<Snapshot>,
    quarantine: Arc<Quarantine>,
    desk: Option<Desk>,
    learning: Option<Arc<Learning>>,
    log: slog::Logger,
    clock: fn() -> Timestamp,
    last_session: AtomicU64,
    probe: OnceLock<String>,
    publisher: Publisher,
    /// What passed so far.
    pub counters: Tally,
}

impl Service {
    /// Builds the service. Without a `desk`, replies to notices are not taken. `clock` tells the time; `first_session` seeds the session ids, so
    /// that ids of two runs do not collide in the log.
    pub fn new(
        snapshot: Snapshot,
        quarantine: Arc<Quarantine>,
        desk: Option<Desk>,
        log: slog::Logger,
        clock: fn() -> Timestamp,
        first_session: u64,
    ) -> Service {
        Service {
            snapshot: ArcSwap::from_pointee(snapshot),
            quarantine,
            desk,
            learning: None,
            log,
            clock,
            last_session: AtomicU64::new(first_session),
            probe: OnceLock::new(),
            publisher: Publisher::default(),
            counters: Tally::new(clock()),
        }
    }

    /// Lets the service count the mail that passes, and ask what was learned about doubtful names.
    #[must_use]
    pub fn with_learning(self, learning: Arc<Learning>) -> Service {
        Service {
            learning: Some(learning),
            ..self
        }
    }

    /// Returns what was learned.
    pub fn learning(&self) -> Option<&Arc<Learning>> {
        self.learning.as_ref()
    }

    /// Returns the rules now in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts new rules into force for the sessions that begin from now on, with the known names
    /// that were learned.
    pub fn reload(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.inform();
    }

    /// Gives the rules in force the known names that were learned.
    pub fn inform(&self) {
        let Some(learning) = &self.learning else {
            return;
        };
        // Again when a reload came in between, so that nothing of it is undone.
        self.snapshot
            .rcu(|now| match learning.inform(&now.scorer, &now.suffixes) {
                None => Arc::clone(now),
                Some(scorer) => Arc::new(Snapshot {
                    scorer,
                    suffixes: now.suffixes.clone(),
                    policy: now.policy.clone(),
                    gate: now.gate.clone(),
                    help: now.help.clone(),
                }),
            });
    }

    /// Writes what was learned since the last call.
    ///
    /// # Errors
    /// The store cannot be written; what was learned is kept for the next call.
    pub fn write_learned(&self) -> Result<(), StoreError> {
        match &self.learning {
            Some(learning) => {
                let counts = self.counts();
                let total = DayTotal {
                    judged: counts.judged,
                    inbound: counts.inbound,
                    null_sender: counts.null_sender,
                    clean: counts.clean,
                    suspicious: counts.suspicious,
                    faults: counts.faults,
                };
                learning.flush(&self.snapshot.load(), &total, self.now())
            }
            None => Ok(()),
        }
    }

    /// Returns the quarantine.
    pub fn quarantine(&self) -> &Arc<Quarantine> {
        &self.quarantine
    }

    /// Returns where replies to notices are taken.
    pub fn desk(&self) -> Option<&Desk> {
        self.desk.as_ref()
    }

    /// Returns the logger.
    pub fn log(&self) -> &slog::Logger {
        &self.log
    }

    /// Returns what passed so far, for the log.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            judged: read(&self.counters.judged),
            inbound: read(&self.counters.inbound),
            null_sender: read(&self.counters.null_sender),
            clean: read(&self.counters.clean),
            suspicious: read(&self.counters.suspicious),
            faults: read(&self.counters.faults),
        }
    }

    /// Writes what was counted to the state directory, where the worker reads it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn publish(&self) -> std::io::Result<()> {
        let figures = self.counters.figures(self.now());
        let dir = &self.quarantine.settings().dir;
        self.publisher.publish(dir, &figures)
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Makes sessions of a client with this host name probes of ours: judged like any other, but
    /// not counted, logged or kept. Nobody may be able to guess `name`; the first one stays.
    pub fn expect_probe(&self, name: String) {
        let _ = self.probe.set(name);
    }

    fn is_probe(&self, client: &Client) -> bool {
        (self.probe.get()).is_some_and(|name| name.as_bytes() == client.name)
    }

    /// Returns a recipient to probe with: a misspelling of what is trusted, if anything is.
    pub fn probe_recipient(&self) -> String {
        let snapshot = self.snapshot();
        let trusted = (snapshot.scorer.trusted().entries().iter())
            .find(|entry| entry.cover == Cover::Domain)
            .map_or("straymail.invalid", |entry| entry.domain.ascii());
        let first: String = trusted.chars().take(1).collect();
        format!("probe@{first}{trusted}")
    }

    fn next_session_id(&self) -> String {
        let id = self.last_session.fetch_add(1, Ordering::Relaxed);
        format!("{:010x}", id & 0xff_ffff_ffff)
    }

    fn count_message(&self, passage: Passage) {
        let counter = match passage {
            Passage::Judged => &self.counters.judged,
            Passage::Inbound => &self.counters.inbound,
            Passage::NullSender => &self.counters.null_sender,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
