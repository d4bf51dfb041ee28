//! The time in front of a log line, in every form that syslog daemons write.
//!
//! Understood: `Nov 25 00:37:51` (RFC 3164, also with a fraction or a year), RFC 3339 as rsyslog
//! and `journalctl -o short-iso` write it, the header of RFC 5424, `journalctl -o short-full`
//! and `-o short-unix`. The classic form has no year: it is inferred from a reference, the time
//! the file was last written, and a step from December to January begins the next year.
//!
//! Lines come in order, nearly always, so the hour is converted once and kept.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// How far beyond the reference a classic time may lie before it is taken for last year's.
const SLACK_DAYS: i64 = 1;

/// Reads the times of one log after the other.
#[derive(Debug)]
pub(super) struct Clock {
    zone: TimeZone,
    reference: Date,
    /// Year and month of the last classic time.
    classic: Option<(i16, i8)>,
    /// `Nov 25 00` and the second its hour began.
    classic_hour: ([u8; 9], i64),
    /// `2026-11-25T00` and the second its hour began, as if in UTC.
    iso_hour: ([u8; 13], i64),
    /// The same hour in the local zone, for times without an offset.
    iso_local: i64,
}

/// A time and what comes behind it.
pub(crate) struct Stamped<'l> {
    /// Seconds since 1970-01-01T00:00Z.
    pub(crate) time: i64,
    /// The rest of the line, behind one space.
    pub(crate) rest: &'l [u8],
    /// Whether the rest is laid out by RFC 5424.
    pub(crate) rfc5424: bool,
}

impl Clock {
    /// Reads times without a zone as those of `zone`, and classic ones as not later than a day
    /// after `reference`.
    pub(super) fn new(zone: TimeZone, reference: Timestamp) -> Clock {
        Clock {
            reference: date(reference, &zone),
            zone,
            classic: None,
            classic_hour: ([0; 9], 0),
            iso_hour: ([0; 13], 0),
            iso_local: 0,
        }
    }

    /// Begins another log, last written at `reference`.
    pub(super) fn begin(&mut self, reference: Timestamp) {
        self.reference = date(reference, &self.zone);
        self.classic = None;
        self.classic_hour.0 = [0; 9];
    }

