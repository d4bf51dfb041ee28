//! What speaks for one hypothesis, in points.

use super::Reason;

/// Most terms of one hypothesis: 8 of the rules, 10 of what is known beside the names, the limit.
const MOST_TERMS: usize = 20;

/// The terms of one hypothesis; the score is their sum. Kept in place: most hypotheses are dropped
/// at once, and an allocation would cost more than the comparison.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    terms: [(Reason, i32); MOST_TERMS],
    count: usize,
}

impl Terms {
    /// Begins with the reason that the hypothesis rests on.
    pub(super) fn of(reason: Reason, points: i32) -> Terms {
        Terms {
            terms: [(reason, points); MOST_TERMS],
            count: 1,
        }
    }

    pub(super) fn none() -> Terms {
        Terms {
            count: 0,
            ..Terms::of(Reason::Limit, 0)
        }
    }

    /// Adds a term.
    pub(super) fn push(&mut self, reason: Reason, points: i32) {
        if let Some(free) = self.terms.get_mut(self.count) {
            *free = (reason, points);
            self.count += 1;
        }
    }

    pub(super) fn and(mut self, reason: Reason, points: i32) -> Terms {
        self.push(reason, points);
        self
    }
}

impl std::ops::Deref for Terms {
    type Target = [(Reason, i32)];

    fn deref(&self) -> &[(Reason, i32)] {
        self.terms.get(..self.count).unwrap_or_default()
    }
}

/// The sum of terms before it is limited to 0 to 100.
pub(super) fn sum(terms: &[(Reason, i32)]) -> i32 {
    terms.iter().map(|(_, points)| points).sum()
}
