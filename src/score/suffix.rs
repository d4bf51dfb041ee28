//! Right name, wrong ending: `army.ml` for the trusted `army.mil`.
//!
//! This mistake sent US military mail to Mali for ten years. Edit distance alone ranks
//! `army.ml` no worse than `arm.mil`, so endings get rules of their own.

use super::Reason;
use super::distance::Keyboard;
use super::weights as w;
use super::words::{closed_registry, second_level};

/// How one ending was mistaken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slip {
    pub reason: Reason,
    /// Points when the label in front is the same and long.
    pub points: i32,
    /// Whether the ending is near enough that a typo in the label may come on top.
    pub near: bool,
}

/// Returns what it means that `typed` stands where `meant` should. Both are public suffixes in
/// A-labels and differ; `listed` says whether mail to `typed` can be delivered at all.
pub(super) fn slip(typed: &str, listed: bool, meant: &str, keyboard: Keyboard) -> Option<Slip> {
    let far = |reason, points| {
        Some(Slip {
            reason,
            points,
            near: false,
        })
    };
    // Two edits are the most that count; endings are short, so this is cheap.
    let distance = if typed.len().abs_diff(meant.len()) > 2 {
        3
    } else {
        strsim::osa_distance(typed, meant)
    };
    if !listed {
        let points = match distance {
            1 => w::SUFFIX_DEAD_ONE,
            2 => w::SUFFIX_DEAD_TWO,
            _ => w::SUFFIX_DEAD_FAR,
        };
        return Some(Slip {
            reason: Reason::DeadEnding,
            points,
            near: distance <= 2,
        });
    }
    let (typed_second, typed_top) = typed.rsplit_once('.').unwrap_or(("", typed));
    let (meant_second, meant_top) = meant.rsplit_once('.').unwrap_or(("", meant));
    let country = |top: &str| top.len() == 2 || top.starts_with("xn--");
    let same_kind =
        |a: &str, b: &str| second_level(a).is_some() && second_level(a) == second_level(b);
    if typed_top == meant_top {
        // The same country, another second level.
        return match (typed_second, meant_second) {
            ("", _) => far(Reason::SecondLevelDropped, w::SECOND_LEVEL_DROPPED),
            (_, "") => far(Reason::SecondLevelAdded, w::SECOND_LEVEL_ADDED),
            (t, m) if same_kind(t, m) => far(Reason::WrongSecondLevel, w::SECOND_LEVEL_SAME_KIND),
            // One letter missing is a slip; another letter is another state.
            (t, m)
                if is_place(t)
                    && is_place(m)
                    && (distance != 1 || t.len() == m.len() && t.len() <= 3) =>
            {
                far(Reason::WrongSecondLevel, w::SECOND_LEVEL_PLACE)
            }
            _ if distance == 1 => Some(Slip {
                reason: Reason::EndingTypo,
                points: w::SECOND_LEVEL_TYPO,
                near: true,
            }),
            _ if closed_registry(typed).is_some() && closed_registry(meant).is_some() => {
                far(Reason::WrongSecondLevel, w::SECOND_LEVEL_CLOSED)
            }
            _ if closed_registry(meant).is_some() => {
                far(Reason::WrongSecondLevel, w::SECOND_LEVEL_LEFT)
            }
            _ => far(Reason::WrongSecondLevel, w::SECOND_LEVEL_OTHER),
        };
    }
    if typed_second == meant_second && country(typed_top) && country(meant_top) {
        // Another country: nearly every two letters are one, so only what fingers do counts.
        let (t, m) = (typed_top.as_bytes(), meant_top.as_bytes());
        let swapped = t.len() == 2 && t.first() == m.last() && t.last() == m.first();
        let beside = t.len() == 2
            && m.len() == 2
            && t.iter()
                .zip(m)
                .all(|(t, m)| t == m || keyboard.touch(*t, *m))
            && distance == 1;
        // Companies register their name where they sell; institutions do not.
        let large = w::LARGE_COUNTRIES.contains(&typed_top) && closed_registry(typed).is_none();
        let points = match (swapped, beside, distance, large) {
            (true, _, _, false) => w::COUNTRY_SWAPPED,
            (true, _, _, true) => w::LARGE_COUNTRY_SWAPPED,
            (_, true, _, false) => w::COUNTRY_NEIGHBOUR,
            (_, true, _, true) => w::LARGE_COUNTRY_NEIGHBOUR,
            (_, _, 1, false) => w::COUNTRY_ONE,
            (_, _, 1, true) => w::LARGE_COUNTRY_ONE,
            _ => w::COUNTRY_OTHER,
        };
        return far(Reason::OtherCountry, points);
    }
    if !meant_second.is_empty() && typed_second == meant_second && typed_top == "com" {
        return far(Reason::OtherEnding, w::COUNTRY_TO_COM);
    }
    if distance == 1 {
        if w::COMMON_ENDINGS.contains(&typed) {
            // Nobody types `.com` by accident for `.co`.
            return far(Reason::OtherEnding, w::SUFFIX_TO_COMMON);
        }
        let deleted = typed.len() < meant.len();
        return Some(Slip {
            reason: Reason::EndingTypo,
            points: if deleted {
                w::SUFFIX_LIVE_DELETED
            } else {
                w::SUFFIX_LIVE_ONE
            },
            near: true,
        });
    }
    // `cba.com` for `cba.com.au`: the country was left out.
    if !meant_second.is_empty() && !typed.contains('.') && country(meant_top) {
        if same_kind(typed, meant_second) {
            return far(Reason::CountryDropped, w::COUNTRY_DROPPED);
        }
        return far(Reason::OtherEnding, w::COUNTRY_OTHER);
    }
    // `gmail.com.br` for `gmail.com`.
    if !typed_second.is_empty() && !meant.contains('.') && same_kind(typed_second, meant) {
        return far(Reason::CountryAdded, w::COUNTRY_ADDED);
    }
    if typed.contains('.') || meant.contains('.') {
        return far(Reason::OtherEnding, w::COUNTRY_OTHER);
    }
    if closed_registry(typed).is_some() && closed_registry(meant).is_some() {
        // `alaska.gov` and `alaska.edu`: strangers can have neither.
        return far(Reason::OtherEnding, w::SECOND_LEVEL_CLOSED);
    }
    match (country(typed), country(meant)) {
        (false, false) => far(
            Reason::OtherEnding,
            match (w::COMMON_ENDINGS.contains(&typed), authority(meant)) {
                (true, true) => w::GENERIC_FROM_CLOSED,
                (true, false) => w::GENERIC_COMMON,
                (false, _) => w::GENERIC_RARE,
            },
        ),
        (true, false) => far(
            Reason::OtherEnding,
            if typed == "us" && authority(meant) {
                w::GENERIC_FROM_CLOSED
            } else if w::GENERIC_COUNTRIES.contains(&typed) {
                w::GENERIC_RARE
            } else {
                w::COUNTRY_OTHER
            },
        ),
        (false, true) => far(
            Reason::OtherEnding,
            if w::COMMON_ENDINGS.contains(&typed) {
                w::COUNTRY_TO_GENERIC
            } else {
                w::COUNTRY_OTHER
            },
        ),
        (true, true) => far(Reason::OtherCountry, w::COUNTRY_OTHER),
    }
}

