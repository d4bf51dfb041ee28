//! The counters of a milter. Counting is one atomic addition, reading is for whoever asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Figures, Histogram, Loaded};
use crate::policy::{Action, Band, Mode, Verdict};

const BANDS: [(Band, &str); 4] = [
    (Band::Clean, "clean"),
    (Band::Note, "note"),
    (Band::Suspect, "suspect"),
    (Band::Certain, "certain"),
];
const ACTIONS: [Action; 6] = [
    Action::Accept,
    Action::Tag,
    Action::Hold,
    Action::HoldMessage,
    Action::Reject,
    Action::Tempfail,
];
const MODES: [(Mode, &str); 2] = [(Mode::Enforce, "enforce"), (Mode::Observe, "observe")];

/// Recipients of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipients {
    /// `clean`, `note`, `suspect` or `certain`.
    pub verdict: String,
    /// What the rules ask for: `accept`, `tag`, `hold`, `hold-message`, `reject`, `tempfail`.
    pub action: String,
    /// `enforce` when it was done, `observe` when it was only recorded.
    pub mode: String,
    /// How many.
    pub count: u64,
}

impl Recipients {
    /// Returns whether both count the same kind of recipients.
    pub(super) fn is_same_kind(&self, other: &Recipients) -> bool {
        (&self.verdict, &self.action, &self.mode) == (&other.verdict, &other.action, &other.mode)
    }
}

/// Everything a milter counts.
#[derive(Debug)]
pub struct Tally {
    /// Messages of our own senders.
    pub judged: AtomicU64,
    /// Messages that passed because they are not ours to judge.
    pub inbound: AtomicU64,
    /// Messages with the null sender.
    pub null_sender: AtomicU64,
    /// Held messages on their way out, which are no new ones.
    pub released: AtomicU64,
    /// Recipients let through without evidence.
    pub clean: AtomicU64,
    /// Recipients with evidence.
    pub suspicious: AtomicU64,
    /// Answers forced by a fault of ours.
    pub faults: AtomicU64,
    /// How long answers to RCPT took.
    pub rcpt: Histogram,
    verdicts: [[[AtomicU64; MODES.len()]; ACTIONS.len()]; BANDS.len()],
    started_at: Timestamp,
    loaded: Mutex<Loaded>,
    reloads: AtomicU64,
    reloads_failed: AtomicU64,
    last_reload_failed: AtomicBool,
}

impl Tally {
    /// Begins to count at `now`.
    pub fn new(now: Timestamp) -> Tally {
        Tally {
            judged: AtomicU64::default(),
            inbound: AtomicU64::default(),
            null_sender: AtomicU64::default(),
            released: AtomicU64::default(),
            clean: AtomicU64::default(),
            suspicious: AtomicU64::default(),
            faults: AtomicU64::default(),
            rcpt: Histogram::default(),
            verdicts: Default::default(),
            started_at: now,
            loaded: Mutex::new(Loaded::at(now)),
            reloads: AtomicU64::default(),
            reloads_failed: AtomicU64::default(),
            last_reload_failed: AtomicBool::default(),
        }
    }

