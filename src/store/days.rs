//! The days on which mail went somewhere, as far as they are remembered.
//!
//! Learning counts days and not mails: a script that sends a hundred mails in a minute proves no
//! more than one mail does. A set of days can be added to in any order and as often as one
//! likes, so a log that is read twice, or together with live mail, changes nothing.

use std::time::Duration;

use jiff::Timestamp;

/// Seconds of a day; UTC has no others here.
const DAY_SECONDS: i64 = 86_400;

/// Most days remembered. The scorer tells three from more; the rest is for decay: a quarterly
/// contact of four years fits.
pub const MOST_DAYS: usize = 16;

/// A day, counted from 1970-01-01 UTC; good until 2149.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u16);

impl Day {
    /// Returns the day of `at`; before 1970 the first one, after 2149 the last one.
    pub fn of(at: Timestamp) -> Day {
        Day::of_second(at.as_second())
    }

    /// Returns the day of a second, counted from 1970-01-01T00:00Z.
    pub fn of_second(second: i64) -> Day {
        Day::numbered(second.div_euclid(DAY_SECONDS))
    }

    /// Returns the day of this number, as [`Day::number`] gave it.
    pub fn numbered(number: i64) -> Day {
        Day(u16::try_from(number.max(0)).unwrap_or(u16::MAX))
    }

    /// Returns the number of the day.
    pub fn number(self) -> i64 {
        i64::from(self.0)
    }

    /// Returns the day so many days earlier.
    pub fn before(self, days: u16) -> Day {
        Day(self.0.saturating_sub(days))
    }