/// Returns whether a second level stands for a place: for none of the kinds of organisations.
/// `ca` of `ca.us`, `milano` of `milano.it`, `vic.gov` of `vic.gov.au`.
fn is_place(second: &str) -> bool {
    let (first, rest) = second.split_once('.').unwrap_or((second, ""));
    second_level(first).is_none()
        && closed_registry(first).is_none()
        && (rest.is_empty() || closed_registry(rest).is_some())
}

/// Endings of authorities of the USA, which elsewhere are second levels.
pub(super) fn authority(ending: &str) -> bool {
    matches!(ending, "gov" | "mil")
}

/// Points for a whole registry of another country, `gov.ni` for the trusted `gov.in`, when the
/// name in front is unknown. `exists` says whether names are registered there at all.
pub(super) fn other_registry(typed: &str, meant: &str, exists: bool, keyboard: Keyboard) -> i32 {
    let (typed_second, typed_top) = typed.rsplit_once('.').unwrap_or(("", typed));
    let (meant_second, meant_top) = meant.rsplit_once('.').unwrap_or(("", meant));
    if typed_second != meant_second {
        return w::TAIL_REGISTRY;
    }
    let large = exists && w::LARGE_COUNTRIES.contains(&typed_top);
    match (typed_top.as_bytes(), meant_top.as_bytes()) {
        ([a, b], [c, d]) if a == d && b == c => w::TAIL_REGISTRY_SWAPPED,
        _ if large => w::TAIL_REGISTRY,
        ([a, b], [c, d]) if a == c && keyboard.touch(*b, *d) => w::TAIL_REGISTRY_NEIGHBOUR,
        ([a, b], [c, d]) if b == d && keyboard.touch(*a, *c) => w::TAIL_REGISTRY_NEIGHBOUR,
        _ => w::TAIL_REGISTRY,
    }
}
