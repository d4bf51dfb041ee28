//! One or two slips of the fingers within a label, and how likely they are.

use super::Reason;
use super::distance::{At, Keyboard, Step, only_step, steps, within};
use super::name::Name;
use super::target::Target;
use super::terms::Terms;
use super::weights as w;
use super::words;

/// Returns whether the label is at most `limit` edits, 1 or 2, from that of the target; an equal
/// one is.
pub(super) fn near(typed: &str, target: &Target, limit: usize) -> bool {
    let meant = target.label();
    typed.len().abs_diff(meant.len()) <= limit
        && letters(typed.as_bytes()).bits_apart(target.letters) <= 2 * limit as u32
        && within(typed.as_bytes(), meant.as_bytes(), limit)
}

/// Returns whether a label, whose letters are `letters`, is near enough to that of the target for an
/// edit to count.
pub(super) fn close(label: &[u8], letters: Letters, target: &Target) -> bool {
    let length = target.label_length();
    let limit = edit_limit(length, target.largest);
    label.len().abs_diff(length) <= limit
        && letters.bits_apart(target.letters) <= 2 * limit as u32
        && within(label, target.label().as_bytes(), limit)
}

/// Which letters a label has: a cheap proof that two labels are far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Letters(pub u64);

/// Returns the set of bytes of a label, folded into 64 bits.
pub(super) fn letters(label: &[u8]) -> Letters {
    Letters(label.iter().fold(0, |set, byte| set | 1 << (byte & 63)))
}

impl Letters {
    /// One edit changes at most two members of the set.
    pub(super) fn bits_apart(self, other: Letters) -> u32 {
        (self.0 ^ other.0).count_ones()
    }
}

/// How many edits are looked at for a target, which may be one of the largest providers.
pub(super) fn edit_limit(meant_len: usize, largest: bool) -> usize {
    if meant_len >= w::TWO_EDITS_FROM || (largest && meant_len >= w::TWO_EDITS_LARGEST_FROM) {
        2
    } else {
        1
    }
}

/// One or two slips within the label.
pub(super) fn label_slip(
    typed: &Name<'_>,
    label: &str,
    target: &Target,
    keyboard: Keyboard,
) -> Option<Terms> {
    let meant = target.label();
    let length = meant.len();
    let limit = edit_limit(length, target.largest);
    if label == meant || label.len().abs_diff(length) > limit {
        return None;
    }
    let (only, table);
    let found: &[At] = match only_step(label.as_bytes(), meant.as_bytes(), keyboard) {
        Some(step) => {
            only = step;
            std::slice::from_ref(&only)
        }
        None if near(label, target, limit) => {
            table = steps(label.as_bytes(), meant.as_bytes(), keyboard);
            &table
        }
        None => return None,
    };
    let mut terms = Terms::none();
    match found {
        [only] => {
            let reason = match only.step {
                Step::Missing { letter: b'-', .. } | Step::Extra { letter: b'-', .. } => {
                    let points = w::HYPHEN.min(w::one_edit(length) + 12);
                    return Some(Terms::of(Reason::Hyphen, points));
                }
                Step::Missing { .. } => Reason::MissingLetter,
                Step::Extra { .. } => Reason::ExtraLetter,
                Step::Replaced { .. } => Reason::ReplacedLetter,
                Step::Swapped { .. } => Reason::SwappedLetters,
            };
            let length = weight_length(meant, only.index);
            terms.push(reason, w::one_edit(length));
            if length >= w::PLURAL_FROM && plural(*only, length) {
                terms.push(Reason::Plural, w::PLURAL);
            } else if length <= w::TELLING_UP_TO && telling(only.step) {
                terms.push(Reason::TellingSlip, w::TELLING);
            }
            closed(target, reason, length, label.len(), &mut terms);
        }
        // `rbb-online` and `rp-online`: two edits make another word of a short one.
        [first, second]
            if weight_length(meant, first.index) < length
                && weight_length(meant, second.index) < length =>
        {
            return None;
        }
        [_, _] => {
            let points = if length < w::TWO_EDITS_FROM {
                w::TWO_EDITS_LARGEST
            } else {
                w::two_edits(length)
            };
            terms.push(Reason::TwoEdits, points);
        }
        _ => return None,
    }
    unlikely(found, &mut terms);
    if found.iter().any(|at| changes_number(at.step)) {
        terms.push(Reason::Number, w::NUMBER);
    }
    let (typed_label, meant_label) = (label.as_bytes(), meant.as_bytes());
    if matches!(target.suffix(), "gov" | "us")
        && (other_state(typed_label, meant_label) || other_state_in_front(typed_label, meant_label))
    {
        terms.push(Reason::StateCode, w::STATE_CODE);
    }
    if target.frequent && length >= w::FREQUENT_FROM {
        terms.push(Reason::FrequentTarget, w::FREQUENT);
    }
    // Where both are written so, the letters of another alphabet are no disguise.
    if typed.look.foreign && !target.look.foreign {
        terms.push(Reason::Homoglyph, w::FREQUENT);
    }
    Some(terms)
}

