//! Figures as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Returns a number with a thin gap between thousands: `1 234 567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Returns a count with its noun: `1 leak`, `2 leaks`, `2 addresses`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let s = match number {
        1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {noun}{s}", grouped(number))
}

/// Returns a point in time to the minute in a zone: `2026-11-25 10:00`.
pub(super) fn minute(time: Timestamp, zone: &TimeZone) -> String {
    (time.to_zoned(zone.clone()))
        .strftime("%Y-%m-%d %H:%M")
        .to_string()
}

/// Returns the day of a point in time in a zone.
pub(super) fn day(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(counted(1, "mail"), "1 mail");
        assert_eq!(counted(1000, "mail"), "1 000 mails");
        assert_eq!(counted(2, "address"), "2 addresses");
    }
}
