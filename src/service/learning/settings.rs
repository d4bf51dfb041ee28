//! Settings of learning.

use std::time::Duration;

/// What is learned and when it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearningSettings {
    /// Whether mail that passes is counted. Default yes. What `straymail learn` read from logs
    /// counts either way.
    pub from_mail: bool,
    /// Whether all recipient domains are kept in plain. Default no: only those that are trusted
    /// anyway and those an admin has to look at.
    pub plain_names: bool,
    /// After this time a day counts half. Default 180 days: a partner written to once a quarter
    /// stays known.
    pub half_life: Duration,
    /// From so many days with mail on, history counts. Default 3: a typo repeated from the
    /// address book the next day is not yet a relationship.
    pub days: u32,
    /// From so many different days with answers on. Default 2: what is never answered may be a
    /// typo that many make, and one automatic reply is no conversation. 0 asks for none, where
    /// inbound mail is not seen.
    pub answers: u32,
    /// What was not written to for so long is forgotten. Default two years.
    pub keep_for: Duration,
}

impl Default for LearningSettings {
    fn default() -> Self {
        LearningSettings {
            from_mail: true,
            plain_names: false,
            half_life: Duration::from_secs(180 * 86_400),
            days: 3,
            answers: 2,
            keep_for: Duration::from_secs(730 * 86_400),
        }
    }
}