/// An edit of a short label says less where every acronym is an institution.
pub(super) fn closed(
    target: &Target,
    reason: Reason,
    length: usize,
    typed: usize,
    terms: &mut Terms,
) {
    if length > w::CLOSED_REGISTRY_UP_TO {
        return;
    }
    if let Some(registry) = words::closed_registry(target.suffix()) {
        let points = w::closed_registry(registry, target.suffix(), reason, typed);
        if points != 0 {
            terms.push(Reason::ClosedRegistry, points);
        }
    }
}

/// Takes points away for slips that fingers rarely make.
pub(super) fn unlikely(found: &[At], terms: &mut Terms) {
    let cost: i32 = match found {
        [
            At {
                index: 0,
                step: Step::Missing { .. },
            },
        ] => w::MISSING + w::FIRST_LETTER_ALONE,
        [
            At {
                index: 0,
                step: Step::Extra { doubled: true, .. },
            },
        ] => w::DOUBLED + w::FIRST_LETTER_ALONE,
        _ => found.iter().map(|at| cost(*at)).sum(),
    };
    let free = w::FREE_COST * found.len() as i32;
    if cost > free {
        terms.push(Reason::UnlikelySlip, -(cost - free) * w::COST_POINTS / 100);
    }
}

fn cost(at: At) -> i32 {
    let digit = |byte: u8| byte.is_ascii_digit();
    let cost = match at.step {
        Step::Swapped { .. } => return w::SWAPPED,
        Step::Missing { doubled: true, .. } | Step::Extra { doubled: true, .. } => w::DOUBLED,
        Step::Missing { .. } => w::MISSING,
        Step::Extra { letter, .. } if digit(letter) => w::DIGIT_FOR_LETTER,
        Step::Extra {
            neighbour: true, ..
        } => w::NEIGHBOUR,
        Step::Extra { .. } => w::EXTRA,
        Step::Replaced { typed, meant, .. } if digit(typed) && digit(meant) => w::DIGIT_FOR_DIGIT,
        Step::Replaced {
            neighbour: true, ..
        } => w::NEIGHBOUR,
        Step::Replaced { typed, meant, .. } if digit(typed) || digit(meant) => w::DIGIT_FOR_LETTER,
        Step::Replaced { .. } => w::REPLACED,
    };
    cost + if at.index == 0 { w::FIRST_LETTER } else { 0 }
}

/// Returns the length that decides the weight of an edit at `index`: that of the label, or of its
/// hyphenated word if that is short.
fn weight_length(meant: &str, index: usize) -> usize {
    let bytes = meant.as_bytes();
    if !bytes.contains(&b'-') {
        return meant.len();
    }
    let before = bytes
        .iter()
        .take(index)
        .rev()
        .take_while(|b| **b != b'-')
        .count();
    let after = bytes.iter().skip(index).take_while(|b| **b != b'-').count();
    let word = before + after;
    if word < meant.len() && word <= w::SHORT_WORD {
        word + 1
    } else {
        meant.len()
    }
}

/// Slips of which a name has few: any other name is unlikely to be that very one.
fn telling(step: Step) -> bool {
    matches!(
        step,
        Step::Swapped { .. }
            | Step::Missing { doubled: true, .. }
            | Step::Extra { doubled: true, .. }
            | Step::Extra {
                neighbour: true,
                ..
            }
    )
}

fn plural(at: At, meant_len: usize) -> bool {
    match at.step {
        Step::Missing { letter: b's', .. } => at.index + 1 == meant_len,
        Step::Extra { letter: b's', .. } => at.index == meant_len,
        _ => false,
    }
}

fn changes_number(step: Step) -> bool {
    let digits = |a: u8, b: u8| a.is_ascii_digit() && b.is_ascii_digit();
    match step {
        Step::Replaced { typed, meant, .. } => digits(typed, meant),
        Step::Swapped { first, second } => digits(first, second),
        _ => false,
    }
}

/// Returns whether two labels differ only in the state code at their end.
fn other_state(a: &[u8], b: &[u8]) -> bool {
    let stem = |label: &[u8]| {
        let (stem, code) = label.split_at_checked(label.len().checked_sub(2)?)?;
        words::is_state(code).then(|| stem.to_vec())
    };
    match (stem(a), stem(b)) {
        (Some(x), Some(y)) => x == y || x == b || y == a,
        (Some(x), None) => x == b,
        (None, Some(y)) => y == a,
        (None, None) => false,
    }
}

/// Returns whether two labels differ only in the state code, or `us`, at their front:
/// `uscourts` and `utcourts`.
fn other_state_in_front(a: &[u8], b: &[u8]) -> bool {
    let parts = |label: &[u8]| {
        let (code, rest) = label.split_at_checked(2)?;
        (words::is_state(code) || code == b"us").then(|| rest.to_vec())
    };
    matches!((parts(a), parts(b)), (Some(x), Some(y)) if x == y && x.len() >= w::STATE_NAME)
}