    /// Returns midnight, at which the day begins.
    pub fn begin(self) -> Timestamp {
        // At most 65,535 days: always in range.
        Timestamp::from_second(self.number() * DAY_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Returns whole days from `earlier` to this one, 0 when it is later.
    pub fn since(self, earlier: Day) -> u16 {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let date = self.begin().strftime("%Y-%m-%d").to_string();
        f.pad(&date)
    }
}

impl serde::Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The last [`MOST_DAYS`] different days of something, oldest first, and its first day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Days {
    days: [u16; MOST_DAYS],
    count: u8,
    /// The first of all days added; means nothing while there are none.
    first: u16,
}

impl Days {
    /// Adds a day; one that is there already changes nothing.
    #[inline]
    pub fn add(&mut self, day: Day) {
        let last = (self.count().checked_sub(1)).and_then(|last| self.days.get(last));
        if last != Some(&day.0) {
            self.add_other(day);
        }
    }

    fn add_other(&mut self, day: Day) {
        self.first = match self.count {
            0 => day.0,
            _ => self.first.min(day.0),
        };
        let known = self.days.get(..self.count()).unwrap_or_default();
        // Mail comes in the order of time, so the last day is the usual place.
        let Some(place) = known.iter().rposition(|known| *known <= day.0) else {
            return self.insert(0, day.0);
        };
        if known.get(place) != Some(&day.0) {
            self.insert(place + 1, day.0);
        }
    }

    fn insert(&mut self, place: usize, day: u16) {
        if self.count() < MOST_DAYS {
            if let Some(tail) = self.days.get_mut(place..=usize::from(self.count)) {
                tail.rotate_right(1);
                self.count += 1;
                if let Some(first) = tail.first_mut() {
                    *first = day;
                }
            }
            return;
        }
        // Full: the oldest goes, which may be the new one.
        let Some(place) = place.checked_sub(1) else {
            return;
        };
        if let Some(front) = self.days.get_mut(..=place) {
            front.rotate_left(1);
            if let Some(last) = front.last_mut() {
                *last = day;
            }
        }
    }

    /// Adds every day of `other`.
    pub fn merge(&mut self, other: &Days) {
        // The first one, too: it may be before those that are remembered.
        for day in other.first().into_iter().chain(other.iter()) {
            self.add(day);
        }
    }

    /// Returns the days, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Day> {
        (self.days.iter().take(self.count())).map(|day| Day(*day))
    }

    /// Returns how many days are remembered.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Returns the first day that was added, also when it is no longer among those remembered.
    /// Stored octets do not tell it.
    pub fn first(&self) -> Option<Day> {
        (self.count > 0).then_some(Day(self.first))
    }

    /// Returns the last day.
    pub fn last(&self) -> Option<Day> {
        self.iter().last()
    }

    /// Returns how many days they are worth on `today`: each day counts half after every
    /// `half_life`, and the sum is rounded to the nearest whole number.
    pub fn worth(&self, today: Day, half_life: Duration) -> u32 {
        let half_life = half_life.as_secs_f64() / DAY_SECONDS as f64;
        let sum: f64 = (self.iter())
            .map(|day| (-f64::from(today.since(day)) / half_life.max(1.0)).exp2())
            .sum();
        // At most MOST_DAYS.
        sum.round() as u32
    }

    /// Returns the octets that are stored.
    pub fn octets(&self) -> Vec<u8> {
        self.iter().flat_map(|day| day.0.to_be_bytes()).collect()
    }

    /// Returns the days of stored octets; what does not read is left out.
    pub fn from_octets(octets: &[u8]) -> Days {
        let mut days = Days::default();
        for pair in octets.chunks_exact(2).take(MOST_DAYS) {
            if let [high, low] = pair {
                days.add(Day(u16::from_be_bytes([*high, *low])));
            }
        }
        days
    }
}

impl FromIterator<Day> for Days {
    fn from_iter<I: IntoIterator<Item = Day>>(all: I) -> Days {
        let mut days = Days::default();
        for day in all {
            days.add(day);
        }
        days
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(numbers: &[u16]) -> Days {
        numbers.iter().map(|number| Day(*number)).collect()
    }

    fn numbers(days: &Days) -> Vec<i64> {
        days.iter().map(Day::number).collect()
    }

    #[test]
    fn days_are_a_set_in_whatever_order_they_come() {
        let all = days(&[5, 3, 5, 9, 3, 1, 9]);
        assert_eq!(numbers(&all), [1, 3, 5, 9]);
        let mut twice = all;
        twice.merge(&all);
        assert_eq!(twice, all);
        assert_eq!(Days::from_octets(&all.octets()), all);
    }

    #[test]
    fn the_latest_days_are_kept() {
        let many: Vec<u16> = (100..140).rev().collect();
        let mut late = days(&many);
        assert_eq!(numbers(&late), (124..140).collect::<Vec<i64>>());
        assert_eq!(late.first(), Some(Day(100)));
        late.add(Day(3));
        assert_eq!(numbers(&late), (124..140).collect::<Vec<i64>>());
        late.add(Day(126));
        assert_eq!(late.count(), MOST_DAYS);
        late.add(Day(150));
        assert_eq!((late.first(), late.last()), (Some(Day(3)), Some(Day(150))));
        assert_eq!(late.iter().next(), Some(Day(125)));
        let mut all = days(&[200]);
        all.merge(&late);
        assert_eq!(all.first(), Some(Day(3)));
    }

    #[test]
    fn a_day_is_worth_half_after_each_half_life() {
        let half_life = Duration::from_secs(180 * 86_400);
        let three = days(&[1000, 1001, 1002]);
        assert_eq!(three.worth(Day(1002), half_life), 3);
        assert_eq!(three.worth(Day(1040), half_life), 3);
        assert_eq!(three.worth(Day(1060), half_life), 2);
        assert_eq!(three.worth(Day(1182), half_life), 1);
        assert_eq!(three.worth(Day(1500), half_life), 0);
        // A contact once a quarter stays one.
        let quarterly: Vec<u16> = (0..16).map(|quarter| 1000 + 91 * quarter).collect();
        assert_eq!(days(&quarterly).worth(Day(1000 + 91 * 15), half_life), 3);
    }

    #[test]
    fn a_day_has_a_date() {
        let day = Day::of("2026-11-25T23:59:59Z".parse().unwrap());
        assert_eq!(day.to_string(), "2026-11-25");
        assert_eq!(day.begin().to_string(), "2026-11-25T00:00:00Z");
        assert_eq!(Day::of(Timestamp::MIN).number(), 0);
    }
}