    /// Returns the time in front of `line`, or `None` when there is none.
    #[inline]
    pub(crate) fn read<'l>(&mut self, line: &'l [u8]) -> Option<Stamped<'l>> {
        match line.first()? {
            b'<' => {
                // Priority, at most 191 (RFC 5424, 6.2.1).
                let end = line.iter().take(5).position(|byte| *byte == b'>')?;
                let rest = line.get(end + 1..)?;
                match rest.strip_prefix(b"1 ") {
                    Some(rest) => {
                        let stamped = self.iso(rest)?;
                        Some(Stamped {
                            rfc5424: true,
                            ..stamped
                        })
                    }
                    None => self.plain(rest),
                }
            }
            _ => self.plain(line),
        }
    }

    #[inline]
    fn plain<'l>(&mut self, line: &'l [u8]) -> Option<Stamped<'l>> {
        match line.first()? {
            b'0'..=b'9' if line.get(4) == Some(&b'-') => self.iso(line),
            b'0'..=b'9' => unix(line),
            b'A'..=b'Z'
                if line.get(4).is_some_and(u8::is_ascii_digit) && is_iso(line.get(4..)?) =>
            {
                self.weekday(line)
            }
            b'A'..=b'Z' => self.classic(line),
            _ => None,
        }
    }

    /// `Nov 25 00:37:51 `, `Nov 25 00:37:51.123456 ` or `Nov 25 2026 00:37:51 `.
    #[inline]
    fn classic<'l>(&mut self, line: &'l [u8]) -> Option<Stamped<'l>> {
        let hour: &[u8; 9] = line.first_chunk()?;
        if line.get(9) != Some(&b':') {
            return self.classic_with_year(line);
        }
        let (within, rest) = minutes_and_seconds(line.get(9..)?)?;
        if *hour != self.classic_hour.0 {
            let start = self.classic_start(hour)?;
            self.classic_hour = (*hour, start);
        }
        Some(Stamped {
            time: self.classic_hour.1 + within,
            rest: rest.strip_prefix(b" ")?,
            rfc5424: false,
        })
    }

    fn classic_with_year<'l>(&mut self, line: &'l [u8]) -> Option<Stamped<'l>> {
        let month = month(line.first_chunk()?)?;
        let day = two(line.get(4..6)?)?;
        let rest = line.get(6..)?.strip_prefix(b" ")?;
        let year = i16::try_from(digits(rest.get(..4)?)?).ok()?;
        let rest = rest.get(4..)?.strip_prefix(b" ")?;
        let hour = two(rest.get(..2)?)?;
        let (within, rest) = minutes_and_seconds(rest.get(2..)?)?;
        Some(Stamped {
            time: self.local(year, month, day, hour)? + within,
            rest: rest.strip_prefix(b" ")?,
            rfc5424: false,
        })
    }

    /// Returns when the hour `Nov 25 00` began.
    fn classic_start(&mut self, text: &[u8; 9]) -> Option<i64> {
        let month = month(text.first_chunk()?)?;
        if text.get(3) != Some(&b' ') || text.get(6) != Some(&b' ') {
            return None;
        }
        let day = two(text.get(4..6)?)?;
        let hour = two(text.get(7..9)?)?;
        let year = match self.classic {
            None => self.latest_year(month, day)?,
            Some((year, last)) if last - month > 6 => year + 1,
            // A line of last year that was written late does not turn the year back.
            Some((year, last)) if month - last > 6 => year - 1,
            Some((year, _)) => year,
        };
        // 29 February in a year without one: the next earlier leap year.
        let year = (0..8)
            .map(|back| year - back)
            .find(|year| Date::new(*year, month, i8::try_from(day).unwrap_or(0)).is_ok())?;
        if self.classic.is_none_or(|last| (year, month) > last) {
            self.classic = Some((year, month));
        }
        self.local(year, month, day, hour)
    }

    /// Returns the latest year in which this day is not after the reference.
    fn latest_year(&self, month: i8, day: i64) -> Option<i16> {
        let day = i8::try_from(day).ok()?;
        let last = self.reference.checked_add(SLACK_DAYS.days()).ok()?;
        let year = last.year();
        Some(if (month, day) <= (last.month(), last.day()) {
            year
        } else {
            year - 1
        })
    }

    /// `2026-11-25T00:37:51.123+01:00 `, also with a space for the `T` and without an offset.
    #[inline]
    fn iso<'l>(&mut self, line: &'l [u8]) -> Option<Stamped<'l>> {
        let hour: &[u8; 13] = line.first_chunk()?;
        if *hour != self.iso_hour.0 {
            if !is_iso(line) {
                return None;
            }
            let year = i16::try_from(digits(hour.get(..4)?)?).ok()?;
            let month = i8::try_from(two(hour.get(5..7)?)?).ok()?;
            let day = two(hour.get(8..10)?)?;
            let hours = two(hour.get(11..13)?)?;
            let utc = start(&TimeZone::UTC, year, month, day, hours)?;
            self.iso_local = self.local(year, month, day, hours)?;
            self.iso_hour = (*hour, utc);
        }
        let (within, rest) = minutes_and_seconds(line.get(13..)?)?;
        let (start, rest) = match rest.first()? {
            b'Z' => (self.iso_hour.1, rest.get(1..)?),
            sign @ (b'+' | b'-') => {
                let hours = two(rest.get(1..3)?)?;
                let tail = rest.get(3..)?;
                let tail = tail.strip_prefix(b":").unwrap_or(tail);
                let (minutes, rest) = match tail.get(..2).and_then(two) {
                    Some(minutes) => (minutes, tail.get(2..)?),
                    None => (0, tail),
                };
                let offset = hours * 3600 + minutes * 60;
                let offset = if *sign == b'-' { -offset } else { offset };
                (self.iso_hour.1 - offset, rest)
            }
            _ => (self.iso_local, rest),
        };
        Some(Stamped {
            time: start + within,
            rest: rest.strip_prefix(b" ")?,
            rfc5424: false,
        })
    }

    /// `Wed 2026-11-25 00:37:51 UTC ` of `journalctl -o short-full`.
    fn weekday<'l>(&mut self, line: &'l [u8]) -> Option<Stamped<'l>> {
        let stamped = self.iso(line.get(4..)?)?;
        // The zone is a word; those of the site's own zone and UTC are what journalctl writes.
        let end = memchr::memchr(b' ', stamped.rest)?;
        let (zone, rest) = stamped.rest.split_at_checked(end)?;
        let shift = if zone == b"UTC" {
            self.iso_hour.1 - self.iso_local
        } else {
            0
        };
        Some(Stamped {
            time: stamped.time + shift,
            rest: rest.get(1..)?,
            rfc5424: false,
        })
    }

    fn local(&self, year: i16, month: i8, day: i64, hour: i64) -> Option<i64> {
        start(&self.zone, year, month, day, hour)
    }
}

