//! What earlier mail with a domain is worth.
//!
//! A typo that many make goes out on many days, from many people; so does a wrong address in
//! somebody's book. What they do not get is answers. So a neighbour that the site really works
//! with is told by days with mail in both directions:
//!
//! | days, decayed | answers | this sender | counts as |
//! |---|---|---|---|
//! | fewer than `days` | any | | nothing |
//! | `days` or more | on fewer than `answers` days | | nothing; listed for the admin |
//! | `days` or more | enough | wrote there | that many mails |
//! | `days` or more | enough, and [`EVERYBODY`] or more wrote | never wrote there | that many mails |
//! | `days` or more | enough, and fewer wrote | never wrote there | [`NEWCOMER`] mails |

use serde::Serialize;

use super::settings::LearningSettings;
use crate::store::{Contact, Correspondents, Day};

/// So many senders make a domain known to everybody at the site.
pub const EVERYBODY: u32 = 5;

/// What the site's history is worth to a sender who never wrote there: the scorer's two mails,
/// with which a strong likeness is still asked about once.
pub(super) const NEWCOMER: u32 = 2;

/// What earlier mail with one domain comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct History {
    /// Mails to it.
    pub mails: u64,
    /// Different days with mail to it, at most [`crate::store::MOST_DAYS`].
    pub days: usize,
    /// What these are worth today.
    pub worth: u32,
    /// Senders, counted up to [`EVERYBODY`].
    pub senders: u32,
    /// Whether the sender asked about is one of them.
    pub wrote_before: bool,
    /// What the days with answers are worth today.
    pub answers: u32,
    /// First and last day.
    pub first_on: Option<Day>,
    /// Last day.
    pub last_on: Option<Day>,
}

/// Why history does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotYet {
    /// Too few different days.
    FewDays,
    /// Too few days with answers.
    FewAnswers,
}

impl NotYet {
    /// Returns the reason in words.
    pub fn words(self) -> &'static str {
        match self {
            NotYet::FewDays => "too few days",
            NotYet::FewAnswers => "too few answers: perhaps a typo that many make",
        }
    }
}

impl History {
    /// Returns what is known of a contact.
    pub fn of(
        contact: &Contact,
        who: Correspondents,
        today: Day,
        settings: &LearningSettings,
    ) -> History {
        History {
            mails: contact.mails,
            days: contact.days.count(),
            worth: contact.days.worth(today, settings.half_life),
            senders: who.senders,
            wrote_before: who.among_them,
            answers: contact.answers.worth(today, settings.half_life),
            first_on: Some(contact.first_on),
            last_on: Some(contact.last_on),
        }
    }

    /// Returns whether the site works with the domain, or why it is not believed.
    ///
    /// # Errors
    /// The reason why history does not count.
    pub fn established(&self, settings: &LearningSettings) -> Result<(), NotYet> {
        if self.worth < settings.days.max(1) {
            Err(NotYet::FewDays)
        } else if self.answers < settings.answers {
            Err(NotYet::FewAnswers)
        } else {
            Ok(())
        }
    }

    /// Returns how many earlier mails the scorer is told of, and how many answers.
    pub fn counts(&self, settings: &LearningSettings) -> (u32, u32) {
        if self.established(settings).is_err() {
            return (0, 0);
        }
        let mails = match self.wrote_before || self.senders >= EVERYBODY {
            true => self.worth,
            false => self.worth.min(NEWCOMER),
        };
        (mails, self.answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(worth: u32, senders: u32, answers: u32, wrote_before: bool) -> History {
        History {
            worth,
            senders,
            answers,
            wrote_before,
            ..History::default()
        }
    }

    #[test]
    fn history_counts_by_days_people_and_answers() {
        let settings = LearningSettings::default();
        for (worth, senders, answers, wrote_before, expected) in [
            (0, 0, 0, false, (0, 0)),
            (2, 5, 2, true, (0, 0)),
            (16, 5, 0, true, (0, 0)),
            (16, 5, 1, true, (0, 0)),
            (3, 1, 2, true, (3, 2)),
            (9, 2, 2, false, (NEWCOMER, 2)),
            (9, EVERYBODY, 3, false, (9, 3)),
        ] {
            let history = history(worth, senders, answers, wrote_before);
            assert_eq!(history.counts(&settings), expected, "{history:?}");
        }
    }
}
