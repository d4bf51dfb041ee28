//! What one configuration would have changed against another, over the same log.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::maillog::Delivery;

use super::report::Counts;
use super::{Fate, Report, Scan};

/// Most changes that are told one by one; some 200 bytes each. The others are counted.
const MOST: usize = 50_000;

/// Two replays of the same log, recipient by recipient.
#[derive(Debug, Default)]
pub struct Comparison {
    /// By sender, recipient and what became of it before and after.
    changes: BTreeMap<(String, String, Fate, Fate), u64>,
    shifts: BTreeMap<(Fate, Fate), u64>,
    untold: u64,
}

/// What the newer configuration would have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Counts under the older configuration.
    pub before: Counts,
    /// Counts under the newer one.
    pub after: Counts,
    /// How many recipients changed from what to what.
    pub shifts: Vec<Shift>,
    /// Who wrote whom, most recipients first: those kept back anew, those no longer kept back,
    /// then the others.
    pub changes: Vec<Change>,
    /// Recipients whose change is counted and not among these.
    pub untold: u64,
}

/// Recipients that two configurations treat differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shift {
    /// What became of them under the older configuration.
    pub before: Fate,
    /// And under the newer.
    pub after: Fate,
    /// How many.
    pub recipients: u64,
}

/// A sender-recipient pair that two configurations treat differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// In comparable form.
    pub sender: String,
    /// In comparable form.
    pub recipient: String,
    /// What became of it and how often.
    #[serde(flatten)]
    pub shift: Shift,
}

/// What a change means to the people who write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// What went out would be kept back.
    KeptBack,
    /// What was kept back would go out.
    LetGo,
    /// What was held would be rejected, or the reverse.
    OtherKeeping,
    /// It went out and would go out: noted, tagged or observed, or no longer.
    OtherPassing,
}

impl Turn {
    /// Every one, in the order in which they are told.
    pub const ALL: [Turn; 4] = [
        Turn::KeptBack,
        Turn::LetGo,
        Turn::OtherKeeping,
        Turn::OtherPassing,
    ];

    /// Returns how a table of such changes is headed.
    pub fn title(self) -> &'static str {
        match self {
            Turn::KeptBack => "Newly kept back",
            Turn::LetGo => "No longer kept back",
            Turn::OtherKeeping => "Kept back in another way",
            Turn::OtherPassing => "Delivered in another way",
        }
    }
}

impl Shift {
    /// Returns what it means to the people who write.
    pub fn turn(&self) -> Turn {
        match (self.before.is_kept_back(), self.after.is_kept_back()) {
            (false, true) => Turn::KeptBack,
            (true, false) => Turn::LetGo,
            (true, true) => Turn::OtherKeeping,
            (false, false) => Turn::OtherPassing,
        }
    }
}

impl Comparison {
    /// Notes what two replays made of `delivery`, the last one that each took into account.
    pub fn delivery(&mut self, delivery: &Delivery<'_>, before: &Scan, after: &Scan) {
        let (from, to) = (before.fate(), after.fate());
        if from == to {
            return;
        }
        *self.shifts.entry((from, to)).or_default() += 1;
        let (sender, recipient) = after.names(delivery);
        let change = (sender.to_owned(), recipient, from, to);
        if self.changes.len() < MOST || self.changes.contains_key(&change) {
            *self.changes.entry(change).or_default() += 1;
        } else {
            self.untold += 1;
        }
    }

    /// Ends the comparison of what `before` and `after` report.
    pub fn finish(self, before: &Report, after: &Report) -> Difference {
        let shift = |(before, after), recipients| Shift {
            before,
            after,
            recipients,
        };
        let mut changes: Vec<Change> = (self.changes.into_iter())
            .map(|((sender, recipient, before, after), mails)| Change {
                sender,
                recipient,
                shift: shift((before, after), mails),
            })
            .collect();
        changes.sort_by_key(|change| {
            let shift = change.shift;
            (shift.turn(), std::cmp::Reverse(shift.recipients))
        });
        let mut shifts: Vec<Shift> = (self.shifts.into_iter())
            .map(|(fates, recipients)| shift(fates, recipients))
            .collect();
        shifts.sort_by_key(|shift| (shift.turn(), std::cmp::Reverse(shift.recipients)));
        Difference {
            before: before.counts.clone(),
            after: after.counts.clone(),
            shifts,
            changes,
            untold: self.untold,
        }
    }
}

impl Difference {
    /// Returns the changes of a kind, and how many recipients they are, untold ones included.
    pub fn of(&self, turn: Turn) -> (Vec<&Change>, u64) {
        let changes = (self.changes.iter()).filter(|change| change.shift.turn() == turn);
        let shifts = (self.shifts.iter()).filter(|shift| shift.turn() == turn);
        (
            changes.collect(),
            shifts.map(|shift| shift.recipients).sum(),
        )
    }
}