/// Returns the second at which an hour begins in `zone`; `None` for a date or hour that is none.
fn start(zone: &TimeZone, year: i16, month: i8, day: i64, hour: i64) -> Option<i64> {
    let date = Date::new(year, month, i8::try_from(day).ok()?).ok()?;
    // `Date::at` panics at 24.
    let hour = i8::try_from(hour).ok().filter(|hour| *hour < 24)?;
    let zoned = date.at(hour, 0, 0, 0).to_zoned(zone.clone()).ok()?;
    Some(zoned.timestamp().as_second())
}

fn date(time: Timestamp, zone: &TimeZone) -> Date {
    time.to_zoned(zone.clone()).date()
}

fn is_iso(line: &[u8]) -> bool {
    matches!(line, [_, _, _, _, b'-', _, _, b'-', _, _, b'T' | b' ', ..])
}

/// `1790000000.123456 ` of `journalctl -o short-unix`.
fn unix(line: &[u8]) -> Option<Stamped<'_>> {
    let (whole, rest) = line.split_at_checked(10)?;
    Some(Stamped {
        time: i64::from(digits(whole)?),
        rest: fraction(rest).strip_prefix(b" ")?,
        rfc5424: false,
    })
}

/// `:37:51` with or without a fraction: the seconds, and what follows.
#[inline]
fn minutes_and_seconds(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b':', m1, m2, b':', s1, s2, rest @ ..] = text else {
        return None;
    };
    let minutes = two(&[*m1, *m2])?;
    let seconds = two(&[*s1, *s2])?;
    // 60 is a leap second.
    if minutes > 59 || seconds > 60 {
        return None;
    }
    Some((minutes * 60 + seconds, fraction(rest)))
}

#[inline]
fn fraction(text: &[u8]) -> &[u8] {
    let Some(rest) = text.strip_prefix(b".").or_else(|| text.strip_prefix(b",")) else {
        return text;
    };
    let end = rest.iter().position(|byte| !byte.is_ascii_digit());
    rest.get(end.unwrap_or(rest.len())..).unwrap_or_default()
}

/// Two digits, the first of which may be a space.
#[inline]
fn two(text: &[u8]) -> Option<i64> {
    match *text {
        [b' ', units @ b'0'..=b'9'] => Some(i64::from(units - b'0')),
        [tens @ b'0'..=b'9', units @ b'0'..=b'9'] => {
            Some(i64::from(tens - b'0') * 10 + i64::from(units - b'0'))
        }
        _ => None,
    }
}

