//! How much one name resembles one trusted name: the rules, and which of them speaks loudest.
//!
//! [`judge`] looks at one pair only. Whoever finds the pairs, the index or a scan over
//! everything, the verdict is the same.

use super::Reason;
use super::distance::{Keyboard, steps};
use super::index::{MOST_STARTS, MOST_TOKENS};
use super::keys::SHORTEST_GLUED;
use super::label_slip::{closed, edit_limit, label_slip, near, unlikely};
use super::name::{Name, Reading, folded};
use super::skeleton::{Likeness, likeness};
use super::suffix::{authority, other_registry, slip};
use super::target::{Target, TargetKind};
use super::terms::{Terms, sum};
use super::weights as w;
use super::words;

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
    loudest.hear(ending_glued(typed, target));
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
                Likeness::Contrived => w::ascii_contrived(meant.len().min(label.len())),
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
    let limit = if target.largest {
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

/// `armymil.com`, `army-mil.us`: the dot in front of the ending was lost, and another ending added.
fn ending_glued(typed: &Name<'_>, target: &Target) -> Option<Terms> {
    let reading = typed.reading();
    let (label, meant) = (reading.label, target.text());
    // `ontarioca.gov`: strangers cannot have that.
    if words::closed_registry(reading.suffix).is_some() {
        return None;
    }
    let suffix = target.suffix();
    if label.ends_with(suffix.rsplit('.').next()?) && folded(label).eq(folded(meant)) {
        let front = label.strip_suffix(suffix);
        let hyphen = front.is_some_and(|front| front.ends_with('-'));
        let points = w::ending_glued(target.label().len(), suffix, hyphen)?;
        return Some(Terms::of(Reason::EmbeddedDomain, points));
    }
    // `leedsgov.com` for `leeds.gov.uk`: the country was dropped as well.
    let (second, _) = suffix.split_once('.')?;
    let front = label.strip_suffix(second)?;
    let is_name = front.strip_suffix('-').unwrap_or(front) == target.label();
    (is_name && front.len() >= SHORTEST_GLUED)
        .then(|| Terms::of(Reason::EmbeddedDomain, w::SECOND_LEVEL_GLUED))
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
    let found = |front: &str| SuffixFinding {
        terms: Terms::of(Reason::EmbeddedDomain, w::EMBEDDED_DOMAIN - 6),
        meant: format!("{front}.{suffix}"),
    };
    // `dla.mil.com`, `leeds.govuk.com`: the suffix is the registrable label, and who has that gets
    // all mail below it. In another country it is a registry.
    if !reading.below.is_empty()
        && reading.suffix.len() > 2
        && folded(reading.label).eq(folded(suffix))
    {
        return Some(found(reading.below));
    }
    let separator = |byte: u8| byte == b'.' || byte == b'-';
    let same = |t: &u8, m: &u8| t == m || (separator(*t) && separator(*m));
    for start in 1..text.len() - meant.len() {
        let end = start + meant.len();
        // It may reach into the ending: `leeds.gov.uk.com`.
        let into_ending = start == typed.label_start() && end > label_end && text[end] == b'.';
        if start > typed.label_start() || end >= label_end && !into_ending {
            break;
        }
        let bounded = separator(text[start - 1]) && separator(text[end]);
        if bounded && text[start..end].iter().zip(meant).all(|(t, m)| same(t, m)) {
            let front = typed.text.get(..start - 1).unwrap_or_default();
            return Some(found(front));
        }
    }
    None
}
