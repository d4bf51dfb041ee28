//! The figures of a report by calendar day.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::policy::Action;

/// Most days that are told apart: ten years. Times beyond come from broken clocks.
const MOST_DAYS: usize = 3660;

/// One calendar day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Day {
    /// In the site's zone.
    pub date: Date,
    /// Recipients judged.
    pub recipients: u64,
    /// Recipients that would have been held, or their message.
    pub held: u64,
    /// Recipients that would have been rejected.
    pub rejected: u64,
    /// Recipients worth a note only.
    pub noted: u64,
    /// Deliveries to doubtful domains.
    pub leaked: u64,
}

/// The days of a log.
#[derive(Debug)]
pub(super) struct Days {
    zone: TimeZone,
    days: BTreeMap<Date, Day>,
    /// The day of the last time: its first second, and its date.
    last: Option<(i64, i64, Date)>,
}

impl Days {
    pub(super) fn new(zone: TimeZone) -> Days {
        Days {
            zone,
            days: BTreeMap::new(),
            last: None,
        }
    }

    pub(super) fn judged(&mut self, time: i64) {
        self.add(time, |day| day.recipients += 1);
    }

    pub(super) fn flagged(&mut self, time: i64, action: Action) {
        self.add(time, |day| match action {
            Action::Hold | Action::HoldMessage => day.held += 1,
            Action::Reject => day.rejected += 1,
            Action::Accept | Action::Tag | Action::Tempfail => day.noted += 1,
        });
    }

    /// Counts deliveries to a doubtful domain.
    pub(super) fn leaked(&mut self, date: Date, count: u64) {
        self.add_on(date, |day| day.leaked += count);
    }

    /// Returns the day of a time; `None` beyond the year 9999.
    pub(super) fn date(&mut self, time: i64) -> Option<Date> {
        if let Some((from, to, date)) = self.last
            && (from..to).contains(&time)
        {
            return Some(date);
        }
        let zoned = Timestamp::from_second(time)
            .ok()?
            .to_zoned(self.zone.clone());
        let date = zoned.date();
        let bounds = zoned.start_of_day().ok().and_then(|start| {
            Some((
                start.timestamp().as_second(),
                start.tomorrow().ok()?.timestamp().as_second(),
            ))
        });
        if let Some((from, to)) = bounds {
            self.last = Some((from, to, date));
        }
        Some(date)
    }

    /// Returns the days from the first to the last, those without mail included.
    pub(super) fn all(self) -> Vec<Day> {
        let (Some(first), Some(last)) = (self.days.keys().next(), self.days.keys().next_back())
        else {
            return Vec::new();
        };
        let span = (*first).series(jiff::ToSpan::days(1));
        (span.take_while(|date| date <= last))
            .take(MOST_DAYS)
            .map(|date| self.days.get(&date).cloned().unwrap_or(Day::new(date)))
            .collect()
    }

    fn add(&mut self, time: i64, add: impl FnOnce(&mut Day)) {
        if let Some(date) = self.date(time) {
            self.add_on(date, add);
        }
    }

    fn add_on(&mut self, date: Date, add: impl FnOnce(&mut Day)) {
        if self.days.len() >= MOST_DAYS && !self.days.contains_key(&date) {
            return;
        }
        add(self.days.entry(date).or_insert_with(|| Day::new(date)));
    }
}

impl Day {
    fn new(date: Date) -> Day {
        Day {
            date,
            recipients: 0,
            held: 0,
            rejected: 0,
            noted: 0,
            leaked: 0,
        }
    }
}
