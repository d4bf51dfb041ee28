//! What becomes of a recipient, as far as two configurations may differ about it.

use serde::Serialize;

use crate::policy::{Action, Mode, Verdict};

use super::keeps_back;

/// What becomes of a recipient, the least of it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is delivered without a word: nothing speaks against it, or the gate lets it pass.
    Passed,
    /// It is noted in the log and delivered.
    Noted,
    /// It is tagged and delivered.
    Tagged,
    /// It would be held or rejected, but its rule only observes.
    Observed,
    /// It is held, or its whole message.
    Held,
    /// It is rejected.
    Rejected,
}

impl Fate {
    /// Returns what becomes of a recipient whose verdict is not clean.
    pub(super) fn of(verdict: &Verdict) -> Fate {
        match (verdict.mode, verdict.intended) {
            (Mode::Observe, action) if keeps_back(action) => Fate::Observed,
            (Mode::Observe, _) | (_, Action::Accept | Action::Tempfail) => Fate::Noted,
            (Mode::Enforce, Action::Tag) => Fate::Tagged,
            (Mode::Enforce, Action::Hold | Action::HoldMessage) => Fate::Held,
            (Mode::Enforce, Action::Reject) => Fate::Rejected,
        }
    }

    /// Returns whether it does not go out at once.
    pub fn is_kept_back(self) -> bool {
        self >= Fate::Held
    }

    /// Returns the participle that a table shows.
    pub fn name(self) -> &'static str {
        match self {
            Fate::Passed => "passed",
            Fate::Noted => "noted",
            Fate::Tagged => "tagged",
            Fate::Observed => "observed",
            Fate::Held => "held",
            Fate::Rejected => "rejected",
        }
    }
}