    /// Counts a recipient with evidence.
    pub fn count(&self, verdict: &Verdict) {
        self.suspicious.fetch_add(1, Ordering::Relaxed);
        let band = BANDS.iter().position(|(band, _)| *band == verdict.band);
        let done = match verdict.is_stricter() {
            true => verdict.action,
            false => verdict.intended,
        };
        let action = ACTIONS.iter().position(|action| *action == done);
        let mode = MODES.iter().position(|(mode, _)| *mode == verdict.mode);
        if let (Some(band), Some(action), Some(mode)) = (band, action, mode) {
            self.verdicts[band][action][mode].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes what it works with from the start.
    pub fn loaded(&self, loaded: Loaded) {
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = loaded;
    }

    /// Notes that a new configuration is in force.
    pub fn reloaded(&self, loaded: Loaded) {
        self.loaded(loaded);
        self.reloads.fetch_add(1, Ordering::Relaxed);
        self.last_reload_failed.store(false, Ordering::Relaxed);
    }

    /// Notes that a new configuration had mistakes, and the old one stays.
    pub fn not_reloaded(&self) {
        self.reloads_failed.fetch_add(1, Ordering::Relaxed);
        self.last_reload_failed.store(true, Ordering::Relaxed);
    }

    /// Returns the sums of this moment.
    pub fn figures(&self, now: Timestamp) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut recipients = vec![Recipients {
            verdict: "clean".to_owned(),
            action: Action::Accept.to_string(),
            mode: "enforce".to_owned(),
            count: read(&self.clean),
        }];
        for ((_, verdict), of_band) in BANDS.iter().zip(&self.verdicts).skip(1) {
            for (action, of_action) in ACTIONS.iter().zip(of_band) {
                for ((_, mode), count) in MODES.iter().zip(of_action) {
                    recipients.push(Recipients {
                        verdict: (*verdict).to_owned(),
                        action: action.to_string(),
                        mode: (*mode).to_owned(),
                        count: read(count),
                    });
                }
            }
        }
        Figures {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: self.started_at,
            written_at: now,
            judged: read(&self.judged),
            inbound: read(&self.inbound),
            null_sender: read(&self.null_sender),
            released: read(&self.released),
            recipients,
            faults: read(&self.faults),
            rcpt: self.rcpt.read(),
            loaded: (self.loaded.lock())
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            reloads: read(&self.reloads),
            reloads_failed: read(&self.reloads_failed),
            last_reload_fine: !self.last_reload_failed.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let at = "2026-11-25T12:00:00Z".parse().unwrap();
        let tally = Tally::new(at);
        tally.loaded(Loaded {
            trusted: 3,
            ..Loaded::at(at)
        });
        tally
    }

    #[test]
    fn a_verdict_is_counted_by_what_the_rules_ask_for_and_whether_it_was_done() {
        let tally = tally();
        let verdict = |mode| Verdict {
            action: Action::Accept,
            intended: Action::Hold,
            mode,
            band: Band::Suspect,
            rule: "default".to_owned(),
            approval: None,
            on_error: crate::policy::OnError::Tempfail,
        };
        tally.count(&verdict(Mode::Observe));
        tally.count(&verdict(Mode::Observe));
        tally.count(&verdict(Mode::Enforce));
        let figures = tally.figures("2026-11-25T12:00:00Z".parse().unwrap());
        let counted: Vec<_> = (figures.recipients.iter())
            .filter(|recipients| recipients.count > 0)
            .map(|r| (&*r.verdict, &*r.action, &*r.mode, r.count))
            .collect();
        assert_eq!(
            counted,
            [
                ("suspect", "hold", "enforce", 1),
                ("suspect", "hold", "observe", 2)
            ]
        );
        assert_eq!(figures.recipients.len(), 1 + 3 * 6 * 2);
    }

    #[test]
    fn a_reload_that_failed_shows_until_one_succeeds() {
        let tally = tally();
        let later = "2026-11-25T13:00:00Z".parse().unwrap();
        tally.not_reloaded();
        let figures = tally.figures(later);
        assert_eq!(
            (
                figures.reloads,
                figures.reloads_failed,
                figures.last_reload_fine
            ),
            (0, 1, false)
        );
        assert_eq!(figures.loaded.trusted, 3);
        tally.reloaded(Loaded {
            trusted: 4,
            ..Loaded::at(later)
        });
        let figures = tally.figures(later);
        assert_eq!(
            (
                figures.reloads,
                figures.reloads_failed,
                figures.last_reload_fine
            ),
            (1, 1, true)
        );
        assert_eq!((figures.loaded.trusted, figures.loaded.at), (4, later));
    }
}