/// At most ten digits.
fn digits(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn month(text: &[u8; 3]) -> Option<i8> {
    Some(match text {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(zone: &str) -> Clock {
        let reference = "2026-01-05T12:00:00Z".parse().unwrap();
        Clock::new(TimeZone::get(zone).unwrap(), reference)
    }

    fn read(clock: &mut Clock, line: &str) -> Option<(String, String)> {
        let stamped = clock.read(line.as_bytes())?;
        let time = Timestamp::from_second(stamped.time).unwrap().to_string();
        Some((time, String::from_utf8(stamped.rest.to_vec()).unwrap()))
    }

    #[test]
    fn every_form_gives_the_same_moment() {
        for line in [
            "Jan  5 00:37:51 mx x",
            "Jan 05 00:37:51.123456 mx x",
            "Jan  5 2026 00:37:51 mx x",
            "<22>Jan  5 00:37:51 mx x",
            "2026-01-05T00:37:51Z mx x",
            "2026-01-05T01:37:51.123456+01:00 mx x",
            "2026-01-04T19:37:51-0500 mx x",
            "2026-01-05 00:37:51 mx x",
            "<22>1 2026-01-05T00:37:51.003Z mx x",
            "Mon 2026-01-05 00:37:51 UTC mx x",
            "1767573471.003 mx x",
        ] {
            let expected = ("2026-01-05T00:37:51Z".to_owned(), "mx x".to_owned());
            assert_eq!(read(&mut clock("UTC"), line), Some(expected), "{line}");
        }
    }

    #[test]
    fn times_without_a_zone_are_those_of_the_site() {
        let mut clock = clock("Europe/Berlin");
        for (line, time) in [
            ("Jul  5 02:00:00 mx", "2025-07-05T00:00:00Z"),
            ("2025-07-05 02:00:00 mx", "2025-07-05T00:00:00Z"),
            ("Sat 2025-07-05 02:00:00 CEST mx", "2025-07-05T00:00:00Z"),
            ("Sat 2025-07-05 00:00:00 UTC mx", "2025-07-05T00:00:00Z"),
        ] {
            assert_eq!(read(&mut clock, line).unwrap().0, time, "{line}");
        }
    }

    #[test]
    fn new_year_is_crossed_once_and_late_lines_do_not_turn_it_back() {
        let mut clock = clock("UTC");
        let mut year = |line| read(&mut clock, line).unwrap().0;
        assert_eq!(year("Dec 31 23:59:59 mx"), "2025-12-31T23:59:59Z");
        assert_eq!(year("Jan  1 00:00:00 mx"), "2026-01-01T00:00:00Z");
        assert_eq!(year("Dec 31 23:59:59 mx"), "2025-12-31T23:59:59Z");
        assert_eq!(year("Jan  1 00:00:01 mx"), "2026-01-01T00:00:01Z");
        clock.begin("2025-03-01T00:00:00Z".parse().unwrap());
        assert_eq!(
            read(&mut clock, "Jan  1 00:00:01 mx").unwrap().0,
            "2025-01-01T00:00:01Z"
        );
        clock.begin("2025-03-01T00:00:00Z".parse().unwrap());
        assert_eq!(
            read(&mut clock, "Feb 29 00:00:01 mx").unwrap().0,
            "2024-02-29T00:00:01Z"
        );
    }

    #[test]
    fn a_leap_second_is_a_time() {
        let read = read(&mut clock("UTC"), "Dec 31 23:59:60 mx");
        assert_eq!(read.unwrap().0, "2026-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for line in [
            "",
            "x",
            "Nov",
            "Nov 25",
            "Nov 25 00:37:5",
            "Nov 31 00:37:51 mx",
            "Nov 25 00:37:51",
            "Nov 25 30:00:00 mx",
            "2026-13-01T00:00:00Z mx",
            "2026-11-25T24:00:00Z mx",
            "2026-11-25 30:00:00 mx",
            "<22>1 2026-11-25T30:00:00.1+01:00 mx",
            "Wed 2026-11-25 30:00:00 CET mx",
            "Nov 25 2026 24:00:00 mx",
            "Nov 25 10:99:99 mx",
            "Nov 25 10:60:00 mx",
            "Nov 25 10:00:61 mx",
            "2026-11-25T10:60:00Z mx",
            "<22>1 2026-11-25T10:00:61Z mx",
            "Nov 25 2026 10:99:00 mx",
            "<22",
            "<>",
            "<22>1 ",
            "\u{0}\u{1}",
            "99999999999 mx",
        ] {
            assert_eq!(read(&mut clock("UTC"), line), None, "{line}");
        }
    }
}
