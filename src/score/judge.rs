//! How much one name resembles one trusted name: the rules, and which of them speaks loudest.
//!
//! [`judge`] looks at one pair only. Whoever finds the pairs, the index or a scan over
//! everything, the verdict is the same.

use super::Reason;
use super::distance::{At, Keyboard, Step, only_step, steps, within};
use super::index::{MOST_STARTS, MOST_TOKENS};
use super::name::{Name, Reading, folded};
use super::skeleton::{Likeness, likeness};
use super::suffix::{authority, other_registry, slip};
use super::target::{Target, TargetKind};
use super::weights as w;
use super::words;

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
    fn of(reason: Reason, points: i32) -> Terms {
        Terms {
            terms: [(reason, points); MOST_TERMS],
            count: 1,
        }
    }

    fn none() -> Terms {
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

    fn and(mut self, reason: Reason, points: i32) -> Terms {
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

/// Keeps the loudest hypothesis; the first one among equals.
struct Loudest(Option<Terms>);

impl Loudest {
    fn hear(&mut self, terms: Option<Terms>) {
        let Some(terms) = terms else { return };
        if self.0.as_ref().is_none_or(|best| sum(&terms) > sum(best)) {
            self.0 = Some(terms);
        }
    }
}

/// Returns what speaks for `typed` being a mistyped `target`, which does not cover it; `None`
/// when nothing does.
pub(super) fn judge(typed: &Name<'_>, target: &Target, keyboard: Keyboard) -> Option<Terms> {
    let mut loudest = Loudest(None);
    loudest.hear(whole_label(typed, &typed.reading(), target, keyboard));
    if let Some(second) = typed.second_reading() {
        loudest.hear(whole_label(typed, &second, target, keyboard));
    }
    loudest.hear(dots(typed, target));
    loudest.hear(host_glued(typed, target));
    loudest.hear(embedded(typed, target));
    loudest.hear(label_and_word(typed, target));
    if loudest.0.is_none() {
        loudest.hear(label_inside(typed, target));
    }
    let terms = loudest.0?;
    (sum(&terms) > 0).then_some(terms)
}

/// The labels are equal, look equal, or differ by few slips.
fn whole_label(
    typed: &Name<'_>,
    reading: &Reading<'_>,
    target: &Target,
    keyboard: Keyboard,
) -> Option<Terms> {
    let (label, meant) = (reading.label, target.label());
    if label.is_empty() || !below_fits(reading.below, target.below()) {
        return None;
    }
    let look = typed.look;
    let disguised = look.foreign || look.accent || target.look.foreign || target.look.accent;
    let same_suffix = reading.suffix == target.suffix();
    // With another ending a look-alike counts only when it is one of another alphabet.
    let likeness = if label == meant || !(same_suffix || disguised) {
        None
    } else {
        likeness(label.as_bytes(), meant.as_bytes())
    };
    let alike = label == meant || likeness.is_some();
    if same_suffix {
        if disguised && alike {
            let points = if label == meant {
                w::SKELETON
            } else {
                w::SKELETON_FOLDED
            };
            return Some(Terms::of(disguise(typed, target), points));
        }
        let by_look = likeness.map(|how| {
            let points = match how {
                Likeness::Contrived => w::ASCII_CONTRIVED,
                Likeness::Letters => w::ascii_letters(meant.len()),
            };
            let mut terms = Terms::of(Reason::AsciiLookalike, points);
            if how == Likeness::Letters {
                closed(
                    target,
                    Reason::ReplacedLetter,
                    meant.len(),
                    label.len(),
                    &mut terms,
                );
            }
            terms
        });
        let by_slip = label_slip(typed, label, target, keyboard);
        return match (by_look, by_slip) {
            // The likeness stays told: it decides what may speak against the suspicion.
            (Some(look), Some(slip)) if sum(&slip) > sum(&look) => {
                Some(slip.and(Reason::AsciiLookalike, 0))
            }
            (Some(look), _) => Some(look),
            (None, slip) => slip,
        };
    }
    // A typo in the label besides one in the ending counts for few labels.
    let limit = if target.frequent {
        edit_limit(meant.len(), true)
    } else {
        1
    };
    let long_enough = meant.len() >= 5 || (target.frequent && meant.len() >= 4);
    if label != meant && !(disguised && alike) && !(long_enough && near(label, target, limit)) {
        return None;
    }
    let slip = slip(reading.suffix, reading.listed, target.suffix(), keyboard)?;
    let foreign = look.foreign || target.look.foreign;
    if foreign && alike {
        return disguised_ending(typed, reading, &slip, target);
    }
    // An accent alone is how the same word is written where people speak so: `zürich.ch` is the city,
    // whatever `zurich.com` is.
    if alike && (label == meant || disguised) {
        return Some(ending_only(reading, &slip, target));
    }
    // Only where the ending is clearly a typo.
    if !slip.near {
        return None;
    }
    let mut terms = Terms::of(slip.reason, slip.points).and(Reason::AlsoLabel, w::ALSO_LABEL);
    let found = steps(label.as_bytes(), meant.as_bytes(), keyboard);
    unlikely(&found, &mut terms);
    if found.len() > 1 {
        terms.push(Reason::TwoEdits, w::ALSO_LABEL);
    }
    Some(terms)
}

/// Letters of another alphabet that look like the label, with another ending.
fn disguised_ending(
    typed: &Name<'_>,
    reading: &Reading<'_>,
    slip: &super::suffix::Slip,
    target: &Target,
) -> Option<Terms> {
    let reason = disguise(typed, target);
    // A whole word of another alphabet under an ending of its own is a word.
    if reason == Reason::WholeScript && reading.suffix.contains("xn--") {
        return None;
    }
    let points = slip.points.min(w::ALSO_LABEL.abs());
    let mut terms =
        Terms::of(reason, w::SKELETON_FOLDED + w::ALSO_LABEL).and(slip.reason, points / 2);
    let length = i32::try_from(target.label().len()).unwrap_or(i32::MAX);
    let all = sum(&terms);
    let points = all * (length + 1).min(6) / 6 - all;
    if points != 0 {
        terms.push(Reason::ShortLabel, points);
    }
    Some(terms)
}

/// The right label with another ending.
fn ending_only(reading: &Reading<'_>, slip: &super::suffix::Slip, target: &Target) -> Terms {
    let length = i32::try_from(target.label().len()).unwrap_or(i32::MAX);
    let mut terms = Terms::of(slip.reason, slip.points);
    // A host below a known name is typed by those who know it: `jagcnet.army.gr`.
    let deep = target.kind == TargetKind::Known && !reading.below.is_empty();
    let by_registry = matches!(
        slip.reason,
        Reason::SecondLevelDropped | Reason::WrongSecondLevel | Reason::CountryDropped
    );
    // Every short label exists under every ending; a slip of one letter says a little more.
    let finger = match slip.reason {
        Reason::EndingTypo | Reason::DeadEnding => true,
        Reason::OtherCountry => slip.points >= w::COUNTRY_NEIGHBOUR,
        // Hardly anybody else is called what four letters of an authority stand for.
        Reason::OtherEnding => slip.points == w::GENERIC_FROM_CLOSED && length >= 4,
        _ => false,
    };
    if reading.listed && !deep && !by_registry {
        let room = if finger { 2 } else { 1 };
        let points = slip.points * (length + room).min(6) / 6 - slip.points;
        if points != 0 {
            terms.push(Reason::ShortLabel, points);
        }
    }
    // Who has the name in another closed registry is another institution: `kent.ac.uk` beside
    // `kent.gov.uk`, `justice.gov.il` beside `justice.gov`. The authorities of the USA are one.
    let institution = !deep
        && matches!(
            slip.reason,
            Reason::OtherEnding
                | Reason::CountryAdded
                | Reason::CountryDropped
                | Reason::WrongSecondLevel
        )
        && words::closed_registry(reading.suffix).is_some()
        && !(authority(reading.suffix) && authority(target.suffix()));
    match target.kind {
        TargetKind::Known if slip.points <= w::COUNTRY_OTHER || institution => {}
        TargetKind::Known => {
            let points = match slip.reason {
                Reason::EndingTypo => w::KNOWN_NAME_TYPO,
                _ => w::KNOWN_NAME,
            };
            terms.push(Reason::KnownName, points);
        }
        TargetKind::Own => terms.push(Reason::OwnDomain, w::OWN_DOMAIN),
        TargetKind::Entry => {}
    }
    // Who has a mailbox there writes `.com`: the provider has no other ending.
    let weak = sum(&terms) < w::GENERIC_RARE;
    if target.one_ending && weak && target.label().len() >= w::FREQUENT_FROM {
        terms.push(Reason::FrequentTarget, w::FREQUENT_ENDING);
    }
    terms
}

fn disguise(typed: &Name<'_>, target: &Target) -> Reason {
    let foreign = typed.look.foreign || target.look.foreign;
    match (foreign, typed.look.latin) {
        (false, _) => Reason::Accent,
        (true, false) if typed.look.foreign => Reason::WholeScript,
        (true, _) => Reason::Homoglyph,
    }
}

/// Returns whether a target deeper than a registrable domain (`chn.dell.com`) has its lower
/// labels in the typed name.
fn below_fits(typed: &str, meant: &str) -> bool {
    match typed.strip_suffix(meant) {
        Some(rest) => meant.is_empty() || rest.is_empty() || rest.ends_with('.'),
        None => false,
    }
}

/// Returns whether the label is at most `limit` edits, 1 or 2, from that of the target; an equal
/// one is.
fn near(typed: &str, target: &Target, limit: usize) -> bool {
    let meant = target.label();
    typed.len().abs_diff(meant.len()) <= limit
        && letters(typed.as_bytes()).bits_apart(target.letters) <= 2 * limit as u32
        && within(typed.as_bytes(), meant.as_bytes(), limit)
}

/// Returns whether a label, whose letters are `letters`, is near enough to that of the target for an
/// edit to count.
pub(super) fn close(label: &[u8], letters: Letters, target: &Target) -> bool {
    let length = target.label_length();
    let limit = edit_limit(length, target.frequent);
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

/// How many edits are looked at for this target.
pub(super) fn edit_limit(meant_len: usize, frequent: bool) -> usize {
    if meant_len >= w::TWO_EDITS_FROM || (frequent && meant_len >= w::TWO_EDITS_FREQUENT_FROM) {
        2
    } else {
        1
    }
}

/// One or two slips within the label.
fn label_slip(typed: &Name<'_>, label: &str, target: &Target, keyboard: Keyboard) -> Option<Terms> {
    let meant = target.label();
    let length = meant.len();
    let limit = edit_limit(length, target.frequent);
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
                w::TWO_EDITS_FREQUENT
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
    if typed.look.foreign {
        terms.push(Reason::Homoglyph, w::FREQUENT);
    }
    Some(terms)
}

/// An edit of a short label says less where every acronym is an institution.
fn closed(target: &Target, reason: Reason, length: usize, typed: usize, terms: &mut Terms) {
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
fn unlikely(found: &[At], terms: &mut Terms) {
    let cost: i32 = match found {
        [
            At {
                index: 0,
                step: Step::Missing { .. },
            },
        ] => w::MISSING + w::FIRST_LETTER_MISSING,
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

/// The same characters with dots or hyphens elsewhere.
fn dots(typed: &Name<'_>, target: &Target) -> Option<Terms> {
    let meant = target.text();
    // Names that end in different letters are the usual case.
    if !ends_alike(&typed.text, meant) {
        return None;
    }
    let tail = typed
        .tails()
        .find(|tail| *tail != meant && folded(tail).eq(folded(meant)))?;
    let without_hyphens = |text: &str| text.bytes().filter(|b| *b != b'-').collect::<Vec<_>>();
    let length = target.label().len();
    if without_hyphens(tail) == without_hyphens(meant) {
        let points = w::HYPHEN.min(w::one_edit(length) + 12);
        return Some(Terms::of(Reason::Hyphen, points));
    }
    // Two letters and a suffix fold to too many words.
    let points = if folded(meant).count() >= 5 {
        w::DOTS
    } else {
        60
    };
    Some(Terms::of(Reason::Dots, points))
}

/// Returns whether the bytes of `meant` without dots and hyphens are the last of `typed`'s.
fn ends_alike(typed: &str, meant: &str) -> bool {
    let separator = |byte: &u8| *byte == b'.' || *byte == b'-';
    let mut typed = typed.bytes().rev().filter(|byte| !separator(byte));
    let mut meant = meant.bytes().rev().filter(|byte| !separator(byte));
    meant.all(|byte| typed.next() == Some(byte))
}

/// `wwwexample.com`, `mail-example.com`: the dot after a host name was lost.
fn host_glued(typed: &Name<'_>, target: &Target) -> Option<Terms> {
    let reading = typed.reading();
    if reading.suffix != target.suffix() || !target.below().is_empty() {
        return None;
    }
    let label = target.label();
    let front = reading.label.strip_suffix(label)?;
    let (host, hyphen) = match front.strip_suffix('-') {
        Some(host) => (host, true),
        None => (front, false),
    };
    let is_host = words::HOSTS.contains(&host) || hyphen && words::HOSTS_BY_HYPHEN.contains(&host);
    if !is_host {
        return None;
    }
    let points = match (hyphen || host.len() > 2, label.len()) {
        (_, 0..=1) => return None,
        (true, 2) => 60,
        (false, 2) => return None,
        (false, 3) => 56,
        (false, 4) => 66,
        _ => w::HOST_GLUED,
    };
    Some(Terms::of(Reason::HostGlued, points))
}

/// The whole trusted name stands inside of another domain.
fn embedded(typed: &Name<'_>, target: &Target) -> Option<Terms> {
    let (text, meant) = (typed.text.as_bytes(), target.text().as_bytes());
    if meant.len() < 5 || meant.len() >= text.len() {
        return None;
    }
    let reading = typed.reading();
    let label_end = typed.label_start() + reading.label.len();
    let separator = |byte: u8| byte == b'.' || byte == b'-';
    let same = |t: &u8, m: &u8| t == m || (separator(*t) && separator(*m));
    // Most of a name must be there before its place matters.
    if !inside(text, meant) || target.text().split(['.', '-']).count() > MOST_TOKENS {
        return None;
    }
    let mut loudest = None;
    let mut starts = 0;
    for start in 0..text.len() - meant.len() {
        if start > 0 && separator(text[start - 1]) {
            starts += 1;
            if starts >= MOST_STARTS {
                break;
            }
        }
        let end = start + meant.len();
        let bounded = (start == 0 || separator(text[start - 1])) && separator(text[end]);
        if !bounded || !text[start..end].iter().zip(meant).all(|(t, m)| same(t, m)) {
            continue;
        }
        if start < typed.label_start() {
            return Some(Terms::of(Reason::EmbeddedDomain, w::EMBEDDED_DOMAIN));
        }
        if end < label_end {
            loudest = Some(Terms::of(Reason::EmbeddedDomain, w::EMBEDDED_HYPHENS));
        }
    }
    loudest
}

/// Returns whether `meant` may stand between separators inside of `text`: its first label does.
fn inside(text: &[u8], meant: &[u8]) -> bool {
    let Some(end) = meant.iter().position(|b| *b == b'.' || *b == b'-') else {
        return true;
    };
    let (Some(head), Some(first)) = (meant.get(..end), meant.first()) else {
        return true;
    };
    text.iter().enumerate().any(|(at, byte)| {
        byte == first
            && (at == 0 || matches!(text.get(at - 1), Some(b'.' | b'-')))
            && text.get(at..at + end) == Some(head)
    })
}

/// The trusted label and a word that makes it look official: `secure-example.org`.
fn label_and_word(typed: &Name<'_>, target: &Target) -> Option<Terms> {
    let reading = typed.reading();
    let (label, meant) = (reading.label, target.label());
    if !target.below().is_empty() || meant.len() < 3 || label.len() <= meant.len() {
        return None;
    }
    let (rest, at_end) = match (label.strip_prefix(meant), label.strip_suffix(meant)) {
        (Some(rest), _) => (rest, true),
        (None, Some(rest)) => (rest, false),
        (None, None) => return None,
    };
    let bare = if at_end {
        rest.strip_prefix('-')
    } else {
        rest.strip_suffix('-')
    };
    let hyphen = bare.is_some();
    let word = bare.unwrap_or(rest);
    let known = target.kind == TargetKind::Known;
    if words::closed_registry(reading.suffix).is_some() {
        return None;
    }
    let generic = w::COMMON_ENDINGS.contains(&reading.suffix)
        || !reading.suffix.contains('.') && reading.suffix.len() > 2;
    // A known name is a word too often; glued to one that asks for a password it is none.
    let glued = meant.len() >= 5 && (!known || words::DEMANDING.contains(&word));
    if !hyphen && !(glued && (generic || reading.suffix == target.suffix())) {
        return None;
    }
    let official = words::BUSINESS.contains(&word);
    let points = match (official, hyphen, meant.len()) {
        (false, true, 6..) if !known => w::LABEL_AND_OTHER,
        (false, _, _) => return None,
        (true, _, 7..) => w::LABEL_AND_WORD,
        (true, _, 3) => w::LABEL_AND_WORD_SHORTEST,
        (true, _, _) => w::LABEL_AND_WORD_SHORT,
    };
    Some(Terms::of(Reason::LabelAndWord, points))
}

/// The trusted label among the words of the name. Below every threshold: much of the world's
/// names are made of the same words; but a report that sorts by score shows these first.
fn label_inside(typed: &Name<'_>, target: &Target) -> Option<Terms> {
    let meant = target.label();
    if meant.len() < 5 || target.kind == TargetKind::Known {
        return None;
    }
    let label = typed.reading().label;
    let front = typed.text.get(..typed.label_end())?;
    let word = front
        .split(['.', '-'])
        .take(MOST_STARTS)
        .any(|word| word == meant);
    // Equal labels are a matter of endings, and judged there.
    let glued = label != meant && (label.starts_with(meant) || label.ends_with(meant));
    (word && label != meant || glued).then(|| Terms::of(Reason::LabelInside, w::LABEL_INSIDE))
}

/// What the end of a name has to do with a suffix that is trusted as a whole.
pub(super) struct SuffixFinding {
    pub terms: Terms,
    /// The name that may have been meant, `cia.gov` for `cia.gobv`; the suffix alone with its
    /// dot when the rest of the name says nothing.
    pub meant: String,
}

/// Returns what speaks for `typed` being meant as a name below the trusted `suffix`.
pub(super) fn judge_suffix(
    typed: &Name<'_>,
    suffix: &str,
    keyboard: Keyboard,
) -> Option<SuffixFinding> {
    let reading = typed.reading();
    let text: &str = &typed.text;
    let wanted = suffix.split('.').count();
    let found = |points, front: &str| {
        (!front.is_empty()).then(|| SuffixFinding {
            terms: Terms::of(Reason::TrustedEnding, points),
            meant: format!("{front}.{suffix}"),
        })
    };
    // The last labels, as many as the suffix has.
    let mut cut = text.len();
    for _ in 0..wanted {
        cut = text
            .get(..cut)
            .and_then(|front| front.rfind('.'))
            .unwrap_or(0);
    }
    if cut > 0
        && let (Some(front), Some(tail)) = (text.get(..cut), text.get(cut + 1..))
        && tail != suffix
        && tail.len().abs_diff(suffix.len()) <= 1
        && strsim::osa_distance(tail, suffix) == 1
    {
        return found(tail_points(&reading, tail, suffix, front, keyboard), front);
    }
    // The dot in front of the suffix, or inside of it, was lost or became a hyphen.
    let top = text.rsplit('.').next().unwrap_or_default();
    let joined: String = suffix.split('.').collect();
    if !reading.listed
        && let Some(rest) = top.strip_suffix(joined.as_str())
        && let Some(before) = text.strip_suffix(top)
        && joined.len() >= 3
    {
        let front = format!("{before}{}", rest.trim_end_matches('-'));
        return found(w::TAIL_DOT_LOST, front.trim_end_matches('.'));
    }
    if let Some((first, others)) = suffix.split_once('.')
        && reading.suffix == others
        && let Some(rest) = reading.label.strip_suffix(first)
    {
        let bare = rest.strip_suffix('-');
        let points = match (bare, rest.len()) {
            (_, 0) => return None,
            (Some(_), _) => w::HOST_GLUED,
            (None, 4..) => w::TAIL_DOT_LOST_LIVE,
            (None, 3) => w::TAIL_DOT_LOST_SHORT,
            (None, _) => w::LABEL_AND_OTHER,
        };
        let front = match reading.below {
            "" => bare.unwrap_or(rest).to_owned(),
            below => format!("{below}.{}", bare.unwrap_or(rest)),
        };
        return found(points, &front);
    }
    inner_suffix(typed, suffix)
}

/// Points for a tail one edit from a trusted suffix.
fn tail_points(
    reading: &Reading<'_>,
    tail: &str,
    suffix: &str,
    front: &str,
    keyboard: Keyboard,
) -> i32 {
    if !reading.listed {
        return w::TAIL_DEAD;
    }
    let tail_labels = tail.split('.').count();
    let psl_labels = reading.suffix.split('.').count();
    if tail_labels > 1 {
        // `edu.ua` is where Ukrainian universities are; `gv.br` is somebody's domain.
        let same_country = tail.rsplit('.').next() == suffix.rsplit('.').next();
        return if psl_labels < tail_labels && same_country {
            w::TAIL_SECOND_LEVEL
        } else {
            other_registry(tail, suffix, psl_labels >= tail_labels, keyboard)
        };
    }
    if psl_labels > 1 {
        return w::TAIL_REGISTRY; // `ac.il`
    }
    // `orange.ml` is somebody in Mali; `jagcnet.army.ml` is not, because few have hosts there.
    let host = front
        .split_once('.')
        .is_some_and(|(first, _)| !words::HOSTS.contains(&first));
    let brand = tail.len() >= 3 && suffix.len() >= 3 && !w::OPEN_ENDINGS.contains(&tail);
    match (host, brand) {
        (true, false) => w::TAIL_HOST,
        (true, true) => w::TAIL_HOST_BRAND,
        (false, true) => w::TAIL_PLAIN_BRAND,
        (false, false) => w::TAIL_PLAIN,
    }
}

/// `dla.mil-mxrelay.site`, `army-mil.example.cn`: the suffix stands inside of another domain.
fn inner_suffix(typed: &Name<'_>, suffix: &str) -> Option<SuffixFinding> {
    let reading = typed.reading();
    let (text, meant) = (typed.text.as_bytes(), suffix.as_bytes());
    let label_end = typed.label_start() + reading.label.len();
    if meant.len() < 3 || text.len() <= meant.len() + 2 {
        return None;
    }
    let separator = |byte: u8| byte == b'.' || byte == b'-';
    let same = |t: &u8, m: &u8| t == m || (separator(*t) && separator(*m));
    for start in 1..text.len() - meant.len() {
        let end = start + meant.len();
        if start > typed.label_start() || end >= label_end {
            break;
        }
        let bounded = separator(text[start - 1]) && separator(text[end]);
        if bounded && text[start..end].iter().zip(meant).all(|(t, m)| same(t, m)) {
            let front = typed.text.get(..start - 1).unwrap_or_default();
            return Some(SuffixFinding {
                terms: Terms::of(Reason::EmbeddedDomain, w::EMBEDDED_DOMAIN - 6),
                meant: if front.is_empty() {
                    format!(".{suffix}")
                } else {
                    format!("{front}.{suffix}")
                },
            });
        }
    }
    None
}
